//! Outcome of a reconcile, its events, and the writes to the object itself.

use std::time::Duration;

use crate::api::{FINALIZER, Reason};

/// A write to the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesWrite {
    /// Adds the operator's finalizer.
    AddFinalizer,
    /// Removes the operator's finalizer.
    RemoveFinalizer,
    /// Stores the status of the plan.
    StoreStatus,
}

/// Outcome of a plan or of a reconcile.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The remote side matches the spec.
    InSync,
    /// Nothing was read because nothing changed.
    Skipped,
    /// Steps remain.
    InProgress(String),
    /// Another Kubernetes object must change first. The watch of that object triggers the next reconcile.
    WaitingForDependency(Reason, String),
    /// Like `WaitingForDependency`, for an object that no longer exists. Sets Ready to False.
    DependencyDeleted(Reason, String),
    /// A read failed.
    ReadFailed(Reason, String, Retry),
    /// A write was rejected, or its outcome is unknown.
    WriteFailed(Reason, String, Retry),
    /// The object requires user action. Resyncs only read.
    Stalled(Reason, String),
    /// A user suspended the object.
    Suspended,
    /// The object is being deleted and waits.
    Terminating(String),
    /// The operator's finalizer is removed.
    Finalized,
}

/// Time of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After the object's own backoff.
    Backoff,
    /// After this time, or the backoff if that is longer.
    After(Duration),
}

/// Outcome if the apiserver rejects a change of the operator's finalizer. `words`: text of the apiserver.
pub fn finalizer_rejected(write: KubernetesWrite, words: &str) -> Outcome {
    let message = match write {
        KubernetesWrite::RemoveFinalizer => format!(
            "The deletion is complete, but the API server rejects the removal of finalizer {FINALIZER}: {words}. \
             Correct the policy or the permission"
        ),
        KubernetesWrite::AddFinalizer | KubernetesWrite::StoreStatus => format!(
            "The API server rejects finalizer {FINALIZER}, without which nothing is sent to the Management API: \
             {words}. Correct the policy or the permission"
        ),
    };
    Outcome::WriteFailed(Reason::KubernetesRejected, message, Retry::Backoff)
}

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// True if the event is a warning.
    pub warning: bool,
    /// Action of the operator, in one machine-readable word.
    pub action: &'static str,
    /// Reason of the action, in one machine-readable word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

impl EventRecord {
    pub(crate) fn normal(action: &'static str, reason: &str, message: String) -> Self {
        Self { warning: false, action, reason: reason.to_owned(), message }
    }

    pub(crate) fn warning(action: &'static str, reason: &str, message: String) -> Self {
        Self { warning: true, action, reason: reason.to_owned(), message }
    }
}
