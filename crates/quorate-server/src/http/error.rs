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
