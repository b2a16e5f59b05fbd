//! The client against servers that misbehave on purpose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use quorate_server::api::WatchEvent;
use quorate_server::client::{Client, ClientError, Consistency};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// A server that answers each request as a function of its number, and counts them.
struct Fake {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl Fake {
    async fn new(answer: impl Fn(usize, &Request) -> Response + Clone + Send + Sync + 'static) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let app = Router::new().fallback(move |request: Request| {
            let response = answer(counter.fetch_add(1, Ordering::SeqCst), &request);
            async move { response }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A server that reads a request and hangs up.
async fn hangs_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    address
}

/// An address on which nobody listens.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

fn client(servers: &[&str]) -> Client {
    Client::new(servers.iter().map(|server| (*server).to_owned()), Duration::from_secs(5)).unwrap()
}

fn written() -> Response {
    json!({"revision": 7, "previous": null}).to_string().into_response()
}

fn error(status: u16, code: &str, outcome: &str) -> Response {
    let body = json!({"code": code, "outcome": outcome, "error": format!("the {code} text")});
    (axum::http::StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}

fn towards(leader: &str, response: Response) -> Response {
    ([("quorate-leader", leader.to_owned())], response).into_response()
}

async fn put(client: &Client) -> Result<u64, ClientError> {
    client.put("k", Bytes::from_static(b"v")).await.map(|written| written.revision)
}

#[tokio::test]
async fn a_write_is_sent_again_while_it_is_not_accepted() {
    let fake =
        Fake::new(|number, _| if number < 3 { error(503, "no_leader", "not_accepted") } else { written() })
            .await;
    assert_eq!(put(&client(&[&fake.address])).await, Ok(7));
    assert_eq!(fake.requests(), 4);
}

#[tokio::test]
async fn a_write_with_an_unknown_outcome_is_never_sent_again() {
    let fake = Fake::new(|_, _| error(504, "outcome_unknown", "unknown")).await;
    let failed = put(&client(&[&fake.address])).await.unwrap_err();
    assert_eq!(failed, ClientError::OutcomeUnknown { cause: "the outcome_unknown text".into() });
    assert_eq!(fake.requests(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_an_unknown_outcome_for_a_write_and_another_try_for_a_read() {
    let silent = hangs_up().await;
    let fake = Fake::new(|_, _| ([("quorate-revision", "3")], "v").into_response()).await;
    let client = client(&[&silent, &fake.address]);
    assert!(matches!(put(&client).await, Err(ClientError::OutcomeUnknown { .. })));
    assert_eq!(fake.requests(), 0);
    let client = self::client(&[&silent, &fake.address]);
    let value = client.get("k", Consistency::Linearizable).await.unwrap().unwrap();
    assert_eq!((value.bytes, value.revision), (Bytes::from_static(b"v"), 3));
}

#[tokio::test]
async fn the_client_passes_over_the_dead_and_follows_the_leader() {
    let dead = nobody().await;
    let leader = Fake::new(|_, _| written()).await;
    let at = leader.address.clone();
    let follower = Fake::new(move |_, _| towards(&at, written())).await;
    let client = client(&[&dead, &follower.address]);
    for _ in 0..3 {
        assert_eq!(put(&client).await, Ok(7));
    }
    assert_eq!((follower.requests(), leader.requests()), (1, 2));
    assert_eq!(client.servers()[0], leader.address);
}

#[tokio::test]
async fn a_dead_leader_is_left_for_those_who_know_better() {
    let dead = nobody().await;
    let at = dead.clone();
    let survivor =
        Fake::new(
            move |number, _| {
                if number < 2 { towards(&at, error(503, "no_leader", "not_accepted")) } else { written() }
            },
        )
        .await;
    assert_eq!(put(&client(&[&dead, &survivor.address])).await, Ok(7));
    assert_eq!(survivor.requests(), 3);
}

#[tokio::test]
async fn nobody_there_and_nobody_ready_are_different_failures() {
    let dead = nobody().await;
    let brief = client(&[&dead]).with_timeout(Duration::from_millis(50));
    assert!(matches!(put(&brief).await, Err(ClientError::Unavailable { server, .. }) if server == dead));
    let fake = Fake::new(|_, _| error(503, "no_leader", "not_accepted")).await;
    let brief = client(&[&fake.address]).with_timeout(Duration::from_millis(50));
    assert!(
        matches!(put(&brief).await, Err(ClientError::NotAccepted { cause, .. }) if cause == "the no_leader text")
    );
    assert!(matches!(put(&client(&[])).await, Err(ClientError::Unavailable { .. })));
}

#[tokio::test]
async fn nodes_without_a_cluster_are_not_asked_for_ever() {
    let fresh = Fake::new(|_, _| error(503, "uninitialized", "not_accepted")).await;
    assert!(matches!(put(&client(&[&fresh.address])).await, Err(ClientError::NotAccepted { .. })));
    assert_eq!(fresh.requests(), 1);
    let member = Fake::new(|_, _| written()).await;
    assert_eq!(put(&client(&[&fresh.address, &member.address])).await, Ok(7));
}

#[tokio::test]
async fn a_refusal_is_final_and_keeps_its_code() {
    let fake = Fake::new(|_, _| error(409, "learner_not_ready", "not_accepted")).await;
    let failed = client(&[&fake.address]).admin::<Value>("promote", &json!({"id": 2})).await.unwrap_err();
    assert!(matches!(&failed, ClientError::Refused(body) if body.code == "learner_not_ready"), "{failed:?}");
    assert_eq!((failed.to_string().as_str(), fake.requests()), ("the learner_not_ready text", 1));
    let missing = Fake::new(|_, _| error(404, "not_found", "not_accepted")).await;
    assert_eq!(client(&[&missing.address]).get("k", Consistency::Stale).await, Ok(None));
}

#[tokio::test]
async fn an_answer_from_someone_else_is_no_success() {
    let page = Fake::new(|_, _| "<html>welcome</html>".into_response()).await;
    let failed = client(&[&page.address]).status(false).await.unwrap_err();
    assert!(failed.to_string().contains("is it the client address of a node?"), "{failed}");
    let failed = client(&[&page.address]).get("k", Consistency::Linearizable).await.unwrap_err();
    assert!(matches!(failed, ClientError::Protocol { .. }), "{failed:?}");
    let proxy = Fake::new(|_, _| (axum::http::StatusCode::BAD_GATEWAY, "oops").into_response()).await;
    assert!(matches!(put(&client(&[&proxy.address])).await, Err(ClientError::OutcomeUnknown { .. })));
}

#[tokio::test]
async fn any_key_survives_the_request_line() {
    for key in ["a/b", "..", "a b+c&d=e%", "ключ", "/", "\n"] {
        let fake = Fake::new(|_, request| {
            let query = request.uri().query().unwrap_or("").to_owned();
            ([("quorate-revision", "1")], query).into_response()
        })
        .await;
        let value = client(&[&fake.address]).get(key, Consistency::Stale).await.unwrap().unwrap();
        let query = String::from_utf8(value.bytes.to_vec()).unwrap();
        let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs, [("key".to_owned(), key.to_owned()), ("stale".to_owned(), "true".to_owned())]);
    }
}

#[tokio::test]
async fn a_watch_goes_on_where_it_broke_off_and_says_when_it_was_dropped() {
    let change = |revision: u64| {
        let pair = json!({"type": "put", "key": "k", "value": {"text": "v"}, "revision": revision});
        format!("event: change\ndata: {pair}\nid: {revision}\n\n")
    };
    let fake = Fake::new(move |number, request| {
        let query = request.uri().query().unwrap_or("").to_owned();
        match number {
            0 => format!("event: start\ndata: 4\n\n:\n\n{}", change(5)).into_response(),
            1 if query.contains("after=5") => {
                format!("event: start\ndata: 5\n\n{}{}", change(8), change(9)).into_response()
            }
            2 if query.contains("after=9") => {
                let body = json!({"code": "dropped", "outcome": "not_accepted", "error": "too slow"});
                format!("event: error\ndata: {body}\n\n").into_response()
            }
            _ => error(400, "invalid", "not_accepted"),
        }
    })
    .await;
    let mut watch = client(&[&fake.address]).watch("k", None);
    watch.started().await.unwrap();
    let mut revisions = Vec::new();
    let end = loop {
        match watch.next().await {
            Ok(event @ WatchEvent::Put(_)) => revisions.push(event.revision()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(revisions, [5, 8, 9]);
    assert!(matches!(&end, ClientError::Refused(body) if body.code == "dropped"), "{end:?}");
    assert_eq!(watch.revision(), Some(9));
}
