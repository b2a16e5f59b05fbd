//! The state that a node starts from, and the values in it.

use quorate::Precondition;
use quorate::RaftState;
use quorate::StorageHelper;
use quorate::Vote;
use quorate::storage::RaftLogStorage;
use quorate::storage::RaftLogStorageExt;
use quorate::testing::blank_ent;
use quorate::testing::log::StoreBuilder;
use quorate::testing::log_id;
use quorate::type_config::alias::LogIdListOf;
use quorate::type_config::alias::LogIdOf;

use crate::Adv;
use crate::memory::Builder;
use crate::memory::Machine;
use crate::memory::MemLog;

async fn stores() -> (MemLog<Adv>, Machine<Adv>) {
    let ((), log, machine) = Builder(None).build().await.unwrap();
    (log, machine)
}

fn id(term: u64, index: u64) -> LogIdOf<Adv> {
    log_id::<Adv>(term, 1, index)
}

#[tokio::test]
async fn the_stores_of_a_nameless_node_have_no_state_without_a_vote() {
    let (mut log, mut machine) = stores().await;
    let error = StorageHelper::new(&mut log, &mut machine).get_initial_state().await.unwrap_err();
    assert!(error.to_string().contains("with_id"), "{error}");
    let vote = Vote::new_committed(3, 2);
    log.save_vote(&vote).await.unwrap();
    let state = StorageHelper::new(&mut log, &mut machine).get_initial_state().await.unwrap();
    assert_eq!(*state.vote_ref(), vote);

    let leads = |term| {
        let committed_leader_id = log_id::<Adv>(term, 2, 0).leader_id;
        Precondition::<Adv>::CommittedLeaderId { committed_leader_id }.ensure_satisfied(&state)
    };
    assert!(leads(3).is_ok());
    assert!(leads(4).is_err());
    assert!(Precondition::<Adv>::LastLogId { last_log_id: None }.ensure_satisfied(&state).is_ok());
}

#[tokio::test]
async fn committed_entries_that_are_purged_cannot_be_applied_again() {
    let (mut log, mut machine) = stores().await;
    log.blocking_append((0..5).map(|index| blank_ent::<Adv>(1, 1, index))).await.unwrap();
    log.save_committed(Some(id(1, 4))).await.unwrap();
    log.purge(id(1, 2)).await.unwrap();
    let error = StorageHelper::new(&mut log, &mut machine).with_id(1).get_initial_state().await.unwrap_err();
    let said = "Cannot re-apply logs: need logs from index 0, but purged up to 2";
    assert!(error.to_string().contains(said), "{error}");
}

#[tokio::test]
async fn what_was_committed_beyond_the_end_of_the_log_is_applied_up_to_there() {
    let (mut log, mut machine) = stores().await;
    log.blocking_append((0..3).map(|index| blank_ent::<Adv>(1, 1, index))).await.unwrap();
    log.save_committed(Some(id(1, 9))).await.unwrap();
    let state = StorageHelper::new(&mut log, &mut machine).with_id(1).get_initial_state().await.unwrap();
    assert_eq!(state.local_committed(), Some(&id(1, 2)));
}

#[test]
fn a_default_state_knows_nothing() {
    let state = RaftState::<Adv>::default();
    assert_eq!((*state.vote_ref(), state.vote_last_modified()), (Vote::new(0, 0), None));
    let committed = (state.local_committed(), state.cluster_committed());
    assert_eq!((committed, state.log_ids.last()), ((None, None), None));
    assert_eq!(state.log_ids, LogIdListOf::<Adv>::new(None, []));
}

#[test]
fn a_list_of_log_ids_knows_each_of_them() {
    let ids = LogIdListOf::<Adv>::new(Some(id(1, 3)), [id(2, 5), id(4, 9)]);
    assert_eq!((ids.purged(), ids.last()), (Some(&id(1, 3)), Some(&id(4, 9))));
    let term_at = |index| ids.get(index).map(|id| id.leader_id.term);
    assert_eq!(
        [2, 3, 4, 5, 6, 9, 10].map(term_at),
        [None, Some(1), Some(2), Some(2), Some(4), Some(4), None]
    );
}
