//! An app that is no longer wanted.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{CreateIntent, DeletionPolicy};
use crate::planner::{StepContext, Steps};

fn with_intent(world: World) -> World {
    let at = world.now;
    let intent = CreateIntent {
        id: "i".into(),
        name: "my-app".into(),
        at: MicroTime(at),
        name_conflict: None,
        reactivated_owner_tag: None,
    };
    let status =
        SpiceAppStatus { create_intent: Some(intent), incarnation: Some("c-i".into()), ..SpiceAppStatus::default() };
    world.with_status(status)
}

#[test]
fn an_app_that_the_object_created_goes_with_it() {
    let mut world = World::settled(json!({}));
    world.edit(json!({"tags": {"1 bad": "an invalid object can be deleted"}, "suspend": true}));
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.deletes(), visit.outcome.clone()), (vec![101], Outcome::Finalized), "{visit:?}");
    assert!(world.remote.deleted.contains(&101) && !world.has_finalizer());
}

#[test]
fn an_app_that_is_gone_already_or_is_not_ours_is_let_go() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 5] = [
        ("deleted outside", |world| world.remote.deleted.extend([101])),
        ("another owner", |world| world.remote.apps.get_mut(&101).unwrap()["tags"][OWNER_TAG] = json!("somebody")),
        ("another app has the id", |world| {
            drop(world.remote.apps.get_mut(&101).unwrap().insert("name".into(), json!("x")))
        }),
        ("the definition is being deleted", |world| world.definition = Observed::Present(true)),
        ("the definition is gone", |world| world.definition = Observed::Absent),
    ];
    for (name, change) in cases {
        let mut world = World::settled(json!({}));
        change(&mut world);
        world.delete();
        let visit = world.visit();
        assert_eq!((visit.outcome.clone(), visit.writes.len()), (Outcome::Finalized, 0), "{name}: {visit:?}");
        assert!(!world.has_finalizer(), "{name}");
    }
}

#[test]
fn a_retained_app_loses_our_tag_if_that_can_be_done_at_once_and_its_object_goes_anyhow() {
    type Change = fn(&mut World);
    let cases: [(&str, bool, Change); 6] = [
        ("all is well", true, |_| {}),
        ("the API is down", false, |world| world.blind = Some((At::App, ApiError::local(ErrorKind::Connect, "down")))),
        ("the write fails", false, |world| {
            world.remote.fault = Some((ApiError::local(ErrorKind::Forbidden, "no"), false));
        }),
        ("the organization is gone", false, |world| world.organization = Observed::Absent),
        ("what came before failed", true, |world| world.runtime_state.failures = 3),
        ("another owner", false, |world| {
            world.remote.apps.get_mut(&101).unwrap()["tags"][OWNER_TAG] = json!("somebody");
        }),
    ];
    for (name, taken_off, change) in cases {
        let mut world = World::settled(json!({"tags": {"team": "a"}, "deletionPolicy": "Retain"}));
        change(&mut world);
        world.delete();
        let visit = world.visit();
        assert_eq!((&visit.outcome, visit.deletes().len()), (&Outcome::Finalized, 0), "{name}: {visit:?}");
        assert!(!world.has_finalizer(), "{name}");
        let tags = &world.remote.apps[&101]["tags"];
        assert_eq!(*tags == json!({"team": "a"}), taken_off, "{name}: {tags}");
    }
}

#[test]
fn our_own_tag_is_put_back_before_the_app_is_deleted() {
    let mut world = World::settled(json!({}));
    world.remote.apps.get_mut(&101).unwrap().insert("tags".into(), json!({"theirs": "t"}));
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.writes.len(), visit.deletes(), visit.outcome), (2, vec![101], Outcome::Finalized));
    assert_eq!(world.remote.apps[&101]["tags"]["theirs"], "t");
}

#[test]
fn where_no_tags_are_taken_the_recorded_id_counts_and_the_deletion_ends() {
    let mut world = World::settled(json!({}));
    world.remote.drops_tags = true;
    world.remote.apps.get_mut(&101).unwrap().insert("tags".into(), json!({}));
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.writes.len(), visit.deletes(), visit.outcome), (2, vec![101], Outcome::Finalized));
}

#[test]
fn an_app_that_was_not_created_here_is_retained_unless_the_policy_says_otherwise() {
    for (policy, deleted) in [(None, 0), (Some(DeletionPolicy::Delete), 1), (Some(DeletionPolicy::Retain), 0)] {
        let mut world = World::settled(json!({}));
        let status = SpiceAppStatus { incarnation: Some("a-x".into()), ..world.status() };
        world.object.status = Some(status);
        world.object.spec.deletion_policy = policy;
        world.delete();
        let visit = world.visit();
        assert_eq!((visit.deletes().len(), visit.outcome), (deleted, Outcome::Finalized), "{policy:?}");
    }
}

#[test]
fn nothing_begun_is_nothing_to_look_for() {
    for policy in [None, Some(DeletionPolicy::Delete)] {
        let mut world = World::new(json!({})).with_status(SpiceAppStatus::default());
        world.object.spec.deletion_policy = policy;
        world.remote.add("my-app", json!({}));
        world.delete();
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.reads.len(), visit.writes.len()), (Outcome::Finalized, 0, 0));
    }
}

#[test]
fn a_create_that_was_begun_is_waited_for_and_its_app_deleted() {
    let mut world = with_intent(World::new(json!({})));
    world.delete();
    for seconds in [0, 30, 59] {
        world.pass(seconds);
        let visit = world.visit();
        let message = "Waiting up to 1m 30s for an unconfirmed create to appear in the app list".to_owned();
        assert_eq!((&visit.outcome, visit.remote_reads()), (&Outcome::Terminating(message), 1), "{visit:?}");
        assert!(world.has_finalizer());
    }
    // Late, but in time.
    let tags = json!({OWNER_TAG: world.owner(), INCARNATION_TAG: "c-i"});
    world.remote.add("my-app", json!({"tags": tags}));
    let visit = world.visit();
    assert_eq!((visit.deletes(), visit.outcome), (vec![101], Outcome::Finalized));
}

#[test]
fn a_create_that_did_not_take_effect_in_time_is_let_go() {
    for stranger in [None, Some(json!({})), Some(json!({OWNER_TAG: "somebody"}))] {
        let mut world = with_intent(World::new(json!({})));
        if let Some(tags) = stranger {
            world.remote.add("my-app", json!({"tags": tags}));
        }
        world.delete();
        assert!(matches!(world.visit().outcome, Outcome::Terminating(_)));
        world.pass(90);
        let visit = world.visit();
        assert_eq!((visit.outcome.clone(), visit.writes.len()), (Outcome::Finalized, 0), "{visit:?}");
    }
}

#[test]
fn a_list_from_before_the_create_settled_proves_nothing() {
    let mut world = with_intent(World::new(json!({})));
    world.delete();
    let started_at = world.now;
    world.pass(90);
    let observed = AppObserved {
        organization: Some(world.organization.clone()),
        crd_terminating: Some(Observed::Present(false)),
        list: Some(Observed::Present(Observation { value: Arc::default(), started_at })),
        ..AppObserved::default()
    };
    let plan = {
        let (identity, timings) = (model::identity(), world.timings.clone());
        let context = StepContext { identity: &identity, timings: &timings, fresh_id: "", now: world.now };
        let mut steps = Steps::new(world.object.clone(), world.runtime_state.clone(), context);
        steps.observed = observed;
        steps.with_input(context, SpiceApp::plan_deletion)
    };
    assert_eq!(plan.first, None, "{plan:?}");
}

#[test]
fn an_absence_right_after_our_own_write_is_not_believed() {
    let mut world = World::new(json!({}));
    world.visit();
    world.remote.deleted.insert(101);
    world.delete();
    world.pass(10);
    assert!(matches!(world.visit().outcome, Outcome::Terminating(_)));
    world.pass(30);
    assert_eq!(world.visit().outcome, Outcome::Finalized);
}

#[test]
fn the_stop_button_holds_deletions_too() {
    let mut world = World::settled(json!({}));
    world.organization = Observed::Present(OrganizationView { suspended: true, ..OrganizationView::default() });
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.remote_reads(), visit.writes.len(), world.has_finalizer()), (0, 0, true));
}

#[test]
fn a_deletion_that_is_held_up_ends_at_once_when_the_app_is_to_stay() {
    let mut world = World::settled(json!({"tags": {"team": "a"}}));
    world.organization = Observed::Absent;
    world.delete();
    assert!(matches!(world.visit().outcome, Outcome::WriteFailed(Reason::DependencyNotReady, ..)));
    world.edit(json!({"tags": {"team": "a"}, "deletionPolicy": "Retain"}));
    let visit = world.visit();
    assert_eq!(
        (visit.outcome.clone(), visit.remote_reads(), visit.writes.len()),
        (Outcome::Finalized, 0, 0),
        "{visit:?}"
    );
}
