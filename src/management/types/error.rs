//! What can go wrong with a call, by what it means for the caller.

use std::time::Duration;

use thiserror::Error;

/// A call that did not end in the answer asked for.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
pub struct ApiError {
    /// What happened.
    pub kind: ErrorKind,
    /// The machine-readable `code` of the error body (contract section 5), where there was one.
    pub code: Option<String>,
    /// One short sentence for people, without any value that was sent.
    pub message: String,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection was made: nothing was sent.
    Connect,
    /// The connection broke, or time ran out, after something was sent.
    OutcomeUnknown,
    /// 400, 413 or 422: the API will not take this request.
    Invalid,
    /// 401: the credential is not accepted.
    Unauthorized,
    /// 403: accepted, but not for this.
    Forbidden,
    /// 404. Only a JSON error body speaks for the API; a proxy's page says nothing about the object.
    NotFound {
        /// Whether the body was the API's own.
        json: bool,
    },
    /// 409: exists already, or a conflicting operation runs.
    Conflict,
    /// 429: too many requests.
    RateLimited {
        /// How long the API asks to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    Server,
    /// An answer that this client cannot make sense of.
    InvalidResponse,
    /// A list whose end cannot be told.
    IncompleteList {
        /// Items seen.
        seen: usize,
    },
    /// There is no usable credential; nothing was sent.
    CredentialMissing,
    /// It was no longer wanted when its turn came; nothing was sent.
    Cancelled,
}

/// What a failure calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again by backoff.
    Transient,
    /// Try again after this time, or by backoff.
    RateLimited(Option<Duration>),
    /// Somebody has to change something first.
    RequiresUserAction,
    /// The object is not there.
    Gone,
}

impl ApiError {
    /// A failure that happened on this side of the wire.
    pub fn local(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into() }
    }

    /// What it calls for.
    pub fn class(&self) -> ErrorClass {
        match self.kind {
            ErrorKind::Connect | ErrorKind::OutcomeUnknown | ErrorKind::Server => ErrorClass::Transient,
            ErrorKind::InvalidResponse | ErrorKind::IncompleteList { .. } | ErrorKind::Cancelled => {
                ErrorClass::Transient
            }
            ErrorKind::NotFound { json: false } | ErrorKind::Conflict => ErrorClass::Transient,
            ErrorKind::RateLimited { retry_after } => ErrorClass::RateLimited(retry_after),
            ErrorKind::Invalid | ErrorKind::Unauthorized | ErrorKind::Forbidden => ErrorClass::RequiresUserAction,
            ErrorKind::CredentialMissing => ErrorClass::RequiresUserAction,
            ErrorKind::NotFound { json: true } => ErrorClass::Gone,
        }
    }

    /// Whether a write that ended like this certainly had no effect. Anything else after the first byte may have had.
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

    /// A fixed word for logs and metric labels.
    pub fn label(&self) -> &'static str {
        match self.kind {
            ErrorKind::Connect => "connect",
            ErrorKind::OutcomeUnknown => "interrupted",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::NotFound { .. } => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::RateLimited { .. } => "throttled",
            ErrorKind::Server => "server",
            ErrorKind::InvalidResponse => "unexpected",
            ErrorKind::IncompleteList { .. } => "incomplete_list",
            ErrorKind::CredentialMissing => "no_credential",
            ErrorKind::Cancelled => "withdrawn",
        }
    }
}
