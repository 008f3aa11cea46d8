//! A successful response.

use jiff::Timestamp;

/// The decoded body of a successful response, with the start of its request: the content may be older than its arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiResponse<T> {
    /// Decoded body.
    pub value: T,
    /// Start of the request: the time at which the rate limiter allowed the request.
    pub started_at: Timestamp,
}

impl<T> ApiResponse<T> {
    /// Converts the value and keeps the start time.
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> ApiResponse<U> {
        ApiResponse { value: convert(self.value), started_at: self.started_at }
    }
}
