//! Looking at a node's whole state.

use crate::base::OptionalSend;
use crate::counting::RaftMsgName;
use crate::errors::Fatal;
use crate::raft::Raft;
use crate::raft_state::RaftState;
use crate::runtime::Mutex;
use crate::storage::RaftStateMachine;
use crate::type_config::RaftTypeConfig;

impl<C, SM> Raft<C, SM>
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    /// Shows the node's state to `f`, and returns what it returns.
    ///
    /// `f` sees what follows from every call that returned before, and runs in the caller's task, on a copy: however long
    /// it takes, and even if it panics, the node goes on. If the future is dropped before `f` has its turn, it is not
    /// called.
    pub async fn with_raft_state<F, V>(&self, f: F) -> Result<V, Fatal<C>>
    where
        F: FnOnce(&RaftState<C>) -> V + OptionalSend + 'static,
        V: OptionalSend + 'static,
    {
        let inner = &self.inner;
        inner.host.counting.message(RaftMsgName::WithRaftState);
        // In turns, so that closures see the state move forward only. The host's lock is not held: `f` is the user's.
        let _turn = inner.inspecting.lock().await;
        let state = inner.host.look(|state, _| match &state.stopped {
            Some(fatal) => Err(fatal.clone()),
            None => Ok(RaftState::of_node(&inner.host, state)),
        })?;
        Ok(f(&state))
    }

    /// Shows the node's state to `f`, like [`with_raft_state`](Self::with_raft_state); returns when it has run.
    pub async fn external_request<F>(&self, f: F) -> Result<(), Fatal<C>>
    where
        F: FnOnce(&RaftState<C>) + OptionalSend + 'static,
    {
        self.with_raft_state(f).await
    }
}
