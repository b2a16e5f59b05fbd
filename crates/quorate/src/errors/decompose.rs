//! Takes results of remote calls apart: the error that the remote side answered, and what kept it from answering.

use std::error::Error;

use super::Infallible;
use super::RPCError;
use super::RaftError;
use super::Unreachable;
use crate::type_config::RaftTypeConfig;

/// Splits a result into one of the call itself inside one of reaching the node.
pub trait DecomposeResult<C: RaftTypeConfig, R, OuterError> {
    /// The error of the call.
    type InnerError;

    /// The result of the call inside the result of reaching the node.
    fn decompose(self) -> Result<Result<R, Self::InnerError>, OuterError>;

    /// The same, of a call that cannot fail by itself.
    fn decompose_infallible(self) -> Result<R, OuterError>
    where
        Self::InnerError: Into<Infallible>,
        Self: Sized,
    {
        let Ok(value) = self.decompose()?.map_err(Into::<Infallible>::into);
        Ok(value)
    }
}

impl<C: RaftTypeConfig, R, E> DecomposeResult<C, R, RaftError<C>> for Result<R, RaftError<C, E>> {
    type InnerError = E;

    fn decompose(self) -> Result<Result<R, E>, RaftError<C>> {
        match self {
            Ok(value) => Ok(Ok(value)),
            Err(RaftError::APIError(error)) => Ok(Err(error)),
            Err(RaftError::Fatal(fatal)) => Err(RaftError::Fatal(fatal)),
        }
    }
}

impl<C: RaftTypeConfig, R, E: Error> DecomposeResult<C, R, RPCError<C>>
    for Result<R, RPCError<C, RaftError<C, E>>>
{
    type InnerError = E;

    /// A remote node that stopped counts as unreachable.
    fn decompose(self) -> Result<Result<R, E>, RPCError<C>> {
        let error = match self {
            Ok(value) => return Ok(Ok(value)),
            Err(error) => error,
        };
        match error {
            RPCError::Timeout(error) => Err(error.into()),
            RPCError::Unreachable(error) => Err(error.into()),
            RPCError::Network(error) => Err(error.into()),
            RPCError::RemoteError(remote) => match remote.source {
                RaftError::APIError(error) => Ok(Err(error)),
                RaftError::Fatal(fatal) => Err(Unreachable::new(&fatal).into()),
            },
        }
    }
}
