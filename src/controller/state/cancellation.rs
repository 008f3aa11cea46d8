//! Work for an object that is not worth going on with once the object changes: an edit must not wait behind what its
//! earlier version has asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Who works for which object. Bounded by the visits in hand, of which there is one an object at most.
#[derive(Debug, Default)]
pub(in crate::controller) struct CancelOnChange {
    in_progress: Mutex<HashMap<String, Arc<Notify>>>,
}

/// Leaves the list when the work ends, however it ends.
struct Entry<'a> {
    interests: &'a CancelOnChange,
    uid: &'a str,
}

impl CancelOnChange {
    /// The outcome of the work; nothing if `current` ceases to hold first. It is asked at the begin, and whenever the
    /// object of this uid is seen to have changed.
    pub(in crate::controller) async fn run_until_changed<T>(
        &self,
        uid: &str,
        current: impl Fn() -> bool,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let changed = Arc::new(Notify::new());
        self.in_progress().insert(uid.to_owned(), Arc::clone(&changed));
        let _entry = Entry { interests: self, uid };
        tokio::pin!(work);
        // A change between the entry and the first look has left a permit behind.
        while current() {
            tokio::select! {
                outcome = &mut work => return Some(outcome),
                () = changed.notified() => {}
            }
        }
        None
    }

    /// Lets whoever works for an object look whether it is as it was.
    pub(in crate::controller) fn changed(&self, uid: Option<&String>) {
        if let Some(changed) = uid.and_then(|uid| self.in_progress().get(uid).cloned()) {
            changed.notify_one();
        }
    }

    fn in_progress(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.interests.in_progress().remove(self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn work_ends_when_its_object_changes_and_only_then() {
        let (interests, current) = (CancelOnChange::default(), AtomicBool::new(true));
        let uid = "one".to_owned();
        let is_current = || current.load(Ordering::SeqCst);
        let mut endless = Box::pin(interests.run_until_changed(&uid, is_current, std::future::pending::<()>()));
        assert!(futures::poll!(&mut endless).is_pending());
        // Another object changes; then this one, in what does not matter.
        interests.changed(Some(&"other".to_owned()));
        interests.changed(Some(&uid));
        assert!(futures::poll!(&mut endless).is_pending());
        current.store(false, Ordering::SeqCst);
        assert!(futures::poll!(&mut endless).is_pending(), "nobody has said so");
        interests.changed(Some(&uid));
        assert_eq!(endless.await, None);
        assert_eq!(interests.run_until_changed(&uid, is_current, async { 1 }).await, None, "already changed");
        current.store(true, Ordering::SeqCst);
        assert_eq!(interests.run_until_changed(&uid, is_current, async { 1 }).await, Some(1));
        assert!(interests.in_progress().is_empty());
    }
}
