//! Every order of events that two candidates and their requests can get into, within a few seconds: never do both hold
//! that they may write.

use std::time::Duration;

use stateright::{Checker, Model, Property};

use super::candidate::{ElectionAction, ElectionState, Record, Timing};

const TIMING: Timing = Timing { lease_duration: Duration::from_secs(3), renew_deadline: Duration::from_secs(2) };
/// Seconds that are looked at: two terms and a takeover.
const LAST: u64 = 6;
/// So many writes are looked at: a first term, a renewal, a takeover and what arrives late.
const MOST_WRITES: u64 = 4;

/// A write on its way: what it asks for, and when it was begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Flight {
    Sent(ElectionAction, u64),
    /// It took effect; the answer is on its way.
    Done(u64),
    /// The server refused it; so will the answer say.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Person {
    candidate: ElectionState,
    flight: Option<Flight>,
    /// A request that its sender has given up and that may still arrive.
    stray: Option<ElectionAction>,
    /// When it looked last: once a second, as the retry period has it.
    looked: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    record: Option<Record>,
    writes: u64,
    /// Whether somebody has deleted the lease; once is enough.
    deleted: bool,
    people: Vec<Person>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Event {
    /// A second passes. A process that is stopped meanwhile is one that none of its own events happens to.
    Tick,
    /// Somebody looks at the lease and sends what is to be written.
    Look(usize),
    /// The server deals with a request.
    Arrive(usize),
    /// The server deals with a request whose sender no longer waits.
    ArriveLate(usize),
    /// The answer arrives.
    Answer(usize),
    /// The sender stops waiting, whatever becomes of it.
    GiveUp(usize),
    /// Somebody deletes the lease.
    Delete,
}

struct Election;

impl Model for Election {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let person = |name: &str| Person {
            candidate: ElectionState::new(name.into(), TIMING),
            flight: None,
            stray: None,
            looked: None,
        };
        let people = vec![person("one"), person("two")];
        // One that everybody has yet to look at, and none at all; both seen before anything happens.
        let held = Record { version: "0".into(), holder: Some("before".into()), duration: TIMING.lease_duration };
        let free = Record { holder: None, ..held.clone() };
        [Some(held), Some(free)]
            .into_iter()
            .map(|record| World { now: 0, record, writes: 0, deleted: false, people: people.clone() })
            .collect()
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.now < LAST {
            events.push(Event::Tick);
        }
        for (index, person) in world.people.iter().enumerate() {
            match &person.flight {
                None if person.looked == Some(world.now) => {}
                None => events.push(Event::Look(index)),
                Some(Flight::Sent(..)) => events.extend([Event::Arrive(index), Event::GiveUp(index)]),
                Some(Flight::Done(_) | Flight::Refused) => events.extend([Event::Answer(index), Event::GiveUp(index)]),
            }
            if person.stray.is_some() {
                events.push(Event::ArriveLate(index));
            }
        }
        // By hand, and not before all who wait have seen the holder: who has not cannot know that there is one.
        if let Some(Record { version, holder, .. }) = &world.record {
            let others =
                ["one", "two"].into_iter().zip(&world.people).filter(|(name, _)| holder.as_deref() != Some(*name));
            if !world.deleted
                && others.into_iter().all(|(_, person)| person.flight.is_none() && person.candidate.has_seen(version))
            {
                events.push(Event::Delete);
            }
        }
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        match event {
            Event::Tick => world.now += 1,
            Event::Look(index) => {
                let now = Duration::from_secs(world.now);
                world.people[index].looked = Some(world.now);
                let chosen = world.people[index].candidate.next(world.record.as_ref(), now);
                let sends =
                    matches!(chosen, ElectionAction::Create | ElectionAction::Take(_) | ElectionAction::Renew(_));
                world.people[index].flight = sends.then_some(Flight::Sent(chosen, world.now));
            }
            Event::Arrive(index) => {
                let Some(Flight::Sent(asked, begun)) = world.people[index].flight.take() else { return None };
                let done = apply(&mut world, index, &asked);
                world.people[index].flight = Some(if done { Flight::Done(begun) } else { Flight::Refused });
            }
            Event::ArriveLate(index) => {
                let asked = world.people[index].stray.take()?;
                apply(&mut world, index, &asked);
            }
            Event::Answer(index) => {
                if let Some(Flight::Done(begun)) = world.people[index].flight.take() {
                    world.people[index].candidate.wrote(Duration::from_secs(begun));
                }
            }
            Event::GiveUp(index) => {
                let person = &mut world.people[index];
                if let Some(Flight::Sent(asked, _)) = person.flight.take() {
                    person.stray = Some(asked);
                }
            }
            Event::Delete => (world.record, world.deleted) = (None, true),
        }
        Some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.writes <= MOST_WRITES
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never do two hold that they may write", |_, world: &World| {
                let now = Duration::from_secs(world.now);
                world.people.iter().filter(|person| person.candidate.may_write(now)).count() <= 1
            }),
            Property::sometimes("one writes, and the other after it", |_, world: &World| {
                world.writes >= 2 && world.people[1].candidate.may_write(Duration::from_secs(world.now))
            }),
        ]
    }
}

/// The server: a write counts only against the version that it names.
fn apply(world: &mut World, index: usize, asked: &ElectionAction) -> bool {
    let fits = match asked {
        ElectionAction::Create => world.record.is_none(),
        ElectionAction::Take(version) | ElectionAction::Renew(version) => {
            world.record.as_ref().is_some_and(|record| record.version == *version)
        }
        ElectionAction::Wait | ElectionAction::Lost => false,
    };
    if fits {
        world.writes += 1;
        let holder = Some(["one", "two"][index].to_owned());
        let version = world.writes.to_string();
        world.record = Some(Record { version, holder, duration: TIMING.lease_duration });
    }
    fits
}

#[test]
fn invariant_9_no_order_of_events_lets_two_processes_write() {
    let checker = Election.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
}
