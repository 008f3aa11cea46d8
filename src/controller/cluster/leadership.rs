//! Whether this process may write. Asked right before each write, to Kubernetes and to the Management API.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// A moment by two clocks. `Instant` runs on while the process is stopped, yet not while the machine is suspended; the
/// wall clock does, yet it can be set.
#[derive(Clone, Copy, Debug)]
pub struct DualInstant {
    steady: Instant,
    wall: SystemTime,
}

impl DualInstant {
    /// The present moment.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// Time since then by the clock that saw more of it: for what must not be done too late.
    pub fn elapsed_upper_bound(self) -> Duration {
        self.elapsed_lower_bound().max(self.wall.elapsed().unwrap_or_default())
    }

    /// Time since then by the clock that nobody can set: for what must not be done too early.
    pub fn elapsed_lower_bound(self) -> Duration {
        self.steady.elapsed()
    }
}

/// From when, and for how long, writes are allowed.
#[derive(Clone, Copy, Debug)]
enum WritePermit {
    /// Another process may write.
    None,
    /// From then on for so long.
    Until(DualInstant, Duration),
    /// There is no election.
    Always,
}

/// Whether this process may write. A clone is the same answer.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: Arc<watch::Sender<WritePermit>>,
}

impl Leadership {
    /// Without an election: always.
    pub fn always() -> Self {
        Self { term: Arc::new(watch::Sender::new(WritePermit::Always)) }
    }

    /// Not before [`Leadership::grant_until`].
    pub fn requires_lease() -> Self {
        Self { term: Arc::new(watch::Sender::new(WritePermit::None)) }
    }

    /// Allows writes for so long from a moment that has passed.
    pub fn grant_until(&self, from: DualInstant, term: Duration) {
        self.term.send_replace(WritePermit::Until(from, term));
    }

    /// Allows no more writes.
    pub fn revoke(&self) {
        self.term.send_replace(WritePermit::None);
    }

    /// Whether a write may be sent now.
    pub fn may_write(&self) -> bool {
        match *self.term.borrow() {
            WritePermit::None => false,
            WritePermit::Until(from, term) => from.elapsed_upper_bound() < term,
            WritePermit::Always => true,
        }
    }

    /// Waits until this process may write.
    pub(in crate::controller) async fn acquired(&self) {
        let mut term = self.term.subscribe();
        // The sender lives as long as this.
        let _ = term.wait_for(|term| !matches!(term, WritePermit::None)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_begins_and_ends() {
        let leadership = Leadership::requires_lease();
        assert!(!leadership.may_write());
        leadership.grant_until(DualInstant::now(), Duration::from_secs(3600));
        assert!(leadership.clone().may_write());
        leadership.revoke();
        assert!(!leadership.may_write());
        assert!(Leadership::always().may_write());
    }

    #[test]
    fn a_term_ends_by_whichever_clock_says_so_first() {
        let (now, hour) = (DualInstant::now(), Duration::from_secs(3600));
        let leadership = Leadership::requires_lease();
        let slept = DualInstant { wall: now.wall - 2 * hour, ..now };
        leadership.grant_until(slept, hour);
        assert!(!leadership.may_write(), "the machine was suspended");
        let set_back = DualInstant { wall: now.wall + hour, ..now };
        leadership.grant_until(set_back, hour);
        assert!(leadership.may_write());
        leadership.grant_until(set_back, Duration::ZERO);
        assert!(!leadership.may_write(), "a clock that was set back lengthens nothing");
        assert!(slept.elapsed_lower_bound() < hour, "nor does one that was set forward make a lease look old");
    }
}
