//! Conditions: the rulebook, for every verdict after every state.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::super::super::conditions::{self, Situation, transition};
use super::*;

/// What holds of the conditions of every status ever written.
pub(super) fn holds(conditions: &[Condition], generation: Option<i64>) {
    crate::planner::rulebook::broken(conditions, generation).unwrap();
}

fn verdicts() -> Vec<Verdict> {
    let words = || "words".to_owned();
    vec![
        Verdict::Settled,
        Verdict::Working(words()),
        Verdict::Waiting(Reason::DependencyNotReady, words()),
        Verdict::Bereft(Reason::DependencyNotReady, words()),
        Verdict::Unseen(Reason::RemoteUnavailable, words(), Retry::Backoff),
        Verdict::Failed(Reason::PlanLimit, words(), Retry::Backoff),
        Verdict::Stalled(Reason::NameTaken, words()),
        Verdict::Suspended,
        Verdict::Deleting(words()),
    ]
}

fn summarize(
    before: &[Condition],
    generation: i64,
    verdict: &Verdict,
    overdue: bool,
    now: Timestamp,
) -> Vec<Condition> {
    conditions::summarize(before, verdict, &Situation { generation, overdue, renewed: None, now })
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn the_rulebook_holds_for_every_verdict_after_every_two() {
    for (first, second, third) in verdicts().into_iter().flat_map(|first| {
        verdicts().into_iter().flat_map(move |second| {
            let first = first.clone();
            verdicts().into_iter().map(move |third| (first.clone(), second.clone(), third))
        })
    }) {
        for (generations, overdue) in [([1, 1, 1], false), ([1, 1, 1], true), ([1, 2, 2], true), ([1, 1, 2], false)] {
            let mut conditions = Vec::new();
            for (verdict, generation) in [&first, &second, &third].into_iter().zip(generations) {
                conditions = summarize(&conditions, generation, verdict, overdue, at(1));
                holds(&conditions, Some(generation));
            }
        }
    }
}

#[test]
fn what_was_achieved_does_not_flip_until_it_is_overdue() {
    let achieved = summarize(&[], 1, &Verdict::Settled, false, at(1));
    let ready = |conditions: &[Condition]| conditions[0].status.clone();
    for verdict in verdicts() {
        if !matches!(verdict, Verdict::Waiting(..) | Verdict::Unseen(..)) {
            continue;
        }
        assert_eq!(summarize(&achieved, 1, &verdict, false, at(2)), achieved, "{verdict:?}");
        assert_eq!(ready(&summarize(&achieved, 2, &verdict, false, at(2))), "False", "a newer generation: {verdict:?}");
        let overdue = summarize(&achieved, 1, &verdict, true, at(2));
        assert_eq!(ready(&overdue), "Unknown", "{verdict:?}");
        let still = summarize(&overdue, 1, &verdict, false, at(3));
        assert_eq!(still, overdue, "Unknown stays until something is seen: {verdict:?}");
        assert_eq!(ready(&summarize(&overdue, 1, &Verdict::Settled, false, at(4))), "True");
    }
    let bereft = Verdict::Bereft(Reason::DependencyNotReady, "gone".to_owned());
    assert_eq!(ready(&summarize(&achieved, 1, &bereft, false, at(2))), "False", "that it is gone is known");
}

#[test]
fn what_refers_to_something_newer_is_not_as_wanted_while_that_cannot_be_taken_up() {
    let before = [
        summarize(&[], 1, &Verdict::Settled, false, at(1)),
        summarize(
            &[],
            1,
            &Verdict::Stalled(Reason::InvalidSpec, "ConfigMap pod does not exist".to_owned()),
            false,
            at(1),
        ),
    ];
    let lost = summarize(&before[0], 1, &Verdict::Waiting(Reason::DependencyNotReady, "down".to_owned()), true, at(2));
    for before in before.into_iter().chain([lost]) {
        let renewed = Some("ConfigMap pod has changed, which is not taken up yet".to_owned());
        let verdict = Verdict::Waiting(Reason::DependencyNotReady, "down".to_owned());
        let situation = Situation { generation: 1, overdue: false, renewed, now: at(3) };
        let after = conditions::summarize(&before, &verdict, &situation);
        holds(&after, Some(1));
        let told = (after[0].status.as_str(), after[0].reason.as_str(), after[0].message.as_str());
        assert_eq!(told, ("False", "DependencyNotReady", "ConfigMap pod has changed, which is not taken up yet: down"));
        assert_eq!(after[1].type_, "Reconciling");
    }
}

#[test]
fn one_that_is_suspended_says_so_and_not_more_than_is_so() {
    let settled = summarize(&[], 1, &Verdict::Settled, false, at(1));
    let stalled = summarize(&[], 1, &Verdict::Stalled(Reason::NameTaken, "taken".to_owned()), false, at(1));
    let lost = summarize(&settled, 1, &Verdict::Waiting(Reason::DependencyNotReady, "down".to_owned()), true, at(2));
    for (before, generation, expected) in [
        (&settled, 1, ("True", "Succeeded", "suspended: nothing is looked at or changed")),
        (&lost, 1, ("Unknown", "Suspended", "suspended: nothing is looked at or changed")),
        (&settled, 2, ("Unknown", "Suspended", "suspended; the spec as it is now was not achieved before")),
        (&stalled, 1, ("Unknown", "Suspended", "suspended; the spec as it is now was not achieved before")),
    ] {
        let mut after = summarize(before, generation, &Verdict::Suspended, false, at(3));
        for _ in 0..2 {
            let told = (after[0].status.as_str(), after[0].reason.as_str(), after[0].message.as_str());
            assert_eq!((after.len(), told), (1, expected));
            // However often it is looked at.
            after = summarize(&after, generation, &Verdict::Suspended, false, at(4));
        }
    }
}

#[test]
fn one_that_is_resumed_is_looked_at_and_says_nothing_of_the_past() {
    let mut world = World::settled(json!({}));
    let annotations = world.object.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::api::SUSPEND.to_owned(), "true".to_owned());
    world.visit();
    let message = |world: &World| world.status().conditions[0].message.clone();
    assert_eq!(message(&world), "suspended: nothing is looked at or changed");
    world.object.metadata.annotations = None;
    world.blind = Some((At::App, Failure::local(FailureKind::Connect, "down")));
    for _ in 0..2 {
        assert!(matches!(world.visit().verdict, Verdict::Unseen(..)));
        assert_eq!(message(&world), "not looked at since it was suspended");
    }
    world.blind = None;
    assert_eq!(world.visit().verdict, Verdict::Settled);
    assert_eq!(message(&world), "");
}

#[test]
fn an_outage_shows_after_three_missed_intervals_and_only_then() {
    let mut world = World::settled(json!({}));
    world.visit();
    world.blind = Some((At::App, Failure::local(FailureKind::Connect, "down")));
    // The default interval is 10 min.
    for (minutes, expected) in [(11, "True"), (15, "True"), (3, "True"), (2, "Unknown"), (60, "Unknown")] {
        world.pass(minutes * 60);
        world.visit();
        assert_eq!(world.ready().0, expected, "{minutes}");
    }
    world.blind = None;
    world.visit();
    assert_eq!(world.ready(), ("True".into(), "Succeeded".into()));
}

#[test]
fn times_of_transition_move_with_the_status_only() {
    let first = summarize(&[], 1, &Verdict::Settled, false, at(1));
    let same = summarize(&first, 2, &Verdict::Settled, false, at(2));
    let other = summarize(&same, 3, &Verdict::Working(String::new()), false, at(3));
    let times: Vec<_> = [&first, &same, &other].map(|conditions| conditions[0].last_transition_time.0).into();
    assert_eq!(times, [at(1), at(1), at(3)]);
}

#[test]
fn what_cannot_be_seen_any_more_is_a_warning_whatever_the_reason() {
    let ready = summarize(&[], 1, &Verdict::Settled, false, at(1));
    let waiting = Verdict::Waiting(Reason::DependencyNotReady, "down".to_owned());
    let lost = summarize(&ready, 1, &waiting, true, at(2));
    assert!(transition(&ready, &lost).unwrap().warning);
    // An object that was never there yet waits, which is nothing to warn of.
    let first = summarize(&[], 1, &waiting, false, at(2));
    assert!(!transition(&[], &first).unwrap().warning);
    let suspended = summarize(&ready, 2, &Verdict::Suspended, false, at(2));
    assert!(!transition(&ready, &suspended).unwrap().warning);
}

#[test]
fn an_event_tells_each_change_of_ready_once() {
    let mut world = World::new(json!({}));
    let reasons = |visit: &Visit| visit.notes.iter().map(|note| note.reason.clone()).collect::<Vec<_>>();
    assert_eq!(reasons(&world.visit()), ["Created", "Succeeded"]);
    world.pass(3600);
    assert_eq!(reasons(&world.visit()), [""; 0]);
}
