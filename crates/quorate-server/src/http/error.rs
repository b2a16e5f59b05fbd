//! Errors as answers: a status for HTTP, a code for programs, cause and way out for people.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quorate_node::{InitError, JoinError, MembershipError, NotAccepted, ProposeError, ReadError};

use crate::api::{BlobError, ErrorBody, Outcome};
use crate::machine::KeyError;
use crate::watch::WatchError;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
}

impl ApiError {
    /// An error after which nothing has changed.
    pub(super) fn new(status: StatusCode, code: &str, error: impl ToString) -> Self {
        Self {
            status,
            body: Box::new(ErrorBody {
                code: code.to_owned(),
                outcome: Outcome::NotAccepted,
                error: error.to_string(),
                retry_after_ms: None,
            }),
        }
    }

    pub(super) fn invalid(error: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", error)
    }

    pub(super) fn too_large(size: impl std::fmt::Display, max: usize) -> Self {
        let error = format!(
            "the request body has {size} bytes, the limit is {max}: split the value over several keys"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    }

    pub(super) fn overloaded(retry_after_ms: u64, error: impl ToString) -> Self {
        let mut this = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error);
        this.body.retry_after_ms = Some(retry_after_ms);
        this
    }

    fn unknown(error: impl ToString) -> Self {
        let mut this = Self::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", error);
        this.body.outcome = Outcome::Unknown;
        this
    }

    fn unavailable(code: &str, error: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error)
    }

    fn conflict(code: &str, error: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, code, error)
    }

    pub(super) fn body(self) -> ErrorBody {
        *self.body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let retry_after = self.body.retry_after_ms.map(|ms| HeaderValue::from(ms.div_ceil(1000)));
        let mut response = (self.status, Json(*self.body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        match &error {
            ProposeError::NotAccepted(reason) => Self::not_accepted(reason, &error),
            ProposeError::OutcomeUnknown(_) => Self::unknown(error),
            ProposeError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error),
            ProposeError::Overloaded { retry_after } => {
                let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                Self::overloaded(ms, error)
            }
            ProposeError::Uninitialized => Self::unavailable("uninitialized", error),
            ProposeError::Stopped(_) => Self::unavailable("stopped", error),
        }
    }
}

impl ApiError {
    fn not_accepted(reason: &NotAccepted, error: impl ToString) -> Self {
        match reason {
            NotAccepted::NoLeader { .. } => Self::unavailable("no_leader", error),
            NotAccepted::LeaderUnreachable { .. } => Self::unavailable("leader_unreachable", error),
            NotAccepted::Invalid { .. } => Self::invalid(error),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::NoLeader(reason) => Self::not_accepted(reason, &error),
            ReadError::Lagging { .. } => Self::unavailable("lagging", error),
            ReadError::Uninitialized => Self::unavailable("uninitialized", error),
            ReadError::Stopped(_) => Self::unavailable("stopped", error),
        }
    }
}

impl From<MembershipError> for ApiError {
    fn from(error: MembershipError) -> Self {
        match &error {
            MembershipError::NotAccepted(reason) => Self::not_accepted(reason, &error),
            MembershipError::OutcomeUnknown(_) => Self::unknown(error),
            MembershipError::WouldLoseQuorum { .. } => Self::conflict("would_lose_quorum", error),
            MembershipError::EmptyVoters => Self::conflict("empty_voters", error),
            MembershipError::LearnerNotReady { .. } => Self::conflict("learner_not_ready", error),
            MembershipError::ChangeInProgress { .. } => Self::conflict("change_in_progress", error),
            MembershipError::DuplicateNode { .. } => Self::conflict("duplicate_node", error),
            MembershipError::IdReused { .. } => Self::conflict("id_reused", error),
            MembershipError::AddressInUse { .. } => Self::conflict("address_in_use", error),
            MembershipError::UnknownNode { .. } => Self::new(StatusCode::NOT_FOUND, "unknown_node", error),
            MembershipError::NotVoter { .. } => Self::conflict("not_voter", error),
            MembershipError::Invalid { .. } => Self::invalid(error),
            MembershipError::Uninitialized => Self::unavailable("uninitialized", error),
            MembershipError::Stopped(_) => Self::unavailable("stopped", error),
        }
    }
}

impl From<InitError> for ApiError {
    fn from(error: InitError) -> Self {
        match &error {
            InitError::AlreadyInitialized { .. } => Self::conflict("already_initialized", error),
            InitError::Io { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "io", error),
            InitError::NotLeading { .. } => Self::unknown(error),
            InitError::Stopped(_) => Self::unavailable("stopped", error),
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Refused(refused) => refused.into(),
            JoinError::WrongCluster { .. } => Self::conflict("wrong_cluster", error),
            JoinError::SelfConnection { .. } => Self::conflict("self_connection", error),
            JoinError::Unreachable { .. } => Self::new(StatusCode::BAD_GATEWAY, "unreachable", error),
            JoinError::Io { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "io", error),
            JoinError::Stopped(_) => Self::unavailable("stopped", error),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_key", error)
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        Self::invalid(error)
    }
}

impl From<WatchError> for ApiError {
    fn from(error: WatchError) -> Self {
        match &error {
            WatchError::Dropped { .. } => Self::new(StatusCode::GONE, "dropped", error),
            WatchError::Stopped => Self::unavailable("stopped", error),
        }
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Self::too_large("too many", crate::machine::VALUE_BYTES_MAX)
        } else {
            Self::invalid(rejection.body_text())
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "invalid", rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_node::{ClusterId, OutcomeUnknown, StopReason};

    use super::*;

    const WAITED: Duration = Duration::from_millis(1500);

    fn no_leader() -> NotAccepted {
        NotAccepted::NoLeader { waited: WAITED }
    }

    fn unreachable_leader() -> NotAccepted {
        NotAccepted::LeaderUnreachable { leader: 2, waited: WAITED, cause: "refused".into() }
    }

    fn invalid() -> NotAccepted {
        NotAccepted::Invalid { cause: "?".into() }
    }

    /// Status, code and outcome of each; the text is the error's own.
    fn check<E: ToString + Into<ApiError> + Clone>(cases: &[(E, u16, &str, Outcome)]) {
        for (error, status, code, outcome) in cases {
            let answer: ApiError = error.clone().into();
            let got = (answer.status.as_u16(), answer.body.code.as_str(), answer.body.outcome);
            assert_eq!(got, (*status, *code, *outcome), "{}", error.to_string());
            assert_eq!(answer.body().error, error.to_string());
        }
    }

    #[test]
    fn writes_tell_what_may_have_happened() {
        use Outcome::{NotAccepted as Nothing, Unknown};
        check(&[
            (ProposeError::from(no_leader()), 503, "no_leader", Nothing),
            (unreachable_leader().into(), 503, "leader_unreachable", Nothing),
            (invalid().into(), 400, "invalid", Nothing),
            (OutcomeUnknown::LeaderChanged.into(), 504, "outcome_unknown", Unknown),
            (ProposeError::TooLarge { size: 2, max: 1 }, 413, "too_large", Nothing),
            (ProposeError::Overloaded { retry_after: WAITED }, 503, "overloaded", Nothing),
            (ProposeError::Uninitialized, 503, "uninitialized", Nothing),
            (ProposeError::Stopped(StopReason::Shutdown), 503, "stopped", Nothing),
        ]);
        check(&[
            (ReadError::from(no_leader()), 503, "no_leader", Nothing),
            (ReadError::Lagging { wanted: 9, applied: Some(3), waited: WAITED }, 503, "lagging", Nothing),
            (ReadError::Uninitialized, 503, "uninitialized", Nothing),
            (ReadError::Stopped(StopReason::Shutdown), 503, "stopped", Nothing),
        ]);
        check(&[
            (WatchError::Dropped { after: 1, oldest: 5 }, 410, "dropped", Nothing),
            (WatchError::Stopped, 503, "stopped", Nothing),
        ]);
    }

    #[test]
    fn an_overloaded_node_says_when_to_come_back_in_whole_seconds() {
        let error = ApiError::from(ProposeError::Overloaded { retry_after: WAITED });
        assert_eq!(error.body.retry_after_ms, Some(1500));
        let response = error.into_response();
        assert_eq!(response.headers().get(header::RETRY_AFTER), Some(&HeaderValue::from(2)));
        let other = ApiError::invalid("no").into_response();
        assert_eq!(other.headers().get(header::RETRY_AFTER), None);
    }

    #[test]
    fn each_refusal_of_a_membership_has_a_code_of_its_own() {
        use Outcome::{NotAccepted as Nothing, Unknown};
        let lost = MembershipError::WouldLoseQuorum { voters: 3, needed: 2, live: 1, advice: String::new() };
        let not_ready = MembershipError::LearnerNotReady { id: 4, lag: None, lag_max: 10 };
        let twice = MembershipError::DuplicateNode { id: 4, addr_a: "a:1".into(), addr_b: "b:1".into() };
        let taken = MembershipError::AddressInUse { addr: "a:1".into(), member: 1, id: 4 };
        check(&[
            (MembershipError::from(no_leader()), 503, "no_leader", Nothing),
            (OutcomeUnknown::Timeout { waited: WAITED }.into(), 504, "outcome_unknown", Unknown),
            (lost, 409, "would_lose_quorum", Nothing),
            (MembershipError::EmptyVoters, 409, "empty_voters", Nothing),
            (not_ready.clone(), 409, "learner_not_ready", Nothing),
            (MembershipError::ChangeInProgress { index: Some(7) }, 409, "change_in_progress", Nothing),
            (twice, 409, "duplicate_node", Nothing),
            (MembershipError::IdReused { id: 4, removed_at: 9 }, 409, "id_reused", Nothing),
            (taken, 409, "address_in_use", Nothing),
            (MembershipError::UnknownNode { id: 4 }, 404, "unknown_node", Nothing),
            (MembershipError::NotVoter { id: 4 }, 409, "not_voter", Nothing),
            (MembershipError::Invalid { cause: "?".into() }, 400, "invalid", Nothing),
            (MembershipError::Uninitialized, 503, "uninitialized", Nothing),
            (MembershipError::Stopped(StopReason::Shutdown), 503, "stopped", Nothing),
        ]);
        assert!(not_ready.to_string().contains("the whole log"), "{not_ready}");
        let short = MembershipError::LearnerNotReady { id: 4, lag: Some(70), lag_max: 10 };
        assert!(short.to_string().contains("70 entries"), "{short}");
    }

    #[test]
    fn founding_and_joining_tell_whose_fault_it_is() {
        use Outcome::{NotAccepted as Nothing, Unknown};
        let (ours, theirs) = (ClusterId(1), ClusterId(2));
        let cause = String::new;
        check(&[
            (InitError::AlreadyInitialized { cluster: ours }, 409, "already_initialized", Nothing),
            (InitError::Io { cause: cause() }, 500, "io", Nothing),
            (InitError::NotLeading { waited: WAITED }, 504, "outcome_unknown", Unknown),
            (InitError::Stopped(StopReason::Shutdown), 503, "stopped", Nothing),
        ]);
        let addr = || "a:1".to_owned();
        let away = JoinError::Unreachable { addr: addr(), waited: WAITED, cause: cause() };
        check(&[
            (JoinError::WrongCluster { addr: addr(), ours, theirs }, 409, "wrong_cluster", Nothing),
            (JoinError::SelfConnection { addr: addr() }, 409, "self_connection", Nothing),
            (away, 502, "unreachable", Nothing),
            (MembershipError::NotVoter { id: 4 }.into(), 409, "not_voter", Nothing),
            (JoinError::Io { cause: cause() }, 500, "io", Nothing),
            (JoinError::Stopped(StopReason::Shutdown), 503, "stopped", Nothing),
        ]);
    }
}
