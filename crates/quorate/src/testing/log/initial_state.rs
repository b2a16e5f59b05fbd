//! The state that a node starts from.

use std::fmt::Debug;
use std::io;
use std::iter;

use crate::boot::StorageHelper;
use crate::raft_state::RaftState;
use crate::storage::RaftLogStorage;
use crate::storage::RaftStateMachine;
use crate::testing::log::StoreBuilder;
use crate::testing::log::Suite;
use crate::testing::log::probe::append;
use crate::testing::log::probe::apply;
use crate::testing::log::probe::blanks;
use crate::testing::log::probe::change;
use crate::testing::log::probe::changed;
use crate::testing::log::probe::expect_log;
use crate::testing::log::probe::id;
use crate::testing::log::probe::ids;
use crate::testing::log::probe::same;
use crate::testing::log::probe::same_ids;
use crate::testing::log::probe::vote;
use crate::type_config::RaftTypeConfig;

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
    /// Empty stores give the state of a fresh node.
    pub async fn get_initial_state_without_init(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        let found = Self::initial_state(&mut store, &mut sm).await?;
        let mut fresh = RaftState::<C>::fresh(vote::<C>(0, 0, false));
        fresh.vote_last_modified = found.vote_last_modified();
        same("the state of empty stores", found, fresh)
    }

    /// With an empty log, the state machine's membership is in force.
    pub async fn get_initial_state_membership_from_empty_log_and_sm(
        mut store: LS,
        mut sm: SM,
    ) -> Result<(), io::Error> {
        Self::apply_membership(&mut sm, 1, 1).await?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        let effective = &**state.membership_state.effective();
        same_ids(
            "the membership in force, of the state machine alone",
            [effective],
            [&changed::<C>(1, 1, &[3, 4, 5])],
        )
    }

    /// A membership in the log that is older than the state machine does not count.
    pub async fn get_initial_state_membership_from_sm_inlog_is_smaller(
        mut store: LS,
        mut sm: SM,
    ) -> Result<(), io::Error> {
        append(&mut store, blanks::<C>(&[(0, 0)])).await?;
        append(&mut store, [change::<C>(1, 1, &[1, 2, 3])]).await?;
        Self::apply_membership(&mut sm, 2, 2).await?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        let effective = &**state.membership_state.effective();
        same_ids(
            "the membership in force, where the log's is older",
            [effective],
            [&changed::<C>(2, 2, &[3, 4, 5])],
        )
    }

    /// A membership in the log that is newer than the state machine is in force.
    pub async fn get_initial_state_membership_from_log_insm_is_smaller(
        mut store: LS,
        mut sm: SM,
    ) -> Result<(), io::Error> {
        Self::apply_membership(&mut sm, 1, 1).await?;
        append(&mut store, blanks::<C>(&[(0, 0), (1, 1)])).await?;
        append(&mut store, [change::<C>(2, 2, &[1, 2, 3])]).await?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        let effective = &**state.membership_state.effective();
        same_ids(
            "the membership in force, where the log's is newer",
            [effective],
            [&changed::<C>(2, 2, &[1, 2, 3])],
        )
    }

    /// Vote, end of the log and last applied entry are those of the stores.
    pub async fn get_initial_state_with_state(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        Self::default_vote(&mut store).await?;
        append(&mut store, blanks::<C>(&[(0, 0), (3, 1), (3, 2)])).await?;
        apply(&mut sm, blanks::<C>(&[(0, 0), (3, 1)])).await?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        same_ids("the last log id", state.log_ids.last().cloned(), [id::<C>(3, 2)])?;
        same_ids("the last applied entry", state.applied.clone(), [id::<C>(3, 1)])?;
        same_ids("what is known to be committed", state.local_committed().cloned(), [id::<C>(3, 1)])?;
        same_ids("what a leader said is committed", state.cluster_committed().cloned(), [])?;
        same_ids("the vote", [state.vote_ref().clone()], [vote::<C>(1, 0, false)])
    }

    /// A log that ends with a greater id than was applied stays as it is.
    pub async fn get_initial_state_last_log_gt_sm(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        append(&mut store, blanks::<C>(&[(0, 0), (2, 1)])).await?;
        apply(&mut sm, blanks::<C>(&[(0, 0), (1, 1), (1, 2)])).await?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        same_ids(
            "the last log id, greater than what is applied",
            state.log_ids.last().cloned(),
            [id::<C>(2, 1)],
        )
    }

    /// A log that ends before the last applied entry is purged up to there.
    pub async fn get_initial_state_last_log_lt_sm(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        append(&mut store, blanks::<C>(&[(0, 0), (1, 1), (1, 2)])).await?;
        apply(&mut sm, blanks::<C>(&[(0, 0), (1, 1), (1, 2), (3, 3)])).await?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        let applied = Some(id::<C>(3, 3));
        same_ids("the last log id, where more is applied", state.log_ids.last().cloned(), applied.clone())?;
        same_ids("the last purged, where more is applied", state.log_ids.purged().cloned(), applied.clone())?;
        expect_log(&mut store, "after a purge beyond the end", applied.clone(), applied).await
    }

    /// A log that ends with a smaller id than was applied, and not before it, is an error.
    pub async fn get_initial_state_inverted_log_order(store: LS, sm: SM) -> Result<(), io::Error> {
        Self::expect_inverted(store, sm, &[(0, 0), (1, 1), (1, 2)], &[(0, 0), (3, 1)]).await
    }

    /// A log that ends with another entry than was applied at the same index is an error.
    pub async fn get_initial_state_conflict_at_same_index(store: LS, sm: SM) -> Result<(), io::Error> {
        Self::expect_inverted(store, sm, &[(0, 0), (1, 1), (1, 2)], &[(0, 0), (1, 1), (3, 2)]).await
    }

    /// Of each leader in the log the last id is known, however far the log is purged.
    pub async fn get_initial_state_log_ids(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        let log = [(0, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (5, 6), (5, 7)];
        let lasts = [(0, 0), (1, 2), (2, 5), (5, 7)];
        append(&mut store, blanks::<C>(&log)).await?;
        apply(&mut sm, blanks::<C>(&log)).await?;
        for purged in iter::once(None).chain(log.map(Some)) {
            let purged_id = purged.map(|(term, index)| id::<C>(term, index));
            if let Some(purged_id) = purged_id.clone() {
                store.purge(purged_id).await?;
            }
            let state = Self::initial_state(&mut store, &mut sm).await?;
            let upto = purged.map_or(0, |(_, index)| index + 1);
            let when = format!("of a log that begins at index {upto}");
            same_ids(&format!("the last purged log id {when}"), state.log_ids.purged().cloned(), purged_id)?;
            let left = lasts.into_iter().filter(|(_, index)| *index >= upto);
            same_ids(
                &format!("the last log id of each leader {when}"),
                state.log_ids.key_log_ids().cloned(),
                ids::<C>(left),
            )?;
        }
        Ok(())
    }

    /// What is known to be committed is applied again. A store that does not keep that passes.
    pub async fn get_initial_state_re_apply_committed(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        let log = [(0, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5)];
        append(&mut store, blanks::<C>(&log)).await?;
        apply(&mut sm, blanks::<C>(&log[..3])).await?;
        store.save_committed(Some(id::<C>(1, 4))).await?;
        let Some(kept) = store.read_committed().await? else { return Ok(()) };
        same_ids("what was saved as committed", [kept], [id::<C>(1, 4)])?;
        let state = Self::initial_state(&mut store, &mut sm).await?;
        same_ids("the last applied entry of the state", state.applied.clone(), [id::<C>(1, 4)])?;
        let (applied, _) = sm.applied_state().await?;
        same_ids("the last applied entry of the state machine", applied, [id::<C>(1, 4)])
    }

    async fn initial_state(store: &mut LS, sm: &mut SM) -> Result<RaftState<C>, io::Error> {
        Ok(StorageHelper::new(store, sm).with_id(0.into()).get_initial_state().await?)
    }

    async fn apply_membership(sm: &mut SM, term: u64, index: u64) -> Result<(), io::Error> {
        apply(sm, (0..index).flat_map(|index| blanks::<C>(&[(0, index)]))).await?;
        apply(sm, [change::<C>(term, index, &[3, 4, 5])]).await
    }

    async fn expect_inverted(
        mut store: LS,
        mut sm: SM,
        log: &[(u64, u64)],
        applied: &[(u64, u64)],
    ) -> Result<(), io::Error> {
        append(&mut store, blanks::<C>(log)).await?;
        apply(&mut sm, blanks::<C>(applied)).await?;
        let text = match Self::initial_state(&mut store, &mut sm).await {
            Ok(state) => format!("{state:?}"),
            Err(error) if error.to_string().contains("inverted log order") => return Ok(()),
            Err(error) => error.to_string(),
        };
        Err(io::Error::other(format!(
            "a log that contradicts the state machine is an error, \"inverted log order\"; there was: {text}"
        )))
    }
}
