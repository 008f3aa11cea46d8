//! From a failed API call to the outcome of a reconcile: one table for every kind.

use super::{Outcome, Retry, Timings};
use crate::api::Reason;
use crate::management::types::{ApiError, ErrorKind};

/// All scopes of the API. A 403 without a code that contains one of these names is a scope error.
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

/// Type of a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiOperation {
    /// A read.
    Read,
    /// A create or an update.
    Write,
    /// A delete.
    Delete,
}

/// Consequence of a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WritePolicy {
    /// Plan again: the write was not sent.
    Replan,
    /// Wait for a change of the spec.
    Stall,
    /// Retry rarely, because no read can show whether the cause persists.
    RetryRejected,
    /// Retry with backoff, or after the time that the API requested.
    Retry,
}

/// Outcome after a failed read.
pub(crate) fn read_failed(error: &ApiError, scope: &str) -> Outcome {
    let (reason, _) = classify(error, ApiOperation::Read);
    Outcome::ReadFailed(reason, message(error, scope), retry(error))
}

/// Outcome after a failed call. `scope` is the scope that the call requires.
pub(crate) fn call_failed(error: &ApiError, operation: ApiOperation, scope: &str, timings: &Timings) -> Outcome {
    let (reason, policy) = classify(error, operation);
    let message = message(error, scope);
    match policy {
        WritePolicy::Replan => Outcome::InProgress(message),
        WritePolicy::Stall => Outcome::Stalled(reason, message),
        WritePolicy::RetryRejected => {
            Outcome::WriteFailed(reason, message, Retry::After(timings.rejected_write_retry_interval))
        }
        WritePolicy::Retry => Outcome::WriteFailed(reason, message, retry(error)),
    }
}

/// The reason of a failed call, and the consequence if the call is a write.
fn classify(error: &ApiError, operation: ApiOperation) -> (Reason, WritePolicy) {
    match error.kind {
        ErrorKind::Cancelled => (Reason::Progressing, WritePolicy::Replan),
        ErrorKind::CredentialMissing => (Reason::CredentialsMissing, WritePolicy::Retry),
        ErrorKind::Unauthorized => (Reason::Unauthorized, WritePolicy::Retry),
        ErrorKind::Forbidden => (forbidden_reason(error, operation), WritePolicy::RetryRejected),
        ErrorKind::RateLimited { .. } => (Reason::RateLimited, WritePolicy::Retry),
        ErrorKind::Invalid => match operation {
            ApiOperation::Write => (Reason::InvalidSpec, WritePolicy::RetryRejected),
            ApiOperation::Read | ApiOperation::Delete => (Reason::RemoteUnavailable, WritePolicy::Retry),
        },
        ErrorKind::Conflict if is_repository_error(error) => (Reason::RepositoryConnected, WritePolicy::Stall),
        ErrorKind::Conflict
        | ErrorKind::NotFound { .. }
        | ErrorKind::Connect
        | ErrorKind::OutcomeUnknown
        | ErrorKind::Server
        | ErrorKind::InvalidResponse
        | ErrorKind::IncompleteList { .. } => (Reason::RemoteUnavailable, WritePolicy::Retry),
    }
}

/// The reason of a 403. A 403 to a create or an update without a missing scope or role is about the content of the
/// request.
fn forbidden_reason(error: &ApiError, operation: ApiOperation) -> Reason {
    match operation {
        ApiOperation::Write if !is_authorization_error(error) => Reason::PlanLimit,
        ApiOperation::Read | ApiOperation::Write | ApiOperation::Delete => Reason::Forbidden,
    }
}

/// Returns true for a 403 about a missing scope or role, and not about the content of the request.
pub(crate) fn is_authorization_error(error: &ApiError) -> bool {
    match error.code.as_deref() {
        Some("insufficient_scope" | "forbidden" | "org_forbidden" | "org_assertion_mismatch") => true,
        Some(_) => false,
        None => contains_scope_name(&error.message),
    }
}

/// Returns true for a 403 about a missing scope.
fn is_scope_error(error: &ApiError) -> bool {
    match error.code.as_deref() {
        Some(code) => code == "insufficient_scope",
        None => contains_scope_name(&error.message),
    }
}

fn contains_scope_name(text: &str) -> bool {
    SCOPES.iter().any(|scope| text.contains(scope))
}

/// Returns true for a 409 because the spicepod of the app comes from a connected repository.
pub(crate) fn is_repository_error(error: &ApiError) -> bool {
    // The first version of the API returns no code.
    error.kind == ErrorKind::Conflict
        && match error.code.as_deref() {
            Some(code) => code == "github_connected",
            None => error.message.contains("repository"),
        }
}

fn message(error: &ApiError, scope: &str) -> String {
    if error.kind == ErrorKind::Forbidden && is_scope_error(error) {
        format!("The credential lacks the scope {}: {error}", missing_scope(error).unwrap_or(scope))
    } else {
        error.to_string()
    }
}

/// The scope that the API names, if the text contains exactly one.
fn missing_scope(error: &ApiError) -> Option<&'static str> {
    let mut scopes = SCOPES.iter().filter(|scope| error.message.contains(**scope));
    let scope = scopes.next()?;
    scopes.next().is_none().then_some(scope)
}

fn retry(error: &ApiError) -> Retry {
    if let ErrorKind::RateLimited { retry_after: Some(after) } = error.kind {
        Retry::After(after)
    } else {
        Retry::Backoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_scope_that_the_api_names() {
        for (text, expected) in [
            ("Insufficient scope. Required: config:write", "config:write"),
            ("Insufficient scope. Required: apps:write. Granted: apps:read", "apps:write"),
            ("Insufficient scope", "apps:write"),
        ] {
            let code = Some("insufficient_scope".to_owned());
            let error = ApiError { kind: ErrorKind::Forbidden, code, message: text.to_owned() };
            let message = message(&error, "apps:write");
            assert_eq!(message, format!("The credential lacks the scope {expected}: {text}"));
        }
    }

    #[test]
    fn the_code_of_a_403_decides_then_a_scope_name_then_the_call() {
        for (code, text, operation, expected) in [
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
            assert_eq!(classify(&error, operation).0, expected, "{error:?} {operation:?}");
        }
    }
}
