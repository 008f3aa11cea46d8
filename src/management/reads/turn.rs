//! Who of several that want one answer asks for it.

use std::sync::{Mutex as Lock, MutexGuard as LockGuard, PoisonError};

use tokio::sync::{Mutex, MutexGuard};

use crate::management::Priority;

/// Held while a request runs, so that others wait for its answer. Nobody waits for a request that is less urgent than his
/// own would be: that one may stand in the line of the budget for long.
#[derive(Debug)]
pub(super) struct Turn {
    line: Mutex<()>,
    /// Of the request that runs.
    urgency: Lock<Priority>,
}

impl Default for Turn {
    fn default() -> Self {
        Self { line: Mutex::default(), urgency: Lock::new(Priority::Check) }
    }
}

impl Turn {
    /// Waits for the turn; none where it is not waited for.
    pub(super) async fn wait(&self, priority: Priority) -> Option<MutexGuard<'_, ()>> {
        let turn = match self.line.try_lock() {
            Ok(turn) => turn,
            Err(_) if priority < *self.urgency() => return None,
            Err(_) => self.line.lock().await,
        };
        *self.urgency() = priority;
        Some(turn)
    }

    fn urgency(&self) -> LockGuard<'_, Priority> {
        self.urgency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_as_urgent_waits_and_who_is_more_urgent_does_not() {
        let turn = Turn::default();
        let running = turn.wait(Priority::Check).await;
        assert!(running.is_some());
        assert!(turn.wait(Priority::Edit).await.is_none());
        let mut waiting = Box::pin(turn.wait(Priority::Check));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(running);
        assert!(waiting.await.is_some());
        // It has ended by now, so there is nothing to wait for.
        assert!(turn.wait(Priority::Edit).await.is_some());
    }
}
