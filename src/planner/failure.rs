//! From a failed call to a reason: one table for every kind.

use super::{Retry, Verdict, Waits};
use crate::api::Reason;
use crate::management::types::{Class, Failure, FailureKind};

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
pub(crate) enum Call {
    /// A read.
    Read,
    /// A create or an update.
    Write,
    /// A delete.
    Delete,
}

/// The verdict after a read that told nothing.
pub(crate) fn unseen(failure: &Failure, scope: &str) -> Verdict {
    Verdict::Unseen(reason(failure, Call::Read), words(failure, scope), retry(failure))
}

/// The verdict after a write that did not end well.
pub(crate) fn failed(failure: &Failure, call: Call, scope: &str, waits: &Waits) -> Verdict {
    let (reason, words) = (reason(failure, call), words(failure, scope));
    match reason {
        Reason::Progressing => Verdict::Working(words),
        Reason::RepositoryConnected => Verdict::Stalled(reason, words),
        Reason::Forbidden | Reason::PlanLimit | Reason::InvalidSpec => {
            Verdict::Failed(reason, words, Retry::After(waits.refused_write_repeat))
        }
        _ => Verdict::Failed(reason, words, retry(failure)),
    }
}

fn reason(failure: &Failure, call: Call) -> Reason {
    match failure.kind {
        FailureKind::NoCredential => Reason::CredentialsMissing,
        FailureKind::Withdrawn => Reason::Progressing,
        FailureKind::Unauthorized => Reason::Unauthorized,
        FailureKind::Forbidden => forbidden(failure, call),
        FailureKind::Throttled { .. } => Reason::RateLimited,
        FailureKind::Invalid if call == Call::Write => Reason::InvalidSpec,
        FailureKind::Conflict if about_repository(failure) => Reason::RepositoryConnected,
        _ => Reason::RemoteUnavailable,
    }
}

fn forbidden(failure: &Failure, call: Call) -> Reason {
    if about_access(failure) || call != Call::Write { Reason::Forbidden } else { Reason::PlanLimit }
}

/// Whether a 403 says that a scope or a role is missing, and nothing of what was sent.
pub(crate) fn about_access(failure: &Failure) -> bool {
    match failure.code.as_deref() {
        Some("insufficient_scope" | "forbidden" | "org_forbidden" | "org_assertion_mismatch") => true,
        Some(_) => false,
        None => names_a_scope(&failure.message),
    }
}

fn names_a_scope(text: &str) -> bool {
    SCOPES.iter().any(|scope| text.contains(scope))
}

/// Whether a 403 says that a scope is missing.
fn about_scope(failure: &Failure) -> bool {
    failure.code.as_deref() == Some("insufficient_scope") || (failure.code.is_none() && names_a_scope(&failure.message))
}

/// Whether a 409 says that the app's spicepod comes from a connected repository.
pub(crate) fn about_repository(failure: &Failure) -> bool {
    // The first version of the API says it in words alone.
    failure.kind == FailureKind::Conflict
        && match failure.code.as_deref() {
            Some(code) => code == "github_connected",
            None => failure.message.contains("repository"),
        }
}

fn words(failure: &Failure, scope: &str) -> String {
    if failure.kind == FailureKind::Forbidden && about_scope(failure) {
        // The service knows better which one, if it names that alone.
        let mut named = SCOPES.iter().filter(|named| failure.message.contains(**named));
        let scope = named.next().filter(|_| named.next().is_none()).unwrap_or(&scope);
        format!("the credential lacks the scope {scope}: {failure}")
    } else {
        failure.to_string()
    }
}

fn retry(failure: &Failure) -> Retry {
    match failure.class() {
        Class::Throttled(Some(after)) => Retry::After(after),
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
            let failure = Failure { kind: FailureKind::Forbidden, code, message: text.to_owned() };
            let words = words(&failure, "apps:write");
            assert_eq!(words, format!("the credential lacks the scope {expected}: {text}"));
        }
    }

    #[test]
    fn the_code_of_a_403_decides_then_a_scope_name_then_the_call() {
        for (code, text, call, expected) in [
            (Some("insufficient_scope"), "no", Call::Write, Reason::Forbidden),
            (Some("forbidden"), "no", Call::Write, Reason::Forbidden),
            (Some("image_tag_requires_enterprise"), "apps:write", Call::Write, Reason::PlanLimit),
            (None, "Insufficient scope. Required: apps:write", Call::Write, Reason::Forbidden),
            (None, "maximum app limit", Call::Write, Reason::PlanLimit),
            (None, "maximum app limit", Call::Read, Reason::Forbidden),
            (None, "no", Call::Delete, Reason::Forbidden),
        ] {
            let failure =
                Failure { kind: FailureKind::Forbidden, code: code.map(str::to_owned), message: text.to_owned() };
            assert_eq!(reason(&failure, call), expected, "{failure:?} {call:?}");
        }
    }
}
