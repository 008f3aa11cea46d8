//! Deletion of an app.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{CreateIntent, DeletionPolicy};
use crate::planner::{StepContext, Steps};

fn with_intent(fixture: Fixture) -> Fixture {
    let at = fixture.now;
    let intent = CreateIntent {
        id: "i".into(),
        name: "my-app".into(),
        at: MicroTime(at),
        name_conflict: None,
        reactivated_owner_tag: None,
    };
    let status =
        SpiceAppStatus { create_intent: Some(intent), incarnation: Some("c-i".into()), ..SpiceAppStatus::default() };
    fixture.with_status(status)
}

#[test]
fn a_created_app_is_deleted_with_its_object() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.edit(json!({"tags": {"1 bad": "an invalid object can be deleted"}, "suspend": true}));
    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((result.deletes(), result.outcome.clone()), (vec![101], Outcome::Finalized), "{result:?}");
    assert!(fixture.remote.deleted.contains(&101) && !fixture.has_finalizer());
}

#[test]
fn an_absent_or_foreign_app_releases_the_object() {
    type Change = fn(&mut Fixture);
    let cases: [(&str, Change); 5] = [
        ("deleted externally", |fixture| fixture.remote.deleted.extend([101])),
        ("another owner", |fixture| fixture.remote.apps.get_mut(&101).unwrap()["tags"][OWNER_TAG] = json!("somebody")),
        ("another app has the ID", |fixture| {
            drop(fixture.remote.apps.get_mut(&101).unwrap().insert("name".into(), json!("x")))
        }),
        ("the CustomResourceDefinition is being deleted", |fixture| fixture.crd_terminating = Observed::Present(true)),
        ("the CustomResourceDefinition does not exist", |fixture| fixture.crd_terminating = Observed::Absent),
    ];
    for (name, change) in cases {
        let mut fixture = Fixture::settled(json!({}));
        change(&mut fixture);
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.outcome.clone(), result.writes.len()), (Outcome::Finalized, 0), "{name}: {result:?}");
        assert!(!fixture.has_finalizer(), "{name}");
    }
}

#[test]
fn a_retained_app_loses_the_owner_tags_at_best_effort_and_the_object_is_released() {
    type Change = fn(&mut Fixture);
    let cases: [(&str, bool, Change); 6] = [
        ("no error", true, |_| {}),
        ("the API is down", false, |fixture| {
            fixture.read_error = Some((FailingRead::App, ApiError::local(ErrorKind::Connect, "down")))
        }),
        ("the write fails", false, |fixture| {
            fixture.remote.fault = Some((ApiError::local(ErrorKind::Forbidden, "no"), false));
        }),
        ("the organization does not exist", false, |fixture| fixture.organization = Observed::Absent),
        ("earlier reconciles failed", true, |fixture| fixture.runtime_state.failures = 3),
        ("another owner", false, |fixture| {
            fixture.remote.apps.get_mut(&101).unwrap()["tags"][OWNER_TAG] = json!("somebody");
        }),
    ];
    for (name, tags_removed, change) in cases {
        let mut fixture = Fixture::settled(json!({"tags": {"team": "a"}, "deletionPolicy": "Retain"}));
        change(&mut fixture);
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.deletes().len()), (&Outcome::Finalized, 0), "{name}: {result:?}");
        assert!(!fixture.has_finalizer(), "{name}");
        let tags = &fixture.remote.apps[&101]["tags"];
        assert_eq!(*tags == json!({"team": "a"}), tags_removed, "{name}: {tags}");
    }
}

#[test]
fn a_missing_owner_tag_is_restored_before_the_delete() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.remote.apps.get_mut(&101).unwrap().insert("tags".into(), json!({"theirs": "t"}));
    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((result.writes.len(), result.deletes(), result.outcome), (2, vec![101], Outcome::Finalized));
    assert_eq!(fixture.remote.apps[&101]["tags"]["theirs"], "t");
}

#[test]
fn without_tag_support_the_recorded_id_allows_the_delete() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.remote.drops_tags = true;
    fixture.remote.apps.get_mut(&101).unwrap().insert("tags".into(), json!({}));
    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((result.writes.len(), result.deletes(), result.outcome), (2, vec![101], Outcome::Finalized));
}

#[test]
fn an_adopted_app_is_retained_unless_the_policy_is_delete() {
    for (policy, deleted) in [(None, 0), (Some(DeletionPolicy::Delete), 1), (Some(DeletionPolicy::Retain), 0)] {
        let mut fixture = Fixture::settled(json!({}));
        let status = SpiceAppStatus { incarnation: Some("a-x".into()), ..fixture.status() };
        fixture.object.status = Some(status);
        fixture.object.spec.deletion_policy = policy;
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.deletes().len(), result.outcome), (deleted, Outcome::Finalized), "{policy:?}");
    }
}

#[test]
fn an_object_without_id_and_intent_is_released_without_a_read() {
    for policy in [None, Some(DeletionPolicy::Delete)] {
        let mut fixture = Fixture::new(json!({})).with_status(SpiceAppStatus::default());
        fixture.object.spec.deletion_policy = policy;
        fixture.remote.add("my-app", json!({}));
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.reads.len(), result.writes.len()), (Outcome::Finalized, 0, 0));
    }
}

#[test]
fn a_deletion_waits_for_an_unconfirmed_create_and_deletes_its_app() {
    let mut fixture = with_intent(Fixture::new(json!({})));
    fixture.delete();
    for seconds in [0, 30, 59] {
        fixture.advance(seconds);
        let result = fixture.reconcile();
        let message = "Waiting up to 1m 30s for an unconfirmed create to appear in the app list".to_owned();
        assert_eq!((&result.outcome, result.remote_reads()), (&Outcome::Terminating(message), 1), "{result:?}");
        assert!(fixture.has_finalizer());
    }
    // The app appears before the timeout.
    let tags = json!({OWNER_TAG: fixture.owner(), INCARNATION_TAG: "c-i"});
    fixture.remote.add("my-app", json!({"tags": tags}));
    let result = fixture.reconcile();
    assert_eq!((result.deletes(), result.outcome), (vec![101], Outcome::Finalized));
}

#[test]
fn an_unconfirmed_create_is_given_up_after_the_timeout() {
    for foreign in [None, Some(json!({})), Some(json!({OWNER_TAG: "somebody"}))] {
        let mut fixture = with_intent(Fixture::new(json!({})));
        if let Some(tags) = foreign {
            fixture.remote.add("my-app", json!({"tags": tags}));
        }
        fixture.delete();
        assert!(matches!(fixture.reconcile().outcome, Outcome::Terminating(_)));
        fixture.advance(90);
        let result = fixture.reconcile();
        assert_eq!((result.outcome.clone(), result.writes.len()), (Outcome::Finalized, 0), "{result:?}");
    }
}

#[test]
fn a_list_from_before_the_create_timeout_proves_no_absence() {
    let mut fixture = with_intent(Fixture::new(json!({})));
    fixture.delete();
    let started_at = fixture.now;
    fixture.advance(90);
    let observed = AppObserved {
        organization: Some(fixture.organization.clone()),
        crd_terminating: Some(Observed::Present(false)),
        list: Some(Observed::Present(Observation { value: Arc::default(), started_at })),
        ..AppObserved::default()
    };
    let plan = {
        let (identity, timings) = (identity(), fixture.timings.clone());
        let context = StepContext { identity: &identity, timings: &timings, fresh_id: "", now: fixture.now };
        let mut steps = Steps::new(fixture.object.clone(), fixture.runtime_state.clone(), context);
        steps.observed = observed;
        steps.with_input(context, SpiceApp::plan_deletion)
    };
    assert_eq!(plan.first, None, "{plan:?}");
}

#[test]
fn an_absence_within_the_settle_period_is_not_final() {
    let mut fixture = Fixture::new(json!({}));
    fixture.reconcile();
    fixture.remote.deleted.insert(101);
    fixture.delete();
    fixture.advance(10);
    assert!(matches!(fixture.reconcile().outcome, Outcome::Terminating(_)));
    fixture.advance(30);
    assert_eq!(fixture.reconcile().outcome, Outcome::Finalized);
}

#[test]
fn a_suspended_organization_stops_deletions() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.organization = Observed::Present(OrganizationView { suspended: true, ..OrganizationView::default() });
    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((result.remote_reads(), result.writes.len(), fixture.has_finalizer()), (0, 0, true));
}

#[test]
fn retain_ends_a_blocked_deletion_at_once() {
    let mut fixture = Fixture::settled(json!({"tags": {"team": "a"}}));
    fixture.organization = Observed::Absent;
    fixture.delete();
    assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(Reason::DependencyNotReady, ..)));
    fixture.edit(json!({"tags": {"team": "a"}, "deletionPolicy": "Retain"}));
    let result = fixture.reconcile();
    assert_eq!(
        (result.outcome.clone(), result.remote_reads(), result.writes.len()),
        (Outcome::Finalized, 0, 0),
        "{result:?}"
    );
}

#[test]
fn a_deleted_or_retained_app_is_reported_on_an_object_that_another_finalizer_keeps() {
    type Change = fn(&mut Fixture);
    let cases: [(&str, Change, Option<i64>, &str); 3] = [
        ("deleted", |_| {}, None, "The app is deleted remotely"),
        ("deleted externally", |fixture| fixture.remote.deleted.extend([101]), None, "The app is deleted remotely"),
        (
            "retained",
            |fixture| fixture.object.spec.deletion_policy = Some(DeletionPolicy::Retain),
            Some(101),
            "The operator released the object",
        ),
    ];
    for (case, change, id, result) in cases {
        let mut fixture = Fixture::settled(json!({}));
        change(&mut fixture);
        fixture.object.metadata.finalizers = Some(vec![FINALIZER.into(), "example.com/backup".into()]);
        fixture.delete();
        assert_eq!(fixture.reconcile().outcome, Outcome::Finalized, "{case}");
        let message = format!("{result}; waiting for other finalizers: example.com/backup");
        let reported = fixture.status();
        assert_eq!((reported.id, fixture.ready()), (id, ("False".into(), "Progressing".into())), "{case}");
        assert!(reported.core.conditions.iter().all(|condition| condition.message == message), "{case}: {reported:?}");
        // Neither a later reconcile nor a restart changes the report.
        for restart in [false, true] {
            if restart {
                fixture.restart();
            }
            fixture.advance(3600);
            let result = fixture.reconcile();
            assert_eq!(
                (result.outcome, result.reads.len(), fixture.status()),
                (Outcome::Finalized, 0, reported.clone())
            );
        }
    }
}
