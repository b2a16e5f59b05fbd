//! The HTTP API of one node, as `curl` sees it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use quorate_node::Node;
use quorate_server::http;
use quorate_server::machine::{KEY_BYTES_MAX, KeyValue, VALUE_BYTES_MAX};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One node behind HTTP.
struct Server {
    address: String,
    http: Client,
    node: Node<KeyValue>,
    closing: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
    _dir: TempDir,
}

impl Server {
    /// A node that belongs to no cluster.
    async fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let builder =
            Node::<KeyValue>::builder(1, dir.path().join("data"), "127.0.0.1:0").wait().client_addr(&address);
        let node = builder.start(KeyValue::default()).await.unwrap();
        let (closing, closed) = watch::channel(false);
        let serving = tokio::spawn(http::serve(listener, node.clone(), None, closed));
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Self { address, http, node, closing, serving, _dir: dir }
    }

    /// A cluster of one node.
    async fn founded() -> Self {
        let server = Self::fresh().await;
        server.node.init().await.unwrap();
        server
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let url = format!("http://{}{path}", self.address);
        self.http
            .request(method, url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, "").await
    }

    /// The status and the body, which has to be JSON.
    async fn json(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let response = self.ask(method, path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text:?}")))
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.json(Method::POST, path, body.to_string()).await
    }

    /// Expects an error with this status and code, and gives its text.
    async fn refused(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
        status: u16,
        code: &str,
    ) -> String {
        let (got, error) = self.json(method, path, body).await;
        assert_eq!((got.as_u16(), error["code"].as_str()), (status, Some(code)), "{path}: {error}");
        assert_eq!(error["outcome"], "not_accepted", "{path}: {error}");
        error["error"].as_str().unwrap().to_owned()
    }

    async fn stop(self) {
        self.closing.send_replace(true);
        self.serving.await.unwrap().unwrap();
        self.node.shutdown().await;
    }
}

/// Sends bytes as they are, and gives what comes back until the server closes.
async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn values_go_in_and_come_out_as_they_are() {
    let server = Server::founded().await;
    let binary = vec![0_u8, 255, 10, 13, 0];
    let (status, put) = server.json(Method::PUT, "/v1/kv/a/b%20c", binary.clone()).await;
    assert_eq!((status, &put["previous"]), (StatusCode::OK, &Value::Null));

    let response = server.get("/v1/kv?key=a%2Fb+c").await;
    assert_eq!(response.headers()["quorate-revision"].to_str().unwrap(), put["revision"].to_string());
    assert_eq!(response.bytes().await.unwrap(), binary);

    let request = server.http.get(format!("http://{}/v1/kv/a/b%20c", server.address));
    let pair: Value =
        request.header("accept", "application/json").send().await.unwrap().json().await.unwrap();
    assert_eq!((&pair["key"], &pair["value"]), (&json!("a/b c"), &json!({"base64": "AP8KDQA="})));

    let (_, again) = server.json(Method::PUT, "/v1/kv/a/b%20c", "text").await;
    assert_eq!(again["previous"], put["revision"]);
    assert_eq!(server.get("/v1/kv/a/b%20c?stale=true").await.text().await.unwrap(), "text");

    let (_, deleted) = server.json(Method::DELETE, "/v1/kv/a/b%20c", "").await;
    assert_eq!(deleted, json!({"deleted": true, "previous": again["revision"]}));
    let (_, deleted) = server.json(Method::DELETE, "/v1/kv/a/b%20c", "").await;
    assert_eq!(deleted, json!({"deleted": false, "previous": null}));
    server.refused(Method::GET, "/v1/kv/a/b%20c", "", 404, "not_found").await;
    server.stop().await;
}

#[tokio::test]
async fn compare_and_set_tells_a_mismatch_from_success() {
    let server = Server::founded().await;
    let cas = |expect: Value, value: &str| json!({"key": "k", "expect": expect, "value": {"text": value}});
    let (status, first) = server.post("/v1/cas", cas(json!("absent"), "one")).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let text = server
        .refused(Method::POST, "/v1/cas", cas(json!("absent"), "two").to_string(), 412, "mismatch")
        .await;
    assert!(text.contains(&format!("written at revision {}", first["revision"])), "{text}");
    let (status, _) = server.post("/v1/cas", cas(json!({"revision": first["revision"]}), "two")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = server.post("/v1/cas", cas(json!({"value": {"text": "two"}}), "three")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.get("/v1/kv/k").await.text().await.unwrap(), "three");
    for body in ["{", "{}", r#"{"key":"k","expect":"present","value":{"text":""}}"#] {
        let (status, error) = server.json(Method::POST, "/v1/cas", body).await;
        assert!(status.is_client_error() && error["code"] == "invalid", "{body}: {status} {error}");
    }
    server
        .refused(
            Method::POST,
            "/v1/cas",
            json!({"key":"k","expect":"absent","value":{}}).to_string(),
            400,
            "invalid",
        )
        .await;
    server.stop().await;
}

#[tokio::test]
async fn a_range_comes_in_bounded_pages() {
    let server = Server::founded().await;
    for number in 0..5 {
        server.json(Method::PUT, &format!("/v1/kv/r/{number}"), "v").await;
    }
    let (_, page) = server.json(Method::GET, "/v1/range?prefix=r/&limit=2", "").await;
    let keys: Vec<_> = page["entries"].as_array().unwrap().iter().map(|pair| pair["key"].clone()).collect();
    assert_eq!((keys, &page["next"]), (vec![json!("r/0"), json!("r/1")], &json!("r/2")));
    let (_, page) = server.json(Method::GET, "/v1/range?prefix=r/&start=r/2&end=r/4&stale", "").await;
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["next"]), (2, &Value::Null));
    for limit in ["0", "1001", "-1", "many"] {
        server.refused(Method::GET, &format!("/v1/range?limit={limit}"), "", 400, "invalid").await;
    }
    server.refused(Method::GET, "/v1/range?prefx=r", "", 400, "invalid").await;
    server.stop().await;
}

/// Rows 39: what does not fit is turned away before it reaches the log.
#[tokio::test]
async fn keys_and_values_that_do_not_fit_are_refused_before_the_log() {
    let server = Server::founded().await;
    let log = |server: &Server| server.node.status().last_log;
    let before = log(&server);
    for (path, says) in [
        ("/v1/kv/", "empty"),
        ("/v1/kv?key=", "empty"),
        ("/v1/kv/a%00", "NUL"),
        (&format!("/v1/kv/{}", "k".repeat(KEY_BYTES_MAX + 1)), "limit is 16384"),
    ] {
        let text = server.refused(Method::PUT, path, "v", 400, "invalid_key").await;
        assert!(text.contains(says), "{text}");
    }
    let text = server.refused(Method::PUT, "/v1/kv/%ff", "v", 400, "invalid").await;
    assert!(text.contains("UTF-8"), "{text}");
    let head = format!("PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", VALUE_BYTES_MAX + 1);
    let answer = raw(&server.address, head.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("\"too_large\""),
        "before the body: {answer}"
    );
    let mut chunked = b"PUT /v1/kv/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(format!("{:x}\r\n", VALUE_BYTES_MAX + 1).as_bytes());
    chunked.extend(vec![b'v'; VALUE_BYTES_MAX + 1]);
    let answer = raw(&server.address, &chunked).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    let huge = json!({"key": "k", "expect": "absent", "value": {"text": "v".repeat(VALUE_BYTES_MAX + 1)}});
    server.refused(Method::POST, "/v1/cas", huge.to_string(), 413, "too_large").await;
    assert_eq!(log(&server), before, "nothing of this is in the log");

    let (status, _) = server
        .json(Method::PUT, &format!("/v1/kv/{}", "k".repeat(KEY_BYTES_MAX)), vec![0; VALUE_BYTES_MAX])
        .await;
    assert_eq!(status, StatusCode::OK, "at the limits all is well");
    server.stop().await;
}

/// Rows 9 and 10: a node without a cluster says so, and what to do.
#[tokio::test]
async fn a_fresh_node_answers_with_uninitialized_until_it_is_founded() {
    let server = Server::fresh().await;
    for (method, path) in [
        (Method::PUT, "/v1/kv/a"),
        (Method::GET, "/v1/kv/a"),
        (Method::GET, "/v1/range"),
        (Method::GET, "/v1/kv/a?stale"),
    ] {
        let text = server.refused(method, path, "v", 503, "uninitialized").await;
        assert!(text.contains("init") && text.contains("join"), "{text}");
    }
    server
        .refused(Method::POST, "/v1/admin/promote", json!({"id": 2}).to_string(), 503, "uninitialized")
        .await;
    assert_eq!(server.get("/healthz").await.status(), StatusCode::OK);
    assert_eq!(server.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (_, status) = server.json(Method::GET, "/v1/status", "").await;
    assert_eq!(
        (&status["node"]["role"], &status["node"]["cluster_id"]),
        (&json!("uninitialized"), &Value::Null)
    );

    assert_eq!(server.post("/v1/admin/init", json!({})).await, (StatusCode::OK, json!({"ok": true})));
    assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
    assert_eq!(
        server.post("/v1/admin/init", json!({})).await.0,
        StatusCode::OK,
        "row 8: twice is as good as once"
    );
    server.stop().await;
}

/// Rows 12 and 13, and members that do not exist.
#[tokio::test]
async fn membership_changes_that_make_no_sense_are_refused() {
    let server = Server::founded().await;
    let conflict = |name: &str| format!("/v1/admin/{name}");
    let body = |value: Value| value.to_string();
    server.refused(Method::POST, &conflict("remove"), body(json!({"id": 1})), 409, "empty_voters").await;
    server
        .refused(
            Method::POST,
            &conflict("change-membership"),
            body(json!({"voters": []})),
            409,
            "empty_voters",
        )
        .await;
    server.refused(Method::POST, &conflict("promote"), body(json!({"id": 9})), 404, "unknown_node").await;
    server
        .refused(Method::POST, &conflict("transfer-leader"), body(json!({"id": 9})), 404, "unknown_node")
        .await;
    server.refused(Method::POST, &conflict("promote"), body(json!({"di": 9})), 422, "invalid").await;
    server.refused(Method::POST, &conflict("promote"), "{", 400, "invalid").await;
    server.refused(Method::GET, &conflict("promote"), "", 405, "no_method").await;
    server.refused(Method::POST, &conflict("explode"), "{}", 404, "no_route").await;
    server.stop().await;
}

#[tokio::test]
async fn a_watch_reports_what_was_and_what_comes() {
    let server = Server::founded().await;
    let (_, first) = server.json(Method::PUT, "/v1/kv/w/1", "one").await;
    server.json(Method::PUT, "/v1/kv/other", "x").await;
    let mut watch = server.get("/v1/watch?prefix=w/&after=0").await;
    let mut seen = String::new();
    while !seen.contains("\"one\"") {
        seen.push_str(std::str::from_utf8(&watch.chunk().await.unwrap().unwrap()).unwrap());
    }
    server.json(Method::DELETE, "/v1/kv/w/1", "").await;
    while !seen.contains("\"delete\"") {
        seen.push_str(std::str::from_utf8(&watch.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(seen.starts_with("event: start\ndata: 0\n\n"), "{seen}");
    assert!(seen.contains(&format!("id: {}\n", first["revision"])), "{seen}");
    assert!(!seen.contains("other"), "{seen}");
    server.closing.send_replace(true);
    while let Some(chunk) = watch.chunk().await.unwrap() {
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(seen.contains("event: error") && seen.contains("\"stopped\""), "{seen}");
    server.stop().await;
}

#[tokio::test]
async fn metrics_tell_prometheus_where_the_node_is() {
    let server = Server::founded().await;
    server.json(Method::PUT, "/v1/kv/a", "1").await;
    let text = server.get("/metrics").await.text().await.unwrap();
    for line in [
        "quorate_is_leader 1\n",
        "quorate_leader 1\n",
        "quorate_up 1\n",
        "quorate_keys 1\n",
        "# TYPE quorate_applied_index gauge\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    let (_, reply) = server.post("/v1/admin/snapshot", json!({})).await;
    assert!(reply["index"].as_u64().unwrap() > 0, "{reply}");
    server.stop().await;
}

/// Row 6: what belongs on the peer port gets one line.
#[tokio::test]
async fn a_member_that_calls_the_client_port_is_told_so() {
    let server = Server::fresh().await;
    let answer = raw(&server.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(answer.starts_with("WrongProtocol: ") && answer.lines().count() == 1, "{answer:?}");
    let answer = raw(&server.address, b"\x16\x03\x01 this is not HTTP at all\r\n\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    assert_eq!(server.get("/healthz").await.status(), StatusCode::OK);
    server.stop().await;
}
