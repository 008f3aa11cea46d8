//! Who of several that want one answer asks for it.

use tokio::sync::{Mutex, MutexGuard};

use crate::management::Priority;

/// Held while a request runs, so that others wait for its answer. Those who are equally urgent wait for each other, and for
/// those who are more urgent; nobody waits for a request that is less urgent than his own would be, because that one may stand
/// in the line of the budget for long.
#[derive(Debug, Default)]
pub(super) struct Turn([Mutex<()>; 4]);

impl Turn {
    /// Waits for the turn.
    pub(super) async fn wait(&self, priority: Priority) -> MutexGuard<'_, ()> {
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
    async fn who_is_as_urgent_or_less_waits_and_who_is_more_urgent_does_not() {
        let turn = Turn::default();
        let checks = turn.wait(Priority::Check).await;
        let mut another = Box::pin(turn.wait(Priority::Check));
        assert!(futures::poll!(&mut another).is_pending());
        let edits = turn.wait(Priority::Edit).await;
        // All edits but the first share, though a check has asked before them.
        let mut more: Vec<_> = (0..3).map(|_| Box::pin(turn.wait(Priority::Edit))).collect();
        for waiting in &mut more {
            assert!(futures::poll!(waiting).is_pending());
        }
        let mut less = Box::pin(turn.wait(Priority::Delete));
        assert!(futures::poll!(&mut less).is_pending());
        drop(checks);
        drop(another.await);
        assert!(futures::poll!(&mut less).is_pending());
        drop(edits);
        for waiting in more {
            drop(waiting.await);
        }
        drop(less.await);
    }
}
