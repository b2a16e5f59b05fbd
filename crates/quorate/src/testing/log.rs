//! Whether a log store and a state machine do what a node relies on.
//!
//! [`Suite::test_all`] runs every case on stores of its own, made by a [`StoreBuilder`], and says of each case that
//! failed what the contract asks for and what the store did instead. What happens when the power fails is another
//! matter.

mod entries;
mod initial_state;
mod machine;
mod membership;
mod probe;

use std::io;
use std::marker::PhantomData;

use std::fmt::Debug;

use crate::base::OptionalSend;
use crate::base::OptionalSync;
use crate::errors::StorageError;
use crate::storage::RaftLogStorage;
use crate::storage::RaftStateMachine;
use crate::testing::log::probe::append;
use crate::testing::log::probe::blanks;
use crate::testing::log::probe::vote;
use crate::type_config::RaftTypeConfig;
use crate::type_config::TypeConfigExt;

/// Makes the stores that are to be tested. Implementors write `async fn build`.
pub trait StoreBuilder<C, LS, SM, G = ()>: OptionalSend + OptionalSync
where
    C: RaftTypeConfig,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    /// A fresh, empty log store and state machine at each call, and what must live as long as they: a temporary
    /// directory, for example.
    fn build(&self) -> impl Future<Output = Result<(G, LS, SM), StorageError<C>>> + OptionalSend;
}

/// The cases.
///
/// Each is a function of its own, to be run on empty stores. An error says what the contract asks for and what the
/// store did.
pub struct Suite<C, LS, SM, B, G>
where
    C: RaftTypeConfig,
    C::D: Debug,
    C::R: Debug,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
    B: StoreBuilder<C, LS, SM, G>,
    G: Send + Sync,
{
    types: PhantomData<(C, LS, SM, B, G)>,
}

/// Runs cases by name, each on stores of its own, and collects what failed.
macro_rules! run {
    ($builder:expr, $failed:expr, [$($case:ident),* $(,)?]) => {$(
        let (guard, log, machine) = $builder.build().await?;
        $failed.note(stringify!($case), Self::$case(log, machine).await);
        drop(guard);
    )*};
}

impl<C, LS, SM, B, G> Suite<C, LS, SM, B, G>
where
    C: RaftTypeConfig,
    C::D: Debug,
    C::R: Debug,
    C::Term: From<u64>,
    C::NodeId: From<u64>,
    C::Node: Default,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
    B: StoreBuilder<C, LS, SM, G>,
    G: Send + Sync,
{
    /// Runs every case. The error names each that failed, and why.
    pub async fn test_all(builder: B) -> Result<(), StorageError<C>> {
        let mut failed = Failed::default();
        Self::run_on_store(&builder, &mut failed).await?;
        failed.note("transfer_snapshot", Self::transfer_snapshot(&builder).await);
        failed.into_result()
    }

    /// Runs every case that needs no second store. The error names each that failed, and why.
    pub async fn test_store(builder: &B) -> Result<(), StorageError<C>> {
        let mut failed = Failed::default();
        Self::run_on_store(builder, &mut failed).await?;
        failed.into_result()
    }

    async fn run_on_store(builder: &B, failed: &mut Failed) -> Result<(), StorageError<C>> {
        run!(
            builder,
            failed,
            [
                last_membership_in_log_initial,
                last_membership_in_log,
                last_membership_in_log_multi_step,
                get_membership_initial,
                get_membership_from_log_and_empty_sm,
                get_membership_from_empty_log_and_sm,
                get_membership_from_log_le_sm_last_applied,
                get_membership_from_log_gt_sm_last_applied_1,
                get_membership_from_log_gt_sm_last_applied_2,
                get_initial_state_without_init,
                get_initial_state_membership_from_empty_log_and_sm,
                get_initial_state_membership_from_sm_inlog_is_smaller,
                get_initial_state_membership_from_log_insm_is_smaller,
                get_initial_state_with_state,
                get_initial_state_last_log_gt_sm,
                get_initial_state_last_log_lt_sm,
                get_initial_state_inverted_log_order,
                get_initial_state_conflict_at_same_index,
                get_initial_state_log_ids,
                get_initial_state_re_apply_committed,
                save_vote,
                get_log_entries,
                limited_get_log_entries,
                leader_bounded_stream,
                entries_stream,
                try_get_log_entry,
                log_reader_reads_new_entries,
                initial_logs,
                get_log_state,
                get_log_id,
                last_id_in_log,
                last_applied_state,
                purge_logs_upto_0,
                purge_logs_upto_5,
                purge_logs_upto_20,
                delete_logs_after_11,
                delete_logs_after_5,
                delete_logs_after_0,
                delete_logs_after_none,
                append_to_log,
                snapshot_meta,
                snapshot_meta_optional,
                apply_single,
                apply_multiple,
            ]
        );
        Ok(())
    }

    /// Appends the entries 0 of term 0 and 1 to 10 of term 1, and saves a vote for node 0 in term 1.
    pub async fn feed_10_logs_vote_self(store: &mut LS) -> Result<(), io::Error> {
        append(store, blanks::<C>(&[(0, 0)])).await?;
        append(store, (1..=10).flat_map(|index| blanks::<C>(&[(1, index)]))).await?;
        Self::default_vote(store).await
    }

    /// Saves a vote for node 0 in term 1, which no quorum granted.
    pub async fn default_vote(store: &mut LS) -> Result<(), io::Error> {
        store.save_vote(&vote::<C>(1, 0, false)).await
    }
}

/// What failed so far.
#[derive(Default)]
struct Failed {
    cases: Vec<String>,
}

impl Failed {
    fn note(&mut self, case: &str, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => tracing::info!(case, "the store passes"),
            Err(error) => self.cases.push(format!("{case}: {error}")),
        }
    }

    fn into_result<C: RaftTypeConfig>(self) -> Result<(), StorageError<C>> {
        if self.cases.is_empty() {
            return Ok(());
        }
        let text = format!("the store fails {} cases\n{}", self.cases.len(), self.cases.join("\n"));
        Err(StorageError::read(C::err_from_string(text)))
    }
}
