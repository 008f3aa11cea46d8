//! The priority queue of requests that wait for a permit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::organization::OrganizationLimiter;
use super::priority::{AccessMode, Priority};
use crate::visits::Visits;

/// Every `FAIRNESS_INTERVAL`th permit is for the least urgent request, so that resyncs continue during many edits.
const FAIRNESS_INTERVAL: u64 = 8;

/// Number of entries below which the queue is not searched for cancelled requests. An entry needs about 100 bytes.
const MIN_SWEEP_SIZE: usize = 64;

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

/// The queue of one account. A push or a pop costs logarithmic time, averaged over all requests: each cancelled request
/// is removed when it is next, or by a sweep of the queue. At least half of the entries that a sweep visits were pushed
/// after the sweep before.
#[derive(Debug, Default)]
pub(super) struct RequestQueue {
    entries: BTreeMap<QueuePosition, QueuedRequest>,
    pushed: u64,
    popped: u64,
    /// Number of entries that the last sweep left. At twice this number, a push removes all cancelled requests.
    left_by_sweep: usize,
    visits: Visits,
}

impl RequestQueue {
    /// Returns true if no request waits. Removes the cancelled requests before the first one that waits.
    pub(super) fn is_empty(&mut self) -> bool {
        self.next_waiting(Self::most_urgent).is_none()
    }

    pub(super) fn push(&mut self, request: QueuedRequest) {
        self.pushed += 1;
        self.requeue((request.priority, request.mode, self.pushed), request);
        if self.entries.len() >= (self.left_by_sweep * 2).max(MIN_SWEEP_SIZE) {
            self.visits.add(self.entries.len());
            self.entries.retain(|_, request| !request.reply.is_closed());
            self.left_by_sweep = self.entries.len();
        }
    }

    /// Returns a popped request to its previous position.
    pub(super) fn requeue(&mut self, position: QueuePosition, request: QueuedRequest) {
        self.entries.insert(position, request);
    }

    /// Returns the next request that is not cancelled, with its position.
    pub(super) fn pop(&mut self) -> Option<(QueuePosition, QueuedRequest)> {
        self.popped += 1;
        let is_fairness_turn = self.popped.is_multiple_of(FAIRNESS_INTERVAL);
        let next = self.next_waiting(if is_fairness_turn { Self::least_urgent } else { Self::most_urgent })?;
        self.entries.remove_entry(&next)
    }

    /// Replies to all requests that the account is paused for this time.
    pub(super) fn reject_all(&mut self, pause: Duration) {
        for request in std::mem::take(&mut self.entries).into_values() {
            let _ = request.reply.send(Err(pause));
        }
    }

    /// The first request of an order that is not cancelled. Removes the cancelled requests before it.
    fn next_waiting(&mut self, first: fn(&Self) -> Option<QueuePosition>) -> Option<QueuePosition> {
        loop {
            let position = first(self)?;
            self.visits.add(1);
            if !self.entries.get(&position)?.reply.is_closed() {
                return Some(position);
            }
            self.entries.remove(&position);
        }
    }

    fn most_urgent(&self) -> Option<QueuePosition> {
        self.entries.first_key_value().map(|(position, _)| *position)
    }

    /// The first request of the least urgent priority.
    fn least_urgent(&self) -> Option<QueuePosition> {
        let ((priority, ..), _) = self.entries.last_key_value()?;
        self.entries.range((*priority, AccessMode::Write, 0)..).next().map(|(position, _)| *position)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::super::quota::Quota;
    use super::*;

    type Reply = oneshot::Receiver<Result<OwnedSemaphorePermit, Duration>>;

    const PRIORITIES: [Priority; 3] = [Priority::Edit, Priority::Delete, Priority::Check];

    /// Adds a request. The request is cancelled when the returned receiver is dropped.
    fn push(queue: &mut RequestQueue, priority: Priority, mode: AccessMode) -> Reply {
        let (reply, receiver) = oneshot::channel();
        let organization = Arc::new(OrganizationLimiter::empty(Quota::ORGANIZATION));
        queue.push(QueuedRequest { priority, mode, organization, reply });
        receiver
    }

    /// Visited entries of each request, if this number of requests waits, every third is cancelled, and more requests
    /// arrive and are cancelled in the meantime.
    fn visits_per_request(waiting: usize) -> usize {
        let mut queue = RequestQueue::default();
        let replies: Vec<Reply> =
            (0..waiting).map(|number| push(&mut queue, PRIORITIES[number % 3], AccessMode::Read)).collect();
        let replies: Vec<Reply> =
            replies.into_iter().enumerate().filter(|(number, _)| number / 3 % 3 != 0).map(|(_, reply)| reply).collect();
        for _ in &replies {
            drop(push(&mut queue, Priority::Check, AccessMode::Read));
            assert!(queue.pop().is_some());
        }
        assert!(queue.is_empty());
        queue.visits.take().div_ceil(waiting)
    }

    #[test]
    fn the_cost_of_a_request_does_not_grow_with_the_queue() {
        for waiting in [100, 10_000] {
            let visits = visits_per_request(waiting);
            assert!((1..=6).contains(&visits), "{waiting} waiting requests: {visits}");
        }
    }

    #[test]
    fn cancelled_requests_do_not_accumulate() {
        let mut queue = RequestQueue::default();
        let _waiting = push(&mut queue, Priority::Edit, AccessMode::Write);
        for _ in 0..10_000 {
            drop(push(&mut queue, Priority::Check, AccessMode::Read));
            assert!(queue.entries.len() <= MIN_SWEEP_SIZE);
        }
        assert!(queue.pop().is_some() && queue.is_empty());
        assert_eq!(queue.entries.len(), 0);
    }

    proptest! {
        /// The order is that of a list from which each pop first removes all cancelled requests.
        #[test]
        fn the_order_is_that_of_a_sorted_list(
            steps in proptest::collection::vec((0_u8..6, 0_usize..3, any::<bool>(), any::<usize>()), 0..200),
        ) {
            let mut queue = RequestQueue::default();
            let mut model: Vec<(QueuePosition, Reply)> = Vec::new();
            let (mut pushed, mut popped) = (0, 0);
            for (step, priority, is_write, choice) in steps {
                match step {
                    0..=2 => {
                        let (priority, mode) = (
                            PRIORITIES[priority],
                            if is_write { AccessMode::Write } else { AccessMode::Read },
                        );
                        pushed += 1;
                        model.push(((priority, mode, pushed), push(&mut queue, priority, mode)));
                    }
                    3 if !model.is_empty() => drop(model.swap_remove(choice % model.len())),
                    _ => {
                        popped += 1;
                        let urgency = |(priority, mode, sequence): QueuePosition| (Reverse(priority), mode, sequence);
                        let positions = model.iter().map(|(position, _)| *position);
                        let expected = if popped % FAIRNESS_INTERVAL == 0 {
                            positions.min_by_key(|position| urgency(*position))
                        } else {
                            positions.min()
                        };
                        prop_assert_eq!(queue.pop().map(|(position, _)| position), expected);
                        model.retain(|(position, _)| Some(*position) != expected);
                    }
                }
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
    }
}
