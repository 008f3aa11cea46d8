//! Errors of Management API calls, classified by their consequence for the caller.

use std::time::Duration;

use reqwest::StatusCode;
use thiserror::Error;

use super::error_body::{ErrorFacts, ResponseText};

/// A failed call.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
pub struct ApiError {
    /// Kind of failure.
    pub kind: ErrorKind,
    /// True if the API responded with its JSON error shape.
    pub is_json: bool,
    /// The `code` of the JSON error: a documented value, or `other`.
    pub code: Option<&'static str>,
    /// True if the raw text of the JSON error names a scope outside quotation marks.
    pub names_scope: bool,
    /// True if the raw text of the JSON error names a repository outside quotation marks.
    pub names_repository: bool,
    /// One short sentence for users, without credentials and secret values. No decision depends on the message.
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
    /// 402: the plan does not include this call.
    PaymentRequired,
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
    /// Any other 4xx except 408 and 425: the server refused the request.
    Rejected,
    /// 5xx, 408 or 425: the server may have applied the request.
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
        let (is_json, code, names_scope, names_repository) = (false, None, false, false);
        Self { kind, is_json, code, names_scope, names_repository, message: message.into() }
    }

    /// The error of a response without a success status. `retry_after` is the wait that the API requested.
    pub fn from_response(status: u16, retry_after: Option<Duration>, body: &str, text: ResponseText<'_>) -> Self {
        let ErrorFacts { is_json, code, names_scope, names_repository, shown } = ErrorFacts::parse(body, text);
        let kind = match status {
            400 | 413 | 422 => ErrorKind::Invalid,
            401 => ErrorKind::Unauthorized,
            402 => ErrorKind::PaymentRequired,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound { json: is_json },
            409 => ErrorKind::Conflict,
            429 => ErrorKind::RateLimited { retry_after },
            408 | 425 | 500..=599 => ErrorKind::Server,
            400..=499 => ErrorKind::Rejected,
            _ => ErrorKind::InvalidResponse,
        };
        let name = StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string());
        let hidden = match text {
            ResponseText::Hidden => ". The response text is hidden, because the request contains a secret value",
            ResponseText::WithoutToken(_) => "",
        };
        let separator = if shown.is_empty() { "" } else { ": " };
        let message = format!("{name}{separator}{shown}{hidden}");
        Self { kind, is_json, code, names_scope, names_repository, message }
    }

    /// True if this error proves that a write had no effect. Every other error may follow a write that was applied.
    pub fn proves_not_applied(&self) -> bool {
        match self.kind {
            ErrorKind::Connect | ErrorKind::CredentialMissing | ErrorKind::Cancelled => true,
            ErrorKind::Invalid | ErrorKind::PaymentRequired | ErrorKind::Rejected => true,
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
            ErrorKind::PaymentRequired => "payment_required",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound { .. } => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::RateLimited { .. } => "rate_limited",
            ErrorKind::Rejected => "rejected",
            ErrorKind::Server => "server",
            ErrorKind::InvalidResponse => "invalid_response",
            ErrorKind::IncompleteList { .. } => "incomplete_list",
            ErrorKind::CredentialMissing => "credential_missing",
            ErrorKind::Cancelled => "cancelled",
        }
    }
}
