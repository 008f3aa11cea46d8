//! HTTP helpers for the API and the token endpoint.

use std::error::Error;
use std::io;

use reqwest::{StatusCode, Url, header};
use serde::de::IgnoredAny;

use super::tls;
use super::types::{ApiError, ErrorKind, ResponseText};

/// Converts an error of the HTTP library.
///
/// The text of the library may contain the URL and headers. The innermost cause comes from the system and contains
/// neither.
pub(super) fn transport_error(error: &reqwest::Error) -> ApiError {
    let server = error.url().map_or_else(|| "the service".to_owned(), host_and_port);
    let kind = if error.is_connect() { ErrorKind::Connect } else { ErrorKind::OutcomeUnknown };
    if let Some(error) = find_cause::<rustls::Error>(error) {
        return ApiError::local(kind, tls::handshake_problem(error, &server));
    }
    if find_cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        let is_http = error.url().is_some_and(|url| url.scheme() == "http");
        let advice = if is_http { ". If the server expects TLS, change the URL to https" } else { "" };
        return ApiError::local(kind, format!("the response of {server} is not HTTP{advice}"));
    }
    let cause = innermost_cause(error).map_or(String::new(), |cause| format!(": {cause:.300}"));
    if error.is_connect() {
        return ApiError::local(kind, format!("cannot connect to {server}{cause}"));
    }
    if error.is_timeout() {
        return ApiError::local(kind, format!("timeout while waiting for the response of {server}"));
    }
    ApiError::local(kind, format!("connection to {server} closed before the response{cause}"))
}

/// Text of the innermost cause of an error of the HTTP library.
pub(super) fn innermost_cause(error: &reqwest::Error) -> Option<String> {
    causes(error).skip(1).last().map(ToString::to_string)
}

/// Host of a URL, and the port if it is not the default port.
fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        // `source` of an I/O error skips the error inside.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// The first cause of a type.
fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error of a redirect, which the client does not follow: a redirect can lead the credential to another host.
/// `field` is the field of the spec with the URL. The target is text of the server, and hidden with that text.
pub(super) fn redirect_error(response: &reqwest::Response, field: &str, text: ResponseText<'_>) -> Option<ApiError> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    let target = location.and_then(|location| response.url().join(location).ok()).filter(|url| url.has_host());
    let target = match (text, target) {
        (ResponseText::Hidden, _) => "another address".to_owned(),
        (ResponseText::WithoutToken(_), None) => "no host".to_owned(),
        (ResponseText::WithoutToken(_), Some(url)) => format!("{:.300}", url.origin().ascii_serialization()),
    };
    let message = format!(
        "{status}: the server redirects to {target}, and the operator follows no redirects. Correct {field}, or the proxy \
         before the server"
    );
    Some(ApiError::local(ErrorKind::InvalidResponse, message))
}

/// The error of a success status with a body that the API does not send.
pub(super) fn unusable_body(body: &str) -> ApiError {
    let message = if serde_json::from_str::<IgnoredAny>(body).is_ok() {
        "the response does not match the API documentation"
    } else if body.trim().is_empty() {
        "the response has no body"
    } else {
        "the response is a page instead of JSON, for example a sign-in page. Correct spec.endpoint, or the proxy before the \
         server"
    };
    ApiError::local(ErrorKind::InvalidResponse, message)
}

/// Checks the response to a deletion. A proxy can answer with a page, and the object still exists.
pub(super) fn check_deleted(status: StatusCode, body: &str) -> Result<(), ApiError> {
    let is_complete = match status {
        StatusCode::NO_CONTENT => true,
        StatusCode::OK | StatusCode::ACCEPTED => {
            body.trim().is_empty() || serde_json::from_str::<IgnoredAny>(body).is_ok()
        }
        _ => false,
    };
    if is_complete {
        return Ok(());
    }
    let error = unusable_body(body);
    Err(ApiError { message: format!("{status} does not confirm the deletion: {}", error.message), ..error })
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
