//! What a node is told before it starts.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ConfigError, StartError};
use crate::member::NodeId;
use crate::node::Node;
use crate::state_machine::StateMachine;

/// How many heartbeats must fit into the shortest election timeout.
const ELECTION_HEARTBEATS_MIN: u32 = 5;
/// The longest timeout of any kind that makes sense: one hour.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// What to do with a data directory that holds no node yet. A directory that does is resumed, whatever is said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fresh {
    Refuse,
    Wait,
    Found,
    Join(String),
}

/// Options of a node, each with a default that suits a local network; see [`Node::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(crate) id: NodeId,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_addr: String,
    pub(crate) advertise_addr: Option<String>,
    pub(crate) client_addr: String,
    pub(crate) fresh: Fresh,
    pub(crate) heartbeat: Duration,
    pub(crate) election_min: Duration,
    pub(crate) election_max: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) bind_timeout: Duration,
    pub(crate) join_timeout: Duration,
    pub(crate) snapshot_every: u64,
    pub(crate) snapshot_keep: u64,
    pub(crate) command_bytes_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) learner_lag_max: u64,
}

impl Builder {
    pub(crate) fn new(id: NodeId, data_dir: PathBuf, listen_addr: String) -> Self {
        Self {
            id,
            data_dir,
            listen_addr,
            advertise_addr: None,
            client_addr: String::new(),
            fresh: Fresh::Refuse,
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            request_timeout: Duration::from_secs(10),
            bind_timeout: Duration::from_secs(10),
            join_timeout: Duration::from_secs(30),
            snapshot_every: 100_000,
            snapshot_keep: 10_000,
            command_bytes_max: 2 * 1024 * 1024,
            in_flight_max: 16_384,
            in_flight_bytes_max: 64 * 1024 * 1024,
            learner_lag_max: 1_000,
        }
    }

    /// With a fresh data directory: found a new cluster of which this node is the only member.
    ///
    /// A directory that holds a node already is resumed instead, so the same call serves every start.
    pub fn found(mut self) -> Self {
        self.fresh = Fresh::Found;
        self
    }

    /// With a fresh data directory: join, as a learner, the cluster of the member at `addr` (`host:port`).
    ///
    /// A directory that holds a node already is resumed instead, so the same call serves every start.
    pub fn join(mut self, addr: impl Into<String>) -> Self {
        self.fresh = Fresh::Join(addr.into());
        self
    }

    /// With a fresh data directory: start without a cluster, and wait for [`Node::init`], for [`Node::join`], or for a
    /// member that was told to add this node.
    ///
    /// Without this, [`found`](Self::found) or [`join`](Self::join), a fresh directory is refused with
    /// [`StartError::NoData`]: an empty disk may as well be a lost one.
    pub fn wait(mut self) -> Self {
        self.fresh = Fresh::Wait;
        self
    }

    /// Where other members reach this node, `host:port`, if that is not the address it listens on.
    pub fn advertise_addr(mut self, addr: impl Into<String>) -> Self {
        self.advertise_addr = Some(addr.into());
        self
    }

    /// Where clients of the application reach this node; members tell it to each other, and do not use it themselves.
    /// Empty by default.
    pub fn client_addr(mut self, addr: impl Into<String>) -> Self {
        self.client_addr = addr.into();
        self
    }

    /// How often a leader shows that it is alive. 100 ms by default.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How long a follower waits for its leader before it asks for votes: each time a random length in this range,
    /// the shortest at least five heartbeats. 500 to 1000 ms by default. Also the length of a leader's lease.
    pub fn election_timeout(mut self, min: Duration, max: Duration) -> Self {
        self.election_min = min;
        self.election_max = max;
        self
    }

    /// How long a proposal, a read or a membership change may take, with all retries. 10 s by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long to retry listening while the address is in use or does not resolve. 10 s by default.
    pub fn bind_timeout(mut self, timeout: Duration) -> Self {
        self.bind_timeout = timeout;
        self
    }

    /// How long to retry joining. 30 s by default.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// Take a snapshot after this many log entries. 100,000 by default: a snapshot writes the whole state.
    pub fn snapshot_every(mut self, entries: u64) -> Self {
        self.snapshot_every = entries;
        self
    }

    /// Keep this many log entries that a snapshot covers, for members that lag a little. 10,000 by default.
    pub fn snapshot_keep(mut self, entries: u64) -> Self {
        self.snapshot_keep = entries;
        self
    }

    /// The longest encoded command, in bytes; the same on every node. 2 MiB by default.
    pub fn command_bytes_max(mut self, bytes: usize) -> Self {
        self.command_bytes_max = bytes;
        self
    }

    /// How many proposals of local and forwarded callers may wait for their answers, in number and in bytes; one more
    /// is refused with [`ProposeError::Overloaded`](crate::ProposeError::Overloaded). 16,384 and 64 MiB by default.
    pub fn in_flight_max(mut self, proposals: usize, bytes: usize) -> Self {
        self.in_flight_max = proposals;
        self.in_flight_bytes_max = bytes;
        self
    }

    /// How many entries a learner may lack when it is promoted. 1,000 by default.
    pub fn learner_lag_max(mut self, entries: u64) -> Self {
        self.learner_lag_max = entries;
        self
    }

    /// Checks the options, opens or formats the data directory, listens, and starts the node.
    ///
    /// `machine` is the state before any command; it must be the same on every node. What the data directory holds is
    /// applied to it before this returns. With [`join`](Self::join), this returns when the cluster has taken the node
    /// in as a learner; it catches up in the background.
    ///
    /// Not cancellation safe: a dropped future may leave a formatted directory, with which a later start resumes.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing keeps running then.
    pub async fn start<S: StateMachine>(self, machine: S) -> Result<Node<S>, StartError> {
        self.check()?;
        crate::start::start(self, machine).await
    }

    /// Checks the options against each other, without touching anything.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, with the values that break it.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("heartbeat (ms)", self.heartbeat),
            ("election_timeout min (ms)", self.election_min),
            ("election_timeout max (ms)", self.election_max),
            ("request_timeout (ms)", self.request_timeout),
        ] {
            in_range(name, millis(value), 1, millis(DURATION_MAX))?;
        }
        if self.election_max <= self.election_min {
            return Err(ConfigError::ElectionRange { min: self.election_min, max: self.election_max });
        }
        if self.election_min < self.heartbeat.saturating_mul(ELECTION_HEARTBEATS_MIN) {
            return Err(ConfigError::ElectionTooShort {
                election: self.election_min,
                heartbeat: self.heartbeat,
                min_ratio: ELECTION_HEARTBEATS_MIN,
            });
        }
        in_range("id", self.id, 1, u64::MAX)?;
        in_range("snapshot_every", self.snapshot_every, 1, u64::MAX)?;
        in_range("command_bytes_max", self.command_bytes_max as u64, 1, 4 * 1024 * 1024)?;
        in_range("in_flight_max (proposals)", self.in_flight_max as u64, 1, 1 << 24)?;
        in_range(
            "in_flight_max (bytes)",
            self.in_flight_bytes_max as u64,
            self.command_bytes_max as u64,
            1 << 32,
        )?;
        self.check_addresses()
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        is_address("listen_addr", &self.listen_addr)?;
        if let Some(addr) = &self.advertise_addr {
            is_address("advertise_addr", addr)?;
        } else if is_unspecified(&self.listen_addr) {
            return Err(ConfigError::Unspecified { addr: self.listen_addr.clone() });
        }
        if let Fresh::Join(addr) = &self.fresh {
            is_address("join", addr)?;
            if *addr == self.listen_addr || Some(addr) == self.advertise_addr.as_ref() {
                return Err(ConfigError::SelfConnection { addr: addr.clone() });
            }
        }
        Ok(())
    }
}

/// Whether an address means "all of mine", which says nothing to others.
fn is_unspecified(addr: &str) -> bool {
    addr.parse::<std::net::SocketAddr>().is_ok_and(|addr| addr.ip().is_unspecified())
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn in_range(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { name, value, min, max }) }
}

pub(crate) fn is_address(name: &'static str, addr: &str) -> Result<(), ConfigError> {
    let valid =
        addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid { Ok(()) } else { Err(ConfigError::Address { name, addr: addr.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> Builder {
        Builder::new(1, "data".into(), "127.0.0.1:7001".to_owned())
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_defaults_pass() {
        assert_eq!(builder().check(), Ok(()));
    }

    #[test]
    fn row_37_an_election_timeout_near_the_heartbeat_is_refused_with_both_values_and_the_rule() {
        let error = builder().heartbeat(ms(100)).election_timeout(ms(499), ms(900)).check().unwrap_err();
        assert_eq!(
            error,
            ConfigError::ElectionTooShort { election: ms(499), heartbeat: ms(100), min_ratio: 5 }
        );
        let text = error.to_string();
        assert!(text.contains("499 ms") && text.contains("100 ms") && text.contains("5 times"), "{text}");
        assert_eq!(builder().heartbeat(ms(100)).election_timeout(ms(500), ms(900)).check(), Ok(()));
    }

    #[test]
    fn row_37_zero_absurd_and_inverted_timeouts_are_refused() {
        for broken in [
            builder().heartbeat(ms(0)),
            builder().election_timeout(ms(0), ms(0)),
            builder().election_timeout(ms(500), Duration::MAX),
            builder().request_timeout(ms(0)),
        ] {
            assert!(matches!(broken.check(), Err(ConfigError::OutOfRange { .. })), "{broken:?}");
        }
        let inverted = builder().election_timeout(ms(900), ms(500)).check().unwrap_err();
        assert_eq!(inverted, ConfigError::ElectionRange { min: ms(900), max: ms(500) });
    }

    #[test]
    fn row_3_a_node_that_is_to_join_itself_is_told_so_before_anything_starts() {
        let error = builder().join("127.0.0.1:7001").check().unwrap_err();
        assert_eq!(error, ConfigError::SelfConnection { addr: "127.0.0.1:7001".to_owned() });
    }

    #[test]
    fn an_address_that_others_cannot_reach_is_not_advertised() {
        for addr in ["0.0.0.0:7001", "[::]:7001"] {
            let mut all = builder();
            all.listen_addr = addr.to_owned();
            assert_eq!(all.check(), Err(ConfigError::Unspecified { addr: addr.to_owned() }));
            assert_eq!(all.advertise_addr("node1:7001").check(), Ok(()));
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for addr in ["", "host", "host:", ":1", "host:99999"] {
            let mut broken = builder();
            broken.listen_addr = addr.to_owned();
            assert!(matches!(broken.check(), Err(ConfigError::Address { .. })), "{addr:?}");
        }
        assert_eq!(builder().join("[::1]:7002").check(), Ok(()));
    }
}
