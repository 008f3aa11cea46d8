//! Write permission of this process. Every write to Kubernetes or to the Management API checks it first.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// A point in time on two clocks. `Instant` also advances while the process is stopped, but not while the machine is
/// suspended. The wall clock advances in both cases, but users can set it.
#[derive(Clone, Copy, Debug)]
pub struct DualInstant {
    steady: Instant,
    wall: SystemTime,
}

impl DualInstant {
    /// The present time.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// Elapsed time on the clock that advanced more. For actions that must not happen too late.
    pub fn elapsed_upper_bound(self) -> Duration {
        self.elapsed_lower_bound().max(self.wall.elapsed().unwrap_or_default())
    }

    /// Elapsed time on the clock that users cannot set. For actions that must not happen too early.
    pub fn elapsed_lower_bound(self) -> Duration {
        self.steady.elapsed()
    }
}

/// The period in which writes are allowed.
#[derive(Clone, Copy, Debug)]
enum WritePermit {
    /// No writes: another process may be the leader.
    Denied,
    /// Writes are allowed for `duration` after `start`.
    Granted { start: DualInstant, duration: Duration },
    /// Writes are always allowed: leader election is off.
    Unlimited,
}

/// Write permission of this process. All clones share one permit.
#[derive(Clone, Debug)]
pub struct Leadership {
    permit: Arc<watch::Sender<WritePermit>>,
}

impl Leadership {
    /// Leadership of a process without leader election: writes are always allowed.
    pub fn always() -> Self {
        Self::new(WritePermit::Unlimited)
    }

    /// Leadership that depends on a Lease: no writes before the first [`Leadership::grant`].
    pub fn requires_lease() -> Self {
        Self::new(WritePermit::Denied)
    }

    fn new(permit: WritePermit) -> Self {
        Self { permit: Arc::new(watch::Sender::new(permit)) }
    }

    /// Allows writes for `duration` after `start`, which lies in the past.
    pub fn grant(&self, start: DualInstant, duration: Duration) {
        self.permit.send_replace(WritePermit::Granted { start, duration });
    }

    /// Denies all further writes.
    pub fn revoke(&self) {
        self.permit.send_replace(WritePermit::Denied);
    }

    /// Returns true if this process may send a write now.
    pub fn may_write(&self) -> bool {
        match *self.permit.borrow() {
            WritePermit::Denied => false,
            WritePermit::Granted { start, duration } => start.elapsed_upper_bound() < duration,
            WritePermit::Unlimited => true,
        }
    }

    /// Waits until this process is the leader.
    pub(in crate::controller) async fn wait_until_granted(&self) {
        let mut permit = self.permit.subscribe();
        // An error means that the sender is dropped; `self` owns it.
        let _ = permit.wait_for(|permit| !matches!(permit, WritePermit::Denied)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_allowed_between_grant_and_revoke() {
        let leadership = Leadership::requires_lease();
        assert!(!leadership.may_write());
        leadership.grant(DualInstant::now(), Duration::from_secs(3600));
        assert!(leadership.clone().may_write());
        leadership.revoke();
        assert!(!leadership.may_write());
        assert!(Leadership::always().may_write());
    }

    #[test]
    fn a_grant_ends_when_either_clock_reaches_its_end() {
        let (now, hour) = (DualInstant::now(), Duration::from_secs(3600));
        let leadership = Leadership::requires_lease();
        let suspended = DualInstant { wall: now.wall - 2 * hour, ..now };
        leadership.grant(suspended, hour);
        assert!(!leadership.may_write(), "the machine was suspended");
        let set_back = DualInstant { wall: now.wall + hour, ..now };
        leadership.grant(set_back, hour);
        assert!(leadership.may_write());
        leadership.grant(set_back, Duration::ZERO);
        assert!(!leadership.may_write(), "setting the clock back does not extend the grant");
        assert!(suspended.elapsed_lower_bound() < hour, "setting the clock forward does not make a lease look old");
    }
}
