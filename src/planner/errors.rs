//! From a failed API call to the outcome of a reconcile: one table for every kind.

use super::{Outcome, Retry, Timings};
use crate::api::Reason;
use crate::management::types::{ApiError, ErrorKind};

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
        ErrorKind::PaymentRequired => (Reason::PlanLimit, WritePolicy::RetryRejected),
        ErrorKind::Invalid if operation == ApiOperation::Write => (Reason::InvalidSpec, WritePolicy::RetryRejected),
        // A read and a delete send no content of the spec.
        ErrorKind::Invalid | ErrorKind::Rejected => (Reason::Rejected, WritePolicy::RetryRejected),
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
    match error.code {
        Some("insufficient_scope" | "forbidden" | "org_forbidden" | "org_assertion_mismatch") => true,
        Some(_) => false,
        None => error.names_scope,
    }
}

/// Returns true for a 403 about a missing scope.
fn is_scope_error(error: &ApiError) -> bool {
    match error.code {
        Some(code) => code == "insufficient_scope",
        None => error.names_scope,
    }
}

/// Returns true for a 409 because the spicepod of the app comes from a connected repository.
pub(crate) fn is_repository_error(error: &ApiError) -> bool {
    // The first version of the API returns no code.
    error.kind == ErrorKind::Conflict
        && match error.code {
            Some(code) => code == "github_connected",
            None => error.names_repository,
        }
}

fn message(error: &ApiError, scope: &str) -> String {
    if error.kind == ErrorKind::Forbidden && is_scope_error(error) {
        // The text may name the granted scopes, or quote user data, so it does not show which scope is missing.
        format!("The credential lacks the scope {scope}: {error}")
    } else {
        error.to_string()
    }
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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::management::types::ResponseText;

    fn forbidden(text: &str, code: Option<&str>) -> ApiError {
        let body = json!({ "error": text, "code": code }).to_string();
        ApiError::from_response(403, None, &body, ResponseText::WithoutToken(""))
    }

    #[test]
    fn the_message_names_the_scope_that_the_call_requires() {
        for text in [
            "Insufficient scope. Required: config:write",
            "Insufficient scope. Granted: apps:read",
            "Insufficient scope. Required: apps:write. Granted: apps:read",
            "App \"secrets:read\": insufficient scope",
            "Insufficient scope",
        ] {
            let message = message(&forbidden(text, Some("insufficient_scope")), "apps:write");
            assert_eq!(message, format!("The credential lacks the scope apps:write: 403 Forbidden: “{text}”"));
        }
        let without_code = message(&forbidden("Insufficient scope. Granted: apps:read", None), "apps:write");
        assert!(without_code.starts_with("The credential lacks the scope apps:write: "), "{without_code}");
    }

    #[test]
    fn the_code_of_a_403_decides_then_a_scope_name_then_the_call() {
        for (code, text, operation, expected) in [
            (Some("insufficient_scope"), "no", ApiOperation::Write, Reason::Forbidden),
            (Some("forbidden"), "no", ApiOperation::Write, Reason::Forbidden),
            (Some("image_tag_requires_enterprise"), "apps:write", ApiOperation::Write, Reason::PlanLimit),
            (Some("undocumented"), "apps:write", ApiOperation::Write, Reason::PlanLimit),
            (None, "Insufficient scope. Required: apps:write", ApiOperation::Write, Reason::Forbidden),
            (None, "maximum app limit", ApiOperation::Write, Reason::PlanLimit),
            (None, "Dataset \"apps:write\" exceeds the plan limit", ApiOperation::Write, Reason::PlanLimit),
            (None, "Tag \"a\" and app \"apps:read\" exceed the limit", ApiOperation::Write, Reason::PlanLimit),
            (None, "App \"a\" requires the scope apps:write", ApiOperation::Write, Reason::Forbidden),
            (None, "maximum app limit", ApiOperation::Read, Reason::Forbidden),
            (None, "no", ApiOperation::Delete, Reason::Forbidden),
        ] {
            let error = forbidden(text, code);
            assert_eq!(classify(&error, operation).0, expected, "{error:?} {operation:?}");
        }
    }

    #[test]
    fn the_word_repository_in_a_quoted_name_decides_nothing() {
        for (text, expected) in [
            ("the app has a connected repository", Reason::RepositoryConnected),
            ("App \"repository-index\" already exists in this organization", Reason::RemoteUnavailable),
        ] {
            let body = json!({ "error": text }).to_string();
            let error = ApiError::from_response(409, None, &body, ResponseText::WithoutToken(""));
            assert_eq!(classify(&error, ApiOperation::Write).0, expected, "{text}");
        }
    }

    /// Answers with the reason of a create or update.
    const ANSWERS: [(u16, &str, Reason); 9] = [
        (400, r#"{"error":"Validation failed"}"#, Reason::InvalidSpec),
        (401, r#"{"error":"Invalid token format"}"#, Reason::Unauthorized),
        (403, r#"{"error":"Insufficient scope. Required: apps:write"}"#, Reason::Forbidden),
        (403, r#"{"error":"no","code":"insufficient_scope"}"#, Reason::Forbidden),
        (403, r#"{"error":"Organization has reached the maximum app limit"}"#, Reason::PlanLimit),
        (409, r#"{"error":"connected","code":"github_connected"}"#, Reason::RepositoryConnected),
        (409, r#"{"error":"The spicepod comes from a repository"}"#, Reason::RepositoryConnected),
        (429, r#"{"error":"Rate limit exceeded"}"#, Reason::RateLimited),
        (500, "no", Reason::RemoteUnavailable),
    ];

    /// Words of error codes, scopes and messages.
    const WORDS: [&str; 14] = [
        "github",
        "github_connected",
        "scope",
        "insufficient_scope",
        "apps:write",
        "repository",
        "error",
        "code",
        "en",
        "1",
        "plan_limit",
        "maximum app limit",
        "\"",
        "{",
    ];

    /// Some of the words in a row. A value in quotation marks contains none.
    fn quoted_value() -> impl Strategy<Value = String> {
        let words =
            WORDS.into_iter().chain(["secrets:read", "org_forbidden", "Insufficient scope. Required: apps:write"]);
        let words: Vec<&str> = words.filter(|word| !word.contains('"')).collect();
        let separator = prop::sample::select(&["", " ", "-", ": "]);
        (prop::collection::vec(prop::sample::select(words), 1..4), separator).prop_map(|(words, it)| words.join(it))
    }

    proptest! {
        /// The API quotes the name of an app, a tag or a dataset in its text.
        #[test]
        fn no_quoted_value_changes_a_reason(
            kind in prop::sample::select(&["App", "Tag", "Dataset"]),
            value in quoted_value(),
            is_first: bool,
        ) {
            for (status, body, reason) in ANSWERS {
                let mut body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
                if let Some(error) = body.get_mut("error") {
                    let (text, quoted) = (error.as_str().unwrap_or_default(), format!("{kind} \"{value}\""));
                    *error = json!(if is_first { format!("{quoted}: {text}") } else { format!("{text}: {quoted}") });
                }
                let error = ApiError::from_response(status, None, &body.to_string(), ResponseText::WithoutToken(""));
                prop_assert_eq!(classify(&error, ApiOperation::Write).0, reason, "{:?}", error);
            }
        }

        /// A word of the answer as a bearer token, or as a secret value, changes nothing but the shown text.
        #[test]
        fn no_value_of_the_request_changes_a_reason(
            answer in 0..ANSWERS.len(),
            word in prop::sample::select(&WORDS[..]),
            is_secret: bool,
        ) {
            let (status, body, reason) = ANSWERS[answer];
            let text = if is_secret { ResponseText::Hidden } else { ResponseText::WithoutToken(word) };
            let error = ApiError::from_response(status, None, body, text);
            prop_assert_eq!(classify(&error, ApiOperation::Write).0, reason, "{:?}", error);
        }
    }
}
