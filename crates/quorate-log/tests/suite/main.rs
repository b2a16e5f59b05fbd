//! The log store passes the library's suite, on a real directory, with both kinds of leader ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "shared by the modules of one test binary")]

mod crash;
mod machine;

use machine::Machine;
use quorate::testing::log::{StoreBuilder, Suite};
use quorate::vote::leader_id_std;
use quorate::{ErrorSubject, ErrorVerb, RaftTypeConfig, StorageError};
use quorate_log::{LogStore, Options, Postcard};
use tempfile::TempDir;

quorate::declare_raft_types!(Adv);

quorate::declare_raft_types!(Std: LeaderId = leader_id_std::LeaderId<u64, u64>);

struct OnDisk;

impl<C: RaftTypeConfig<R = String>> StoreBuilder<C, LogStore<C>, Machine<C>, TempDir> for OnDisk
where
    Postcard: quorate_log::Codec<C>,
{
    async fn build(&self) -> Result<(TempDir, LogStore<C>, Machine<C>), StorageError<C>> {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 64 * 1024, tail_bytes: 1024, ..Options::default() };
        let log = LogStore::open(dir.path(), options).map_err(|error| {
            StorageError::from_io_error(ErrorSubject::Store, ErrorVerb::Read, error.into())
        })?;
        Ok((dir, log, Machine::default()))
    }
}

#[tokio::test]
async fn with_several_leaders_a_term() {
    Suite::<Adv, _, _, _, _>::test_all(OnDisk).await.unwrap();
}

#[tokio::test]
async fn with_one_leader_a_term() {
    Suite::<Std, _, _, _, _>::test_all(OnDisk).await.unwrap();
}
