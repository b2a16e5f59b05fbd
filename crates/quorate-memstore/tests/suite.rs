//! The library's suite for stores, on these.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::StoreBuilder;
use openraft::testing::log::Suite;
use quorate_memstore::MemLogStore;
use quorate_memstore::MemStateMachine;
use quorate_memstore::TypeConfig;
use quorate_memstore::new_mem_store;

struct Builder;

impl StoreBuilder<TypeConfig, Arc<MemLogStore>, Arc<MemStateMachine>> for Builder {
    async fn build(&self) -> Result<((), Arc<MemLogStore>, Arc<MemStateMachine>), StorageError<TypeConfig>> {
        let (log, machine) = new_mem_store();
        Ok(((), log, machine))
    }
}

#[tokio::test]
async fn the_stores_pass_the_suite() {
    Suite::test_all(Builder).await.unwrap();
}
