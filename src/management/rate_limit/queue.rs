//! The priority queue of requests that wait for a permit.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
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

/// The queue of one account.
#[derive(Debug, Default)]
pub(super) struct RequestQueue {
    entries: BinaryHeap<Reverse<QueueEntry>>,
    pushed: u64,
    popped: u64,
}

#[derive(Debug)]
pub(super) struct QueueEntry {
    /// Order of arrival.
    sequence: u64,
    pub(super) request: QueuedRequest,
}

impl RequestQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, request: QueuedRequest) {
        self.pushed += 1;
        self.entries.push(Reverse(QueueEntry { sequence: self.pushed, request }));
    }

    /// Returns a popped entry to its previous position.
    pub(super) fn requeue(&mut self, entry: QueueEntry) {
        self.entries.push(Reverse(entry));
    }

    /// Removes cancelled requests and returns the next entry.
    pub(super) fn pop(&mut self) -> Option<QueueEntry> {
        self.entries.retain(|Reverse(entry)| !entry.request.reply.is_closed());
        self.popped += 1;
        if self.popped.is_multiple_of(FAIRNESS_INTERVAL) {
            return self.pop_least_urgent();
        }
        self.entries.pop().map(|Reverse(entry)| entry)
    }

    fn pop_least_urgent(&mut self) -> Option<QueueEntry> {
        let mut entries: Vec<QueueEntry> = self.entries.drain().map(|Reverse(entry)| entry).collect();
        let key = |entry: &QueueEntry| (Reverse(entry.request.priority), entry.request.mode, entry.sequence);
        let index = entries.iter().enumerate().min_by_key(|(_, entry)| key(entry)).map(|(index, _)| index);
        let least_urgent = index.map(|index| entries.swap_remove(index));
        self.entries = entries.into_iter().map(Reverse).collect();
        least_urgent
    }

    /// Replies to all requests that the account is paused for this time.
    pub(super) fn reject_all(&mut self, pause: Duration) {
        for Reverse(entry) in self.entries.drain() {
            let _ = entry.request.reply.send(Err(pause));
        }
    }
}

impl QueueEntry {
    fn key(&self) -> (Priority, AccessMode, u64) {
        (self.request.priority, self.request.mode, self.sequence)
    }
}

impl PartialEq for QueueEntry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for QueueEntry {}

impl PartialOrd for QueueEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for QueueEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
