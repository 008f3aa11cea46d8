//! State machine of the leader election. Pure: the current time is an argument, as time since the process started.
//!
//! The election never compares the clocks of two machines. A waiting process uses its own clock: the lease expires when
//! its record has not changed for the duration in the record. The holder stops writing earlier: its renew deadline is
//! shorter, and starts before the holder sends the renewal.

use std::time::Duration;

/// The fields of the stored lease that matter for the election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LeaseRecord {
    /// resourceVersion. Changes with every write.
    pub(super) version: String,
    /// Identity of the holder; `None` after a release.
    pub(super) holder: Option<String>,
    /// Time after a renewal for which the lease is valid.
    pub(super) duration: Duration,
}

/// The next action of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ElectionAction {
    /// Create the lease, because no lease exists.
    Create,
    /// Write this process as the holder into this version of the lease.
    Take(String),
    /// Renew this version of the lease, which this process holds.
    Renew(String),
    /// Wait: another process holds the lease.
    Wait,
    /// Stop writing: this process has lost the lease.
    StepDown,
}

/// Election state of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ElectionState {
    identity: String,
    /// Time in which the holder still writes, from the start of its last renewal. Shorter than the lease duration.
    renew_deadline: Duration,
    /// The last record of another process: its version, the time of the first read, and the duration in the record.
    observed: Option<(String, Duration, Duration)>,
    /// End of the permission to write, if this process has held the lease.
    write_until: Option<Duration>,
    is_lost: bool,
}

impl ElectionState {
    pub(super) fn new(identity: String, renew_deadline: Duration) -> Self {
        Self { identity, renew_deadline, observed: None, write_until: None, is_lost: false }
    }

    /// Returns true if this process may send a write now. Always false after the lease was lost.
    pub(super) fn may_write(&self, now: Duration) -> bool {
        !self.is_lost && self.write_until.is_some_and(|until| now < until)
    }

    /// Returns true if this process has ever held the lease.
    pub(super) fn has_led(&self) -> bool {
        self.write_until.is_some()
    }

    /// Decides the next action after a read of the lease. `record` is `None` if the lease does not exist.
    pub(super) fn next(&mut self, record: Option<&LeaseRecord>, now: Duration) -> ElectionAction {
        let is_holder = record.is_some_and(|record| record.holder.as_ref() == Some(&self.identity));
        let is_too_late = self.write_until.is_some_and(|until| now >= until);
        if self.is_lost || is_too_late || (self.has_led() && !is_holder) {
            self.is_lost = true;
            return ElectionAction::StepDown;
        }
        match record {
            // The API server applied a write after this process had given up on it and had read another holder.
            Some(_) if is_holder && !self.has_led() && !self.has_expired(now) => ElectionAction::Wait,
            Some(record) if is_holder => ElectionAction::Renew(record.version.clone()),
            Some(record) if record.holder.is_none() => ElectionAction::Take(record.version.clone()),
            Some(record) => {
                self.observe(record, now);
                if self.has_expired(now) { ElectionAction::Take(record.version.clone()) } else { ElectionAction::Wait }
            }
            // The lease was deleted. Its holder may still write until the observed record expires.
            None if self.has_expired(now) => ElectionAction::Create,
            None => ElectionAction::Wait,
        }
    }

    /// Records a successful write of the lease. `started_at` is a time before the request was sent.
    pub(super) fn on_write_ok(&mut self, started_at: Duration) {
        self.write_until = Some(started_at + self.renew_deadline);
        self.observed = None;
    }

    /// Returns true if `version` is the last version that this process observed.
    #[cfg(test)]
    pub(super) fn has_observed(&self, version: &str) -> bool {
        self.observed.as_ref().is_some_and(|(observed, ..)| observed == version)
    }

    /// Records the lease of another process. The expiry restarts when the version changes.
    fn observe(&mut self, record: &LeaseRecord, now: Duration) {
        if self.observed.as_ref().is_none_or(|(version, ..)| *version != record.version) {
            self.observed = Some((record.version.clone(), now, record.duration));
        }
    }

    /// Returns true if no record was observed, or if the observed record has not changed for its whole duration.
    fn has_expired(&self, now: Duration) -> bool {
        self.observed.as_ref().is_none_or(|(_, since, duration)| now.saturating_sub(*since) >= *duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENEW_DEADLINE: Duration = Duration::from_secs(10);

    fn record(version: &str, holder: &str) -> LeaseRecord {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        LeaseRecord { version: version.into(), holder, duration: Duration::from_secs(15) }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_created_taken_when_free_and_renewed() {
        let mut one = ElectionState::new("one".into(), RENEW_DEADLINE);
        assert_eq!(one.next(None, at(0)), ElectionAction::Create);
        assert_eq!(one.next(Some(&record("1", "")), at(0)), ElectionAction::Take("1".into()));
        assert!(!one.may_write(at(0)), "the lease is not written yet");
        one.on_write_ok(at(0));
        assert!(one.may_write(at(9)) && !one.may_write(at(10)));
        assert_eq!(one.next(Some(&record("2", "one")), at(2)), ElectionAction::Renew("2".into()));
    }

    #[test]
    fn another_process_lease_is_taken_after_it_was_unchanged_for_its_duration() {
        let mut two = ElectionState::new("two".into(), RENEW_DEADLINE);
        assert_eq!(two.next(Some(&record("1", "one")), at(0)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("1", "one")), at(14)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "one")), at(16)), ElectionAction::Wait, "a renewal restarts the expiry");
        assert_eq!(two.next(Some(&record("2", "one")), at(30)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "one")), at(31)), ElectionAction::Take("2".into()));
    }

    #[test]
    fn a_deleted_lease_is_not_recreated_while_its_holder_may_write() {
        let mut two = ElectionState::new("two".into(), RENEW_DEADLINE);
        assert_eq!(two.next(Some(&record("1", "one")), at(0)), ElectionAction::Wait);
        assert_eq!(two.next(None, at(14)), ElectionAction::Wait);
        assert_eq!(two.next(None, at(15)), ElectionAction::Create);
    }

    #[test]
    fn a_write_that_took_effect_late_counts_after_the_previous_lease_expired() {
        let mut two = ElectionState::new("two".into(), RENEW_DEADLINE);
        assert_eq!(two.next(Some(&record("1", "one")), at(0)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "two")), at(5)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "two")), at(15)), ElectionAction::Renew("2".into()));
    }

    #[test]
    fn a_lost_lease_stays_lost() {
        for (record, now) in [
            (Some(record("2", "one")), at(10)),
            (Some(record("2", "two")), at(1)),
            (None, at(1)),
            (Some(record("2", "")), at(1)),
        ] {
            let mut one = ElectionState::new("one".into(), RENEW_DEADLINE);
            one.on_write_ok(at(0));
            assert_eq!(one.next(record.as_ref(), now), ElectionAction::StepDown, "{record:?}");
            one.on_write_ok(now);
            assert!(!one.may_write(now), "a late response changes nothing: {record:?}");
            assert_eq!(one.next(None, now), ElectionAction::StepDown);
        }
    }
}
