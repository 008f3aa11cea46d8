//! What a process that wants the lease does next. Pure: times are arguments, as time since the process began.
//!
//! No two clocks are compared. A lease has run out for a candidate that has seen its record unchanged for as long as the
//! record says, by its own clock; its holder stops writing earlier than that, counted from before it sent the renewal.

use std::time::Duration;

/// The lease, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    /// Changes with every write.
    pub(super) version: String,
    /// Who holds it; nobody after a release.
    pub(super) holder: Option<String>,
    /// For how long after a renewal.
    pub(super) duration: Duration,
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Timing {
    /// How long others wait for a renewal before they take the lease.
    pub(super) lease_duration: Duration,
    /// How long after the begin of its last renewal the holder still writes. Shorter than the duration of the lease.
    pub(super) renew_deadline: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ElectionAction {
    /// Make the lease: there is none.
    Create,
    /// Write our name into this very version of it.
    Take(String),
    /// Confirm that we hold it, in this very version.
    Renew(String),
    /// Somebody else holds it.
    Wait,
    /// We held it and do no more: nothing may be written.
    Lost,
}

/// One process that wants the lease, or has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ElectionState {
    identity: String,
    timing: Timing,
    /// The version of somebody else's record that was seen last, when it was seen first, and how long it counts.
    seen: Option<(String, Duration, Duration)>,
    /// Until when we may write, if we hold it.
    until: Option<Duration>,
    lost: bool,
}

impl ElectionState {
    pub(super) fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None, until: None, lost: false }
    }

    /// Whether a write may be sent now. Never true again once it was lost.
    pub(super) fn may_write(&self, now: Duration) -> bool {
        !self.lost && self.until.is_some_and(|until| now < until)
    }

    /// Whether it was written that we hold it, whatever came of it since.
    pub(super) fn leads(&self) -> bool {
        self.until.is_some()
    }

    /// Decides, after a look at the lease; `None`: there is none.
    pub(super) fn next(&mut self, record: Option<&Record>, now: Duration) -> ElectionAction {
        if self.lost || self.until.is_some_and(|until| now >= until) {
            self.lost = true;
            return ElectionAction::Lost;
        }
        let ours = record.is_some_and(|record| record.holder.as_ref() == Some(&self.identity));
        if self.until.is_some() && !ours {
            self.lost = true;
            return ElectionAction::Lost;
        }
        match record {
            // A write of ours that took effect after we had given it up, and after somebody else was seen to hold it.
            Some(_) if ours && self.until.is_none() && !self.ran_out(now) => ElectionAction::Wait,
            Some(record) if ours => ElectionAction::Renew(record.version.clone()),
            Some(record) if record.holder.is_none() => ElectionAction::Take(record.version.clone()),
            Some(record) => {
                self.look(record, now);
                if self.ran_out(now) { ElectionAction::Take(record.version.clone()) } else { ElectionAction::Wait }
            }
            // Somebody deleted it. Who held it may still write, as long as the record said that was seen last.
            None if self.ran_out(now) => ElectionAction::Create,
            None => ElectionAction::Wait,
        }
    }

    /// Our write took effect; `begun` is from before it was sent.
    pub(super) fn wrote(&mut self, begun: Duration) {
        self.until = Some(begun + self.timing.renew_deadline);
        self.seen = None;
    }

    /// Whether this version is the one that was seen last.
    #[cfg(test)]
    pub(super) fn has_seen(&self, version: &str) -> bool {
        self.seen.as_ref().is_some_and(|(seen, ..)| seen == version)
    }

    fn look(&mut self, record: &Record, now: Duration) {
        if self.seen.as_ref().is_none_or(|(version, ..)| *version != record.version) {
            self.seen = Some((record.version.clone(), now, record.duration));
        }
    }

    fn ran_out(&self, now: Duration) -> bool {
        self.seen.as_ref().is_none_or(|(_, since, duration)| now.saturating_sub(*since) >= *duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { lease_duration: Duration::from_secs(15), renew_deadline: Duration::from_secs(10) };

    fn record(version: &str, holder: &str) -> Record {
        let holder = (!holder.is_empty()).then(|| holder.to_owned());
        Record { version: version.into(), holder, duration: Duration::from_secs(15) }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_made_taken_when_free_and_renewed() {
        let mut one = ElectionState::new("one".into(), TIMING);
        assert_eq!(one.next(None, at(0)), ElectionAction::Create);
        assert_eq!(one.next(Some(&record("1", "")), at(0)), ElectionAction::Take("1".into()));
        assert!(!one.may_write(at(0)), "not before it was written");
        one.wrote(at(0));
        assert!(one.may_write(at(9)) && !one.may_write(at(10)));
        assert_eq!(one.next(Some(&record("2", "one")), at(2)), ElectionAction::Renew("2".into()));
    }

    #[test]
    fn somebody_elses_lease_is_taken_once_it_was_seen_unchanged_for_its_whole_duration() {
        let mut two = ElectionState::new("two".into(), TIMING);
        assert_eq!(two.next(Some(&record("1", "one")), at(0)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("1", "one")), at(14)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "one")), at(16)), ElectionAction::Wait, "renewed: counted anew");
        assert_eq!(two.next(Some(&record("2", "one")), at(30)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "one")), at(31)), ElectionAction::Take("2".into()));
    }

    #[test]
    fn a_lease_that_somebody_deleted_is_not_made_anew_while_its_holder_may_write() {
        let mut two = ElectionState::new("two".into(), TIMING);
        assert_eq!(two.next(Some(&record("1", "one")), at(0)), ElectionAction::Wait);
        assert_eq!(two.next(None, at(14)), ElectionAction::Wait);
        assert_eq!(two.next(None, at(15)), ElectionAction::Create);
    }

    #[test]
    fn a_write_of_ours_that_took_effect_late_counts_only_when_the_holder_before_is_done() {
        let mut two = ElectionState::new("two".into(), TIMING);
        assert_eq!(two.next(Some(&record("1", "one")), at(0)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "two")), at(5)), ElectionAction::Wait);
        assert_eq!(two.next(Some(&record("2", "two")), at(15)), ElectionAction::Renew("2".into()));
    }

    #[test]
    fn what_was_lost_stays_lost() {
        for (record, now) in [
            (Some(record("2", "one")), at(10)),
            (Some(record("2", "two")), at(1)),
            (None, at(1)),
            (Some(record("2", "")), at(1)),
        ] {
            let mut one = ElectionState::new("one".into(), TIMING);
            one.wrote(at(0));
            assert_eq!(one.next(record.as_ref(), now), ElectionAction::Lost, "{record:?}");
            one.wrote(now);
            assert!(!one.may_write(now), "an answer that comes too late changes nothing: {record:?}");
            assert_eq!(one.next(None, now), ElectionAction::Lost);
        }
    }
}
