//! Credential Secrets without the operator's finalizer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// UIDs of credential Secrets to which the operator could not add its finalizer. Their organizations work without it.
#[derive(Default)]
pub(in crate::controller) struct UnprotectedSecrets(Mutex<HashSet<String>>);

impl UnprotectedSecrets {
    /// Adds a Secret. Returns whether it is new.
    pub(in crate::controller) fn add(&self, uid: String) -> bool {
        self.uids().insert(uid)
    }

    /// Removes a Secret that has the finalizer, or was deleted.
    pub(in crate::controller) fn remove(&self, uid: &str) {
        self.uids().remove(uid);
    }

    pub(in crate::controller) fn contains(&self, uid: &str) -> bool {
        self.uids().contains(uid)
    }

    fn uids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
