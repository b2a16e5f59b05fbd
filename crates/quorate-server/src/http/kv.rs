//! The application API: put, get, delete, range, compare-and-set, watch.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use quorate_node::ReadError;
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::query::{Params, key};
use super::{App, RETRY_AFTER_MS, closed};
use crate::api::{
    Blob, CasRequest, Deleted, Pair, RANGE_BYTES_MAX, RANGE_LIMIT_MAX, REVISION_HEADER, RangePage,
    WatchEvent, Written,
};
use crate::machine::{
    Command, Expect, KeyValue, Range, Response as Applied, VALUE_BYTES_MAX, Value, check_key,
};
use crate::watch::{Change, WatchError, Watcher};

/// The pairs in a page, if the request does not say.
const RANGE_LIMIT: usize = 100;

pub(super) async fn get(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let (key, stale) = wanted(&uri)?;
    let value = read(&app, stale, |machine| machine.get(&key)).await?;
    let Some(Value { bytes, revision }) = value else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is no key {key:?}")));
    };
    let mut response = if wants_json(&headers) {
        Json(Pair { key, value: Blob::from(&*bytes), revision }).into_response()
    } else {
        bytes.into_response()
    };
    response.headers_mut().insert(REVISION_HEADER, HeaderValue::from(revision));
    Ok(response)
}

/// The key that a request asks for, and whether a stale value will do.
pub(super) fn wanted(uri: &Uri) -> Result<(String, bool), ApiError> {
    let mut params = Params::of(uri)?;
    let key = key(uri, &mut params)?;
    let stale = params.flag("stale")?;
    params.finish()?;
    Ok((key, stale))
}

pub(super) async fn put(
    State(app): State<App>,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Written>, ApiError> {
    let mut params = Params::of(&uri)?;
    let key = key(&uri, &mut params)?;
    params.finish()?;
    written(app.node.propose(Command::Put { key, value: body? }).await?)
}

pub(super) async fn delete(State(app): State<App>, uri: Uri) -> Result<Json<Deleted>, ApiError> {
    let mut params = Params::of(&uri)?;
    let key = key(&uri, &mut params)?;
    params.finish()?;
    match app.node.propose(Command::Delete { key }).await? {
        Applied::Deleted { previous } => Ok(Json(Deleted { deleted: previous.is_some(), previous })),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn cas(
    State(app): State<App>,
    body: Result<Json<CasRequest>, JsonRejection>,
) -> Result<Json<Written>, ApiError> {
    let Json(request) = body?;
    written(app.node.propose(cas_command(request)?).await?)
}

pub(super) fn cas_command(CasRequest { key, expect, value }: CasRequest) -> Result<Command, ApiError> {
    check_key(&key)?;
    let expect = Expect::try_from(expect)?;
    let value = value.into_bytes()?;
    let expected_bytes = if let Expect::Value(bytes) = &expect { bytes.len() } else { 0 };
    if value.len().max(expected_bytes) > VALUE_BYTES_MAX {
        return Err(ApiError::too_large(value.len().max(expected_bytes), VALUE_BYTES_MAX));
    }
    Ok(Command::Cas { key, expect, value })
}

pub(super) async fn range(State(app): State<App>, uri: Uri) -> Result<Json<RangePage>, ApiError> {
    let (range, stale) = range_of(&uri)?;
    let page = read(&app, stale, |machine| machine.range(&range)).await?;
    let entries = page.entries.into_iter().map(|(key, value)| Pair {
        key: key.to_string(),
        value: Blob::from(&*value.bytes),
        revision: value.revision,
    });
    let next = page.next.map(|key| key.to_string());
    Ok(Json(RangePage { entries: entries.collect(), next, revision: page.revision }))
}

/// The range that a request asks for, and whether what may be stale will do.
pub(super) fn range_of(uri: &Uri) -> Result<(Range, bool), ApiError> {
    let mut params = Params::of(uri)?;
    let stale = params.flag("stale")?;
    let limit =
        params.number("limit")?.map_or(RANGE_LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if !(1..=RANGE_LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!(
            "limit is {limit}: give 1 to {RANGE_LIMIT_MAX}, and ask for the next page from `next`"
        )));
    }
    let range = Range {
        prefix: params.take("prefix").unwrap_or_default(),
        start: params.take("start"),
        end: params.take("end"),
        limit,
        bytes_max: RANGE_BYTES_MAX,
    };
    params.finish()?;
    Ok((range, stale))
}

/// Server-sent events from a revision on; one of the type `error` comes last.
pub(super) async fn watch(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let (prefix, after) = watched(&uri)?;
    let Ok(permit) = app.watches.clone().try_acquire_owned() else {
        return Err(ApiError::overloaded(RETRY_AFTER_MS, "too many watches on this node: try another one"));
    };
    let watcher = app.node.read_stale(|machine| machine.watch(prefix, after));
    let mut response =
        Sse::new(events(app, watcher, permit)).keep_alive(KeepAlive::default()).into_response();
    // The first bytes go out at once, so that the client knows that it watches.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Which keys a request wants to watch, and after which revision.
pub(super) fn watched(uri: &Uri) -> Result<(String, Option<u64>), ApiError> {
    let mut params = Params::of(uri)?;
    let prefix = params.take("prefix").unwrap_or_default();
    let after = params.number("after")?;
    params.finish()?;
    Ok((prefix, after))
}

fn events(
    app: App,
    watcher: Watcher,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let start = Event::default().event("start").data(watcher.revision().to_string());
    let state = Some((app, watcher, permit));
    let batches = stream::unfold(state, |state| async move {
        let (app, mut watcher, permit) = state?;
        let next = tokio::select! {
            biased;
            () = closed(app.closing.clone()) => Err(WatchError::Stopped),
            _ = app.node.stopped() => Err(WatchError::Stopped),
            next = watcher.next() => next,
        };
        match next {
            Ok(changes) => {
                let batch: Vec<Event> = changes.into_iter().map(event).collect();
                Some((batch, Some((app, watcher, permit))))
            }
            Err(error) => {
                let body = ApiError::from(error).body();
                Some((vec![json_event("error", &body)], None))
            }
        }
    });
    let batches = batches.flat_map(stream::iter);
    stream::once(async move { start }).chain(batches).map(Ok)
}

fn event(change: Change) -> Event {
    let Change { key, value, revision } = change;
    let key = key.to_string();
    let event = match value {
        Some(bytes) => WatchEvent::Put(Pair { key, value: Blob::from(&*bytes), revision }),
        None => WatchEvent::Delete { key, revision },
    };
    json_event("change", &event).id(revision.to_string())
}

fn json_event(name: &str, data: &impl serde::Serialize) -> Event {
    let event = Event::default().event(name);
    match serde_json::to_string(data) {
        Ok(json) => event.data(json),
        Err(error) => event.data(error.to_string()),
    }
}

async fn read<T>(app: &App, stale: bool, read: impl FnOnce(&KeyValue) -> T) -> Result<T, ApiError> {
    if !stale {
        return Ok(app.node.read(read).await?);
    }
    // A node without a cluster holds nothing yet, which is not the same as holding no such key.
    if app.node.status().cluster_id.is_none() {
        return Err(ReadError::Uninitialized.into());
    }
    Ok(app.node.read_stale(read))
}

fn written(applied: Applied) -> Result<Json<Written>, ApiError> {
    match applied {
        Applied::Written { revision, previous } => Ok(Json(Written { revision, previous })),
        Applied::Mismatch { current } => Err(ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            "mismatch",
            match current {
                Some(revision) => format!(
                    "the key is not as expected, it was written at revision {revision}: read it and try again"
                ),
                None => "the key is not as expected, there is no such key: read it and try again".to_owned(),
            },
        )),
        other @ Applied::Deleted { .. } => Err(unexpected(&other)),
    }
}

fn unexpected(applied: &Applied) -> ApiError {
    let error = format!(
        "the state machine answered another command ({applied:?}): do all nodes run the same version?"
    );
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json"))
}
