//! What the stores do at a test's command, and what a real store does too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::RaftLogReader;
use openraft::RaftSnapshotBuilder;
use openraft::entry::RaftEntry;
use openraft::log_id::LogId;
use openraft::storage::RaftLogStorage;
use openraft::storage::RaftLogStorageExt;
use openraft::storage::RaftStateMachine;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::EntryOf;
use openraft::type_config::alias::LeaderIdOf;
use openraft::type_config::alias::LogIdOf;
use openraft::vote::RaftLeaderId;
use quorate_memstore::BlockConfig;
use quorate_memstore::BlockOperation;
use quorate_memstore::ClientRequest;
use quorate_memstore::IntoMemClientRequest;
use quorate_memstore::MemLogStore;
use quorate_memstore::MemStateMachine;
use quorate_memstore::TypeConfig;
use quorate_memstore::new_mem_store;

fn id(index: u64) -> LogIdOf<TypeConfig> {
    LogId::new(LeaderIdOf::<TypeConfig>::new(1, 0).to_committed(), index)
}

fn put(index: u64) -> EntryOf<TypeConfig> {
    EntryOf::<TypeConfig>::new_normal(id(index), ClientRequest::make_request("a", index))
}

async fn filled() -> Arc<MemLogStore> {
    let (mut log, _) = new_mem_store();
    log.blocking_append((0..5).map(put)).await.unwrap();
    log
}

async fn indexes(log: &mut Arc<MemLogStore>) -> Vec<u64> {
    let entries = log.try_get_log_entries(..).await.unwrap();
    entries.iter().map(RaftEntry::index).collect()
}

#[tokio::test]
async fn the_log_is_cut_at_both_ends() {
    let mut log = filled().await;
    log.truncate_after(Some(id(3))).await.unwrap();
    assert_eq!(indexes(&mut log).await, [0, 1, 2, 3]);
    log.purge(id(1)).await.unwrap();
    assert_eq!(indexes(&mut log).await, [2, 3]);
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1)), Some(id(3))));

    log.purge(id(9)).await.unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(9)), Some(id(9))));

    let error = log.purge(id(8)).await.unwrap_err();
    assert!(error.to_string().contains("after a purge up to"), "{error}");
}

#[tokio::test]
async fn a_hole_is_an_error() {
    let mut log = filled().await;
    log.blocking_append([put(7)]).await.unwrap();
    let error = log.try_get_log_entries(0..9).await.unwrap_err();
    assert_eq!(error.to_string(), "entry 5 is missing, 7 is there");
    assert_eq!(log.try_get_log_entries(5..9).await.unwrap(), [put(7)]);
}

#[tokio::test]
async fn limited_reads_fail_on_demand() {
    let mut log = filled().await;
    assert_eq!(log.limited_get_log_entries(1, 3).await.unwrap(), [put(1), put(2)]);
    log.set_fail_next_limited_get(true);
    log.limited_get_log_entries(1, 3).await.unwrap_err();
    assert_eq!(log.limited_get_log_entries(1, 3).await.unwrap().len(), 2, "only the next one fails");
    log.set_return_empty_limited_get(true);
    assert_eq!(log.limited_get_log_entries(1, 3).await.unwrap(), []);
    assert_eq!(log.try_get_log_entries(1..3).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_committed_is_kept_or_not() {
    let mut log = filled().await;
    log.save_committed(Some(id(2))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(id(2)));
    log.enable_saving_committed.store(false, Ordering::Relaxed);
    assert_eq!(log.read_committed().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn steps_take_as_long_as_they_are_told() {
    let block = BlockConfig::default();
    let mut log = Arc::new(MemLogStore::new(block.clone()));
    let mut machine = Arc::new(MemStateMachine::new(block.clone()));
    let long = Duration::from_secs(5);

    block.set_blocking(BlockOperation::PurgeLog, long);
    assert_eq!(machine.block.get_blocking(&BlockOperation::PurgeLog), Some(long));
    let begin = TypeConfig::now();
    log.purge(id(0)).await.unwrap();
    assert!(TypeConfig::now() - begin >= long);
    block.clone().clear_blocking(BlockOperation::PurgeLog);
    assert_eq!(block.get_blocking(&BlockOperation::PurgeLog), None);

    // Whether anything can be applied while a snapshot is built depends on how the test makes it slow.
    for (operation, applies) in
        [(BlockOperation::DelayBuildingSnapshot, true), (BlockOperation::BuildSnapshot, false)]
    {
        let mut block = block.clone();
        block.set_blocking(operation, long);
        let mut builder = machine.get_snapshot_builder().await;
        let building = TypeConfig::spawn(async move { builder.build_snapshot().await.unwrap() });
        TypeConfig::yield_now().await;
        let looked = TypeConfig::timeout(long / 2, machine.get_state_machine()).await;
        assert_eq!(looked.is_ok(), applies, "{operation:?}");
        building.await.unwrap();
        block.clear_blocking(operation);
    }
}

#[tokio::test]
async fn a_builder_can_be_refused_but_not_when_it_must_be() {
    let (_, mut machine) = new_mem_store();
    assert!(machine.try_create_snapshot_builder(false).await.is_some());
    machine.allow_build_snapshot(false);
    assert!(machine.try_create_snapshot_builder(false).await.is_none());
    assert!(machine.try_create_snapshot_builder(true).await.is_some());
    assert_eq!(machine.take_try_create_snapshot_builder_count(), 3);
    assert_eq!(machine.take_try_create_snapshot_builder_count(), 0);
}

#[tokio::test]
async fn a_snapshot_carries_the_state_to_another_machine() {
    let (_, mut from) = new_mem_store();
    let (_, mut to) = new_mem_store();
    let entries = (1..=3).map(|index| Ok((put(index), None)));
    from.apply(futures_util::stream::iter(entries.collect::<Vec<_>>())).await.unwrap();

    // What is applied after the builder was made is not in its snapshot.
    let mut builder = from.get_snapshot_builder().await;
    from.apply(futures_util::stream::iter([Ok((put(4), None))])).await.unwrap();
    let snapshot = builder.build_snapshot().await.unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(id(3)));

    to.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(to.get_state_machine().await.client_status["a"], "request-3");
    assert_eq!(to.applied_state().await.unwrap().0, Some(id(3)));
    assert_eq!(to.get_current_snapshot().await.unwrap().unwrap().meta, snapshot.meta);

    to.clear_state_machine().await;
    assert_eq!(to.applied_state().await.unwrap().0, None);
    to.drop_snapshot().await;
    assert!(to.get_current_snapshot().await.unwrap().is_none());
}
