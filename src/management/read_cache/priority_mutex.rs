//! A mutex for shared reads that respects the priority of the callers.

use tokio::sync::{Mutex, MutexGuard};

use crate::management::rate_limit::Priority;

/// A mutex that is locked during a read, so that other callers can use the result. A caller waits for reads of equal or
/// higher priority. It does not wait for a read of lower priority, because that read may stay in the request queue for
/// a long time.
#[derive(Debug, Default)]
pub(super) struct PriorityMutex([Mutex<()>; 4]);

impl PriorityMutex {
    pub(super) async fn lock(&self, priority: Priority) -> MutexGuard<'_, ()> {
        let own = priority as usize;
        for more_urgent in &self.0[..own] {
            drop(more_urgent.lock().await);
        }
        self.0[own].lock().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lower_or_equal_priority_waits_higher_priority_does_not() {
        let mutex = PriorityMutex::default();
        let check = mutex.lock(Priority::Check).await;
        let mut second_check = Box::pin(mutex.lock(Priority::Check));
        assert!(futures::poll!(&mut second_check).is_pending());
        let edit = mutex.lock(Priority::Edit).await;
        // All edits but the first wait for the first one, although a check has locked the mutex before.
        let mut more_edits: Vec<_> = (0..3).map(|_| Box::pin(mutex.lock(Priority::Edit))).collect();
        for waiting in &mut more_edits {
            assert!(futures::poll!(waiting).is_pending());
        }
        let mut delete = Box::pin(mutex.lock(Priority::Delete));
        assert!(futures::poll!(&mut delete).is_pending());
        drop(check);
        drop(second_check.await);
        assert!(futures::poll!(&mut delete).is_pending());
        drop(edit);
        for waiting in more_edits {
            drop(waiting.await);
        }
        drop(delete.await);
    }
}
