//! What a log store does unless told otherwise, and who hears of its writes.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::Mutex;

use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use quorate::LogIdOptionExt;
use quorate::LogState;
use quorate::RaftLogReader;
use quorate::RaftSnapshotBuilder;
use quorate::SnapshotMeta;
use quorate::StoredMembership;
use quorate::entry::RaftEntry;
use quorate::storage::EntryResponder;
use quorate::storage::IOFlushed;
use quorate::storage::LeaderBoundedStreamError;
use quorate::storage::RaftLogReaderExt;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftLogStorageExt;
use quorate::storage::RaftStateMachine;
use quorate::storage::Snapshot;
use quorate::type_config::TypeConfigExt;
use quorate::type_config::alias::EntryOf;
use quorate::type_config::alias::LogIdOf;
use quorate::type_config::alias::SnapshotMetaOf;
use quorate::type_config::alias::SnapshotOf;
use quorate::type_config::alias::StoredMembershipOf;
use quorate::type_config::alias::VoteOf;

use crate::types::*;

/// A log in memory.
#[derive(Clone, Default)]
struct MemLog(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    entries: BTreeMap<u64, EntryOf<Adv>>,
    purged: Option<LogIdOf<Adv>>,
    vote: Option<VoteOf<Adv>>,
    /// Votes that another leader saves while entries are read.
    vote_during_read: Option<VoteOf<Adv>>,
    reads: u64,
}

impl RaftLogReader<Adv> for MemLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + std::fmt::Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Adv>>, io::Error> {
        let mut content = self.0.lock().unwrap();
        content.reads += 1;
        if let Some(vote) = content.vote_during_read.take() {
            content.vote = Some(vote);
        }
        Ok(content.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Adv>>, io::Error> {
        Ok(self.0.lock().unwrap().vote)
    }
}

impl RaftLogStorage<Adv> for MemLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Adv>, io::Error> {
        let content = self.0.lock().unwrap();
        let last = content.entries.values().last().map(RaftEntry::log_id);
        Ok(LogState { last_purged_log_id: content.purged, last_log_id: last.or(content.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Adv>) -> Result<(), io::Error> {
        self.0.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Adv>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Adv>> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(|entry| (entry.index(), entry));
        self.0.lock().unwrap().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<Adv>>) -> Result<(), io::Error> {
        self.0.lock().unwrap().entries.split_off(&last_log_id.next_index());
        Ok(())
    }

    async fn purge(&mut self, log_id: LogIdOf<Adv>) -> Result<(), io::Error> {
        let mut content = self.0.lock().unwrap();
        content.entries = content.entries.split_off(&(log_id.index + 1));
        content.purged = Some(log_id);
        Ok(())
    }
}

/// Collects what is applied.
#[derive(Default)]
struct Applied {
    last: Option<LogIdOf<Adv>>,
    membership: StoredMembershipOf<Adv>,
}

struct NoBuilder;

impl RaftSnapshotBuilder<Adv> for NoBuilder {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Adv, ()>, io::Error> {
        Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: () })
    }
}

impl RaftStateMachine<Adv> for Applied {
    type SnapshotData = ();
    type SnapshotBuilder = NoBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Adv>>, StoredMembershipOf<Adv>), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Adv>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.last = Some(entry.log_id());
            if let Some(membership) = entry.get_membership() {
                self.membership = StoredMembership::new(self.last, membership);
            }
            if let Some(responder) = responder {
                responder.send("applied".to_string());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> NoBuilder {
        NoBuilder
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Adv>, _snapshot: ()) -> Result<(), io::Error> {
        self.last = meta.last_log_id;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Adv, ()>>, io::Error> {
        Ok(None)
    }
}

/// A log with the entries of these terms, from index 2 on, all of node 1.
async fn log_of(terms: impl IntoIterator<Item = u64>) -> MemLog {
    let mut log = MemLog::default();
    let entries =
        terms.into_iter().zip(2..).map(|(term, index)| EntryOf::<Adv>::new_blank(log_id(term, 1, index)));
    log.blocking_append(entries.collect::<Vec<_>>()).await.unwrap();
    log
}

#[tokio::test]
async fn key_log_ids_are_the_last_of_each_leader() {
    let mut log = log_of([2, 2, 5, 5]).await;
    let keys = log.get_key_log_ids(log_id(2, 1, 2)..=log_id(5, 1, 5)).await.unwrap();
    assert_eq!(keys, [log_id(2, 1, 3), log_id(5, 1, 5)]);

    let mut single = log_of([2]).await;
    assert_eq!(single.get_key_log_ids(log_id(2, 1, 2)..=log_id(2, 1, 2)).await.unwrap(), [log_id(2, 1, 2)]);

    // Every pattern of three terms over seven entries against a plain scan.
    for pattern in 0..3_u32.pow(7) {
        let mut terms: Vec<u64> = (0..7).map(|digit| u64::from(pattern / 3_u32.pow(digit) % 3)).collect();
        terms.sort_unstable();
        let mut log = log_of(terms.clone()).await;
        let ids: Vec<_> = terms.iter().zip(2..).map(|(term, index)| log_id(*term, 1, index)).collect();
        let ends = ids
            .iter()
            .enumerate()
            .filter(|(i, id)| ids.get(i + 1).is_none_or(|next| next.leader_id != id.leader_id));
        let ends: Vec<_> = ends.map(|(_, id)| *id).collect();
        assert_eq!(log.get_key_log_ids(ids[0]..=ids[6]).await.unwrap(), ends, "{terms:?}");
    }
}

#[tokio::test]
async fn key_log_ids_take_few_reads() {
    let mut log = log_of(std::iter::repeat_n(1, 500).chain(std::iter::repeat_n(2, 500))).await;
    let keys = log.get_key_log_ids(log_id(1, 1, 2)..=log_id(2, 1, 1001)).await.unwrap();
    assert_eq!(keys, [log_id(1, 1, 501), log_id(2, 1, 1001)]);
    assert!(log.0.lock().unwrap().reads <= 10);
}

#[tokio::test]
async fn key_log_ids_of_a_log_with_a_hole_are_an_error() {
    let mut log = log_of([1, 1, 1, 2, 2]).await;
    log.0.lock().unwrap().entries.remove(&4);
    let error = log.get_key_log_ids(log_id(1, 1, 2)..=log_id(2, 1, 6)).await.unwrap_err();
    assert_eq!(error.to_string(), "log entry not found at index 4");
}

#[tokio::test]
async fn entries_are_read_for_the_leader_that_leads() {
    let mut log = log_of([1, 1, 1]).await;
    let leader = log_id(1, 1, 2).leader_id;
    let read =
        async |log: &mut MemLog| log.leader_bounded_stream(leader, 2..4).await.collect::<Vec<_>>().await;
    let refused = |results: Vec<_>| matches!(results[..], [Err(LeaderBoundedStreamError::LeaderChanged(_))]);

    assert!(refused(read(&mut log).await), "no vote is saved");
    for vote in [vote(1, 1), committed_vote(1, 2), committed_vote(2, 1)] {
        log.save_vote(&vote).await.unwrap();
        assert!(refused(read(&mut log).await), "{vote}");
    }
    log.save_vote(&committed_vote(1, 1)).await.unwrap();
    let entries: Vec<_> = read(&mut log).await.into_iter().map(|entry| entry.unwrap().index()).collect();
    assert_eq!(entries, [2, 3]);
    log.0.lock().unwrap().vote_during_read = Some(vote(2, 3));
    assert!(refused(read(&mut log).await), "another leader came while entries were read");

    let all = log.entries_stream(..).await.try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(log.limited_get_log_entries(3, 9).await.unwrap().len(), 2);
    assert_eq!(log.entry_size(&all[0]), size_of::<EntryOf<Adv>>() as u64);
}

#[tokio::test]
async fn single_entries() {
    let mut log = log_of([1, 1]).await;
    assert_eq!(log.try_get_log_entry(3).await.unwrap().map(|entry| entry.index()), Some(3));
    assert_eq!(log.try_get_log_entry(9).await.unwrap(), None);
    assert_eq!(log.get_log_id(3).await.unwrap(), log_id(1, 1, 3));
    let error = log.get_log_id(9).await.unwrap_err();
    assert_eq!(error.to_string(), "when Read LogIndex(9): log entry not found");
    assert_eq!(log.read_committed().await.unwrap(), None);
    log.purge(log_id(1, 1, 2)).await.unwrap();
    log.truncate_after(Some(log_id(1, 1, 2))).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 1, 2)));
}

#[tokio::test]
async fn a_flush_is_heard_of() {
    let (tx, flushed) = Adv::oneshot();
    IOFlushed::<Adv>::signal(tx).io_completed(Err(io::Error::other("full")));
    assert_eq!(flushed.await.unwrap().unwrap_err().to_string(), "full");
    IOFlushed::<Adv>::noop().io_completed(Ok(()));
    let (tx, unheard) = Adv::oneshot();
    drop(unheard);
    IOFlushed::<Adv>::signal(tx).io_completed(Ok(()));
}

#[tokio::test]
async fn a_state_machine_sees_all_entries() {
    let mut applied = Applied::default();
    let blank = EntryOf::<Adv>::new_blank(log_id(1, 1, 1));
    let change = EntryOf::<Adv>::new_membership(log_id(1, 1, 2), membership());
    let entries = futures_util::stream::iter([Ok((blank, None)), Ok((change, None))]);
    applied.apply(entries).await.unwrap();
    let (last, membership) = applied.applied_state().await.unwrap();
    assert_eq!((last, *membership.log_id()), (Some(log_id(1, 1, 2)), Some(log_id(1, 1, 2))));
    assert!(applied.try_create_snapshot_builder(false).await.is_some());
}

#[tokio::test]
async fn a_callback_tells_what_it_is_for_and_answers_to_its_former_name() {
    let (tx, flushed) = Adv::oneshot();
    let signal = IOFlushed::<Adv>::signal(tx);
    assert_eq!(format!("{:?} {signal:?}", IOFlushed::<Adv>::noop()), "Noop Signal");
    #[allow(deprecated, reason = "older stores call it so")]
    signal.log_io_completed(Err(io::Error::other("the disk is gone")));
    assert_eq!(flushed.await.unwrap().unwrap_err().to_string(), "the disk is gone");
}
