//! What can go wrong with a call, by what it means for the caller.

use std::time::Duration;

use thiserror::Error;

/// A call that did not end in the answer asked for.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// The machine-readable `code` of the error body (contract section 5), where there was one.
    pub code: Option<String>,
    /// One short sentence for people, without any value that was sent.
    pub message: String,
}

/// What happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection was made: nothing was sent.
    Connect,
    /// The connection broke, or time ran out, after something was sent.
    Interrupted,
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
    Throttled {
        /// How long the API asks to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    Server,
    /// An answer that this client cannot make sense of.
    Unexpected,
    /// A list whose end cannot be told.
    IncompleteList {
        /// Items seen.
        seen: usize,
    },
    /// There is no usable credential; nothing was sent.
    NoCredential,
    /// It was no longer wanted when its turn came; nothing was sent.
    Withdrawn,
}

/// What a failure calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again by backoff.
    Transient,
    /// Try again after this time, or by backoff.
    Throttled(Option<Duration>),
    /// Somebody has to change something first.
    NeedsUser,
    /// The object is not there.
    Gone,
}

impl Failure {
    /// A failure that happened on this side of the wire.
    pub fn local(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into() }
    }

    /// What it calls for.
    pub fn class(&self) -> Class {
        match self.kind {
            FailureKind::Connect | FailureKind::Interrupted | FailureKind::Server => Class::Transient,
            FailureKind::Unexpected | FailureKind::IncompleteList { .. } | FailureKind::Withdrawn => Class::Transient,
            FailureKind::NotFound { json: false } | FailureKind::Conflict => Class::Transient,
            FailureKind::Throttled { retry_after } => Class::Throttled(retry_after),
            FailureKind::Invalid | FailureKind::Unauthorized | FailureKind::Forbidden => Class::NeedsUser,
            FailureKind::NoCredential => Class::NeedsUser,
            FailureKind::NotFound { json: true } => Class::Gone,
        }
    }

    /// Whether a write that ended like this certainly had no effect. Anything else after the first byte may have had.
    pub fn proves_not_applied(&self) -> bool {
        match self.kind {
            FailureKind::Connect | FailureKind::NoCredential | FailureKind::Withdrawn => true,
            FailureKind::Invalid => true,
            FailureKind::Unauthorized | FailureKind::Forbidden | FailureKind::Throttled { .. } => true,
            FailureKind::NotFound { .. } | FailureKind::Conflict => true,
            FailureKind::Interrupted | FailureKind::Server => false,
            FailureKind::Unexpected | FailureKind::IncompleteList { .. } => false,
        }
    }

    /// A fixed word for logs and metric labels.
    pub fn label(&self) -> &'static str {
        match self.kind {
            FailureKind::Connect => "connect",
            FailureKind::Interrupted => "interrupted",
            FailureKind::Invalid => "invalid",
            FailureKind::Unauthorized => "unauthorized",
            FailureKind::Forbidden => "forbidden",
            FailureKind::NotFound { .. } => "not_found",
            FailureKind::Conflict => "conflict",
            FailureKind::Throttled { .. } => "throttled",
            FailureKind::Server => "server",
            FailureKind::Unexpected => "unexpected",
            FailureKind::IncompleteList { .. } => "incomplete_list",
            FailureKind::NoCredential => "no_credential",
            FailureKind::Withdrawn => "withdrawn",
        }
    }
}
