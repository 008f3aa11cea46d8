//! Conditions after every outcome, and the invariants of conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::planner::conditions::{self, ConditionInput, ready_event};

/// Checks the invariants of the conditions of every status.
pub(super) fn check_invariants(conditions: &[Condition], generation: Option<i64>) {
    crate::planner::condition_invariants::check(conditions, generation).unwrap();
}

fn outcomes() -> Vec<Outcome> {
    let message = || "message".to_owned();
    vec![
        Outcome::InSync,
        Outcome::InProgress(message()),
        Outcome::WaitingForDependency(Reason::DependencyNotReady, message()),
        Outcome::DependencyDeleted(Reason::DependencyNotReady, message()),
        Outcome::ReadFailed(Reason::RemoteUnavailable, message(), Retry::Backoff),
        Outcome::WriteFailed(Reason::PlanLimit, message(), Retry::Backoff),
        Outcome::Stalled(Reason::NameTaken, message()),
        Outcome::Suspended,
        Outcome::Terminating(message()),
    ]
}

fn compute_conditions(
    before: &[Condition],
    generation: i64,
    outcome: &Outcome,
    overdue: bool,
    now: Timestamp,
) -> Vec<Condition> {
    conditions::compute_conditions(
        before,
        outcome,
        &ConditionInput {
            generation,
            overdue,
            source_change: None,
            in_sync_message: "in sync".to_owned(),
            suspended_by_annotation: None,
            repeats_attempt: true,
            now,
        },
    )
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn the_condition_invariants_hold_after_every_sequence_of_three_outcomes() {
    for (first, second, third) in outcomes().into_iter().flat_map(|first| {
        outcomes().into_iter().flat_map(move |second| {
            let first = first.clone();
            outcomes().into_iter().map(move |third| (first.clone(), second.clone(), third))
        })
    }) {
        for (generations, overdue) in [([1, 1, 1], false), ([1, 1, 1], true), ([1, 2, 2], true), ([1, 1, 2], false)] {
            let mut conditions = Vec::new();
            for (outcome, generation) in [&first, &second, &third].into_iter().zip(generations) {
                conditions = compute_conditions(&conditions, generation, outcome, overdue, at(1));
                check_invariants(&conditions, Some(generation));
            }
        }
    }
}

#[test]
fn ready_stays_true_during_an_outage_until_it_is_overdue() {
    let in_sync = compute_conditions(&[], 1, &Outcome::InSync, false, at(1));
    let ready = |conditions: &[Condition]| conditions[0].status.clone();
    for outcome in outcomes() {
        if !matches!(outcome, Outcome::WaitingForDependency(..) | Outcome::ReadFailed(..)) {
            continue;
        }
        assert_eq!(compute_conditions(&in_sync, 1, &outcome, false, at(2)), in_sync, "{outcome:?}");
        assert_eq!(
            ready(&compute_conditions(&in_sync, 2, &outcome, false, at(2))),
            "False",
            "a newer generation: {outcome:?}"
        );
        let overdue = compute_conditions(&in_sync, 1, &outcome, true, at(2));
        assert_eq!(ready(&overdue), "Unknown", "{outcome:?}");
        let still = compute_conditions(&overdue, 1, &outcome, false, at(3));
        assert_eq!(still, overdue, "Unknown stays until a successful resync: {outcome:?}");
        assert_eq!(ready(&compute_conditions(&overdue, 1, &Outcome::InSync, false, at(4))), "True");
    }
    let deleted = Outcome::DependencyDeleted(Reason::DependencyNotReady, "gone".to_owned());
    assert_eq!(ready(&compute_conditions(&in_sync, 1, &deleted, false, at(2))), "False", "the deletion is known");
}

#[test]
fn ready_is_false_while_a_changed_source_cannot_be_applied() {
    let before = [
        compute_conditions(&[], 1, &Outcome::InSync, false, at(1)),
        compute_conditions(
            &[],
            1,
            &Outcome::Stalled(Reason::InvalidSpec, "ConfigMap \"pod\" not found".to_owned()),
            false,
            at(1),
        ),
    ];
    let unknown_before = compute_conditions(
        &before[0],
        1,
        &Outcome::WaitingForDependency(Reason::DependencyNotReady, "down".to_owned()),
        true,
        at(2),
    );
    for before in before.into_iter().chain([unknown_before]) {
        let source_change = Some("ConfigMap \"pod\" has changed and is not applied yet".to_owned());
        let outcome = Outcome::WaitingForDependency(Reason::DependencyNotReady, "down".to_owned());
        let input = ConditionInput {
            generation: 1,
            overdue: false,
            source_change,
            in_sync_message: String::new(),
            suspended_by_annotation: None,
            repeats_attempt: true,
            now: at(3),
        };
        let after = conditions::compute_conditions(&before, &outcome, &input);
        check_invariants(&after, Some(1));
        let shown_ready = (after[0].status.as_str(), after[0].reason.as_str(), after[0].message.as_str());
        assert_eq!(
            shown_ready,
            ("False", "DependencyNotReady", "ConfigMap \"pod\" has changed and is not applied yet: down")
        );
        assert_eq!(after[1].type_, "Reconciling");
    }
}

#[test]
fn a_suspended_object_keeps_ready_only_for_an_applied_generation() {
    let settled = compute_conditions(&[], 1, &Outcome::InSync, false, at(1));
    let stalled = compute_conditions(&[], 1, &Outcome::Stalled(Reason::NameTaken, "taken".to_owned()), false, at(1));
    let unknown_before = compute_conditions(
        &settled,
        1,
        &Outcome::WaitingForDependency(Reason::DependencyNotReady, "down".to_owned()),
        true,
        at(2),
    );
    let ready = "Reconciliation is suspended; the object matched the spec at the last resync";
    let unknown = "Reconciliation is suspended; whether the current spec is applied is not known";
    for (before, generation, expected) in [
        (&settled, 1, ("True", "Suspended", ready)),
        (&unknown_before, 1, ("Unknown", "Suspended", unknown)),
        (&settled, 2, ("Unknown", "Suspended", unknown)),
        (&stalled, 1, ("Unknown", "Suspended", unknown)),
    ] {
        let mut after = compute_conditions(before, generation, &Outcome::Suspended, false, at(3));
        for _ in 0..2 {
            let shown_ready = (after[0].status.as_str(), after[0].reason.as_str(), after[0].message.as_str());
            assert_eq!((after.len(), shown_ready), (1, expected));
            // A further reconcile changes nothing.
            after = compute_conditions(&after, generation, &Outcome::Suspended, false, at(4));
        }
    }
}

#[test]
fn a_resumed_object_shows_that_it_is_not_resynced_yet() {
    let mut fixture = Fixture::settled(json!({}));
    let annotations = fixture.object.metadata.annotations.get_or_insert_default();
    annotations.insert(crate::api::SUSPEND.to_owned(), "true".to_owned());
    fixture.reconcile();
    let shown = |fixture: &Fixture| {
        let ready = fixture.status().core.conditions[0].clone();
        (ready.status, ready.reason, ready.message)
    };
    let expected = |status: &str, reason: &str, message: &str| (status.into(), reason.into(), message.into());
    let message = "Reconciliation is suspended by annotation cloud.spice.ai/suspend; the object matched the spec at \
                   the last resync";
    assert_eq!(shown(&fixture), expected("True", "Suspended", message));
    fixture.object.metadata.annotations = None;
    fixture.read_error = Some((FailingRead::App, ApiError::local(ErrorKind::Connect, "down")));
    for _ in 0..2 {
        assert!(matches!(fixture.reconcile().outcome, Outcome::ReadFailed(..)));
        assert_eq!(shown(&fixture), expected("True", "Progressing", "Resumed; waiting for the first resync"));
    }
    fixture.read_error = None;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(shown(&fixture), expected("True", "Succeeded", "App 101 is in sync with the spec"));
}

#[test]
fn a_repeated_failure_keeps_the_message_unless_more_than_the_text_of_the_server_changed() {
    let failed = |reason, message: &str| Outcome::WriteFailed(reason, message.to_owned(), Retry::Backoff);
    let before = compute_conditions(&[], 1, &failed(Reason::RemoteUnavailable, "PUT: 500: “request 1”"), false, at(1));
    let first = before[0].message.as_str();
    for (generation, reason, message, shown) in [
        (1, Reason::RemoteUnavailable, "PUT: 500: “request 2”", first),
        (1, Reason::RemoteUnavailable, "PUT: 502: “request 2”", "PUT: 502: “request 2”"),
        (1, Reason::RateLimited, "PUT: 500: “request 2”", "PUT: 500: “request 2”"),
        (2, Reason::RemoteUnavailable, "PUT: 500: “request 2”", "PUT: 500: “request 2”"),
    ] {
        let after = compute_conditions(&before, generation, &failed(reason, message), false, at(2));
        assert_eq!(after[0].message, shown, "{generation} {reason:?} {message}");
        assert_eq!(after == before, shown == first, "{generation} {reason:?} {message}");
    }
}

#[test]
fn no_outcome_counts_before_its_report_is_stored() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.edit(json!({ "description": "new" }));
    fixture.rejects_reports = true;
    let before = fixture.runtime_state.last_synced_at;
    let mut delays = Vec::new();
    for failures in 1..8 {
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::InSync, "the app is as declared");
        let state = &fixture.runtime_state;
        assert_eq!((state.failures, state.last_synced_at), (failures, before));
        delays.push(result.requeue_after.unwrap());
        fixture.advance(60);
    }
    assert!(delays.is_sorted_by(|one, next| one < next), "{delays:?}");
    fixture.rejects_reports = false;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    let state = &fixture.runtime_state;
    assert_eq!((state.failures, state.last_synced_at), (0, Some(fixture.now)));
    assert_eq!(fixture.ready(), ("True".to_owned(), "Succeeded".to_owned()));
}

#[test]
fn ready_becomes_unknown_after_three_missed_intervals() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.reconcile();
    fixture.read_error = Some((FailingRead::App, ApiError::local(ErrorKind::Connect, "down")));
    // The default interval is 10 min.
    for (minutes, expected) in [(11, "True"), (15, "True"), (3, "True"), (2, "Unknown"), (60, "Unknown")] {
        fixture.advance(minutes * 60);
        fixture.reconcile();
        assert_eq!(fixture.ready().0, expected, "{minutes}");
    }
    fixture.read_error = None;
    fixture.reconcile();
    assert_eq!(fixture.ready(), ("True".into(), "Succeeded".into()));
}

#[test]
fn the_transition_time_changes_only_with_the_status() {
    let first = compute_conditions(&[], 1, &Outcome::InSync, false, at(1));
    let same = compute_conditions(&first, 2, &Outcome::InSync, false, at(2));
    let other = compute_conditions(&same, 3, &Outcome::InProgress(String::new()), false, at(3));
    let times: Vec<_> = [&first, &same, &other].map(|conditions| conditions[0].last_transition_time.0).into();
    assert_eq!(times, [at(1), at(1), at(3)]);
}

#[test]
fn a_change_from_ready_to_unknown_is_a_warning_for_every_reason() {
    let ready = compute_conditions(&[], 1, &Outcome::InSync, false, at(1));
    let waiting = Outcome::WaitingForDependency(Reason::DependencyNotReady, "down".to_owned());
    let unknown_before = compute_conditions(&ready, 1, &waiting, true, at(2));
    assert!(ready_event(&ready, &unknown_before).unwrap().warning);
    // A new object that waits is no reason for a warning.
    let first = compute_conditions(&[], 1, &waiting, false, at(2));
    assert!(!ready_event(&[], &first).unwrap().warning);
    let suspended = compute_conditions(&ready, 2, &Outcome::Suspended, false, at(2));
    assert!(!ready_event(&ready, &suspended).unwrap().warning);
}

#[test]
fn every_change_of_ready_is_one_event() {
    let mut fixture = Fixture::new(json!({}));
    let reasons =
        |result: &Reconciled<SpiceApp>| result.events.iter().map(|event| event.reason.clone()).collect::<Vec<_>>();
    assert_eq!(reasons(&fixture.reconcile()), ["Created", "Succeeded"]);
    fixture.advance(3600);
    assert_eq!(reasons(&fixture.reconcile()), [""; 0]);
}

#[test]
fn a_message_that_quotes_a_long_text_is_cut() {
    let conditions =
        compute_conditions(&[], 1, &Outcome::Stalled(Reason::InvalidSpec, "x".repeat(40_000)), false, at(1));
    for condition in conditions {
        assert!(condition.message.len() <= 4096 && condition.message.ends_with('…'), "{}", condition.message.len());
    }
}
