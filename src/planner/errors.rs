//! From a failed call to a reason: one table for every kind.

use super::{Outcome, Retry, Timings};
use crate::api::Reason;
use crate::management::types::{ApiError, ErrorClass, ErrorKind};

/// The names of all scopes (contract section 3): a 403 without a code that names one is about scopes.
const SCOPES: [&str; 16] = [
    "apps:read",
    "apps:write",
    "apps:delete",
    "deployments:read",
    "deployments:write",
    "secrets:read",
    "secrets:write",
    "config:read",
    "config:write",
    "members:read",
    "members:write",
    "members:delete",
    "monitors:read",
    "monitors:write",
    "reactions:read",
    "reactions:write",
];

/// What kind of call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiOperation {
    /// A read.
    Read,
    /// A create or an update.
    Write,
    /// A delete.
    Delete,
}

/// The verdict after a read that told nothing.
pub(crate) fn read_failed(error: &ApiError, scope: &str) -> Outcome {
    Outcome::ReadFailed(reason(error, ApiOperation::Read), message(error, scope), retry(error))
}

/// The verdict after a write that did not end well.
pub(crate) fn call_failed(error: &ApiError, call: ApiOperation, scope: &str, timings: &Timings) -> Outcome {
    let (reason, message) = (reason(error, call), message(error, scope));
    match reason {
        Reason::Progressing => Outcome::InProgress(message),
        Reason::RepositoryConnected => Outcome::Stalled(reason, message),
        Reason::Forbidden | Reason::PlanLimit | Reason::InvalidSpec => {
            Outcome::WriteFailed(reason, message, Retry::After(timings.rejected_write_retry_interval))
        }
        _ => Outcome::WriteFailed(reason, message, retry(error)),
    }
}

fn reason(error: &ApiError, call: ApiOperation) -> Reason {
    match error.kind {
        ErrorKind::CredentialMissing => Reason::CredentialsMissing,
        ErrorKind::Cancelled => Reason::Progressing,
        ErrorKind::Unauthorized => Reason::Unauthorized,
        ErrorKind::Forbidden => forbidden(error, call),
        ErrorKind::RateLimited { .. } => Reason::RateLimited,
        ErrorKind::Invalid if call == ApiOperation::Write => Reason::InvalidSpec,
        ErrorKind::Conflict if is_repository_error(error) => Reason::RepositoryConnected,
        _ => Reason::RemoteUnavailable,
    }
}

fn forbidden(error: &ApiError, call: ApiOperation) -> Reason {
    if is_authorization_error(error) || call != ApiOperation::Write { Reason::Forbidden } else { Reason::PlanLimit }
}

/// Whether a 403 says that a scope or a role is missing, and nothing of what was sent.
pub(crate) fn is_authorization_error(error: &ApiError) -> bool {
    match error.code.as_deref() {
        Some("insufficient_scope" | "forbidden" | "org_forbidden" | "org_assertion_mismatch") => true,
        Some(_) => false,
        None => names_a_scope(&error.message),
    }
}

fn names_a_scope(text: &str) -> bool {
    SCOPES.iter().any(|scope| text.contains(scope))
}

/// Whether a 403 says that a scope is missing.
fn about_scope(error: &ApiError) -> bool {
    error.code.as_deref() == Some("insufficient_scope") || (error.code.is_none() && names_a_scope(&error.message))
}

/// Whether a 409 says that the app's spicepod comes from a connected repository.
pub(crate) fn is_repository_error(error: &ApiError) -> bool {
    // The first version of the API says it in words alone.
    error.kind == ErrorKind::Conflict
        && match error.code.as_deref() {
            Some(code) => code == "github_connected",
            None => error.message.contains("repository"),
        }
}

fn message(error: &ApiError, scope: &str) -> String {
    if error.kind == ErrorKind::Forbidden && about_scope(error) {
        // The service knows better which one, if it names that alone.
        let mut named = SCOPES.iter().filter(|named| error.message.contains(**named));
        let scope = named.next().filter(|_| named.next().is_none()).unwrap_or(&scope);
        format!("the credential lacks the scope {scope}: {error}")
    } else {
        error.to_string()
    }
}

fn retry(error: &ApiError) -> Retry {
    match error.class() {
        ErrorClass::RateLimited(Some(after)) => Retry::After(after),
        _ => Retry::Backoff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_that_is_named_is_the_one_that_is_missing() {
        for (text, expected) in [
            ("Insufficient scope. Required: config:write", "config:write"),
            ("Insufficient scope. Required: apps:write. Granted: apps:read", "apps:write"),
            ("Insufficient scope", "apps:write"),
        ] {
            let code = Some("insufficient_scope".to_owned());
            let error = ApiError { kind: ErrorKind::Forbidden, code, message: text.to_owned() };
            let message = message(&error, "apps:write");
            assert_eq!(message, format!("the credential lacks the scope {expected}: {text}"));
        }
    }

    #[test]
    fn the_code_of_a_403_decides_then_a_scope_name_then_the_call() {
        for (code, text, call, expected) in [
            (Some("insufficient_scope"), "no", ApiOperation::Write, Reason::Forbidden),
            (Some("forbidden"), "no", ApiOperation::Write, Reason::Forbidden),
            (Some("image_tag_requires_enterprise"), "apps:write", ApiOperation::Write, Reason::PlanLimit),
            (None, "Insufficient scope. Required: apps:write", ApiOperation::Write, Reason::Forbidden),
            (None, "maximum app limit", ApiOperation::Write, Reason::PlanLimit),
            (None, "maximum app limit", ApiOperation::Read, Reason::Forbidden),
            (None, "no", ApiOperation::Delete, Reason::Forbidden),
        ] {
            let error =
                ApiError { kind: ErrorKind::Forbidden, code: code.map(str::to_owned), message: text.to_owned() };
            assert_eq!(reason(&error, call), expected, "{error:?} {call:?}");
        }
    }
}
