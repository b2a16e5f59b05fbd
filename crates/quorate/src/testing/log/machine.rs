//! What the state machine applies, and its snapshots.

use std::fmt::Debug;
use std::io;

use crate::storage::RaftLogStorage;
use crate::storage::RaftSnapshotBuilder;
use crate::storage::RaftStateMachine;
use crate::testing::log::StoreBuilder;
use crate::testing::log::Suite;
use crate::testing::log::probe::apply;
use crate::testing::log::probe::blanks;
use crate::testing::log::probe::change;
use crate::testing::log::probe::changed;
use crate::testing::log::probe::id;
use crate::testing::log::probe::same_ids;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::LogIdOf;
use crate::type_config::alias::SnapshotMetaOf;
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
    /// What is applied is known, and the last membership among it.
    pub async fn last_applied_state(_store: LS, mut sm: SM) -> Result<(), io::Error> {
        let none = StoredMembershipOf::<C>::default();
        Self::expect_applied(&mut sm, "of an empty state machine", None, &none).await?;
        apply(&mut sm, blanks::<C>(&[(0, 0)])).await?;
        apply(&mut sm, [change::<C>(1, 1, &[1, 2])]).await?;
        let membership = changed::<C>(1, 1, &[1, 2]);
        let when = "after a membership";
        Self::expect_applied(&mut sm, when, Some(id::<C>(1, 1)), &membership).await?;
        apply(&mut sm, blanks::<C>(&[(1, 2)])).await?;
        let when = "after an entry behind the membership";
        Self::expect_applied(&mut sm, when, Some(id::<C>(1, 2)), &membership).await
    }

    /// A snapshot covers what is applied, and becomes the current one.
    pub async fn snapshot_meta(_store: LS, mut sm: SM) -> Result<(), io::Error> {
        Self::apply_some(&mut sm).await?;
        let built = sm.get_snapshot_builder().await.build_snapshot().await?;
        Self::expect_meta("of the snapshot that was built", Some(&built.meta))?;
        let current = sm.get_current_snapshot().await?;
        Self::expect_meta("of the current snapshot", current.as_ref().map(|snapshot| &snapshot.meta))
    }

    /// A state machine may put a snapshot off unless it is forced to build one.
    pub async fn snapshot_meta_optional(_store: LS, mut sm: SM) -> Result<(), io::Error> {
        Self::apply_some(&mut sm).await?;
        if let Some(mut builder) = sm.try_create_snapshot_builder(false).await {
            let built = builder.build_snapshot().await?;
            Self::expect_meta("of a snapshot that might have been put off", Some(&built.meta))?;
        }
        let Some(mut builder) = sm.try_create_snapshot_builder(true).await else {
            return Err(io::Error::other(
                "a snapshot that is forced is built; the state machine gave no builder",
            ));
        };
        Self::expect_meta("of a snapshot that was forced", Some(&builder.build_snapshot().await?.meta))
    }

    /// An entry is applied, and its client answered.
    pub async fn apply_single(_store: LS, mut sm: SM) -> Result<(), io::Error> {
        apply(&mut sm, blanks::<C>(&[(0, 0)])).await?;
        let none = StoredMembershipOf::<C>::default();
        Self::expect_applied(&mut sm, "after one entry", Some(id::<C>(0, 0)), &none).await
    }

    /// Entries of all kinds are applied together, and each client answered.
    pub async fn apply_multiple(_store: LS, mut sm: SM) -> Result<(), io::Error> {
        let mut entries = blanks::<C>(&[(0, 0), (1, 1)]);
        entries.push(change::<C>(1, 2, &[1, 2]));
        entries.extend(blanks::<C>(&[(1, 3)]));
        entries.push(change::<C>(2, 4, &[2, 3]));
        entries.extend(blanks::<C>(&[(2, 5)]));
        apply(&mut sm, entries).await?;
        let membership = changed::<C>(2, 4, &[2, 3]);
        Self::expect_applied(&mut sm, "after six entries", Some(id::<C>(2, 5)), &membership).await
    }

    /// A snapshot of one state machine is installed into another, which then is the same.
    pub async fn transfer_snapshot(builder: &B) -> Result<(), io::Error> {
        let (_guard, _store, mut from) = builder.build().await?;
        let (_other_guard, _other_store, mut to) = builder.build().await?;
        Self::apply_some(&mut from).await?;
        let snapshot = from.get_snapshot_builder().await.build_snapshot().await?;
        let meta = snapshot.meta;
        Self::expect_meta("of the snapshot to be transferred", Some(&meta))?;
        to.install_snapshot(&meta, snapshot.snapshot).await?;
        let (applied, membership) = from.applied_state().await?;
        Self::expect_applied(&mut to, "after a snapshot was installed", applied, &membership).await?;
        let current = to.get_current_snapshot().await?;
        Self::expect_meta("of the snapshot that was installed", current.as_ref().map(|found| &found.meta))?;
        apply(&mut to, blanks::<C>(&[(2, 4)])).await?;
        let when = "after a snapshot and an entry";
        Self::expect_applied(&mut to, when, Some(id::<C>(2, 4)), &membership).await
    }

    /// Applies what [`expect_meta`](Self::expect_meta) expects.
    async fn apply_some(sm: &mut SM) -> Result<(), io::Error> {
        apply(sm, blanks::<C>(&[(0, 0)])).await?;
        apply(sm, [change::<C>(1, 1, &[1, 2])]).await?;
        apply(sm, blanks::<C>(&[(1, 2), (2, 3)])).await
    }

    fn expect_meta(when: &str, meta: Option<&SnapshotMetaOf<C>>) -> Result<(), io::Error> {
        let asked = SnapshotMetaOf::<C> {
            last_log_id: Some(id::<C>(2, 3)),
            last_membership: changed::<C>(1, 1, &[1, 2]),
        };
        same_ids(&format!("the meta {when}"), meta, [&asked])
    }

    async fn expect_applied(
        sm: &mut SM,
        when: &str,
        applied: Option<LogIdOf<C>>,
        membership: &StoredMembershipOf<C>,
    ) -> Result<(), io::Error> {
        let (found, found_membership) = sm.applied_state().await?;
        same_ids(&format!("the last applied entry {when}"), found, applied)?;
        same_ids(&format!("the last applied membership {when}"), [&found_membership], [membership])
    }
}
