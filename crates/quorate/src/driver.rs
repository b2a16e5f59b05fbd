//! The one task per node that polls the loops.
//!
//! The log store, the clock and every peer share it; each is polled only when it was woken. The state machine has a
//! task of its own, because it may block its thread.

use std::future::poll_fn;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::Stream;
use futures_util::stream::FuturesUnordered;

use crate::base::BoxFuture;
use crate::counting::CommandName;
use crate::errors::Fatal;
use crate::host::Host;
use crate::loops;
use crate::loops::apply::Command;
use crate::loops::log::Readers;
use crate::network::NetSnapshot;
use crate::network::RaftNetworkFactory;
use crate::publish;
use crate::publish::Watches;
use crate::storage::RaftLogStorage;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;
use crate::type_config::alias::MpscSenderOf;
use crate::type_config::alias::MutexOf;

/// What the driver polls, and what it needs to start the loops of a new peer.
pub(crate) struct Driver<C, NF, LS, SM>
where
    C: RaftTypeConfig,
    NF: RaftNetworkFactory<C>,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    pub(crate) host: Arc<Host<C>>,
    pub(crate) watches: Arc<Watches<C>>,
    pub(crate) factory: Arc<MutexOf<C, NF>>,
    pub(crate) store: LS,
    pub(crate) commands: MpscSenderOf<C, Command<SM>>,
}

/// Ends with the driver's task, however that ends: a node whose driver panicked has stopped.
struct Alive<C: RaftTypeConfig> {
    host: Arc<Host<C>>,
    watches: Arc<Watches<C>>,
}

impl<C: RaftTypeConfig> Drop for Alive<C> {
    fn drop(&mut self) {
        self.host.stop(Fatal::Panicked);
        self.watches.publish(&self.host);
    }
}

impl<C, NF, LS, SM> Driver<C, NF, LS, SM>
where
    C: RaftTypeConfig,
    NF: RaftNetworkFactory<C>,
    NF::Network: NetSnapshot<C, SnapshotData = SM::SnapshotData>,
    LS: RaftLogStorage<C>,
    SM: RaftStateMachine<C>,
{
    /// Runs until the node stops.
    pub(crate) async fn run(self) {
        let Self { host, watches, factory, store, commands } = self;
        let readers = Arc::new(Readers::default());
        let mut loops: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        // Dropped before the loops: that the driver ends is the reason for whatever the stores say when they go.
        let _alive = Alive { host: host.clone(), watches: watches.clone() };
        loops.push(Box::pin(loops::clock::run(host.clone())));
        loops.push(Box::pin(publish::run(host.clone(), watches)));
        loops.push(Box::pin(loops::log::run(host.clone(), store, readers.clone())));
        loop {
            let (fresh, stopped) =
                host.step(|state, _| (take(&mut state.fresh_peers), state.stopped.is_some()));
            if stopped {
                return;
            }
            for peer in fresh {
                host.counting.command(CommandName::RebuildReplicationStreams);
                let of = || (host.clone(), peer.clone(), factory.clone());
                let (h, p, f) = of();
                loops.push(Box::pin(loops::append::run(h, p, f, readers.clone())));
                let (h, p, f) = of();
                loops.push(Box::pin(loops::heartbeat::run(h, p, f)));
                let (h, p, f) = of();
                loops.push(Box::pin(loops::ask::run(h, p, f)));
                let (h, p, f) = of();
                loops.push(Box::pin(loops::snapshot::run::<C, NF, SM>(h, p, f, commands.clone())));
            }
            // Loops that end belong to peers that left; the log loop ends when the node stops.
            poll_fn(|cx| {
                while let Poll::Ready(Some(())) = Pin::new(&mut loops).poll_next(cx) {}
                host.driver_work.poll(cx)
            })
            .await;
        }
    }
}
