//! The vote, and entries that are appended, read, purged and truncated.

use std::fmt::Debug;
use std::io;

use futures_util::StreamExt;
use futures_util::TryStreamExt;

use crate::entry::RaftEntry;
use crate::storage::LeaderBoundedStreamError;
use crate::storage::RaftLogReader;
use crate::storage::RaftLogReaderExt;
use crate::storage::RaftLogStorage;
use crate::storage::RaftStateMachine;
use crate::testing::log::StoreBuilder;
use crate::testing::log::Suite;
use crate::testing::log::probe::append;
use crate::testing::log::probe::apply;
use crate::testing::log::probe::blanks;
use crate::testing::log::probe::expect_log;
use crate::testing::log::probe::id;
use crate::testing::log::probe::ids;
use crate::testing::log::probe::ids_of;
use crate::testing::log::probe::leader;
use crate::testing::log::probe::read;
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
    /// The vote that was saved last is read.
    pub async fn save_vote(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        let mut old_reader = store.get_log_reader().await;
        same_ids("the vote of an empty store", old_reader.read_vote().await?, [])?;
        for (term, node, committed) in [(1, 0, false), (1, 0, true), (3, 5, false)] {
            let saved = vote::<C>(term, node, committed);
            store.save_vote(&saved).await?;
            let mut reader = store.get_log_reader().await;
            same_ids("the vote that was saved", reader.read_vote().await?, [saved.clone()])?;
            same_ids("the vote as an older reader sees it", old_reader.read_vote().await?, [saved])?;
        }
        Ok(())
    }

    /// Entries are read by range.
    pub async fn get_log_entries(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        same_ids("entries in 3..3", read(&mut store, 3..3).await?, [])?;
        same_ids("entries in 5..7", read(&mut store, 5..7).await?, ids::<C>([(1, 5), (1, 6)]))?;
        same_ids("entries in 5..=7", read(&mut store, 5..=7).await?, ids::<C>([(1, 5), (1, 6), (1, 7)]))?;
        same_ids("entries in 9..20", read(&mut store, 9..20).await?, ids::<C>([(1, 9), (1, 10)]))?;
        same_ids("entries in ..2", read(&mut store, ..2).await?, ids::<C>([(0, 0), (1, 1)]))?;
        same_ids("all entries", read(&mut store, ..).await?, Self::fed(0))
    }

    /// At least one entry is read if there is any.
    pub async fn limited_get_log_entries(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        let mut reader = store.get_log_reader().await;
        let entries = reader.limited_get_log_entries(5, 5).await?;
        same_ids("a limited read of 5..5", ids_of::<C>(&entries), [])?;
        let found = ids_of::<C>(&reader.limited_get_log_entries(5, 7).await?);
        let asked = ids::<C>([(1, 5), (1, 6)]).into_iter().take(found.len().max(1));
        same_ids("a limited read of 5..7", found, asked)
    }

    /// Entries are read while their reader leads, and not otherwise.
    pub async fn leader_bounded_stream(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        store.save_vote(&vote::<C>(1, 0, true)).await?;
        let mut reader = store.get_log_reader().await;
        for range in [0..11, 3..7, 5..20, 3..3] {
            let what = format!("entries of the leader in {range:?}");
            let asked = Self::fed(0).into_iter().filter(|id| range.contains(&id.index));
            let stream = reader.leader_bounded_stream(leader::<C>(1, 0), range.clone()).await;
            let entries: Result<Vec<_>, _> = Box::pin(stream).try_collect().await;
            let entries = entries.map_err(|error| io::Error::other(format!("{what}: {error}")))?;
            same_ids(&what, ids_of::<C>(&entries), asked)?;
        }
        for (term, node) in [(1, 1), (2, 0), (0, 0)] {
            let what = format!("entries of node {node} in term {term}, which does not lead");
            Self::expect_leader_changed(&mut reader, &what, leader::<C>(term, node)).await?;
        }
        store.save_vote(&vote::<C>(2, 0, false)).await?;
        let what = "entries of a candidate";
        Self::expect_leader_changed(&mut reader, what, leader::<C>(2, 0)).await
    }

    /// Entries are read whoever leads.
    pub async fn entries_stream(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        let mut reader = store.get_log_reader().await;
        for range in [0..11, 3..7, 3..3, 10..11] {
            let asked = Self::fed(0).into_iter().filter(|id| range.contains(&id.index));
            let entries: Vec<_> = Box::pin(reader.entries_stream(range.clone()).await).try_collect().await?;
            same_ids(&format!("the stream of entries in {range:?}"), ids_of::<C>(&entries), asked)?;
        }
        Ok(())
    }

    /// A single entry is there, or it is not.
    pub async fn try_get_log_entry(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        store.purge(id::<C>(0, 0)).await?;
        let mut reader = store.get_log_reader().await;
        for (index, asked) in [(0, None), (3, Some(id::<C>(1, 3))), (10, Some(id::<C>(1, 10))), (11, None)] {
            let found = reader.try_get_log_entry(index).await?.map(|entry| entry.log_id());
            same_ids(&format!("the entry at {index}, after a purge of index 0"), found, asked)?;
        }
        Ok(())
    }

    /// A reader sees what is appended after it was made.
    pub async fn log_reader_reads_new_entries(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        let mut reader = store.get_log_reader().await;
        Self::feed_10_logs_vote_self(&mut store).await?;
        let found = reader.try_get_log_entries(0..20).await?;
        same_ids("entries as an older reader sees them", ids_of::<C>(&found), Self::fed(0))?;
        append(&mut store, blanks::<C>(&[(1, 11)])).await?;
        let found = reader.try_get_log_entries(10..20).await?;
        same_ids("later entries as it sees them", ids_of::<C>(&found), ids::<C>([(1, 10), (1, 11)]))
    }

    /// An empty log holds nothing.
    pub async fn initial_logs(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        let found = store.get_log_reader().await.try_get_log_entry(0).await?.map(|entry| entry.log_id());
        same_ids("the entry at index 0 of an empty log", found, [])?;
        same_ids("the entries of an empty log", read(&mut store, ..).await?, [])
    }

    /// The log knows its ends.
    pub async fn get_log_state(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        expect_log(&mut store, "of an empty log", None, None).await?;
        Self::feed_10_logs_vote_self(&mut store).await?;
        expect_log(&mut store, "after an append", None, Some(id::<C>(1, 10))).await?;
        for (purged, last) in [((0, 0), (1, 10)), ((1, 5), (1, 10)), ((1, 10), (1, 10)), ((1, 20), (1, 20))] {
            let (purged, last) = (id::<C>(purged.0, purged.1), id::<C>(last.0, last.1));
            store.purge(purged.clone()).await?;
            let when = format!("after a purge up to index {}", purged.index);
            expect_log(&mut store, &when, Some(purged), Some(last)).await?;
        }
        Ok(())
    }

    /// The id of an entry that is not there is an error.
    pub async fn get_log_id(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        store.purge(id::<C>(1, 3)).await?;
        let mut reader = store.get_log_reader().await;
        for (index, asked) in
            [(0, None), (3, None), (4, Some(id::<C>(1, 4))), (10, Some(id::<C>(1, 10))), (11, None)]
        {
            let found = reader.get_log_id(index).await.ok();
            same_ids(&format!("the log id at {index}, of a log with 4 to 10"), found, asked)?;
        }
        Ok(())
    }

    /// The last log id is that of the last entry, or of the last purged, whatever is applied.
    pub async fn last_id_in_log(mut store: LS, mut sm: SM) -> Result<(), io::Error> {
        expect_log(&mut store, "of an empty log", None, None).await?;
        append(&mut store, blanks::<C>(&[(0, 0), (1, 1), (1, 2)])).await?;
        expect_log(&mut store, "after an append", None, Some(id::<C>(1, 2))).await?;
        apply(&mut sm, blanks::<C>(&[(0, 0), (1, 1), (1, 2), (1, 3)])).await?;
        expect_log(&mut store, "while more is applied", None, Some(id::<C>(1, 2))).await?;
        store.purge(id::<C>(1, 2)).await?;
        let purged = Some(id::<C>(1, 2));
        expect_log(&mut store, "after a purge of everything", purged.clone(), purged).await
    }

    /// Entries up to index 0 are purged.
    pub async fn purge_logs_upto_0(store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::expect_purge(store, (0, 0), (1, 10)).await
    }

    /// Entries up to index 5 are purged.
    pub async fn purge_logs_upto_5(store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::expect_purge(store, (1, 5), (1, 10)).await
    }

    /// A purge may go beyond the end.
    pub async fn purge_logs_upto_20(store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::expect_purge(store, (1, 20), (1, 20)).await
    }

    /// A truncation beyond the end removes nothing.
    pub async fn delete_logs_after_11(store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::expect_truncation(store, Some((1, 11)), 10).await
    }

    /// Entries behind index 5 are removed.
    pub async fn delete_logs_after_5(store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::expect_truncation(store, Some((1, 5)), 5).await
    }

    /// All but the first entry are removed.
    pub async fn delete_logs_after_0(store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::expect_truncation(store, Some((0, 0)), 0).await
    }

    /// All entries are removed.
    pub async fn delete_logs_after_none(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        store.truncate_after(None).await?;
        same_ids("entries after all were removed", read(&mut store, ..).await?, [])?;
        expect_log(&mut store, "after all entries were removed", None, None).await?;
        append(&mut store, blanks::<C>(&[(2, 0)])).await?;
        same_ids("entries appended in place of others", read(&mut store, ..).await?, [id::<C>(2, 0)])
    }

    /// Entries are appended behind those that are there.
    pub async fn append_to_log(mut store: LS, _sm: SM) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        store.purge(id::<C>(0, 0)).await?;
        append(&mut store, blanks::<C>(&[(2, 11)])).await?;
        let found = read(&mut store, ..).await?;
        same("the number of entries after a purge of one and an append of one", found.len(), 11)?;
        same_ids("the last entry after an append", found.last().cloned(), [id::<C>(2, 11)])?;
        expect_log(&mut store, "after an append", Some(id::<C>(0, 0)), Some(id::<C>(2, 11))).await
    }

    /// The ids of what [`feed_10_logs_vote_self`](Self::feed_10_logs_vote_self) appends, from an index on.
    fn fed(from: u64) -> Vec<crate::type_config::alias::LogIdOf<C>> {
        ids::<C>((from..=10).map(|index| (index.min(1), index)))
    }

    async fn expect_leader_changed(
        reader: &mut LS::LogReader,
        what: &str,
        asked: C::LeaderId,
    ) -> Result<(), io::Error> {
        let results: Vec<_> = Box::pin(reader.leader_bounded_stream(asked, 0..11).await).collect().await;
        match results.as_slice() {
            [Err(LeaderBoundedStreamError::LeaderChanged(_))] => Ok(()),
            other => Err(io::Error::other(format!(
                "{what}: the contract asks for a single error, that the leader changed; the store gave {other:?}"
            ))),
        }
    }

    async fn expect_purge(mut store: LS, upto: (u64, u64), last: (u64, u64)) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        let (upto, last) = (id::<C>(upto.0, upto.1), id::<C>(last.0, last.1));
        store.purge(upto.clone()).await?;
        let left = Self::fed(upto.index + 1);
        let when = format!("after a purge up to index {}", upto.index);
        same_ids(&format!("entries {when}"), read(&mut store, ..).await?, left.clone())?;
        expect_log(&mut store, &when, Some(upto), Some(last.clone())).await?;
        let next = blanks::<C>(&[(3, last.index + 1)]);
        append(&mut store, next).await?;
        let left = left.into_iter().chain([id::<C>(3, last.index + 1)]);
        same_ids(&format!("entries appended {when}"), read(&mut store, ..).await?, left)
    }

    async fn expect_truncation(mut store: LS, after: Option<(u64, u64)>, last: u64) -> Result<(), io::Error> {
        Self::feed_10_logs_vote_self(&mut store).await?;
        store.truncate_after(after.map(|(term, index)| id::<C>(term, index))).await?;
        let left = Self::fed(0).into_iter().filter(|id| id.index <= last);
        let left: Vec<_> = left.collect();
        let when = format!("after a truncation behind {after:?}");
        same_ids(&format!("entries {when}"), read(&mut store, ..).await?, left.clone())?;
        expect_log(&mut store, &when, None, left.last().cloned()).await?;
        append(&mut store, blanks::<C>(&[(2, last + 1)])).await?;
        let left = left.into_iter().chain([id::<C>(2, last + 1)]);
        same_ids(&format!("entries appended {when}"), read(&mut store, ..).await?, left)
    }
}
