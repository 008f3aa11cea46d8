//! Results of reads and of remote writes.

use jiff::Timestamp;

use crate::management::types::{ApiError, ApiResponse};

/// Result of an observation.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed<T> {
    /// The observed thing exists.
    Present(T),
    /// The observed thing certainly does not exist.
    Absent,
    /// The observation failed. The operator creates and deletes nothing because of an unknown observation.
    Unknown(ApiError),
}

impl<T> Observed<T> {
    /// The observed thing, if it exists.
    pub(crate) fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    /// The error of a failed observation.
    pub(crate) fn error(&self) -> Option<&ApiError> {
        match self {
            Self::Unknown(error) => Some(error),
            Self::Present(_) | Self::Absent => None,
        }
    }
}

/// A value, and the time at which the request that returned the value started.
pub type Observation<T> = ApiResponse<T>;

/// Result of a remote write.
#[derive(Clone, Debug)]
pub struct WriteResult<R> {
    /// The response, or the error.
    pub result: Result<R, ApiError>,
    /// Start of the request, or of the wait for its permit if the request was not sent.
    pub started_at: Timestamp,
    /// Earliest time at which the API can have processed a create, by the clock of the API.
    pub server_started_at: Option<Timestamp>,
}
