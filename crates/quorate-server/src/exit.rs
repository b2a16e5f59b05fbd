//! How a command fails: text for people, a code for scripts.

use std::process::ExitCode;

use quorate_node::{StartError, StopReason};
use quorate_server::client::ClientError;
use quorate_server::config::ConfigError;

/// The exit codes, for `--help`.
pub(crate) const CODES: &str = "\
Exit codes:
  0  done
  1  failed, or refused by the cluster
  2  wrong usage or configuration
  3  serve: fenced, another process runs with this node's identity
  4  no such key, or the key is not as expected
  5  not accepted: nothing has changed, and it is safe to try again
  6  outcome unknown: it may have happened; look before you try again
  7  no server could be reached
  8  serve: this node is no longer a member";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    code: String,
    message: String,
}

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Fenced = 3,
    NotFound = 4,
    NotAccepted = 5,
    OutcomeUnknown = 6,
    Unavailable = 7,
    NoMember = 8,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, message: impl ToString) -> Self {
        Self { exit, code: code.to_owned(), message: message.to_string() }
    }

    /// A failure for which there is no code of its own.
    pub(crate) fn other(message: impl ToString) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// Prints the failure, and gives the code to exit with.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if json {
            let object =
                serde_json::json!({ "code": self.code, "error": self.message, "exit": self.exit as u8 });
            eprintln!("{object}");
        } else {
            eprintln!("error: {}", self.message);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused(body) => {
                let exit = if body.code == "mismatch" { Exit::NotFound } else { Exit::Failed };
                Self::new(exit, &body.code, &error)
            }
            ClientError::NotAccepted { .. } => Self::new(Exit::NotAccepted, "not_accepted", error),
            ClientError::OutcomeUnknown { .. } => Self::new(Exit::OutcomeUnknown, "outcome_unknown", error),
            ClientError::Unavailable { .. } => Self::new(Exit::Unavailable, "unavailable", error),
            ClientError::Protocol { .. } => Self::new(Exit::Failed, "protocol", error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, "config", error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match &error {
            StartError::Config(_) => Self::new(Exit::Usage, "config", error),
            StartError::WrongNode { .. } => Self::new(Exit::Usage, "wrong_node", error),
            StartError::DataDirLocked { .. } => Self::new(Exit::Failed, "data_dir_locked", error),
            StartError::FormatTooNew { .. } => Self::new(Exit::Failed, "format_too_new", error),
            StartError::NoSpace { .. } => Self::new(Exit::Failed, "no_space", error),
            StartError::Bind { .. } => Self::new(Exit::Failed, "bind", error),
            _ => Self::new(Exit::Failed, "start", error),
        }
    }
}

impl From<StopReason> for Failure {
    fn from(reason: StopReason) -> Self {
        match &reason {
            StopReason::Removed { .. } => Self::new(Exit::NoMember, "removed", reason),
            StopReason::UnknownNode { .. } => Self::new(Exit::NoMember, "unknown_node", reason),
            StopReason::Fenced { .. } => Self::new(Exit::Fenced, "fenced", reason),
            StopReason::Shutdown | StopReason::Fatal { .. } => Self::new(Exit::Failed, "stopped", reason),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, "io", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_must_tell_apart_has_a_code_of_its_own() {
        let unknown = ClientError::OutcomeUnknown { cause: "gone".into() };
        assert_eq!(Failure::from(unknown).exit, Exit::OutcomeUnknown);
        let not_accepted =
            ClientError::NotAccepted { waited: std::time::Duration::ZERO, cause: "no leader".into() };
        assert_eq!(Failure::from(not_accepted).exit, Exit::NotAccepted);
        assert_eq!(Failure::from(StopReason::Removed { index: 7 }).exit, Exit::NoMember);
        assert_eq!(Failure::from(StopReason::Fenced { cause: String::new() }).exit, Exit::Fenced);
        assert_eq!(Failure::from(ConfigError::Missing("id")).exit, Exit::Usage);
    }

    #[test]
    fn a_node_that_does_not_start_or_go_on_says_why_by_code_and_text() {
        let dir = || std::path::PathBuf::from("data");
        let addr = || "a:1".to_owned();
        let starts = [
            (StartError::WrongNode { dir: dir(), expected: 1, found: 2 }, Exit::Usage, "wrong_node"),
            (StartError::DataDirLocked { dir: dir(), pid: Some(7) }, Exit::Failed, "data_dir_locked"),
            (StartError::FormatTooNew { file: dir(), found: 2, max: 1 }, Exit::Failed, "format_too_new"),
            (StartError::NoSpace { path: dir() }, Exit::Failed, "no_space"),
            (StartError::Bind { addr: addr(), attempts: 3, cause: "taken".into() }, Exit::Failed, "bind"),
            (StartError::Storage { cause: "torn".into() }, Exit::Failed, "start"),
            (quorate_node::ConfigError::SelfConnection { addr: addr() }.into(), Exit::Usage, "config"),
        ];
        for (error, exit, code) in starts {
            let failure = Failure::new(exit, code, &error);
            assert_eq!(Failure::from(error), failure);
        }
        let stops = [
            (StopReason::UnknownNode { cause: "wiped".into() }, Exit::NoMember, "unknown_node"),
            (StopReason::Fatal { cause: "a disk".into() }, Exit::Failed, "stopped"),
        ];
        for (reason, exit, code) in stops {
            let failure = Failure::new(exit, code, &reason);
            assert_eq!(Failure::from(reason), failure);
        }
    }

    #[test]
    fn a_refusal_keeps_the_code_of_the_server() {
        let refused = |code: &str| {
            let body = quorate_server::api::ErrorBody {
                code: code.into(),
                outcome: quorate_server::api::Outcome::NotAccepted,
                error: "no".into(),
                retry_after_ms: None,
            };
            Failure::from(ClientError::Refused(body.into()))
        };
        assert_eq!((refused("mismatch").exit, refused("mismatch").code), (Exit::NotFound, "mismatch".into()));
        assert_eq!(
            (refused("not_voter").exit, refused("not_voter").code),
            (Exit::Failed, "not_voter".into())
        );
        let protocol = ClientError::Protocol { server: "a:1".into(), cause: "html".into() };
        assert_eq!(Failure::from(protocol).code, "protocol");
        assert_eq!(Failure::from(std::io::Error::other("x")), Failure::new(Exit::Failed, "io", "x"));
    }
}
