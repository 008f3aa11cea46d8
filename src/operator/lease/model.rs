//! Model check of the election: all event orders of two processes and their requests within a few seconds. At no time
//! may both processes write.

use std::time::Duration;

use stateright::{Checker, Model, Property};

use super::election_state::{ElectionAction, ElectionState, LeaseRecord};

const LEASE_DURATION: Duration = Duration::from_secs(3);
const RENEW_DEADLINE: Duration = Duration::from_secs(2);
/// Seconds in the model: two lease durations, enough for a takeover.
const MAX_SECONDS: u64 = 6;
/// Writes in the model: a first lease, a renewal, a takeover and a late write.
const MAX_WRITES: u64 = 4;

/// A write that its sender waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PendingWrite {
    /// The request and the time of its read; the server has not applied the request yet.
    Sent(ElectionAction, u64),
    /// The server has applied the request; the response is on its way.
    Applied(u64),
    /// The server has rejected the request; the response is on its way.
    Rejected,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Participant {
    state: ElectionState,
    pending: Option<PendingWrite>,
    /// A request after a timeout of its sender. The server may still apply it.
    timed_out: Option<ElectionAction>,
    /// Second of the last read: the model reads once a second, as the retry period demands.
    last_read: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ElectionSnapshot {
    now: u64,
    record: Option<LeaseRecord>,
    writes: u64,
    /// True after a user has deleted the lease. The model deletes the lease once.
    is_deleted: bool,
    participants: Vec<Participant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ElectionEvent {
    /// A second passes. A paused process is a process without events of its own.
    Tick,
    /// The process reads the lease and sends the resulting write.
    Read(usize),
    /// The server handles the request.
    Handle(usize),
    /// The server handles a request after its sender timed out.
    HandleLate(usize),
    /// The process receives the response.
    Respond(usize),
    /// The process stops waiting for the response.
    TimeOut(usize),
    /// A user deletes the lease.
    Delete,
}

struct ElectionModel;

impl Model for ElectionModel {
    type State = ElectionSnapshot;
    type Action = ElectionEvent;

    fn init_states(&self) -> Vec<ElectionSnapshot> {
        let participant = |name: &str| Participant {
            state: ElectionState::new(name.into(), RENEW_DEADLINE),
            pending: None,
            timed_out: None,
            last_read: None,
        };
        let participants = vec![participant("one"), participant("two")];
        // The lease of an earlier process, and a released lease.
        let held = LeaseRecord { version: "0".into(), holder: Some("before".into()), duration: LEASE_DURATION };
        let free = LeaseRecord { holder: None, ..held.clone() };
        let snapshot = |record| ElectionSnapshot {
            now: 0,
            record: Some(record),
            writes: 0,
            is_deleted: false,
            participants: participants.clone(),
        };
        vec![snapshot(held), snapshot(free)]
    }

    fn actions(&self, snapshot: &ElectionSnapshot, events: &mut Vec<ElectionEvent>) {
        use ElectionEvent::*;
        if snapshot.now < MAX_SECONDS {
            events.push(Tick);
        }
        for (index, participant) in snapshot.participants.iter().enumerate() {
            match &participant.pending {
                None if participant.last_read == Some(snapshot.now) => {}
                None => events.push(Read(index)),
                Some(PendingWrite::Sent(..)) => events.extend([Handle(index), TimeOut(index)]),
                Some(PendingWrite::Applied(_) | PendingWrite::Rejected) => {
                    events.extend([Respond(index), TimeOut(index)]);
                }
            }
            if participant.timed_out.is_some() {
                events.push(HandleLate(index));
            }
        }
        // A user deletes the lease only after all waiting processes have observed the holder: a process that has not
        // observed a holder cannot detect the holder after the deletion.
        if let Some(LeaseRecord { version, holder, .. }) = &snapshot.record {
            let mut waiting = ["one", "two"]
                .into_iter()
                .zip(&snapshot.participants)
                .filter(|(name, _)| holder.as_deref() != Some(name));
            let all_observed = waiting
                .all(|(_, participant)| participant.pending.is_none() && participant.state.has_observed(version));
            if !snapshot.is_deleted && all_observed {
                events.push(Delete);
            }
        }
    }

    fn next_state(&self, last: &ElectionSnapshot, event: ElectionEvent) -> Option<ElectionSnapshot> {
        let mut next = last.clone();
        match event {
            ElectionEvent::Tick => next.now += 1,
            ElectionEvent::Read(index) => {
                let (now, record) = (next.now, next.record.clone());
                let participant = &mut next.participants[index];
                participant.last_read = Some(now);
                let action = participant.state.next(record.as_ref(), Duration::from_secs(now));
                let is_write =
                    matches!(action, ElectionAction::Create | ElectionAction::Take(_) | ElectionAction::Renew(_));
                participant.pending = is_write.then_some(PendingWrite::Sent(action, now));
            }
            ElectionEvent::Handle(index) => {
                let Some(PendingWrite::Sent(action, started_at)) = next.participants[index].pending.take() else {
                    return None;
                };
                let is_applied = apply(&mut next, index, &action);
                next.participants[index].pending =
                    Some(if is_applied { PendingWrite::Applied(started_at) } else { PendingWrite::Rejected });
            }
            ElectionEvent::HandleLate(index) => {
                let action = next.participants[index].timed_out.take()?;
                apply(&mut next, index, &action);
            }
            ElectionEvent::Respond(index) => {
                if let Some(PendingWrite::Applied(started_at)) = next.participants[index].pending.take() {
                    next.participants[index].state.on_write_ok(Duration::from_secs(started_at));
                }
            }
            ElectionEvent::TimeOut(index) => {
                let participant = &mut next.participants[index];
                if let Some(PendingWrite::Sent(action, _)) = participant.pending.take() {
                    participant.timed_out = Some(action);
                }
            }
            ElectionEvent::Delete => (next.record, next.is_deleted) = (None, true),
        }
        Some(next)
    }

    fn within_boundary(&self, snapshot: &ElectionSnapshot) -> bool {
        snapshot.writes <= MAX_WRITES
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one process may write", |_, snapshot: &ElectionSnapshot| {
                let now = Duration::from_secs(snapshot.now);
                snapshot.participants.iter().filter(|participant| participant.state.may_write(now)).count() <= 1
            }),
            Property::sometimes("the second process writes after the first", |_, snapshot: &ElectionSnapshot| {
                let now = Duration::from_secs(snapshot.now);
                snapshot.writes >= 2 && snapshot.participants[1].state.may_write(now)
            }),
        ]
    }
}

/// The API server: applies a write only if it carries the current version. Returns whether the write was applied.
fn apply(snapshot: &mut ElectionSnapshot, index: usize, action: &ElectionAction) -> bool {
    let is_current = match action {
        ElectionAction::Create => snapshot.record.is_none(),
        ElectionAction::Take(version) | ElectionAction::Renew(version) => {
            snapshot.record.as_ref().is_some_and(|record| record.version == *version)
        }
        ElectionAction::Wait | ElectionAction::StepDown => false,
    };
    if is_current {
        snapshot.writes += 1;
        let holder = Some(["one", "two"][index].to_owned());
        let version = snapshot.writes.to_string();
        snapshot.record = Some(LeaseRecord { version, holder, duration: LEASE_DURATION });
    }
    is_current
}

#[test]
fn invariant_9_no_order_of_events_lets_two_processes_write() {
    let checker = ElectionModel.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
}
