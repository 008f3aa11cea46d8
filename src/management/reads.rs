//! Reads that many objects share: one request serves all who can use its answer.

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::types::{App, Failure, FailureKind};
use super::{Answer, Client, Priority};

/// The shared reads of one connection. Holds at most one app list.
#[derive(Debug)]
pub struct Reads {
    client: Arc<Client>,
    /// Least time between the begins of two lists.
    gap: Duration,
    /// Held while the request runs, so that a second reader waits for the first one's answer.
    apps: Mutex<Held>,
    /// How the last list ended, if one was read.
    ended: Lock<Option<ListEnd>>,
}

/// How a list ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// It is all there is.
    Complete,
    /// Whether there is more cannot be told.
    Unknown {
        /// Items seen.
        seen: usize,
    },
}

#[derive(Debug, Default)]
struct Held {
    answer: Option<Answer<Arc<Vec<App>>>>,
    /// The last failure, and when its request ended.
    failed: Option<(Timestamp, Failure)>,
}

impl Reads {
    /// Shared reads through this client. `gap`: least time between the begins of two lists, in which more readers gather.
    pub fn new(client: Arc<Client>, gap: Duration) -> Self {
        Self { client, gap, apps: Mutex::default(), ended: Lock::default() }
    }

    /// The complete list of apps, as it was at `not_before` or later.
    ///
    /// # Errors
    /// What the client says; [`super::types::FailureKind::IncompleteList`] when the end of the list cannot be told.
    pub async fn apps(&self, not_before: Timestamp, priority: Priority) -> Result<Answer<Arc<Vec<App>>>, Failure> {
        let asked = Timestamp::now();
        let mut held = self.apps.lock().await;
        if let Some(answer) = held.answer.as_ref().filter(|answer| answer.begun >= not_before) {
            return Ok(answer.clone());
        }
        // Who waited for a request that failed has its answer too: a queue must not fail one by one.
        if let Some((_, failure)) = held.failed.as_ref().filter(|(ended, _)| *ended >= asked) {
            return Err(failure.clone());
        }
        if let Some(Answer { begun, .. }) = &held.answer {
            let since = Duration::try_from(Timestamp::now().duration_since(*begun)).unwrap_or_default();
            tokio::time::sleep(self.gap.saturating_sub(since)).await;
        }
        let answer = self.client.apps(priority).await;
        match &answer {
            Ok(_) => self.note(ListEnd::Complete),
            Err(Failure { kind: FailureKind::IncompleteList { seen }, .. }) => {
                self.note(ListEnd::Unknown { seen: *seen })
            }
            Err(_) => {}
        }
        match answer {
            Ok(Answer { value, begun }) => Ok(held.answer.insert(Answer { value: Arc::new(value), begun }).clone()),
            Err(failure) => {
                held.failed = Some((Timestamp::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// How the last list of apps ended; none before the first.
    pub fn apps_end(&self) -> Option<ListEnd> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, end: ListEnd) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}
