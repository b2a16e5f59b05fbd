//! The replicated state in memory: the user's state machine, and what the log says of the members.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::command::{Reply, decode, encode};
use crate::config::{EntryPayload, LogId, NodeConfig, NodeTypes, StoredMembership};
use crate::member::NodeId;
use crate::state_machine::StateMachine;
use crate::status::Tombstone;

/// The version of what this crate writes before the user's part of a snapshot.
const SNAPSHOT_FORMAT: u32 = 1;
/// Memberships and tombstones are small; a longer header is damage.
const SNAPSHOT_HEADER_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// The replicated state, shared between the library that applies and the callers that read.
#[derive(Debug)]
pub struct Shared<S, C: NodeTypes = NodeConfig> {
    state: RwLock<State<S, C>>,
    /// The members and the removed as of the state, readable without waiting for a command that is applied.
    roll: RwLock<Arc<Roll<C>>>,
    /// The next index to apply: one more than the last that was applied; 0 at first.
    applied_next: watch::Sender<u64>,
}

/// The state and what belongs to it at one log index.
#[derive(Debug)]
pub struct State<S, C: NodeTypes = NodeConfig> {
    /// The user's part.
    pub machine: S,
    /// How far it has come.
    pub position: Position<C>,
}

/// Where in the log a state is, and what the log said up to there about the members.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Position<C: NodeTypes = NodeConfig> {
    /// The last entry that is applied.
    pub applied: Option<LogId<C>>,
    /// The members and the removed as of there.
    pub roll: Arc<Roll<C>>,
}

/// Who is a member, and who was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Roll<C: NodeTypes = NodeConfig> {
    /// The newest membership that is applied.
    pub membership: StoredMembership<C>,
    /// Those who were members once.
    pub tombstones: BTreeMap<NodeId, Tombstone>,
}

/// A view of the state for a snapshot.
pub(crate) struct Frozen<S: StateMachine, C: NodeTypes = NodeConfig> {
    /// Where it was taken.
    pub(crate) position: Position<C>,
    machine: S::Frozen,
}

impl<S: StateMachine, C: NodeTypes> Shared<S, C> {
    /// The state of a node that has applied nothing.
    pub fn new(machine: S) -> Arc<Self> {
        let state = RwLock::new(State { machine, position: Position::default() });
        Arc::new(Self { state, roll: RwLock::default(), applied_next: watch::Sender::new(0) })
    }

    /// The members and the removed, as of the last applied entry.
    pub fn roll(&self) -> Arc<Roll<C>> {
        self.roll.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, roll: &Arc<Roll<C>>) {
        *self.roll.write().unwrap_or_else(PoisonError::into_inner) = roll.clone();
    }

    /// The state, which does not change while the guard is held.
    pub fn read(&self) -> RwLockReadGuard<'_, State<S, C>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<S, C>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the last applied entry.
    pub fn applied(&self) -> Option<u64> {
        self.applied_next.borrow().checked_sub(1)
    }

    /// Waits until the entry at `index` is applied. Cancellation safe.
    pub async fn wait_applied(&self, index: u64) {
        // The sender lives as long as self, so the wait can only end with the index.
        let _ = self.applied_next.subscribe().wait_for(|next| *next > index).await;
    }

    /// Applies one entry, and tells the readers that wait for it.
    pub(crate) fn apply(&self, entry: C::Entry) -> io::Result<Reply> {
        let mut state = self.write();
        let state = &mut *state;
        let index = entry.log_id.index;
        let reply = match entry.payload {
            EntryPayload::Blank => Reply(Bytes::new()),
            EntryPayload::Normal(command) => {
                let command = command.decode().map_err(|cause| {
                    invalid(format!(
                        "the command at index {index} is of a newer version, or damaged: {cause}"
                    ))
                })?;
                let response = unpanicked(|| state.machine.apply(index, command)).map_err(|cause| {
                    invalid(format!("the state machine panicked at index {index}: {cause}"))
                })?;
                Reply(encode(&response).map_err(invalid)?)
            }
            EntryPayload::Membership(membership) => {
                let membership = StoredMembership::<C>::new(Some(entry.log_id.clone()), membership);
                state.position.roll = Arc::new(state.position.roll.followed_by(membership));
                self.publish(&state.position.roll);
                Reply(Bytes::new())
            }
        };
        state.position.applied = Some(entry.log_id);
        self.applied_next.send_replace(index.saturating_add(1));
        Ok(reply)
    }

    pub(crate) fn freeze(&self) -> Frozen<S, C> {
        let state = self.read();
        let mut position = state.position.clone();
        if quorate_core::mutant!(26) {
            position.applied.iter_mut().for_each(|id| id.index = id.index.saturating_sub(1))
        }
        if quorate_core::mutant!(29) {
            position.roll = Arc::default()
        }
        Frozen { position, machine: state.machine.freeze() }
    }

    /// Reads a snapshot, and takes its state over in one step when it was read whole. Blocks.
    pub(crate) fn install(&self, expected: Option<LogId<C>>, input: &mut dyn Read) -> io::Result<()> {
        let position: Position<C> = read_header(input)?;
        if position.applied != expected {
            let found = position.applied;
            return Err(invalid(format!(
                "a snapshot of {expected:?} was announced, and this is one of {found:?}"
            )));
        }
        // Only the library's state machine task changes the state, and it is the one that waits here.
        let machine = unpanicked(|| self.read().machine.read_snapshot(input)).map_err(|cause| {
            invalid(format!("the state machine panicked while it read a snapshot: {cause}"))
        })??;
        let replaced = std::mem::replace(&mut *self.write(), State { machine, position: position.clone() });
        drop(replaced);
        self.publish(&position.roll);
        self.applied_next.send_replace(position.applied.map_or(0, |applied| applied.index.saturating_add(1)));
        Ok(())
    }
}

impl<C: NodeTypes> Roll<C> {
    /// The roll after a new membership: the members that are in it no more are buried.
    fn followed_by(&self, membership: StoredMembership<C>) -> Self {
        let index = membership.log_id().as_ref().map_or(0, |log_id| log_id.index);
        let present: BTreeSet<NodeId> = membership.nodes().map(|(id, _)| *id).collect();
        let gone = self.membership.nodes().filter(|(id, _)| !present.contains(id));
        let buried = gone.map(|(id, member)| (*id, Tombstone { id: *id, uid: member.uid, index }));
        let tombstones = self.tombstones.clone().into_iter().chain(buried).collect();
        Self { membership, tombstones }
    }
}

impl<S: StateMachine, C: NodeTypes> Frozen<S, C> {
    /// Writes the snapshot: what belongs to this crate, then the user's part. Blocks.
    pub(crate) fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let header = encode(&self.position).map_err(invalid)?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        out.write_all(&SNAPSHOT_FORMAT.to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&header)?;
        S::write_snapshot(self.machine, out)
    }
}

/// Reads the part of a snapshot that belongs to this crate, and leaves `input` at the user's part.
pub(crate) fn read_header<C: NodeTypes>(input: &mut dyn Read) -> io::Result<Position<C>> {
    let found = read_u32(input)?;
    if found != SNAPSHOT_FORMAT {
        return Err(invalid(format!(
            "the snapshot has format {found}, this version reads {SNAPSHOT_FORMAT}"
        )));
    }
    let length = read_u32(input)?;
    if length > SNAPSHOT_HEADER_BYTES_MAX {
        return Err(invalid(format!("the snapshot's header claims {length} bytes")));
    }
    // Read as it comes rather than allocated as it claims.
    let mut header = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut header)?;
    decode(&header).map_err(|cause| invalid(format!("the snapshot's header cannot be read: {cause}")))
}

fn read_u32(input: &mut dyn Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(crate) fn invalid(cause: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause.into())
}

/// Runs user code; a panic in it becomes an error with the panic's message.
fn unpanicked<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use quorate::Membership;
    use quorate::type_config::alias::EntryOf;

    use super::*;
    use crate::command::Command;
    use crate::member::{Member, Uid};

    type Entry = EntryOf<NodeConfig>;

    #[derive(Debug, Default, PartialEq)]
    struct Sum(u64);

    impl StateMachine for Sum {
        type Command = u64;
        type Response = u64;
        type Frozen = u64;

        fn apply(&mut self, _index: u64, add: u64) -> u64 {
            assert_ne!(add, 13, "unlucky");
            self.0 += add;
            self.0
        }

        fn freeze(&self) -> u64 {
            self.0
        }

        fn write_snapshot(frozen: u64, out: &mut dyn Write) -> io::Result<()> {
            out.write_all(&frozen.to_le_bytes())
        }

        fn read_snapshot(&self, input: &mut dyn Read) -> io::Result<Self> {
            let mut bytes = [0; 8];
            input.read_exact(&mut bytes)?;
            Ok(Self(u64::from_le_bytes(bytes)))
        }
    }

    fn entry(index: u64, payload: EntryPayload) -> Entry {
        let leader_id = quorate::vote::leader_id_adv::LeaderId { term: 1, node_id: 1 };
        Entry { log_id: LogId::<NodeConfig> { leader_id, index }, payload }
    }

    fn add(index: u64, number: u64) -> Entry {
        entry(index, EntryPayload::Normal(Command::new(encode(&number).unwrap())))
    }

    fn members(index: u64, ids: &[NodeId]) -> Entry {
        let member = |id: &NodeId| {
            let peer_addr = format!("host{id}:1");
            (*id, Member { uid: Uid(u128::from(*id) + 100), peer_addr, client_addr: String::new() })
        };
        let nodes: BTreeMap<NodeId, Member> = ids.iter().map(member).collect();
        entry(index, EntryPayload::Membership(Membership::from(nodes)))
    }

    /// Members 1, 2 and 3, of which 3 was removed at index 4; the sum is 12 at index 5.
    fn used() -> Arc<Shared<Sum>> {
        let shared = Shared::new(Sum::default());
        for entry in
            [members(1, &[1, 2, 3]), add(2, 5), entry(3, EntryPayload::Blank), members(4, &[1, 2]), add(5, 7)]
        {
            shared.apply(entry).unwrap();
        }
        shared
    }

    fn snapshot(shared: &Shared<Sum>) -> Vec<u8> {
        let mut bytes = Vec::new();
        shared.freeze().write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn row_19_members_that_leave_are_buried_and_stay_so_in_snapshots() {
        let shared = used();
        let grave = Tombstone { id: 3, uid: Uid(103), index: 4 };
        assert_eq!(shared.roll().tombstones, [(3, grave)].into());
        let other = Shared::new(Sum::default());
        other.install(shared.read().position.applied, &mut snapshot(&shared).as_slice()).unwrap();
        assert_eq!(other.roll(), shared.roll());
        assert_eq!((other.read().machine.0, other.applied()), (12, Some(5)));
        assert_eq!(snapshot(&other), snapshot(&shared), "equal states give equal bytes");
    }

    #[test]
    fn a_snapshot_shows_the_state_when_it_was_frozen() {
        let shared = used();
        let frozen = shared.freeze();
        shared.apply(add(6, 100)).unwrap();
        let mut bytes = Vec::new();
        frozen.write(&mut bytes).unwrap();
        let position: Position = read_header(&mut bytes.as_slice()).unwrap();
        assert_eq!(position.applied.unwrap().index, 5);
        assert_eq!(bytes.last_chunk::<8>(), Some(&12u64.to_le_bytes()));
    }

    #[test]
    fn a_damaged_snapshot_is_an_error_and_changes_nothing() {
        let shared = used();
        let bytes = snapshot(&shared);
        let target: Arc<Shared<Sum>> = Shared::new(Sum(1));
        let expected = shared.read().position.applied;
        for length in 0..bytes.len() {
            assert!(target.install(expected, &mut &bytes[..length]).is_err(), "cut at {length}");
        }
        let mut newer = bytes.clone();
        newer[0] = 9;
        assert!(
            target.install(expected, &mut newer.as_slice()).unwrap_err().to_string().contains("format 9")
        );
        let mut endless = bytes.clone();
        endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(
            target.install(expected, &mut endless.as_slice()).unwrap_err().to_string().contains("claims")
        );
        let other = target.install(None, &mut bytes.as_slice()).unwrap_err();
        assert!(other.to_string().contains("announced"), "{other}");
        assert_eq!((target.read().machine.0, target.applied()), (1, None));
    }

    #[test]
    fn row_48_a_panic_and_an_unknown_command_are_errors_that_name_the_index() {
        let shared = used();
        let panicked = shared.apply(add(6, 13)).unwrap_err().to_string();
        assert!(panicked.contains("index 6") && panicked.contains("unlucky"), "{panicked}");
        let unknown = EntryPayload::Normal(Command::new(Bytes::from_static(&[0xff])));
        let unknown = shared.apply(entry(7, unknown)).unwrap_err().to_string();
        assert!(unknown.contains("index 7") && unknown.contains("newer version"), "{unknown}");
        assert_eq!(shared.applied(), Some(5));
    }
}
