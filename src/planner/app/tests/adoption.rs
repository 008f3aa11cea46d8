//! An app that was there before the object: adopted, taken over, looked at, or left alone.

use super::*;
use crate::api::TAKE_OWNERSHIP_FROM;

fn theirs() -> Value {
    json!({"description": "theirs", "replicas": 5, "tags": {"foreign": "f"}})
}

fn adopting(more: Value) -> World {
    let mut spec = json!({"description": "ours", "tags": {"team": "a"}, "adoptionPolicy": "Adopt"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    World::new(spec)
}

fn take_over(world: &mut World, tag: &str) {
    world.object.metadata.annotations = Some([(TAKE_OWNERSHIP_FROM.to_owned(), tag.to_owned())].into());
}

#[test]
fn an_app_is_adopted_with_one_write_that_marks_it_and_makes_it_as_declared() {
    let mut world = adopting(json!({}));
    let id = world.remote.add("My-App", theirs());
    let visit = world.visit();
    assert_eq!(visit.put(), ["description".to_owned(), "tags".to_owned()].into(), "{visit:?}");
    assert_eq!(visit.outcome, Outcome::InSync);
    let (app, status) = (&world.remote.apps[&id], world.status());
    assert_eq!(
        app["tags"],
        json!({"foreign": "f", "team": "a", OWNER_TAG: world.owner(), INCARNATION_TAG: status.incarnation})
    );
    assert_eq!((&app["description"], &app["replicas"]), (&json!("ours"), &json!(5)));
    assert!(status.incarnation.unwrap().starts_with("a-"));
    assert_eq!((status.id, status.create_intent), (Some(id), None));
    // Stored before it is marked, so that a cut-off adoption goes on.
    assert_eq!(visit.first, [KubernetesWrite::AddFinalizer, KubernetesWrite::StoreStatus]);

    world.delete();
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.deletes().len()), (&Outcome::Finalized, 0), "an adopted app is retained");
}

#[test]
fn an_adoption_of_unknown_outcome_goes_on_with_the_same_app() {
    for applied in [true, false] {
        let mut world = adopting(json!({}));
        let id = world.remote.add("my-app", theirs());
        world.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), applied));
        assert!(matches!(world.visit().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
        let incarnation = world.status().incarnation;
        world.restart();
        world.pass(60);
        let visit = world.visit();
        assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, usize::from(!applied)), "{visit:?}");
        assert_eq!((world.status().id, &world.status().incarnation), (Some(id), &incarnation));
        assert_eq!(world.remote.apps[&id]["tags"][INCARNATION_TAG], incarnation.unwrap());
    }
}

#[test]
fn an_adoption_that_only_reports_writes_the_tags_alone_and_lists_what_differs() {
    let mut world = adopting(json!({"driftPolicy": "Report"}));
    let id = world.remote.add("my-app", theirs());
    let visit = world.visit();
    assert_eq!((visit.put(), &visit.outcome), (["tags".to_owned()].into(), &Outcome::InSync), "{visit:?}");
    let app = &world.remote.apps[&id];
    assert_eq!((&app["description"], app["tags"].get("team")), (&json!("theirs"), None));
    assert_eq!(world.status().drift, ["description", "tags.team"]);
}

#[test]
fn another_owners_app_is_taken_over_only_by_its_name() {
    for (policy, annotation, taken) in [
        ("Adopt", Some("somebody"), true),
        ("Adopt", Some("other"), false),
        ("Adopt", None, false),
        ("Fail", Some("somebody"), false),
    ] {
        for recorded in [false, true] {
            let mut world = World::new(json!({"description": "ours", "adoptionPolicy": policy}));
            let id = if recorded {
                world.visit();
                101
            } else {
                world.remote.add("my-app", theirs())
            };
            world.remote.apps.get_mut(&id).unwrap()["tags"][OWNER_TAG] = json!("somebody");
            world.pass(3600);
            let first = world.visit();
            assert_eq!((first.stalled(), first.writes.len()), (Some(Reason::OwnedElsewhere), 0), "{first:?}");
            if let Some(tag) = annotation {
                take_over(&mut world, tag);
            }
            let visit = world.visit();
            let case = format!("{policy} {annotation:?} {recorded}: {visit:?}");
            assert_eq!(visit.outcome == Outcome::InSync, taken, "{case}");
            assert_eq!(visit.writes.len(), usize::from(taken), "{case}");
            let owner = if taken { world.owner() } else { "somebody".to_owned() };
            assert_eq!(world.remote.apps[&id]["tags"][OWNER_TAG], owner, "{case}");
        }
    }
}

#[test]
fn an_app_that_is_only_observed_is_never_written_and_what_differs_is_listed() {
    let mut world =
        World::new(json!({"description": "ours", "managementPolicy": "Observe", "adoptionPolicy": "Adopt"}));
    let visit = world.visit();
    assert_eq!((visit.stalled(), visit.writes.len()), (Some(Reason::NotFound), 0));
    let id = world.remote.add("my-app", json!({"tags": {OWNER_TAG: "somebody"}, "description": "theirs"}));
    world.pass(3600);
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, 0), "{visit:?}");
    assert_eq!((world.status().id, world.status().incarnation), (Some(id), None));
    assert_eq!(world.status().drift, ["description"]);
    let (before, requeue_after) = (world.status(), world.visit());
    assert_eq!((requeue_after.outcome, requeue_after.reads.len()), (Outcome::Skipped, 0), "in date");
    world.pass(3600);
    let check = world.visit();
    assert_eq!((check.writes.len(), world.status()), (0, before));

    // What was only looked at is not ours when it is to be managed, nor when the object goes.
    let mut managed = World { object: world.object.clone(), remote: world.remote.clone(), ..World::new(json!({})) };
    managed.edit(json!({"description": "ours"}));
    let visit = managed.visit();
    assert_eq!((visit.stalled(), visit.writes.len()), (Some(Reason::OwnedElsewhere), 0));
    managed.edit(json!({"deletionPolicy": "Delete"}));
    for mut world in [world, managed] {
        world.delete();
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.writes.len()), (Outcome::Finalized, 0));
    }
}

#[test]
fn an_app_of_ours_that_is_observed_for_a_while_is_ours_again_after() {
    let mut world = World::settled(json!({"description": "ours"}));
    let incarnation = world.status().incarnation;
    world.edit(json!({"description": "other", "managementPolicy": "Observe"}));
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, 0), "{visit:?}");
    assert_eq!((world.status().drift, world.status().incarnation), (vec!["description".to_owned()], incarnation));
    world.edit(json!({"description": "other"}));
    assert_eq!(world.visit().put(), ["description".to_owned()].into());
    assert_eq!(world.status().drift, [""; 0]);
}

#[test]
fn an_app_without_our_tag_is_ours_if_our_intent_explains_it() {
    // Minutes before the intent that the app was created; whether tags are kept; whether it is ours.
    for (minutes, tags_unsupported, ours) in [
        (60, false, true),
        (60, true, true),
        (4, false, false),
        (4, true, true),
        (-1, true, true),
        (-1, false, false),
        (-10, true, false),
    ] {
        let mut world = World::new(json!({}));
        world.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), false));
        world.visit();
        let intent = world.status().create_intent.unwrap();
        let created_at = (intent.at.0 - jiff::SignedDuration::from_mins(minutes)).to_string();
        world.remote.add("my-app", json!({"created_at": created_at}));
        world.organization = Observed::Present(OrganizationView {
            tags_unsupported,
            default_region: Some("us-west-2".into()),
            ..OrganizationView::default()
        });
        world.pass(3600);
        let visit = world.visit();
        let case = format!("{minutes} {tags_unsupported}: {visit:?}");
        assert_eq!(visit.outcome == Outcome::InSync, ours, "{case}");
        assert_eq!(visit.stalled() == Some(Reason::NameTaken), !ours, "{case}");
        if ours {
            assert_eq!(world.status().incarnation, Some(format!("c-{}", intent.id)), "{case}");
        }
    }
}
