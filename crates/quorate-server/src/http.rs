//! The HTTP side of a node: the application API, the admin API, metrics and health, all within reach of `curl`.

mod admin;
mod error;
mod kv;
mod listener;
mod metrics;
mod query;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use quorate_node::{LeadershipWatch, Node, Role};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use self::error::ApiError;
use self::listener::BoundedListener;
use crate::api::{LEADER_HEADER, RANGE_BYTES_MAX};
use crate::machine::{KeyValue, VALUE_BYTES_MAX};

/// The longest JSON body: a compare-and-set with two values of the largest size, in base64 or escaped.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the requests that are being served may hold in memory together, in bytes.
const REQUEST_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What a request holds beside its body, in bytes.
const REQUEST_OVERHEAD: usize = 4 * 1024;

/// The unit in which the memory of requests is counted, in bytes.
const ADMISSION_UNIT: usize = 1024;

/// When to try again after too many requests.
const RETRY_AFTER_MS: u64 = 100;

/// The most watches at a time.
const WATCHES_MAX: usize = 1024;

/// What every request can reach.
#[derive(Clone)]
struct App {
    node: Node<KeyValue>,
    leadership: LeadershipWatch,
    admission: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    metrics: Option<PrometheusHandle>,
    closing: watch::Receiver<bool>,
}

/// Serves a node until `closing` turns true or its sender is gone; requests at hand are then still answered, and
/// watches end. `metrics` holds what the process has counted, if it counts.
///
/// # Errors
///
/// Those of the listening socket.
pub async fn serve(
    listener: TcpListener,
    node: Node<KeyValue>,
    metrics: Option<PrometheusHandle>,
    closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = router(node, metrics, closing.clone());
    axum::serve(BoundedListener::new(listener), router).with_graceful_shutdown(closed(closing)).await
}

async fn closed(mut closing: watch::Receiver<bool>) {
    // An error says that the sender is gone, which closes as well.
    let _ = closing.wait_for(|closing| *closing).await;
}

fn router(node: Node<KeyValue>, metrics: Option<PrometheusHandle>, closing: watch::Receiver<bool>) -> Router {
    let app = App {
        leadership: node.leadership(),
        node,
        admission: Arc::new(Semaphore::new(REQUEST_BYTES_MAX / ADMISSION_UNIT)),
        watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        metrics,
        closing,
    };
    let json_limit = || DefaultBodyLimit::max(JSON_BYTES_MAX);
    let keys = get(kv::get).put(kv::put).delete(kv::delete).layer(DefaultBodyLimit::max(VALUE_BYTES_MAX));
    Router::new()
        .route("/v1/kv", keys.clone())
        .route("/v1/kv/", keys.clone())
        .route("/v1/kv/{*key}", keys)
        .route("/v1/range", get(kv::range))
        .route("/v1/cas", post(kv::cas).layer(json_limit()))
        .route("/v1/watch", get(kv::watch))
        .route("/v1/status", get(admin::status))
        .nest("/v1/admin", admin::routes().layer(json_limit()))
        .layer(from_fn_with_state(app.clone(), admit))
        .route("/metrics", get(metrics::render))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(app)
}

/// Lets a request in if there is memory for it, and tells the client where the leader is.
async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    let cost = match cost(&request) {
        Ok(bytes) => bytes.div_ceil(ADMISSION_UNIT),
        Err(error) => return closing(error),
    };
    let permits = u32::try_from(cost).unwrap_or(u32::MAX);
    let Ok(_permit) = app.admission.clone().try_acquire_many_owned(permits) else {
        return closing(ApiError::overloaded(
            RETRY_AFTER_MS,
            format!("too many requests at once: try again in {RETRY_AFTER_MS} ms"),
        ));
    };
    let mut response = next.run(request).await;
    if let Some(address) = elsewhere(&app.leadership) {
        response.headers_mut().insert(LEADER_HEADER, address);
    }
    response
}

/// The bytes that a request may hold: its body as announced, or the limit if it does not say; a page for a range.
fn cost(request: &Request) -> Result<usize, ApiError> {
    let path = request.uri().path();
    let max = if path.starts_with("/v1/kv") { VALUE_BYTES_MAX } else { JSON_BYTES_MAX };
    let page = if path == "/v1/range" { RANGE_BYTES_MAX } else { 0 };
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let body = match length {
        Some(length) => match length.parse::<usize>() {
            Ok(length) if length <= max => length,
            _ => return Err(ApiError::too_large(length, max)),
        },
        None if headers.contains_key(header::TRANSFER_ENCODING) => max,
        None => 0,
    };
    Ok(REQUEST_OVERHEAD.saturating_add(page).saturating_add(body))
}

/// An error that leaves the body unread, so that the connection cannot be used again.
fn closing(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The client address of the leader, if that is another node.
fn elsewhere(leadership: &LeadershipWatch) -> Option<HeaderValue> {
    let leader = leadership.current().filter(|leader| !leader.here)?;
    let address = leader.member?.client_addr;
    if address.is_empty() { None } else { HeaderValue::try_from(address).ok() }
}

/// Whether the process is alive and its node runs.
async fn healthz(State(app): State<App>) -> Response {
    match app.node.status().stopped {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Whether the node is a member and a linearizable read works on it.
async fn readyz(State(app): State<App>) -> Response {
    let role = app.node.status().role;
    if matches!(role, Role::Uninitialized | Role::Stopped) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{role}\n")).into_response();
    }
    match app.node.read(|_| ()).await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn no_route(request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_route",
        format!(
            "there is nothing at {path}: keys are under /v1/kv/, the rest is /v1/range, /v1/cas, /v1/watch, /v1/status, /v1/admin/…, /metrics, /healthz, /readyz"
        ),
    )
}

async fn no_method(method: Method, request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", format!("{method} is not possible on {path}"))
}
