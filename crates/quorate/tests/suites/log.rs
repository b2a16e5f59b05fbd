//! The suite for logs and state machines.

use std::collections::BTreeSet;

use quorate::testing::log::Suite;

use crate::Adv;
use crate::Std;
use crate::memory::Bug;
use crate::memory::Builder;

#[tokio::test(start_paused = true)]
async fn sound_stores_pass_with_both_kinds_of_leader_ids() {
    Suite::<Adv, _, _, _, _>::test_all(Builder(None)).await.unwrap();
    Suite::<Std, _, _, _, _>::test_all(Builder(None)).await.unwrap();
}

/// Each mistake, and a case that is there to catch it.
const CAUGHT_BY: &[(Bug, &str)] = &[
    (Bug::CallbackIsDropped, "append_to_log"),
    (Bug::CallbackNeverComes, "append_to_log"),
    (Bug::CommittedIsOneLess, "get_initial_state_re_apply_committed"),
    (Bug::EntriesStreamLosesTheLast, "entries_stream"),
    (Bug::KeyLogIdsAreTheFirst, "get_initial_state_log_ids"),
    (Bug::LastLogIdIsForgottenWhenEmpty, "last_id_in_log"),
    (Bug::LogIsNotEmptyAtFirst, "initial_logs"),
    (Bug::LeaderIsNotAsked, "leader_bounded_stream"),
    (Bug::LimitedReadGivesNothing, "limited_get_log_entries"),
    (Bug::PurgeForgetsItsId, "get_log_state"),
    (Bug::PurgeIsExclusive, "purge_logs_upto_5"),
    (Bug::PurgeStopsAtTheEnd, "purge_logs_upto_20"),
    (Bug::ReadIncludesTheEnd, "get_log_entries"),
    (Bug::ReadSkipsTheFirst, "get_log_entries"),
    (Bug::ReaderIsACopy, "log_reader_reads_new_entries"),
    (Bug::TruncateAllDoesNothing, "delete_logs_after_none"),
    (Bug::TruncateIsInclusive, "delete_logs_after_5"),
    (Bug::TruncateLeavesAHole, "delete_logs_after_5"),
    (Bug::VoteIsKeptByReaders, "save_vote"),
    (Bug::VoteIsLost, "save_vote"),
    (Bug::VoteLosesItsQuorum, "save_vote"),
    (Bug::ApplyIgnoresBlanks, "apply_single"),
    (Bug::ApplyIgnoresMemberships, "last_applied_state"),
    (Bug::ApplyStopsAtTheFirst, "apply_multiple"),
    (Bug::BlankForgetsTheMembership, "last_applied_state"),
    (Bug::ClientIsNotAnswered, "apply_single"),
    (Bug::ForcedSnapshotIsRefused, "snapshot_meta_optional"),
    (Bug::InstallIsNotCurrent, "transfer_snapshot"),
    (Bug::InstallKeepsTheMembership, "transfer_snapshot"),
    (Bug::InstallKeepsTheState, "transfer_snapshot"),
    (Bug::SnapshotCoversNothing, "snapshot_meta"),
    (Bug::SnapshotIsNotKept, "snapshot_meta"),
];

#[tokio::test(start_paused = true)]
async fn each_mistake_is_caught_and_each_case_catches_one() {
    let mut useful = BTreeSet::new();
    for (bug, case) in CAUGHT_BY {
        let outcome = Suite::<Adv, _, _, _, _>::test_all(Builder(Some(*bug))).await;
        let error = outcome.err().unwrap_or_else(|| panic!("{bug:?} is not caught")).to_string();
        let failed: Vec<_> = error.lines().filter_map(|line| line.split_once(": ")).collect();
        assert!(failed.iter().any(|(name, _)| name == case), "{bug:?} is not caught by {case}: {error}");
        useful.extend(failed.into_iter().skip(1).map(|(name, _)| name.to_string()));
    }
    assert_eq!(useful.len(), 45, "{useful:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_what_is_asked_for_and_what_was_given() {
    let outcome = Suite::<Adv, _, _, _, _>::test_all(Builder(Some(Bug::PurgeStopsAtTheEnd))).await;
    let error = outcome.unwrap_err().to_string();
    let said = "purge_logs_upto_20: the last purged log id after a purge up to index 20: \
                the contract asks for T1-N0.20, the store gave T1-N0.10";
    assert!(error.lines().any(|line| line == said), "{error}");
}
