//! The stores that these tests rely on keep the storage contract.

use quorate::StorageError;
use quorate::testing::log::StoreBuilder;
use quorate::testing::log::Suite;

use crate::stores::Machine;
use crate::stores::MemLog;
use crate::stores::Types;

struct InMemory;

impl StoreBuilder<Types, MemLog, Machine> for InMemory {
    async fn build(&self) -> Result<((), MemLog, Machine), StorageError<Types>> {
        Ok(((), MemLog::default(), Machine::default()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_stores_in_memory_pass_the_suite() {
    Suite::test_all(InMemory).await.unwrap();
}
