//! The numbers that a node runs by.

use std::time::Duration;

use rand::RngExt;
use thiserror::Error as ThisError;

use crate::backoff::BackoffSeries;
use crate::backoff::ParseError;
use crate::errors::BoxedErrorSource;
use crate::network::Backoff;
use crate::runtime::AsyncRuntime;

/// The numbers that a node runs by. Times are in milliseconds.
///
/// [`Config::default`] suits a local network and a fast disk. [The guide](crate::docs::configuration) has all fields in one
/// table, with when to change them. [`validate`](Self::validate) a config before a node is given it.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "clap", derive(clap::Parser))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// A label of the cluster, for the application; the library makes nothing of it
    #[cfg_attr(feature = "clap", arg(long, default_value = "foo"))]
    pub cluster_name: String,

    /// Least time without a leader before an election; also how long a vote request may take
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 150))]
    pub election_timeout_min: u64,

    /// Greatest time without a leader before an election; also how long a leader's lease lasts
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 300))]
    pub election_timeout_max: u64,

    /// Time between heartbeats; also how long an append request may take
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 50))]
    pub heartbeat_interval: u64,

    /// No heartbeat to a follower that answered another request within this time; 0 for always one
    #[cfg_attr(feature = "clap", arg(long, default_value = "0"))]
    pub heartbeat_min_interval: Option<u64>,

    /// How long sending a snapshot, or a chunk of it, may take
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 200))]
    pub install_snapshot_timeout: u64,

    /// Accepted for compatibility: sending a snapshot may take as long as `install_snapshot_timeout` says
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 0))]
    #[deprecated(note = "use `install_snapshot_timeout`")]
    pub send_snapshot_timeout: u64,

    /// Most entries in an append request
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 300))]
    pub max_payload_entries: u64,

    /// Most entries that are handed to the log store at once; 4096 if not given
    #[cfg_attr(feature = "clap", arg(long, default_value = "4096"))]
    pub max_append_entries: Option<u64>,

    /// A learner that lags by no more entries than this is up to date
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 5000))]
    pub replication_lag_threshold: u64,

    /// When to build a snapshot: `since_last:N` entries, or `never`
    #[cfg_attr(
        feature = "clap",
        arg(long, default_value = "since_last:5000", value_parser = text::snapshot_policy)
    )]
    pub snapshot_policy: SnapshotPolicy,

    /// Size of the chunks that a snapshot is sent in, in bytes or with a unit, such as `3MiB`
    #[cfg_attr(feature = "clap", arg(long, default_value = "3MiB", value_parser = text::bytes))]
    pub snapshot_max_chunk_size: u64,

    /// Entries to keep that a snapshot covers
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1000))]
    pub max_in_snapshot_log_to_keep: u64,

    /// Least entries to remove at once
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 1))]
    pub purge_batch_size: u64,

    /// Most writes under way at a time, of which further callers wait for the end; 65536 if not given
    #[cfg_attr(feature = "clap", arg(long, default_value = "65536"))]
    pub api_channel_size: Option<u64>,

    /// Most writes of clients that are handed to the log store at once
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 4096))]
    pub api_batch_capacity: u64,

    /// How long a leader holds writes back to hand more of them to the log store at once; 0 for not at all
    #[cfg_attr(feature = "clap", arg(long, default_value_t = 0))]
    pub api_batch_linger_ms: u64,

    /// Accepted for compatibility: what happens inside of the node is dealt with at once, and never waits in a queue
    #[cfg_attr(feature = "clap", arg(long, default_value = "65536"))]
    pub notification_channel_size: Option<u64>,

    /// Most closures of callers that wait for the state machine; 1024 if not given
    #[cfg_attr(feature = "clap", arg(long, default_value = "1024"))]
    pub state_machine_channel_size: Option<u64>,

    /// Most stretches of entries that are timed on their way, with the feature `runtime-stats`; 1024 if not given
    #[cfg_attr(feature = "clap", arg(long))]
    pub log_stage_capacity: Option<u64>,

    /// Whether entries are sent as soon as the log can read them
    #[cfg_attr(feature = "clap", arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub broadcast_submitted_on_append: Option<bool>,

    /// Whether time passes: without, there are neither elections nor heartbeats
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            action = clap::ArgAction::Set,
            num_args = 0..=1,
            require_equals = true,
            default_value_t = true,
            default_missing_value = "true"
        )
    )]
    pub enable_tick: bool,

    /// Whether the leader sends heartbeats by itself
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            action = clap::ArgAction::Set,
            num_args = 0..=1,
            require_equals = true,
            default_value_t = true,
            default_missing_value = "true"
        )
    )]
    pub enable_heartbeat: bool,

    /// Whether a follower without a leader calls an election by itself
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            action = clap::ArgAction::Set,
            num_args = 0..=1,
            require_equals = true,
            default_value_t = true,
            default_missing_value = "true"
        )
    )]
    pub enable_elect: bool,

    /// When a leader steps down that is no member any more: after a time, or `never`
    #[cfg_attr(feature = "clap", arg(long, default_value = "150", value_parser = text::step_down_policy))]
    #[cfg_attr(feature = "serde", serde(default))]
    pub removed_leader_step_down: StepDownPolicy,

    /// A leader without a quorum is silent for this time and sends heartbeats for as long, in turns
    #[cfg_attr(feature = "clap", arg(long))]
    #[cfg_attr(feature = "serde", serde(default))]
    pub quorum_loss_probe_interval: Option<u64>,

    /// Whether a node asks if it would win before it calls an election
    #[cfg_attr(feature = "clap", arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub enable_pre_vote: Option<bool>,

    /// Delays between attempts to reach a node, such as `10ms 20ms ..1s`
    #[cfg_attr(feature = "clap", arg(long, default_value = BACKOFF_DEFAULT))]
    pub backoff: String,

    /// Whether handing leadership over ends the delays between attempts
    #[cfg_attr(feature = "clap", arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub reset_backoff_on_transfer_leader: Option<bool>,

    /// Whether a follower may lose entries and be sent them again; of use in tests only
    #[cfg_attr(feature = "clap", arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub allow_log_reversion: Option<bool>,

    /// Whether a leader that is started again leads on without an election
    #[cfg_attr(feature = "clap", arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub enable_leader_restore: Option<bool>,
}

/// The delays of [`Config::backoff`] unless given.
const BACKOFF_DEFAULT: &str = "200ms";

impl Default for Config {
    #[expect(deprecated, reason = "all fields are set")]
    fn default() -> Self {
        Self {
            cluster_name: "foo".to_string(),
            election_timeout_min: 150,
            election_timeout_max: 300,
            heartbeat_interval: 50,
            heartbeat_min_interval: Some(0),
            install_snapshot_timeout: 200,
            send_snapshot_timeout: 0,
            max_payload_entries: 300,
            max_append_entries: Some(4096),
            replication_lag_threshold: 5000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(5000),
            snapshot_max_chunk_size: 3 * 1024 * 1024,
            max_in_snapshot_log_to_keep: 1000,
            purge_batch_size: 1,
            api_channel_size: Some(65536),
            api_batch_capacity: 4096,
            api_batch_linger_ms: 0,
            notification_channel_size: Some(65536),
            state_machine_channel_size: Some(1024),
            log_stage_capacity: None,
            broadcast_submitted_on_append: None,
            enable_tick: true,
            enable_heartbeat: true,
            enable_elect: true,
            removed_leader_step_down: StepDownPolicy::default(),
            quorum_loss_probe_interval: None,
            enable_pre_vote: None,
            backoff: BACKOFF_DEFAULT.to_string(),
            reset_backoff_on_transfer_leader: None,
            allow_log_reversion: None,
            enable_leader_restore: None,
        }
    }
}

impl Config {
    /// From a command line, of which the first item is the name of the program. It is validated.
    #[cfg(feature = "clap")]
    pub fn build(args: &[&str]) -> Result<Config, ConfigError> {
        use clap::Parser;

        use crate::errors::ErrorSource;

        let config = Self::try_parse_from(args).map_err(|error| ConfigError::ParseError {
            source: BoxedErrorSource::from_string(error),
            args: args.iter().map(ToString::to_string).collect(),
        })?;
        config.validate()
    }

    /// Errors if the numbers contradict each other.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let election_timeout_min = self.election_timeout_min;
        let election_timeout_max = self.election_timeout_max;
        let heartbeat_interval = self.heartbeat_interval;
        if election_timeout_min >= election_timeout_max {
            return Err(ConfigError::ElectionTimeout {
                min: election_timeout_min,
                max: election_timeout_max,
            });
        }
        if election_timeout_min <= heartbeat_interval {
            return Err(ConfigError::ElectionTimeoutLTHeartBeat { election_timeout_min, heartbeat_interval });
        }
        let heartbeat_min_interval = self.heartbeat_min_interval.unwrap_or(0);
        let tick = u64::try_from(self.tick_interval().as_millis()).unwrap_or(u64::MAX);
        let contact_gap = heartbeat_min_interval.saturating_add(heartbeat_interval).saturating_add(tick);
        if heartbeat_min_interval > 0 && election_timeout_min <= contact_gap {
            return Err(ConfigError::HeartbeatMinIntervalTooLarge {
                election_timeout_min,
                heartbeat_interval,
                heartbeat_min_interval,
            });
        }
        if self.max_payload_entries == 0 {
            return Err(ConfigError::MaxPayloadIs0);
        }
        if let Some(probe_interval) = self.quorum_loss_probe_interval
            && probe_interval < election_timeout_max.saturating_mul(2)
        {
            return Err(ConfigError::QuorumLossProbeIntervalTooSmall {
                election_timeout_max,
                probe_interval,
            });
        }
        BackoffSeries::parse(&self.backoff)?;
        Ok(self)
    }

    /// A time in milliseconds, from the least election timeout to below the greatest.
    pub fn new_rand_election_timeout<RT: AsyncRuntime>(&self) -> u64 {
        let timeouts = self.election_timeout_min..self.election_timeout_max;
        if timeouts.is_empty() { self.election_timeout_min } else { RT::thread_rng().random_range(timeouts) }
    }

    /// How long sending a snapshot, or a chunk of it, may take.
    pub fn install_snapshot_timeout(&self) -> Duration {
        Duration::from_millis(self.install_snapshot_timeout)
    }

    /// How long sending a snapshot may take.
    #[deprecated(note = "use `install_snapshot_timeout`")]
    #[expect(deprecated, reason = "reads the field of the same name")]
    pub fn send_snapshot_timeout(&self) -> Duration {
        match self.send_snapshot_timeout {
            0 => self.install_snapshot_timeout(),
            timeout => Duration::from_millis(timeout),
        }
    }

    /// The delays that [`backoff`](Self::backoff) describes; those of the default if it cannot be read, which
    /// [`validate`](Self::validate) would have said.
    pub fn build_backoff(&self) -> Backoff {
        let series = BackoffSeries::parse(&self.backoff).or_else(|error| {
            tracing::warn!(%error, default = BACKOFF_DEFAULT, "the default backoff is used");
            BackoffSeries::parse(BACKOFF_DEFAULT)
        });
        Backoff::new(series.into_iter().flat_map(BackoffSeries::delays))
    }

    /// Time between heartbeats, and how long an append request may take; a clock that stands still helps nobody.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval.max(1))
    }

    /// How often a node looks at the clock.
    pub(crate) fn tick_interval(&self) -> Duration {
        Duration::from_millis((self.heartbeat_interval.saturating_mul(13) / 64).max(1))
    }
}

/// When to build a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SnapshotPolicy {
    /// When this many entries are committed since the last one.
    LogsSinceLast(u64),
    /// Only when asked to.
    Never,
}

/// When a leader steps down that is no member any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum StepDownPolicy {
    /// When asked to.
    Never,
    /// So many milliseconds after the membership without it is committed.
    After(u64),
}

impl Default for StepDownPolicy {
    fn default() -> Self {
        Self::After(150)
    }
}

/// Why a config cannot be used.
#[derive(Debug, PartialEq, Eq, ThisError)]
pub enum ConfigError {
    /// The command line cannot be read.
    #[error("ParseError: {source} while parsing ({args:?})")]
    ParseError {
        /// Why.
        source: BoxedErrorSource,
        /// The command line.
        args: Vec<String>,
    },
    /// There is no time between the least and the greatest election timeout.
    #[error("election timeout: min({min}) must be < max({max})")]
    ElectionTimeout {
        /// The least, in milliseconds.
        min: u64,
        /// The greatest, in milliseconds.
        max: u64,
    },
    /// Elections would start before a heartbeat.
    #[error(
        "election_timeout_min({election_timeout_min}) must be > heartbeat_interval({heartbeat_interval})"
    )]
    ElectionTimeoutLTHeartBeat {
        /// The least election timeout, in milliseconds.
        election_timeout_min: u64,
        /// The time between heartbeats, in milliseconds.
        heartbeat_interval: u64,
    },
    /// Elections would start between two signs of life.
    #[error(
        "election_timeout_min({election_timeout_min}) must be > heartbeat_min_interval({heartbeat_min_interval}) + heartbeat_interval({heartbeat_interval}) + one tick"
    )]
    HeartbeatMinIntervalTooLarge {
        /// The least election timeout, in milliseconds.
        election_timeout_min: u64,
        /// The time between heartbeats, in milliseconds.
        heartbeat_interval: u64,
        /// The time without heartbeats after an answer, in milliseconds.
        heartbeat_min_interval: u64,
    },
    /// No entry could be sent.
    #[error("max_payload_entries must be > 0")]
    MaxPayloadIs0,
    /// A silent leader would not be silent for long enough for another to be elected.
    #[error(
        "quorum_loss_probe_interval({probe_interval}) must be >= 2 * election_timeout_max({election_timeout_max})"
    )]
    QuorumLossProbeIntervalTooSmall {
        /// The greatest election timeout, in milliseconds.
        election_timeout_max: u64,
        /// How long a leader without a quorum is silent, in milliseconds.
        probe_interval: u64,
    },
    /// The delays cannot be read.
    #[error(transparent)]
    InvalidBackoff(#[from] ParseError),
    /// A snapshot policy cannot be read.
    #[error("snapshot policy string is invalid: '{invalid:?}' expect: '{syntax}'")]
    InvalidSnapshotPolicy {
        /// What was given.
        invalid: String,
        /// What can be read.
        syntax: String,
    },
    /// A number cannot be read.
    #[error("{reason} when parsing {invalid:?}")]
    InvalidNumber {
        /// What was given.
        invalid: String,
        /// Why.
        reason: String,
    },
}

/// Values of a command line.
#[cfg(feature = "clap")]
mod text {
    use super::ConfigError;
    use super::SnapshotPolicy;
    use super::StepDownPolicy;

    pub(super) fn snapshot_policy(text: &str) -> Result<SnapshotPolicy, ConfigError> {
        if text == "never" {
            return Ok(SnapshotPolicy::Never);
        }
        let Some(entries) = text.strip_prefix("since_last:") else {
            return Err(ConfigError::InvalidSnapshotPolicy {
                invalid: text.to_string(),
                syntax: "never|since_last:<num>".to_string(),
            });
        };
        number(entries).map(SnapshotPolicy::LogsSinceLast)
    }

    pub(super) fn step_down_policy(text: &str) -> Result<StepDownPolicy, ConfigError> {
        let never = ["never", "no", "none", "off", "false"];
        if never.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(StepDownPolicy::Never);
        }
        number(text).map(StepDownPolicy::After)
    }

    /// A number of bytes, with an optional unit: `k`, `M`, `G` or `T`, of 1024 with `i`, `B` or not.
    pub(super) fn bytes(text: &str) -> Result<u64, ConfigError> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_at);
        let unit = unit.trim().to_ascii_lowercase();
        let factor: Option<u64> = match unit.strip_suffix('b').unwrap_or(&unit) {
            "" => Some(1),
            "k" => Some(1_000),
            "m" => Some(1_000_000),
            "g" => Some(1_000_000_000),
            "t" => Some(1_000_000_000_000),
            "ki" => Some(1 << 10),
            "mi" => Some(1 << 20),
            "gi" => Some(1 << 30),
            "ti" => Some(1 << 40),
            _ => None,
        };
        let invalid = |reason: &str| ConfigError::InvalidNumber {
            invalid: text.to_string(),
            reason: reason.to_string(),
        };
        let factor = factor.ok_or_else(|| invalid("expected a number of bytes such as 3MiB"))?;
        let count = number(&digits.replace('_', ""))?;
        count.checked_mul(factor).ok_or_else(|| invalid("number too large"))
    }

    fn number(text: &str) -> Result<u64, ConfigError> {
        text.parse().map_err(|error: std::num::ParseIntError| ConfigError::InvalidNumber {
            invalid: text.to_string(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_default_is_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(
            refused(|config| config.election_timeout_max = 150),
            "election timeout: min(150) must be < max(150)"
        );
        assert_eq!(
            refused(|config| config.heartbeat_interval = 150),
            "election_timeout_min(150) must be > heartbeat_interval(150)"
        );
        // 50 and one tick of 10 leave 90 of 150.
        assert_eq!(
            refused(|config| config.heartbeat_min_interval = Some(90)),
            "election_timeout_min(150) must be > heartbeat_min_interval(90) + heartbeat_interval(50) + one tick"
        );
        let config = Config { heartbeat_min_interval: Some(89), ..Config::default() };
        config.validate().unwrap();
        assert!(
            refused(|config| config.heartbeat_min_interval = Some(u64::MAX))
                .contains("heartbeat_min_interval")
        );
        assert_eq!(refused(|config| config.max_payload_entries = 0), "max_payload_entries must be > 0");
        assert_eq!(
            refused(|config| config.quorum_loss_probe_interval = Some(599)),
            "quorum_loss_probe_interval(599) must be >= 2 * election_timeout_max(300)"
        );
        let wide = |config: &mut Config| {
            config.election_timeout_max = u64::MAX;
            config.quorum_loss_probe_interval = Some(u64::MAX - 1);
        };
        assert!(refused(wide).contains("quorum_loss_probe_interval"));
        assert_eq!(
            refused(|config| config.backoff = "x".to_string()),
            "invalid backoff series \"x\": expected a duration like '200ms' or '1.5s'"
        );
    }

    #[test]
    fn errors_say_what_was_given() {
        let policy = ConfigError::InvalidSnapshotPolicy { invalid: "x".into(), syntax: "never".into() };
        assert_eq!(policy.to_string(), "snapshot policy string is invalid: '\"x\"' expect: 'never'");
        let number = ConfigError::InvalidNumber { invalid: "x".into(), reason: "no digit".into() };
        assert_eq!(number.to_string(), "no digit when parsing \"x\"");
    }

    #[test]
    fn a_tick_is_a_fraction_of_a_heartbeat() {
        let tick = |heartbeat_interval| {
            Config { heartbeat_interval, ..Config::default() }.tick_interval().as_millis()
        };
        assert_eq!((tick(50), tick(1), tick(0)), (10, 1, 1));
    }

    #[test]
    fn a_backoff_is_what_the_text_says_or_the_default() {
        let first = |backoff: &str| {
            let config = Config { backoff: backoff.to_string(), ..Config::default() };
            config.build_backoff().take(3).map(|delay| delay.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(first("10ms 20ms"), [10, 20, 40]);
        assert_eq!(first("nonsense"), [200, 400, 800]);
    }

    #[cfg(feature = "tokio-rt")]
    #[test]
    fn election_timeouts_are_within_their_bounds() {
        use quorate_rt_tokio::TokioRuntime;

        let config = Config { election_timeout_min: 10, election_timeout_max: 12, ..Config::default() };
        let timeouts = (0..200).map(|_| config.new_rand_election_timeout::<TokioRuntime>());
        assert_eq!(timeouts.collect::<std::collections::BTreeSet<_>>(), [10, 11].into());
        let empty = Config { election_timeout_min: 9, election_timeout_max: 9, ..Config::default() };
        assert_eq!(empty.new_rand_election_timeout::<TokioRuntime>(), 9);
    }

    #[cfg(feature = "clap")]
    mod command_line {
        use super::*;

        fn build(args: &[&str]) -> Result<Config, ConfigError> {
            Config::build(&[&["node"], args].concat())
        }

        #[test]
        fn nothing_given_is_the_default() {
            assert_eq!(format!("{:?}", build(&[]).unwrap()), format!("{:?}", Config::default()));
        }

        #[test]
        fn values_are_read() {
            let config = build(&[
                "--cluster-name=bar",
                "--election-timeout-min=10",
                "--heartbeat-interval=5",
                "--snapshot-policy=since_last:7",
                "--snapshot-max-chunk-size=2KiB",
                "--removed-leader-step-down=OFF",
                "--heartbeat-min-interval=1",
                "--quorum-loss-probe-interval=1000",
                "--backoff=5ms",
            ]);
            let config = config.unwrap();
            assert_eq!((config.cluster_name.as_str(), config.election_timeout_min), ("bar", 10));
            assert_eq!(config.snapshot_policy, SnapshotPolicy::LogsSinceLast(7));
            assert_eq!(config.snapshot_max_chunk_size, 2048);
            assert_eq!(config.removed_leader_step_down, StepDownPolicy::Never);
            assert_eq!(
                (config.heartbeat_min_interval, config.quorum_loss_probe_interval),
                (Some(1), Some(1000))
            );
            let config = build(&["--snapshot-policy=never", "--removed-leader-step-down", "20"]).unwrap();
            assert_eq!(config.snapshot_policy, SnapshotPolicy::Never);
            assert_eq!(config.removed_leader_step_down, StepDownPolicy::After(20));
        }

        #[test]
        fn flags_can_be_set_and_unset() {
            let config = build(&["--enable-tick=false", "--enable-elect", "--enable-pre-vote"]).unwrap();
            assert_eq!((config.enable_tick, config.enable_elect), (false, true));
            assert_eq!((config.enable_pre_vote, config.enable_leader_restore), (Some(true), None));
            let config = build(&["--enable-leader-restore=false"]).unwrap();
            assert_eq!(config.enable_leader_restore, Some(false));
        }

        #[test]
        fn sizes_have_units() {
            let sizes = ["7", "7B", "7k", "7 KB", "7KiB", "1_000", "2Gib", "1t"]
                .map(|size| text::bytes(size).unwrap());
            assert_eq!(sizes, [7, 7, 7_000, 7_000, 7_168, 1_000, 2 << 30, 1_000_000_000_000]);
            for size in ["", "k", "3x", "-1", "99999999999999999999", "99999999999T"] {
                assert!(matches!(text::bytes(size), Err(ConfigError::InvalidNumber { .. })), "{size}");
            }
        }

        #[test]
        fn what_cannot_be_read_is_refused() {
            for wrong in [
                "--heartbeat-interval=x",
                "--snapshot-policy=often",
                "--snapshot-policy=since_last:x",
                "--removed-leader-step-down=soon",
                "--enable-tick=maybe",
                "--no-such-flag",
            ] {
                let error = build(&[wrong]).unwrap_err();
                assert!(matches!(&error, ConfigError::ParseError { .. }), "{wrong}: {error}");
                assert!(error.to_string().contains("while parsing ([\"node\", "), "{error}");
            }
            let invalid = build(&["--max-payload-entries=0"]).unwrap_err();
            assert_eq!(invalid, ConfigError::MaxPayloadIs0);
        }
    }
}
