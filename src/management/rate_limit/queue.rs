//! The priority queue of requests that wait for a permit.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::organization::OrganizationLimiter;
use super::priority::{AccessMode, Priority};

/// Every `FAIRNESS_INTERVAL`th permit is for the least urgent request, so that resyncs continue during many edits.
const FAIRNESS_INTERVAL: u64 = 8;

/// A request in the queue. A closed receiver means that the caller has cancelled the request.
#[derive(Debug)]
pub(super) struct QueuedRequest {
    pub(super) priority: Priority,
    pub(super) mode: AccessMode,
    pub(super) organization: Arc<OrganizationLimiter>,
    /// Receives the permit, or the remaining pause of the account if the pause is too long to wait.
    pub(super) reply: oneshot::Sender<Result<OwnedSemaphorePermit, Duration>>,
}

/// Position in the queue: urgency, then order of arrival.
pub(super) type QueuePosition = (Priority, AccessMode, u64);

/// The queue of one account.
#[derive(Debug, Default)]
pub(super) struct RequestQueue {
    entries: BTreeMap<QueuePosition, QueuedRequest>,
    pushed: u64,
    popped: u64,
}

impl RequestQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, request: QueuedRequest) {
        self.pushed += 1;
        self.requeue((request.priority, request.mode, self.pushed), request);
    }

    /// Returns a popped request to its previous position.
    pub(super) fn requeue(&mut self, position: QueuePosition, request: QueuedRequest) {
        self.entries.insert(position, request);
    }

    /// Removes cancelled requests and returns the next request with its position.
    pub(super) fn pop(&mut self) -> Option<(QueuePosition, QueuedRequest)> {
        self.entries.retain(|_, request| !request.reply.is_closed());
        self.popped += 1;
        if self.popped.is_multiple_of(FAIRNESS_INTERVAL) {
            let urgency = |(priority, mode, sequence): &QueuePosition| (Reverse(*priority), *mode, *sequence);
            let least_urgent = self.entries.keys().copied().min_by_key(urgency)?;
            return self.entries.remove_entry(&least_urgent);
        }
        self.entries.pop_first()
    }

    /// Replies to all requests that the account is paused for this time.
    pub(super) fn reject_all(&mut self, pause: Duration) {
        for request in std::mem::take(&mut self.entries).into_values() {
            let _ = request.reply.send(Err(pause));
        }
    }
}
