//! The library's suite for stores: what everyone should run who writes one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use example_mem_store::LogStore;
use example_mem_store::StateMachine;
use example_mem_store::TypeConfig;
use openraft::StorageError;
use openraft::testing::log::StoreBuilder;
use openraft::testing::log::Suite;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore<TypeConfig>, StateMachine> for Builder {
    async fn build(&self) -> Result<((), LogStore<TypeConfig>, StateMachine), StorageError<TypeConfig>> {
        Ok(((), LogStore::default(), StateMachine::default()))
    }
}

#[tokio::test]
async fn the_stores_pass_the_suite() {
    Suite::test_all(Builder).await.unwrap();
}
