//! Cancellation of work for an object that changes, so that an edit does not wait behind work for the earlier version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::controller::cluster::sync::lock;

/// Running work by the UID of its object. Bounded by the running reconciles, of which each object has at most one.
#[derive(Debug, Default)]
pub(in crate::controller) struct CancelOnChange {
    in_progress: Mutex<HashMap<String, Arc<Notify>>>,
}

/// Removes the entry of a UID when dropped.
struct EntryGuard<'a> {
    cancellation: &'a CancelOnChange,
    uid: &'a str,
}

impl CancelOnChange {
    /// Runs work until `is_current` is false. Calls `is_current` at the start and after each change of the object.
    /// Returns none if the work was cancelled.
    pub(in crate::controller) async fn run_until_changed<T>(
        &self,
        uid: &str,
        is_current: impl Fn() -> bool,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let changed = Arc::new(Notify::new());
        lock(&self.in_progress).insert(uid.to_owned(), Arc::clone(&changed));
        let _guard = EntryGuard { cancellation: self, uid };
        tokio::pin!(work);
        // A change after the insert and before the first check leaves a permit in `changed`.
        while is_current() {
            tokio::select! {
                result = &mut work => return Some(result),
                () = changed.notified() => {}
            }
        }
        None
    }

    /// Checks the work for an object that changed.
    pub(in crate::controller) fn on_change(&self, uid: Option<&String>) {
        if let Some(changed) = uid.and_then(|uid| lock(&self.in_progress).get(uid).cloned()) {
            changed.notify_one();
        }
    }
}

impl Drop for EntryGuard<'_> {
    fn drop(&mut self) {
        lock(&self.cancellation.in_progress).remove(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn work_ends_when_its_object_changes_and_only_then() {
        let (cancellation, current) = (CancelOnChange::default(), AtomicBool::new(true));
        let uid = "one".to_owned();
        let is_current = || current.load(Ordering::SeqCst);
        let mut endless = Box::pin(cancellation.run_until_changed(&uid, is_current, std::future::pending::<()>()));
        assert!(futures::poll!(&mut endless).is_pending());
        // A change of another object, then an irrelevant change of this one.
        cancellation.on_change(Some(&"other".to_owned()));
        cancellation.on_change(Some(&uid));
        assert!(futures::poll!(&mut endless).is_pending());
        current.store(false, Ordering::SeqCst);
        assert!(futures::poll!(&mut endless).is_pending(), "no change was reported");
        cancellation.on_change(Some(&uid));
        assert_eq!(endless.await, None);
        assert_eq!(
            cancellation.run_until_changed(&uid, is_current, async { 1 }).await,
            None,
            "changed before the start"
        );
        current.store(true, Ordering::SeqCst);
        assert_eq!(cancellation.run_until_changed(&uid, is_current, async { 1 }).await, Some(1));
        assert!(lock(&cancellation.in_progress).is_empty());
    }
}
