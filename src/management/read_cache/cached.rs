//! The last response and the last error of one read.

use std::sync::Arc;

use jiff::Timestamp;

use crate::management::types::{ApiError, ApiResponse};

/// Last results of one read.
#[derive(Debug)]
pub(super) struct Cached<T> {
    pub(super) response: Option<ApiResponse<Arc<T>>>,
    /// The last error, and the time at which its request ended.
    last_error: Option<(Timestamp, ApiError)>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self { response: None, last_error: None }
    }
}

impl<T> Cached<T> {
    /// A cached response that started at `not_before` or later, or an error that occurred after `requested_at`.
    pub(super) fn get_fresh(
        &self,
        not_before: Timestamp,
        requested_at: Timestamp,
    ) -> Option<Result<ApiResponse<Arc<T>>, ApiError>> {
        // A start in the future means that the clock was set back since the read.
        let is_fresh = |response: &&ApiResponse<Arc<T>>| {
            response.started_at >= not_before && response.started_at <= Timestamp::now()
        };
        if let Some(response) = self.response.as_ref().filter(is_fresh) {
            return Some(Ok(response.clone()));
        }
        // A caller that waited for a failed read gets its error. Otherwise the waiting callers would fail one by one.
        let last_error = self.last_error.as_ref().filter(|(ended_at, _)| *ended_at >= requested_at);
        last_error.map(|(_, error)| Err(error.clone()))
    }

    /// Stores the result of a read. Returns the newest response: a more urgent read may have started later and ended
    /// earlier.
    pub(super) fn store(&mut self, result: Result<ApiResponse<T>, ApiError>) -> Result<ApiResponse<Arc<T>>, ApiError> {
        match result {
            Ok(response) => {
                let is_newer = |cached: &ApiResponse<Arc<T>>| {
                    cached.started_at > response.started_at && cached.started_at <= Timestamp::now()
                };
                let newer = self.response.take().filter(is_newer);
                Ok(self.response.insert(newer.unwrap_or_else(|| response.map(Arc::new))).clone())
            }
            Err(error) => {
                self.last_error = Some((Timestamp::now(), error.clone()));
                Err(error)
            }
        }
    }
}
