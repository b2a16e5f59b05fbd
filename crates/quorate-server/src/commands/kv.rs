//! `put`, `get`, `delete`, `range`, `cas`, `watch`.

use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use quorate_server::api::{Blob, Pair, WatchEvent};
use quorate_server::client::{Client, Consistency, RangeQuery};
use quorate_server::machine::{Expect, VALUE_BYTES_MAX, check_key};

use crate::Global;
use crate::exit::{Exit, Failure};
use crate::output;

/// Longer than the nodes try among themselves, so that their answer is heard.
const TIMEOUT: Duration = Duration::from_secs(12);

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The key
    key: String,
    /// The value; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    value: String,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The key
    key: String,
    /// Read what the node that answers has, which may be older than what was acknowledged
    #[arg(long)]
    stale: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The key
    key: String,
}

#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    start: Option<String>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<String>,
    /// At most so many
    #[arg(long, value_name = "PAIRS")]
    limit: Option<usize>,
    /// Read what the node that answers has, which may be older than what was acknowledged
    #[arg(long)]
    stale: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("expected").required(true))]
pub(crate) struct CasArgs {
    /// The key
    key: String,
    /// The new value; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Only if there is no such key
    #[arg(long, group = "expected")]
    absent: bool,
    /// Only if the key was last written at this revision
    #[arg(long, value_name = "REVISION", group = "expected")]
    revision: Option<u64>,
    /// Only if the key holds this value
    #[arg(long, value_name = "VALUE", group = "expected", allow_hyphen_values = true)]
    expect: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Begin after this revision rather than now
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
}

pub(crate) async fn put(global: &Global, args: PutArgs) -> Result<(), Failure> {
    checked(&args.key)?;
    let written = global.client(TIMEOUT)?.put(&args.key, value(args.value)?).await?;
    if global.json { output::json(&written) } else { output::line(&format!("revision {}", written.revision)) }
}

pub(crate) async fn get(global: &Global, args: GetArgs) -> Result<(), Failure> {
    checked(&args.key)?;
    let found = global.client(TIMEOUT)?.get(&args.key, consistency(args.stale)).await?;
    let Some(value) = found else { return Err(not_found(&args.key)) };
    if global.json {
        let pair = Pair { key: args.key, value: Blob::from(&*value.bytes), revision: value.revision };
        return output::json(&pair);
    }
    output::bytes(&value.bytes)?;
    // A line for people; exactly the value for a file or a pipe.
    if io::stdout().is_terminal() { output::line("") } else { Ok(()) }
}

pub(crate) async fn delete(global: &Global, args: DeleteArgs) -> Result<(), Failure> {
    checked(&args.key)?;
    let deleted = global.client(TIMEOUT)?.delete(&args.key).await?;
    if global.json {
        output::json(&deleted)?;
    }
    match deleted.previous {
        None => Err(not_found(&args.key)),
        Some(_) if global.json => Ok(()),
        Some(revision) => output::line(&format!("deleted, was written at revision {revision}")),
    }
}

pub(crate) async fn range(global: &Global, args: RangeArgs) -> Result<(), Failure> {
    let client = global.client(TIMEOUT)?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut query = RangeQuery { prefix: args.prefix, start: args.start, end: args.end, limit: None };
    while left > 0 {
        query.limit = Some(left.min(quorate_server::api::RANGE_LIMIT_MAX));
        let page = client.range(&query, consistency(args.stale)).await?;
        left = left.saturating_sub(page.entries.len());
        for pair in page.entries {
            print_pair(global, "", pair)?;
        }
        let Some(next) = page.next else { break };
        query.start = Some(next);
    }
    Ok(())
}

pub(crate) async fn cas(global: &Global, args: CasArgs) -> Result<(), Failure> {
    checked(&args.key)?;
    let expect = match (args.revision, args.expect) {
        (Some(revision), _) => Expect::Revision(revision),
        (None, Some(value)) => Expect::Value(value.into()),
        (None, None) => Expect::Absent,
    };
    let written = global.client(TIMEOUT)?.cas(&args.key, &expect, &value(args.value)?).await?;
    if global.json { output::json(&written) } else { output::line(&format!("revision {}", written.revision)) }
}

pub(crate) async fn watch(global: &Global, args: WatchArgs) -> Result<(), Failure> {
    let client: Client = global.client(TIMEOUT)?;
    // A watch may outlive the node that it began on; an address that does not answer now is reported by the watch.
    let _ = client.learn_members().await;
    let mut watch = client.watch(&args.prefix, args.after);
    loop {
        match watch.next().await? {
            event if global.json => output::json(&event)?,
            WatchEvent::Put(pair) => print_pair(global, "put\t", pair)?,
            WatchEvent::Delete { key, .. } => output::line(&format!("delete\t{key}"))?,
        }
    }
}

fn print_pair(global: &Global, what: &str, pair: Pair) -> Result<(), Failure> {
    if global.json {
        return output::json(&pair);
    }
    output::bytes(format!("{what}{}\t", pair.key).as_bytes())?;
    output::bytes(&pair.value.into_bytes().map_err(Failure::other)?)?;
    output::line("")
}

fn value(given: String) -> Result<Bytes, Failure> {
    if given != "-" {
        return Ok(given.into());
    }
    let mut bytes = Vec::new();
    let max = VALUE_BYTES_MAX as u64;
    io::stdin().lock().take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > VALUE_BYTES_MAX {
        let message = format!(
            "the value on standard input has more than {VALUE_BYTES_MAX} bytes: split it over several keys"
        );
        return Err(Failure::new(Exit::Failed, "too_large", message));
    }
    Ok(bytes.into())
}

fn checked(key: &str) -> Result<(), Failure> {
    check_key(key).map_err(|error| Failure::new(Exit::Usage, "invalid_key", error))
}

fn consistency(stale: bool) -> Consistency {
    if stale { Consistency::Stale } else { Consistency::Linearizable }
}

fn not_found(key: &str) -> Failure {
    Failure::new(Exit::NotFound, "not_found", format!("there is no key {key:?}"))
}
