//! HTTP helpers for the API and the token endpoint.

use std::error::Error;

use super::types::{ApiError, ErrorKind};

/// Converts an error of the HTTP library.
///
/// The text of the library may contain the URL and headers. The innermost cause comes from the system and contains
/// neither.
pub(super) fn transport_error(error: &reqwest::Error) -> ApiError {
    let mut innermost = error.source();
    while let Some(cause) = innermost.and_then(Error::source) {
        innermost = Some(cause);
    }
    let cause = innermost.map_or(String::new(), |cause| format!(": {cause}"));
    let host = error.url().and_then(reqwest::Url::host_str).unwrap_or("the service");
    if error.is_connect() {
        return ApiError::local(ErrorKind::Connect, format!("cannot connect to {host}{cause}"));
    }
    if error.is_timeout() {
        return ApiError::local(ErrorKind::OutcomeUnknown, format!("timeout while waiting for the response of {host}"));
    }
    ApiError::local(ErrorKind::OutcomeUnknown, format!("connection to {host} closed before the response{cause}"))
}

/// Reads a response body of at most `max_bytes`. Invalid UTF-8 is replaced.
pub(super) async fn read_body(mut response: reqwest::Response, max_bytes: usize) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(&error))? {
        if bytes.len() + chunk.len() > max_bytes {
            let message = format!("the response is longer than {} KiB", max_bytes / 1024);
            return Err(ApiError::local(ErrorKind::InvalidResponse, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
