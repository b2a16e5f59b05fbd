//! What `quorate serve` is told, by flags and in a TOML file that has the same names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_node::{Builder, Node};
use serde::{Deserialize, Serialize};

use crate::machine::{KEY_BYTES_MAX, KeyValue, VALUE_BYTES_MAX};

/// Where clients are served, unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:7400";

/// Where other members are served, unless told otherwise.
pub const PEER_LISTEN: &str = "127.0.0.1:7401";

/// The longest command: a compare-and-set with two of the largest values. The same on every node.
const COMMAND_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX + KEY_BYTES_MAX + 1024;

/// The options as they are given: all of them may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Parser)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[command(name = "serve")]
pub struct Options {
    /// The number of this node: unique in its cluster, never used twice, not zero
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The data directory of this node; made if it does not exist
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where to serve clients [default: 127.0.0.1:7400]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where to serve other members [default: 127.0.0.1:7401]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_listen: Option<String>,
    /// Where clients reach this node, if not where it listens
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Where other members reach this node, if not where it listens
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_advertise: Option<String>,
    /// With an empty data directory: found a cluster of this node alone
    #[arg(long, conflicts_with = "join")]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// With an empty data directory: join the cluster of the member with this peer address
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    /// How often a leader shows that it is alive [default: 100]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
    /// The shortest time without a leader until an election, at least five heartbeats [default: 500]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election_min_ms: Option<u64>,
    /// The longest such time [default: 1000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election_max_ms: Option<u64>,
    /// How long a request may take, with all retries between the nodes [default: 10000]
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// Take a snapshot after so many log entries [default: 100000]
    #[arg(long, value_name = "ENTRIES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_every: Option<u64>,
    /// Keep so many log entries that a snapshot covers, for members that lag a little [default: 10000]
    #[arg(long, value_name = "ENTRIES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_keep: Option<u64>,
}

/// The options, complete and checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The number of this node.
    pub id: u64,
    /// Its data directory.
    pub data: PathBuf,
    /// Where to serve clients.
    pub listen: String,
    /// Where clients reach this node, if not where it listens.
    pub advertise: Option<String>,
    /// Whether to found a cluster with an empty data directory.
    pub init: bool,
    /// Whose cluster to join with an empty data directory.
    pub join: Option<String>,
    builder: Builder,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        error: std::io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        error: Box<toml::de::Error>,
    },
    /// The file has a key that nobody reads.
    #[error("{}: there is no option {key:?}{}", path.display(), suggestion.map(|name| format!(": did you mean {name:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The option that looks most like it.
        suggestion: Option<&'static str>,
    },
    /// An option stands in the file and on the command line.
    #[error("{key} is given in {} and as --{key}: remove one of them", path.display())]
    GivenTwice {
        /// The file.
        path: PathBuf,
        /// The option.
        key: String,
    },
    /// An option without a default is missing.
    #[error("{0} is missing: give --{0}, or {0} in the configuration file")]
    Missing(&'static str),
    /// Both ways to begin are given.
    #[error("init and join are both given: a node either founds a cluster or joins one")]
    InitAndJoin,
    /// One address for two uses.
    #[error("listen and peer-listen are both {0}: clients and members need a port each")]
    SamePort(String),
    /// Not an address.
    #[error("{name} is {value:?}: give it as host:port, for example {example}")]
    Address {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it might look like.
        example: &'static str,
    },
    /// Others cannot use the address.
    #[error(
        "{listen} is {value}, which means nothing to others: give --{advertise} with the address under which they reach this node"
    )]
    Unspecified {
        /// The option that holds the address.
        listen: &'static str,
        /// The address.
        value: String,
        /// The option that is needed.
        advertise: &'static str,
    },
    /// A value that the node refuses.
    #[error(transparent)]
    Node(#[from] quorate_node::ConfigError),
}

impl Options {
    /// These options, with those in the file where they are missing.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the file.
    pub fn with_file(self, path: &Path) -> Result<Self, ConfigError> {
        let read = |error| ConfigError::Read { path: path.to_owned(), error };
        let text = std::fs::read_to_string(path).map_err(read)?;
        self.with_text(path, &text)
    }

    /// The same with what the file holds.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text.
    pub fn with_text(self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let syntax = |error| ConfigError::Syntax { path: path.to_owned(), error: Box::new(error) };
        let mut table: toml::Table = toml::from_str(text).map_err(syntax)?;
        if let Some(key) = table.keys().find(|key| !NAMES.contains(&key.as_str())) {
            let (path, key) = (path.to_owned(), key.clone());
            let suggestion = closest(&key);
            return Err(ConfigError::UnknownKey { path, key, suggestion });
        }
        // A value of the wrong type is found here, where the parser still knows its line.
        toml::from_str::<Self>(text).map_err(syntax)?;
        for (key, value) in toml::Table::try_from(self).unwrap_or_default() {
            if table.insert(key.clone(), value).is_some() {
                return Err(ConfigError::GivenTwice { path: path.to_owned(), key });
            }
        }
        table.try_into().map_err(syntax)
    }

    /// The options, completed by defaults and checked against each other.
    ///
    /// # Errors
    ///
    /// The first rule that they break.
    pub fn settings(self) -> Result<Settings, ConfigError> {
        let id = self.id.ok_or(ConfigError::Missing("id"))?;
        let data = self.data.ok_or(ConfigError::Missing("data"))?;
        if self.init && self.join.is_some() {
            return Err(ConfigError::InitAndJoin);
        }
        let listen = self.listen.unwrap_or_else(|| LISTEN.to_owned());
        let peer_listen = self.peer_listen.unwrap_or_else(|| PEER_LISTEN.to_owned());
        if listen == peer_listen && !listen.ends_with(":0") {
            return Err(ConfigError::SamePort(listen));
        }
        reachable("listen", &listen, "advertise", self.advertise.as_deref())?;
        reachable("peer-listen", &peer_listen, "peer-advertise", self.peer_advertise.as_deref())?;
        if let Some(join) = &self.join {
            address("join", join)?;
        }
        let heartbeat = self.heartbeat_ms.unwrap_or(100);
        let election_min = self.election_min_ms.unwrap_or(500);
        let election_max = self.election_max_ms.unwrap_or_else(|| election_min.saturating_mul(2));
        let mut builder = Node::<KeyValue>::builder(id, &data, &peer_listen)
            .wait()
            .command_bytes_max(COMMAND_BYTES_MAX)
            .heartbeat(Duration::from_millis(heartbeat))
            .election_timeout(Duration::from_millis(election_min), Duration::from_millis(election_max));
        if let Some(addr) = &self.peer_advertise {
            builder = builder.advertise_addr(addr);
        }
        if let Some(timeout) = self.request_timeout_ms {
            builder = builder.request_timeout(Duration::from_millis(timeout));
        }
        if let Some(entries) = self.snapshot_every {
            builder = builder.snapshot_every(entries);
        }
        if let Some(entries) = self.snapshot_keep {
            builder = builder.snapshot_keep(entries);
        }
        builder.check()?;
        if let Some(join) = &self.join {
            // The builder refuses a node that is told to join itself; the joining comes later, once clients are served.
            builder.clone().join(join).check()?;
        }
        Ok(Settings {
            id,
            data,
            listen,
            advertise: self.advertise,
            init: self.init,
            join: self.join,
            builder,
        })
    }
}

impl Settings {
    /// What the node is built with, once it is known where clients reach it.
    pub fn builder(&self, client_addr: &str) -> Builder {
        self.builder.clone().client_addr(client_addr)
    }
}

/// The names of all options, as in the file.
const NAMES: [&str; 14] = [
    "id",
    "data",
    "listen",
    "peer-listen",
    "advertise",
    "peer-advertise",
    "init",
    "join",
    "heartbeat-ms",
    "election-min-ms",
    "election-max-ms",
    "request-timeout-ms",
    "snapshot-every",
    "snapshot-keep",
];

/// The option that takes the fewest changes to get to, if they are few.
fn closest(key: &str) -> Option<&'static str> {
    let key = key.replace('_', "-").to_lowercase();
    let (distance, name) = NAMES.into_iter().map(|name| (distance(&key, name), name)).min()?;
    (distance <= name.len().div_ceil(3)).then_some(name)
}

/// How many characters have to be put in, taken out or replaced to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut left = above.saturating_add(1);
        let mut corner = above;
        let mut next = vec![left];
        for (b, &up) in to.chars().zip(row.iter().skip(1)) {
            let replaced = corner.saturating_add(usize::from(a != b));
            left = replaced.min(left.saturating_add(1)).min(up.saturating_add(1));
            corner = up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// Splits `host:port`.
fn address<'a>(name: &'static str, value: &'a str) -> Result<(&'a str, u16), ConfigError> {
    let parts = value.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let parsed = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parsed.ok_or_else(|| ConfigError::Address { name, value: value.to_owned(), example: LISTEN })
}

fn reachable(
    listen: &'static str,
    value: &str,
    advertise: &'static str,
    advertised: Option<&str>,
) -> Result<(), ConfigError> {
    let (host, _) = address(listen, value)?;
    if let Some(advertised) = advertised {
        address(advertise, advertised)?;
        return Ok(());
    }
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if ip.is_some_and(|ip| ip.is_unspecified()) {
        return Err(ConfigError::Unspecified { listen, value: value.to_owned(), advertise });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    fn flags() -> Vec<String> {
        let command = Options::command();
        command.get_arguments().filter_map(|flag| flag.get_long()).map(str::to_owned).collect()
    }

    fn given(flags: &str) -> Options {
        Options::try_parse_from(std::iter::once("serve").chain(flags.split_whitespace())).unwrap()
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn error(flags: &str, text: &str) -> String {
        let (_dir, path) = file(text);
        given(flags).with_file(&path).and_then(Options::settings).unwrap_err().to_string()
    }

    #[test]
    fn flags_and_file_have_the_same_names() {
        assert_eq!(flags(), NAMES);
        let text = "id = 1\ndata = \"d\"\nlisten = \"l:1\"\npeer-listen = \"p:1\"\nadvertise = \"a:1\"\npeer-advertise = \"b:1\"\n\
             init = true\nheartbeat-ms = 1\nelection-min-ms = 5\nelection-max-ms = 9\nrequest-timeout-ms = 7\n\
             snapshot-every = 8\nsnapshot-keep = 3\n";
        let (_dir, path) = file(text);
        let from_file = Options::default().with_file(&path).unwrap();
        let from_flags = given(
            "--id 1 --data d --listen l:1 --peer-listen p:1 --advertise a:1 --peer-advertise b:1 --init \
             --heartbeat-ms 1 --election-min-ms 5 --election-max-ms 9 --request-timeout-ms 7 \
             --snapshot-every 8 --snapshot-keep 3",
        );
        assert_eq!(from_file, from_flags);
        from_file.settings().unwrap();
    }

    #[test]
    fn the_file_fills_in_what_the_flags_leave_out() {
        let (_dir, path) = file("id = 3\nlisten = \"localhost:9000\"");
        let settings = given("--data here").with_file(&path).unwrap().settings().unwrap();
        assert_eq!((settings.id, settings.listen.as_str()), (3, "localhost:9000"));
        assert_eq!(settings.data, Path::new("here"));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_a_suggestion() {
        assert!(error("", "lisen = \"a:1\"").contains("no option \"lisen\": did you mean \"listen\"?"));
        assert!(error("", "election_min_ms = 4").contains("did you mean \"election-min-ms\"?"));
        assert!(error("", "heartbeat = 4").contains("did you mean \"heartbeat-ms\"?"));
        let unlike = error("", "colour = 4");
        assert!(unlike.contains("no option \"colour\"") && !unlike.contains("did you mean"), "{unlike}");
    }

    #[test]
    fn an_option_in_both_places_is_refused() {
        let text = error("--id 1", "id = 1");
        assert!(text.contains("id is given in") && text.contains("as --id: remove one"), "{text}");
        assert!(error("--init", "init = true").contains("init is given in"));
    }

    #[test]
    fn what_makes_no_sense_names_the_rule() {
        let id = "--id 1 --data d";
        for (flags, text, says) in [
            ("", "", "id is missing: give --id"),
            ("--id 1", "", "data is missing: give --data"),
            (id, "init = true\njoin = \"a:1\"", "either founds a cluster or joins one"),
            (id, "listen = \"a:1\"\npeer-listen = \"a:1\"", "listen and peer-listen are both a:1"),
            (id, "listen = \"nowhere\"", "listen is \"nowhere\": give it as host:port"),
            (id, "listen = \"0.0.0.0:1\"", "give --advertise"),
            (id, "peer-listen = \"[::]:1\"", "give --peer-advertise"),
            (id, "join = \"127.0.0.1:7401\"", "own address"),
            (id, "heartbeat-ms = 100\nelection-min-ms = 100", "100 ms"),
            (id, "heartbeat-ms = 0", "must be between 1 and"),
            (id, "election-min-ms = 900\nelection-max-ms = 800", "900 ms to 800 ms"),
            (id, "heartbeat-ms = \"fast\"", "heartbeat-ms"),
            (id, "id 3", "TOML parse error"),
            ("--id 0 --data d", "", "id is 0"),
        ] {
            let error = error(flags, text);
            assert!(error.contains(says), "{flags} {text}: {error}");
        }
        let missing = given(id).with_file(Path::new("no/such/file")).unwrap_err().to_string();
        assert!(missing.contains("cannot read the configuration no/such/file"), "{missing}");
    }
}
