//! Which memberships are found in the log and in the state machine.

use std::fmt::Debug;
use std::io;

use crate::boot::StorageHelper;
use crate::storage::RaftLogStorage;
use crate::storage::RaftStateMachine;
use crate::testing::log::StoreBuilder;
use crate::testing::log::Suite;
use crate::testing::log::probe::append;
use crate::testing::log::probe::apply;
use crate::testing::log::probe::blanks;
use crate::testing::log::probe::change;
use crate::testing::log::probe::changed;
use crate::testing::log::probe::same_ids;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::StoredMembershipOf;

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
    /// Empty stores hold no membership.
    pub async fn last_membership_in_log_initial(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        let found = StorageHelper::new(&mut store, &mut sm).last_membership_in_log(0).await?;
        same_ids("memberships in an empty log", found, [])
    }

    /// Memberships are looked for in the log alone, from an index on, and the last two are found.
    pub async fn last_membership_in_log(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        apply(&mut sm, blanks::<C>(&[(0, 0)])).await?;
        apply(&mut sm, [change::<C>(1, 1, &[3, 4, 5])]).await?;
        let found = StorageHelper::new(&mut store, &mut sm).last_membership_in_log(0).await?;
        same_ids("memberships in the log while only the state machine has one", found, [])?;

        append(&mut store, blanks::<C>(&[(0, 0)])).await?;
        append(&mut store, [change::<C>(1, 1, &[1, 2, 3])]).await?;
        for (since, asked) in [
            (0, vec![changed::<C>(1, 1, &[1, 2, 3])]),
            (1, vec![changed::<C>(1, 1, &[1, 2, 3])]),
            (2, vec![]),
        ] {
            let found = StorageHelper::new(&mut store, &mut sm).last_membership_in_log(since).await?;
            same_ids(&format!("memberships in the log from index {since} on"), found, asked)?;
        }

        let more = [change::<C>(1, 2, &[1, 2]), change::<C>(1, 3, &[2, 3]), change::<C>(1, 4, &[3, 4])];
        append(&mut store, more).await?;
        append(&mut store, blanks::<C>(&[(1, 5)])).await?;
        for (since, asked) in [
            (0, vec![changed::<C>(1, 3, &[2, 3]), changed::<C>(1, 4, &[3, 4])]),
            (4, vec![changed::<C>(1, 4, &[3, 4])]),
            (5, vec![]),
        ] {
            let found = StorageHelper::new(&mut store, &mut sm).last_membership_in_log(since).await?;
            same_ids(&format!("the last two of four memberships from index {since} on"), found, asked)?;
        }
        Ok(())
    }

    /// The search goes back through a long log.
    pub async fn last_membership_in_log_multi_step(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        append(&mut store, blanks::<C>(&[(0, 0)])).await?;
        append(&mut store, [change::<C>(1, 1, &[1, 2, 3]), change::<C>(1, 2, &[3, 4, 5])]).await?;
        append(&mut store, (3..100).flat_map(|index| blanks::<C>(&[(1, index)]))).await?;
        let found = StorageHelper::new(&mut store, &mut sm).last_membership_in_log(0).await?;
        let (first, second) = (changed::<C>(1, 1, &[1, 2, 3]), changed::<C>(1, 2, &[3, 4, 5]));
        same_ids("memberships far from the end of the log", found, [first, second.clone()])?;

        append(&mut store, [change::<C>(1, 100, &[5, 6, 7])]).await?;
        let found = StorageHelper::new(&mut store, &mut sm).last_membership_in_log(0).await?;
        same_ids("memberships 98 entries apart", found, [second, changed::<C>(1, 100, &[5, 6, 7])])
    }

    /// Empty stores give the empty membership.
    pub async fn get_membership_initial(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        let none = StoredMembershipOf::<C>::default();
        Self::expect_membership(&mut store, &mut sm, "of empty stores", none.clone(), none).await
    }

    /// With one membership, in the log, that is in force and the empty one is committed.
    pub async fn get_membership_from_log_and_empty_sm(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        append(&mut store, blanks::<C>(&[(0, 0)])).await?;
        append(&mut store, [change::<C>(1, 1, &[1, 2, 3])]).await?;
        let none = StoredMembershipOf::<C>::default();
        let in_log = changed::<C>(1, 1, &[1, 2, 3]);
        Self::expect_membership(&mut store, &mut sm, "of the log alone", none, in_log).await
    }

    /// With an empty log, the state machine's membership is committed and in force.
    pub async fn get_membership_from_empty_log_and_sm(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        Self::apply_membership_at_1(&mut sm).await?;
        let applied = changed::<C>(1, 1, &[3, 4, 5]);
        Self::expect_membership(&mut store, &mut sm, "of the state machine alone", applied.clone(), applied)
            .await
    }

    /// What is in the log up to the last applied entry does not count.
    pub async fn get_membership_from_log_le_sm_last_applied(
        mut store: LS,
        mut sm: SM,
    ) -> Result<(), io::Error> {
        Self::apply_membership_at_1(&mut sm).await?;
        apply(&mut sm, blanks::<C>(&[(1, 2)])).await?;
        append(&mut store, blanks::<C>(&[(0, 0)])).await?;
        append(&mut store, [change::<C>(1, 1, &[1, 2, 3])]).await?;
        let applied = changed::<C>(1, 1, &[3, 4, 5]);
        Self::expect_membership(&mut store, &mut sm, "of a log that is applied", applied.clone(), applied)
            .await
    }

    /// One membership behind the last applied entry is in force; the state machine's is committed.
    pub async fn get_membership_from_log_gt_sm_last_applied_1(
        mut store: LS,
        mut sm: SM,
    ) -> Result<(), io::Error> {
        Self::apply_membership_at_1(&mut sm).await?;
        append(&mut store, blanks::<C>(&[(0, 0), (1, 1)])).await?;
        append(&mut store, [change::<C>(1, 2, &[7, 8, 9])]).await?;
        let (applied, in_log) = (changed::<C>(1, 1, &[3, 4, 5]), changed::<C>(1, 2, &[7, 8, 9]));
        Self::expect_membership(&mut store, &mut sm, "with one to be applied", applied, in_log).await
    }

    /// Of two memberships behind the last applied entry the first is committed and the second in force.
    pub async fn get_membership_from_log_gt_sm_last_applied_2(
        mut store: LS,
        mut sm: SM,
    ) -> Result<(), io::Error> {
        Self::apply_membership_at_1(&mut sm).await?;
        append(&mut store, blanks::<C>(&[(0, 0), (1, 1)])).await?;
        append(&mut store, [change::<C>(1, 2, &[7, 8, 9]), change::<C>(1, 3, &[1, 2, 3])]).await?;
        let (first, second) = (changed::<C>(1, 2, &[7, 8, 9]), changed::<C>(1, 3, &[1, 2, 3]));
        Self::expect_membership(&mut store, &mut sm, "with two to be applied", first, second).await
    }

    async fn apply_membership_at_1(sm: &mut SM) -> Result<(), io::Error> {
        apply(sm, blanks::<C>(&[(0, 0)])).await?;
        apply(sm, [change::<C>(1, 1, &[3, 4, 5])]).await
    }

    async fn expect_membership(
        store: &mut LS,
        sm: &mut SM,
        when: &str,
        committed: StoredMembershipOf<C>,
        effective: StoredMembershipOf<C>,
    ) -> Result<(), io::Error> {
        let found = StorageHelper::new(store, sm).get_membership().await?;
        same_ids(&format!("the committed membership {when}"), [&**found.committed()], [&committed])?;
        same_ids(&format!("the membership in force {when}"), [&**found.effective()], [&effective])
    }
}
