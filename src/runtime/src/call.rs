//! One request to the API server: never without an end, and with an error that can be shown.
use std::time::Duration;

use kube::core::Status;

/// How long one request may take.
///
/// kube retries by itself and knows no timeout of its own; without this one a
/// dead connection would hold a reconcile for ever.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How one request failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server said no. Its own words only: kube would print them twice.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// Nothing came back in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The request did not get there, or its answer could not be read.
    #[error("{0}")]
    Broken(Box<kube::Error>),
}

impl CallError {
    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_not_found())
    }

    /// An object of this name exists.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_already_exists())
    }

    /// A precondition (UID, resource version) does not hold.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(status) if status.is_conflict() && !status.is_already_exists())
    }

    /// The object itself is not valid, so that sending it again is no use.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code == 422)
    }

    /// The API server will say the same again: a permission, a quota, an admission or the object
    /// itself is in the way. Not so for what is gone, in conflict, or too much or too slow for now.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(status)
            if (400..500).contains(&status.code) && ![404, 408, 409, 429].contains(&status.code))
    }
}

/// Waits for one request, but not longer than [`TIMEOUT`].
pub async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(CallError::Refused(status)),
        Ok(Err(error)) => Err(CallError::Broken(Box::new(error))),
        Err(_elapsed) => Err(CallError::TimedOut),
    }
}
