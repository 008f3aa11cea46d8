//! Errors of Management API calls, classified by their consequence for the caller.

use std::time::Duration;

use thiserror::Error;

/// A failed call.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
pub struct ApiError {
    /// Kind of failure.
    pub kind: ErrorKind,
    /// Machine-readable `code` of the JSON error body, if present.
    pub code: Option<String>,
    /// One short sentence for users. It contains no credential and no secret value.
    pub message: String,
}

/// Kind of failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection: nothing was sent.
    Connect,
    /// The connection broke, or the timeout expired, after part of the request was sent.
    OutcomeUnknown,
    /// 400, 413 or 422: the API rejected the content of the request.
    Invalid,
    /// 401: the API rejected the credential.
    Unauthorized,
    /// 403: the credential is valid, but does not permit this call.
    Forbidden,
    /// 404. Only a JSON error body is a statement of the API about the object; an HTML page may come from a proxy.
    NotFound {
        /// True if the body was a JSON error of the API.
        json: bool,
    },
    /// 409: the object exists already, or another operation on the object is in progress.
    Conflict,
    /// 429: too many requests.
    RateLimited {
        /// Wait that the API requested.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    Server,
    /// A response that this client cannot interpret.
    InvalidResponse,
    /// A list whose pages do not show whether more items exist.
    IncompleteList {
        /// Number of items read.
        items_seen: usize,
    },
    /// No usable credential: nothing was sent.
    CredentialMissing,
    /// The request is no longer valid, or needs a new access token. Nothing was applied, and the caller plans again.
    Cancelled,
}

impl ApiError {
    /// An error that this client detected, without a `code` of the API.
    pub fn local(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into() }
    }

    /// True if this error proves that a write had no effect. Every other error may follow a write that was applied.
    pub fn proves_not_applied(&self) -> bool {
        match self.kind {
            ErrorKind::Connect | ErrorKind::CredentialMissing | ErrorKind::Cancelled => true,
            ErrorKind::Invalid => true,
            ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::RateLimited { .. } => true,
            ErrorKind::NotFound { .. } | ErrorKind::Conflict => true,
            ErrorKind::OutcomeUnknown | ErrorKind::Server => false,
            ErrorKind::InvalidResponse | ErrorKind::IncompleteList { .. } => false,
        }
    }

    /// Fixed word for log fields and metric labels.
    pub fn label(&self) -> &'static str {
        match self.kind {
            ErrorKind::Connect => "connect",
            ErrorKind::OutcomeUnknown => "response_lost",
            ErrorKind::Invalid => "invalid_request",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound { .. } => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::RateLimited { .. } => "rate_limited",
            ErrorKind::Server => "server",
            ErrorKind::InvalidResponse => "invalid_response",
            ErrorKind::IncompleteList { .. } => "incomplete_list",
            ErrorKind::CredentialMissing => "credential_missing",
            ErrorKind::Cancelled => "cancelled",
        }
    }
}
