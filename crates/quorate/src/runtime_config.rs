//! What can be switched on and off while a node runs.

use std::sync::atomic::Ordering;

use quorate_core::Options;

use crate::host::Host;
use crate::type_config::RaftTypeConfig;

/// Switches for what a node does by itself, from [`Raft::runtime_config`](crate::Raft::runtime_config).
///
/// Each takes effect at once, and lasts until it is switched again or the node stops;
/// [`Raft::config`](crate::Raft::config) goes on telling what the node was started with. On a node that has stopped
/// they do nothing.
pub struct RuntimeConfigHandle<'r, C: RaftTypeConfig> {
    host: &'r Host<C>,
}

impl<'r, C: RaftTypeConfig> RuntimeConfigHandle<'r, C> {
    pub(crate) fn new(host: &'r Host<C>) -> Self {
        Self { host }
    }

    /// Whether time passes for the node: without, there are neither elections nor heartbeats, nor anything else that a
    /// deadline brings about. See [`Config::enable_tick`](crate::Config::enable_tick).
    pub fn tick(&self, enabled: bool) {
        self.host.tick_enabled.store(enabled, Ordering::Release);
        self.host.clock_work.raise();
    }

    /// Whether a leader sends heartbeats by itself. See [`Config::enable_heartbeat`](crate::Config::enable_heartbeat).
    pub fn heartbeat(&self, enabled: bool) {
        self.set(|options| options.heartbeat = enabled);
    }

    /// Whether a node that hears no leader calls an election by itself. See
    /// [`Config::enable_elect`](crate::Config::enable_elect).
    pub fn elect(&self, enabled: bool) {
        self.set(|options| options.elect = enabled);
    }

    /// Whether it asks before if it would win. See [`Config::enable_pre_vote`](crate::Config::enable_pre_vote).
    pub fn pre_vote(&self, enabled: bool) {
        self.set(|options| options.pre_vote = enabled);
    }

    /// The step that changes a setting also wakes the clock, if it is due earlier by it.
    fn set(&self, change: impl FnOnce(&mut Options)) {
        self.host.step(|state, _| change(state.replica.options_mut()));
    }
}
