//! Who waits for a token, and whose turn it is.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::organization::Organization;
use super::{AccessMode, Priority};

/// Every `FAIR_SHARE`th token goes to the least urgent waiter, so that checks go on under a storm of edits.
const FAIR_SHARE: u64 = 8;

/// A request that waits. One whose receiver is gone has left the line.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) priority: Priority,
    pub(super) stage: AccessMode,
    pub(super) organization: Arc<Organization>,
    /// Leave to go, and a place among the requests under way; or how long the account is paused, where that is too long to
    /// wait.
    pub(super) grant: oneshot::Sender<Result<OwnedSemaphorePermit, Duration>>,
}

/// The line in front of an account's bucket.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BinaryHeap<Reverse<Place>>,
    arrived: u64,
    granted: u64,
}

#[derive(Debug)]
pub(super) struct Place {
    /// Order of arrival.
    number: u64,
    pub(super) waiter: Waiter,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn join(&mut self, waiter: Waiter) {
        self.arrived += 1;
        self.waiting.push(Reverse(Place { number: self.arrived, waiter }));
    }

    /// Whoever could not go after all keeps the place it had.
    pub(super) fn put_back(&mut self, place: Place) {
        self.waiting.push(Reverse(place));
    }

    /// Whose turn it is, of those who still wait.
    pub(super) fn next(&mut self) -> Option<Place> {
        self.waiting.retain(|Reverse(place)| !place.waiter.grant.is_closed());
        self.granted += 1;
        if !self.granted.is_multiple_of(FAIR_SHARE) {
            return self.waiting.pop().map(|Reverse(place)| place);
        }
        let mut all: Vec<Place> = std::mem::take(&mut self.waiting).into_iter().map(|Reverse(place)| place).collect();
        let key = |place: &Place| (Reverse(place.waiter.priority), place.waiter.stage, place.number);
        let index = all.iter().enumerate().min_by_key(|(_, place)| key(place)).map(|(index, _)| index);
        let chosen = index.map(|index| all.swap_remove(index));
        self.waiting = all.into_iter().map(Reverse).collect();
        chosen
    }

    /// Tells everybody to come back after this time.
    pub(super) fn send_away(&mut self, wait: Duration) {
        for Reverse(place) in self.waiting.drain() {
            let _ = place.waiter.grant.send(Err(wait));
        }
    }
}

impl Place {
    fn key(&self) -> (Priority, AccessMode, u64) {
        (self.waiter.priority, self.waiter.stage, self.number)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
