//! The contract's log storage, on a real directory and on a simulated disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{Command, Types};
use quorate::entry::RaftEntry;
use quorate::storage::{IOFlushed, RaftLogReaderExt, RaftLogStorage, RaftLogStorageExt};
use quorate::type_config::TypeConfigExt;
use quorate::type_config::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf};
use quorate::vote::RaftLeaderId;
use quorate::{LogId, LogState, RaftLogReader, RaftTypeConfig, Vote};
use quorate_log::sim_disk::{Fault, SimDisk};
use quorate_log::{LogError, LogStore, Options, READ_BATCH_BYTES};

fn id(term: u64, node: u64, index: u64) -> LogIdOf<Types> {
    LogId::new(CommittedLeaderIdOf::<Types>::new(term, node), index)
}

fn entry(term: u64, index: u64, bytes: usize) -> EntryOf<Types> {
    EntryOf::<Types>::new_normal(id(term, 0, index), Command(vec![index as u8; bytes]))
}

fn entries(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<EntryOf<Types>> {
    range.map(|index| entry(term, index, 20)).collect()
}

fn open(dir: &tempfile::TempDir) -> LogStore<Types> {
    let options = Options { segment_bytes: 256 * 1024, tail_bytes: 64 * 1024, ..Options::default() };
    LogStore::open(dir.path(), options).unwrap()
}

async fn state(store: &mut LogStore<Types>) -> (Option<LogIdOf<Types>>, Option<LogIdOf<Types>>) {
    let LogState { last_purged_log_id, last_log_id } = store.get_log_state().await.unwrap();
    (last_purged_log_id, last_log_id)
}

async fn indexes(store: &mut LogStore<Types>) -> Vec<u64> {
    let found = store.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    found.iter().map(|entry| entry.index()).collect()
}

#[tokio::test]
async fn what_is_appended_is_read_at_once_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    assert!(store.report().created);
    assert_eq!(state(&mut store).await, (None, None));
    let mut reader = store.get_log_reader().await;
    store.append(entries(1, 0..=9), IOFlushed::noop()).await.unwrap();
    assert_eq!(reader.try_get_log_entries(5..7).await.unwrap(), entries(1, 5..=6), "an old reader sees it");
    assert!(reader.try_get_log_entries(3..3).await.unwrap().is_empty());
    assert_eq!(reader.try_get_log_entries(8..20).await.unwrap(), entries(1, 8..=9));
    assert_eq!(reader.try_get_log_entry(10).await.unwrap(), None);
    store.blocking_append(entries(2, 10..=11)).await.unwrap();
    drop((store, reader));

    let mut store = open(&dir);
    assert!(!store.report().created);
    assert_eq!(state(&mut store).await, (None, Some(id(2, 0, 11))));
    assert_eq!(indexes(&mut store).await, (0..=11).collect::<Vec<_>>());
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.get_log_id(11).await.unwrap(), id(2, 0, 11));
    assert!(reader.get_log_id(12).await.is_err());
}

#[tokio::test]
async fn vote_and_committed_survive() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    assert_eq!(store.get_log_reader().await.read_vote().await.unwrap(), None);
    let vote = Vote::new_committed(3, 7);
    store.save_vote(&Vote::new(3, 7)).await.unwrap();
    store.save_vote(&vote).await.unwrap();
    assert_eq!(store.get_log_reader().await.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.read_committed().await.unwrap(), None);
    store.save_committed(Some(id(3, 7, 5))).await.unwrap();
    drop(store);
    let mut store = open(&dir);
    assert_eq!(store.get_log_reader().await.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.read_committed().await.unwrap(), Some(id(3, 7, 5)));
    store.save_committed(None).await.unwrap();
    drop(store);
    assert_eq!(open(&dir).read_committed().await.unwrap(), None);
}

#[tokio::test]
async fn truncate_after_deletes_the_end_and_new_entries_take_its_place() {
    for (keep, left) in [(Some(11), 11), (Some(10), 10), (Some(5), 5), (Some(0), 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        store.blocking_append(entries(1, 0..=10)).await.unwrap();
        store.truncate_after(keep.map(|index| id(1, 0, index))).await.unwrap();
        let left = left.min(10);
        assert_eq!(state(&mut store).await.1, Some(id(1, 0, left)), "{keep:?}");
        store.append(entries(4, left + 1..=left + 3), IOFlushed::noop()).await.unwrap();
        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = open(&dir);
            }
            assert_eq!(state(&mut store).await.1, Some(id(4, 0, left + 3)));
            assert_eq!(indexes(&mut store).await, (0..=left + 3).collect::<Vec<_>>());
            let mut reader = store.get_log_reader().await;
            assert_eq!(reader.get_log_id(left).await.unwrap(), id(1, 0, left));
            assert_eq!(reader.get_log_id(left + 1).await.unwrap(), id(4, 0, left + 1));
        }
    }
}

#[tokio::test]
async fn truncating_all_leaves_what_was_purged() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    store.blocking_append(entries(1, 1..=10)).await.unwrap();
    store.truncate_after(None).await.unwrap();
    assert_eq!(state(&mut store).await, (None, None));
    store.blocking_append(entries(2, 0..=10)).await.unwrap();
    store.purge(id(2, 0, 4)).await.unwrap();
    store.truncate_after(None).await.unwrap();
    assert_eq!(state(&mut store).await, (Some(id(2, 0, 4)), Some(id(2, 0, 4))));
    drop(store);
    let mut store = open(&dir);
    assert_eq!(state(&mut store).await, (Some(id(2, 0, 4)), Some(id(2, 0, 4))));
    store.blocking_append(entries(3, 5..=6)).await.unwrap();
    assert_eq!(indexes(&mut store).await, [5, 6]);
}

#[tokio::test]
async fn purge_deletes_the_beginning_and_is_remembered_past_the_end() {
    for upto in [0, 5, 10, 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        store.blocking_append(entries(1, 0..=10)).await.unwrap();
        store.purge(id(1, 0, upto)).await.unwrap();
        store.purge(id(1, 0, 0)).await.unwrap();
        for reopened in [false, true] {
            if reopened {
                drop(store);
                store = open(&dir);
            }
            assert_eq!(state(&mut store).await, (Some(id(1, 0, upto)), Some(id(1, 0, upto.max(10)))));
            assert_eq!(indexes(&mut store).await, (upto + 1..11).collect::<Vec<_>>());
            assert_eq!(store.get_log_reader().await.try_get_log_entry(upto).await.unwrap(), None);
        }
        store.blocking_append(entries(2, upto.max(10) + 1..=upto.max(10) + 1)).await.unwrap();
        let skipped = store.append(entries(2, 50..=50), IOFlushed::noop()).await.unwrap_err();
        let cause = skipped.get_ref().and_then(|error| error.downcast_ref::<LogError>());
        assert!(matches!(cause, Some(LogError::OutOfOrder { index: 50, .. })), "{skipped}");
    }
}

#[tokio::test]
async fn key_log_ids_are_the_last_of_each_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    let ids = [id(2, 1, 2), id(2, 1, 3), id(5, 1, 4), id(5, 1, 5), id(5, 2, 6), id(9, 1, 7)];
    let log = ids.map(EntryOf::<Types>::new_blank);
    store.blocking_append(log).await.unwrap();
    drop(store);
    let mut store = open(&dir);
    let mut reader = store.get_log_reader().await;
    let keys = reader.get_key_log_ids(ids[0]..=ids[3]).await.unwrap();
    assert_eq!(keys, [ids[1], ids[3]]);
    let keys = reader.get_key_log_ids(ids[0]..=ids[5]).await.unwrap();
    assert_eq!(keys, [ids[1], ids[3], ids[4], ids[5]]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_wherever_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(&dir);
    for index in 0..60 {
        store.append([entry(1, index, 100_000)], IOFlushed::noop()).await.unwrap();
    }
    store.blocking_append([entry(1, 60, 100_000)]).await.unwrap();
    assert!(store.log().bounds().unwrap().tail_bytes < 600_000, "the tail is bounded");
    let mut reader = store.get_log_reader().await;
    let (mut at, mut batches) = (0, 0);
    while at < 61 {
        let got = reader.limited_get_log_entries(at, 61).await.unwrap();
        assert!((1..=READ_BATCH_BYTES / 100_000).contains(&(got.len() as u64)));
        assert_eq!(got[0].index(), at);
        at += got.len() as u64;
        batches += 1;
    }
    assert_eq!(batches, 7);
    assert!(reader.limited_get_log_entries(61, 61).await.unwrap().is_empty());
    assert!(reader.entry_size(&entry(1, 0, 100_000)) > 100_000);
}

#[tokio::test]
async fn the_callback_is_called_once_the_entries_are_durable_and_not_before() {
    let disk = SimDisk::new(1);
    let (mut store, mut writer) =
        LogStore::<Types, quorate_log::Postcard, SimDisk>::stepped(disk.clone(), Options::default()).unwrap();
    let (tx, mut rx) = Types::oneshot();
    store.append(entries(1, 0..=3), IOFlushed::signal(tx)).await.unwrap();
    assert!(rx.try_recv().is_err());
    assert_eq!(store.get_log_reader().await.try_get_log_entries(..).await.unwrap().len(), 4);
    let before = disk.syncs();
    assert!(writer.step().unwrap());
    assert_eq!(disk.syncs(), before + 1, "one sync a batch");
    assert!(rx.try_recv().unwrap().is_ok());

    let (tx, mut rx) = Types::oneshot();
    store.append(entries(1, 4..=5), IOFlushed::signal(tx)).await.unwrap();
    disk.fault_at(disk.changes(), Fault::FailSync);
    assert!(writer.step().is_err());
    assert!(rx.try_recv().unwrap().is_err(), "who waits is told");
    assert!(store.append(entries(1, 6..=6), IOFlushed::noop()).await.is_err());
    assert!(store.get_log_state().await.is_err());
}

#[test]
fn both_leader_id_modes_can_be_stored() {
    fn storable<C: RaftTypeConfig, S: RaftLogStorage<C>>() {}
    storable::<Types, LogStore<Types>>();
    storable::<SingleLeader, LogStore<SingleLeader>>();
}

quorate::declare_raft_types!(
    SingleLeader:
        D = Command,
        R = (),
        LeaderId = quorate::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);
