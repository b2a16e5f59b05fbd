//! A client of the server: finds the leader and follows it, retries what is safe to retry, and says which is which.

mod route;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use reqwest::{Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use self::route::Route;
pub use self::watch::WatchStream;
use crate::api::{
    CasRequest, Deleted, ErrorBody, LEADER_HEADER, Outcome, REVISION_HEADER, RangePage, StatusReply, Written,
};
use crate::machine::{Expect, Value};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one server may take over a read before another one is asked.
const READ_ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// The shortest and the longest pause between two attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A client of one cluster. Clones share connections and what is known about the leader.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    route: Arc<Mutex<Route>>,
    timeout: Duration,
}

/// Where a read is answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// After every write that was acknowledged before, whichever node answers.
    Linearizable,
    /// From what the node that is asked has at the moment.
    Stale,
}

/// A part of the key space to read, one page at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeQuery {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Only keys from this one on.
    pub start: Option<String>,
    /// Only keys before this one.
    pub end: Option<String>,
    /// At most so many pairs, up to [`RANGE_LIMIT_MAX`](crate::api::RANGE_LIMIT_MAX).
    pub limit: Option<usize>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server says that the request makes no sense or cannot be granted. It changed nothing.
    #[error("{}", .0.error)]
    Refused(Box<ErrorBody>),
    /// No attempt was accepted in time. It changed nothing, and it is safe to try again.
    #[error("{cause} (tried for {} ms)", waited.as_millis())]
    NotAccepted {
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt ran into.
        cause: String,
    },
    /// The request may have been, or may yet be, carried out.
    #[error("{cause}")]
    OutcomeUnknown {
        /// What happened to the answer.
        cause: String,
    },
    /// No server could be reached. Nothing was changed.
    #[error("no server answered within {} ms, last tried {server}: {cause}", waited.as_millis())]
    Unavailable {
        /// The last server that was tried.
        server: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt ran into.
        cause: String,
    },
    /// Whoever answered is not a server of this kind.
    #[error("{server} gives an answer that makes no sense ({cause}): is it the client address of a node?")]
    Protocol {
        /// The server.
        server: String,
        /// What is wrong with its answer.
        cause: String,
    },
}

/// One request, to be sent as often as it takes.
struct Call<'a> {
    method: Method,
    path: &'a str,
    query: Vec<(&'a str, &'a str)>,
    body: Option<(Bytes, &'static str)>,
    kind: Kind,
}

/// What it may cost to send a request again, and how long its answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It changes nothing.
    Read,
    /// It may not simply be sent again.
    Write,
    /// It changes nothing, and its answer has no end.
    Stream,
}

/// How one attempt failed, and what to do about it.
enum Failure {
    Final(ClientError),
    /// It was certainly not carried out.
    Retry {
        cause: String,
        reached: bool,
        uninitialized: bool,
        pause: Option<Duration>,
    },
}

impl Client {
    /// A client that knows these servers, each `host:port`. `timeout` bounds each request with all its attempts.
    ///
    /// # Errors
    ///
    /// [`ClientError::Protocol`] if the HTTP client cannot be set up.
    pub fn new(servers: impl IntoIterator<Item = String>, timeout: Duration) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| ClientError::Protocol { server: String::new(), cause: explain(&error) })?;
        Ok(Self { http, route: Arc::new(Mutex::new(Route::new(servers))), timeout })
    }

    /// The same client for one server alone, which does not follow the leader.
    pub fn pinned(&self, server: &str) -> Self {
        Self { route: Arc::new(Mutex::new(Route::pinned(server))), ..self.clone() }
    }

    /// The same client with another time for each request.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The servers that are known, the one that is asked first in front.
    pub fn servers(&self) -> Vec<String> {
        self.route().servers()
    }

    /// Learns the addresses of all members from whoever answers first.
    ///
    /// # Errors
    ///
    /// Those of [`status`](Self::status).
    pub async fn learn_members(&self) -> Result<StatusReply, ClientError> {
        let status = self.status(false).await?;
        let mut route = self.route();
        for member in &status.members.members {
            route.add(&member.member.client_addr);
        }
        drop(route);
        Ok(status)
    }

    /// Sets a key.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; with [`ClientError::OutcomeUnknown`] the key may hold the new value, or may come to.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<Written, ClientError> {
        let body = Some((value, "application/octet-stream"));
        self.json(&Call {
            method: Method::PUT,
            path: "/v1/kv",
            query: vec![("key", key)],
            body,
            kind: Kind::Write,
        })
        .await
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: &str) -> Result<Deleted, ClientError> {
        let query = vec![("key", key)];
        self.json(&Call { method: Method::DELETE, path: "/v1/kv", query, body: None, kind: Kind::Write })
            .await
    }

    /// Sets a key if it holds what is expected. A key that does not is [`ClientError::Refused`] with the code
    /// `mismatch`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn cas(&self, key: &str, expect: &Expect, value: &[u8]) -> Result<Written, ClientError> {
        let request = CasRequest { key: key.to_owned(), expect: expect.into(), value: value.into() };
        self.post("/v1/cas", &request).await
    }

    /// The value of a key, if there is one.
    ///
    /// # Errors
    ///
    /// [`ClientError`], never with an unknown outcome.
    pub async fn get(&self, key: &str, consistency: Consistency) -> Result<Option<Value>, ClientError> {
        let mut query = vec![("key", key)];
        query.extend(consistency.param());
        let call = Call { method: Method::GET, path: "/v1/kv", query, body: None, kind: Kind::Read };
        let (server, response) = match self.send(&call).await {
            Err(ClientError::Refused(body)) if body.code == "not_found" => return Ok(None),
            other => other?,
        };
        let revision =
            response.headers().get(REVISION_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(revision) = revision else {
            return Err(ClientError::Protocol { server, cause: "the revision is missing".to_owned() });
        };
        match response.bytes().await {
            Ok(bytes) => Ok(Some(Value { bytes, revision })),
            Err(error) => {
                Err(ClientError::Unavailable { server, waited: self.timeout, cause: explain(&error) })
            }
        }
    }

    /// One page of a part of the key space.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn range(
        &self,
        range: &RangeQuery,
        consistency: Consistency,
    ) -> Result<RangePage, ClientError> {
        let limit = range.limit.map(|limit| limit.to_string());
        let mut query = vec![("prefix", range.prefix.as_str())];
        query.extend(range.start.as_deref().map(|start| ("start", start)));
        query.extend(range.end.as_deref().map(|end| ("end", end)));
        query.extend(limit.as_deref().map(|limit| ("limit", limit)));
        query.extend(consistency.param());
        self.json(&Call { method: Method::GET, path: "/v1/range", query, body: None, kind: Kind::Read }).await
    }

    /// Follows the changes of keys with a prefix after a revision; without one, from now on.
    pub fn watch(&self, prefix: &str, after: Option<u64>) -> WatchStream {
        WatchStream::new(self.clone(), prefix.to_owned(), after)
    }

    /// What the node that is asked knows; with `leader`, the members as the leader knows them.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn status(&self, leader: bool) -> Result<StatusReply, ClientError> {
        let query = if leader { vec![("leader", "true")] } else { Vec::new() };
        self.json(&Call { method: Method::GET, path: "/v1/status", query, body: None, kind: Kind::Read })
            .await
    }

    /// An admin request, by its name under `/v1/admin/`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn admin<T: DeserializeOwned>(
        &self,
        name: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.post(&format!("/v1/admin/{name}"), body).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let json = serde_json::to_vec(body)
            .map_err(|error| ClientError::Protocol { server: String::new(), cause: error.to_string() })?;
        let body = Some((json.into(), "application/json"));
        self.json(&Call { method: Method::POST, path, query: Vec::new(), body, kind: Kind::Write }).await
    }

    async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, ClientError> {
        let (server, response) = self.send(call).await?;
        let bytes = response.bytes().await.map_err(|error| self.lost(call, &server, explain(&error)))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ClientError::Protocol { server, cause: error.to_string() })
    }

    /// Sends until a server takes the request, time is up, or it is no longer safe to send it again.
    async fn send(&self, call: &Call<'_>) -> Result<(String, reqwest::Response), ClientError> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let mut attempts = 0_u32;
        let mut uninitialized = 0;
        // What the last server said that answered: it tells more than that another one did not.
        let mut told = None;
        loop {
            let server = self.route().current();
            let begun = Instant::now();
            let failure = match self.attempt(call, &server, deadline).await {
                Ok(response) => return Ok((server, response)),
                Err(failure) => failure,
            };
            let (cause, pause, took) = match failure {
                Failure::Final(error) => return Err(error),
                Failure::Retry { cause, reached, uninitialized: fresh, pause } => {
                    uninitialized = if fresh { uninitialized + 1 } else { 0 };
                    if reached {
                        told = Some(cause.clone());
                    }
                    // A write that is cut off has an unknown outcome; one that would take as long again is not sent.
                    let counts = reached && call.kind == Kind::Write;
                    (cause, pause, if counts { begun.elapsed() } else { Duration::ZERO })
                }
            };
            let (known, moved) = {
                let mut route = self.route();
                (route.len(), route.leave(&server))
            };
            attempts = attempts.saturating_add(1);
            // A fresh round begins with a pause; so does a server that was named as the leader and knows better.
            let rounds = attempts / u32::try_from(known.max(1)).unwrap_or(u32::MAX);
            let pause = match pause {
                Some(pause) => pause,
                None if moved && rounds == 0 => Duration::ZERO,
                None => backoff(rounds),
            };
            let waited = started.elapsed();
            if uninitialized >= known || Instant::now() + pause + took >= deadline {
                return Err(match told {
                    Some(cause) => ClientError::NotAccepted { waited, cause },
                    None => ClientError::Unavailable { server, waited, cause },
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        server: &str,
        deadline: Instant,
    ) -> Result<reqwest::Response, Failure> {
        let mut left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if call.kind != Kind::Write {
            left = left.min(READ_ATTEMPT_MAX);
        }
        let mut request = self.http.request(call.method.clone(), format!("http://{server}{}", call.path));
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        if let Some((body, content_type)) = &call.body {
            request = request.header(header::CONTENT_TYPE, *content_type).body(body.clone());
        }
        if call.kind != Kind::Stream {
            request = request.timeout(left);
        }
        let (sent, cause) = match tokio::time::timeout(left, request.send()).await {
            Ok(Ok(response)) => return self.answered(call, server, response).await,
            Ok(Err(error)) => (!error.is_connect() && !error.is_builder(), explain(&error)),
            Err(_) => (true, "no answer in time".to_owned()),
        };
        Err(if sent && call.kind == Kind::Write {
            self.route().leave(server);
            Failure::Final(self.lost(call, server, cause))
        } else {
            Failure::Retry { cause, reached: false, uninitialized: false, pause: None }
        })
    }

    async fn answered(
        &self,
        call: &Call<'_>,
        server: &str,
        response: reqwest::Response,
    ) -> Result<reqwest::Response, Failure> {
        if let Some(leader) = response.headers().get(LEADER_HEADER).and_then(|value| value.to_str().ok()) {
            self.route().follow(leader);
        }
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.failed(call, server, response).await)
        }
    }

    /// What an answer with an error status means.
    async fn failed(&self, call: &Call<'_>, server: &str, response: reqwest::Response) -> Failure {
        let status = response.status();
        let body = match response.bytes().await {
            Ok(bytes) => serde_json::from_slice::<ErrorBody>(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(explain(&error)),
        };
        let body = match body {
            Ok(body) => body,
            Err(cause) if status.is_server_error() => {
                return Failure::Final(self.lost(call, server, format!("{status} ({cause})")));
            }
            Err(cause) => {
                let cause = format!("{status}, {cause}");
                return Failure::Final(ClientError::Protocol { server: server.to_owned(), cause });
            }
        };
        if body.outcome == Outcome::Unknown && call.kind == Kind::Write {
            return Failure::Final(ClientError::OutcomeUnknown { cause: body.error });
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::GATEWAY_TIMEOUT {
            let pause = body.retry_after_ms.map(|ms| jitter(Duration::from_millis(ms)));
            let uninitialized = body.code == "uninitialized";
            return Failure::Retry { cause: body.error, reached: true, uninitialized, pause };
        }
        Failure::Final(ClientError::Refused(Box::new(body)))
    }

    /// The error for an answer that did not come, or not whole.
    fn lost(&self, call: &Call<'_>, server: &str, cause: String) -> ClientError {
        if call.kind == Kind::Write {
            let cause = format!("outcome unknown: {server}: {cause}; read the state before trying again");
            ClientError::OutcomeUnknown { cause }
        } else {
            ClientError::Unavailable { server: server.to_owned(), waited: self.timeout, cause }
        }
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consistency {
    fn param(self) -> Option<(&'static str, &'static str)> {
        (self == Self::Stale).then_some(("stale", "true"))
    }
}

/// The pause after so many rounds: it doubles, up to a limit, and is spread so that clients do not march in step.
fn backoff(rounds: u32) -> Duration {
    jitter(BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(rounds.min(16))).min(BACKOFF_MAX))
}

fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// An error of the HTTP client with all its causes, which it does not print by itself.
fn explain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "no answer".to_owned() };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    if text.contains("HTTP version") || text.contains("HTTP/0.9") {
        text.push_str("; is this the peer port of a node? clients use the other one");
    }
    text
}
