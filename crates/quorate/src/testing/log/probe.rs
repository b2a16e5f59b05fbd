//! What the cases do to stores, and how they compare.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fmt::Display;
use std::io;
use std::ops::RangeBounds;
use std::time::Duration;

use futures_util::stream;

use crate::base::OptionalSend;
use crate::entry::RaftEntry;
use crate::membership::Membership;
use crate::membership::StoredMembership;
use crate::responder::CoreResponder;
use crate::storage::ApplyResponder;
use crate::storage::RaftLogReader;
use crate::storage::RaftLogStorage;
use crate::storage::RaftLogStorageExt;
use crate::storage::RaftStateMachine;
use crate::testing::blank_ent;
use crate::testing::log_id;
use crate::testing::membership_ent;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;
use crate::type_config::alias::EntryOf;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::StoredMembershipOf;
use crate::type_config::alias::VoteOf;
use crate::vote::RaftLeaderId;
use crate::vote::RaftVote;

/// How long a store may take to make entries durable and call back, and a state machine to answer a client.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node that writes all entries.
const NODE: u64 = 0;

pub(super) fn id<C>(term: u64, index: u64) -> LogIdOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    log_id::<C>(term, NODE.into(), index)
}

/// Entries that carry nothing, each given by its term and index.
pub(super) fn blanks<C>(ids: &[(u64, u64)]) -> Vec<EntryOf<C>>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    ids.iter().map(|(term, index)| blank_ent::<C>(*term, NODE.into(), *index)).collect()
}

/// An entry with the membership of these voters.
pub(super) fn change<C>(term: u64, index: u64, voters: &[u64]) -> EntryOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    C::Node: Default,
{
    membership_ent::<C>(term, NODE.into(), index, vec![node_ids::<C>(voters)])
}

/// The membership that [`change`] puts into the log.
pub(super) fn changed<C>(term: u64, index: u64, voters: &[u64]) -> StoredMembershipOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    C::Node: Default,
{
    let membership = Membership::new_with_defaults(vec![node_ids::<C>(voters)], []);
    StoredMembership::new(Some(id::<C>(term, index)), membership)
}

fn node_ids<C>(ids: &[u64]) -> BTreeSet<C::NodeId>
where
    C: RaftTypeConfig,
    C::NodeId: From<u64>,
{
    ids.iter().map(|id| (*id).into()).collect()
}

pub(super) fn leader<C>(term: u64, node: u64) -> C::LeaderId
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    C::LeaderId::new(term.into(), node.into())
}

pub(super) fn vote<C>(term: u64, node: u64, committed: bool) -> VoteOf<C>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    VoteOf::<C>::from_leader_id(leader::<C>(term, node), committed)
}

/// Appends, and waits for the callback.
pub(super) async fn append<C, LS>(
    log: &mut LS,
    entries: impl IntoIterator<Item = EntryOf<C>>,
) -> io::Result<()>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    let entries: Vec<EntryOf<C>> = entries.into_iter().collect();
    match C::timeout(PATIENCE, log.blocking_append(entries)).await {
        Ok(appended) => Ok(appended?),
        Err(_) => Err(io::Error::other(format!(
            "the callback of an append is called when the entries are durable; the store did not call it in {PATIENCE:?}"
        ))),
    }
}

/// Applies entries that clients wait for, and checks that each client is answered.
pub(super) async fn apply<C, SM>(
    machine: &mut SM,
    entries: impl IntoIterator<Item = EntryOf<C>>,
) -> io::Result<()>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    let (mut items, mut answers) = (Vec::new(), Vec::new());
    for entry in entries {
        let log_id = entry.log_id();
        let (tx, answer) = C::oneshot();
        let responder =
            ApplyResponder::new(log_id.clone(), entry.get_membership(), CoreResponder::Oneshot(tx));
        answers.push((log_id, answer));
        items.push(Ok((entry, Some(responder))));
    }
    machine.apply(stream::iter(items)).await?;
    for (log_id, answer) in answers {
        match C::timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(answered))) => same_ids("the entry that an answer is for", [answered.log_id], [log_id])?,
            Ok(Ok(Err(error))) => return Err(io::Error::other(error.to_string())),
            Ok(Err(_)) | Err(_) => {
                return Err(io::Error::other(format!(
                    "every client that waits is answered; the state machine did not answer that of {log_id}"
                )));
            }
        }
    }
    Ok(())
}

/// The ids of the entries that the log shows in `range`.
pub(super) async fn read<C, LS>(
    log: &mut LS,
    range: impl RangeBounds<u64> + Clone + Debug + OptionalSend,
) -> io::Result<Vec<LogIdOf<C>>>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    let entries = log.get_log_reader().await.try_get_log_entries(range).await?;
    Ok(ids_of::<C>(&entries))
}

pub(super) fn ids_of<C: RaftTypeConfig>(entries: &[EntryOf<C>]) -> Vec<LogIdOf<C>> {
    entries.iter().map(RaftEntry::log_id).collect()
}

/// The ids of all of these terms and indexes.
pub(super) fn ids<C>(ids: impl IntoIterator<Item = (u64, u64)>) -> Vec<LogIdOf<C>>
where
    C: RaftTypeConfig,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
{
    ids.into_iter().map(|(term, index)| id::<C>(term, index)).collect()
}

/// Errors unless the log says that it is purged up to `purged` and ends with `last`.
pub(super) async fn expect_log<C, LS>(
    log: &mut LS,
    when: &str,
    purged: Option<LogIdOf<C>>,
    last: Option<LogIdOf<C>>,
) -> io::Result<()>
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
{
    let state = log.get_log_state().await?;
    same_ids(&format!("the last purged log id {when}"), state.last_purged_log_id, purged)?;
    same_ids(&format!("the last log id {when}"), state.last_log_id, last)
}

/// Errors unless the two are equal, and says what was asked for and what was found.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: T, asked: T) -> io::Result<()> {
    if found == asked {
        return Ok(());
    }
    Err(io::Error::other(format!("{what}: the contract asks for {asked:?}, the store gave {found:?}")))
}

/// Like [`same`], for none, one or many log ids or other things that are shorter to read when displayed.
pub(super) fn same_ids<T: PartialEq + Display>(
    what: &str,
    found: impl IntoIterator<Item = T>,
    asked: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    let (found, asked): (Vec<T>, Vec<T>) = (found.into_iter().collect(), asked.into_iter().collect());
    if found == asked {
        return Ok(());
    }
    let show = |items: &[T]| match items {
        [] => "none".to_string(),
        items => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    Err(io::Error::other(format!(
        "{what}: the contract asks for {}, the store gave {}",
        show(&asked),
        show(&found)
    )))
}
