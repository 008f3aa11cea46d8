//! An object that is being deleted.

use super::*;
use crate::api::SecretConflict;

#[test]
fn what_was_set_is_deleted_and_what_was_taken_over_stays_unless_the_policy_says_otherwise() {
    for (policy, left) in [(None, vec!["B"]), (Some("Delete"), vec![]), (Some("Retain"), vec!["A", "B"])] {
        let spec = json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt", "deletionPolicy": policy });
        let mut world = World::new(spec, &[("A", "one"), ("B", "two")]);
        world.portal("B", "theirs");
        assert_eq!(world.visit().outcome, Outcome::InSync);
        world.delete();
        // Nothing of it is read: an object with an invalid spec, without its source, is deleted like any other.
        world.source = None;
        world.object.spec.secret_ref =
            one("1st").get("secretRef").cloned().and_then(|it| serde_json::from_value(it).ok());
        let visit = world.visit();
        assert_eq!(visit.outcome, Outcome::Finalized, "{policy:?}");
        assert_eq!(world.remote.keys().collect::<Vec<_>>(), left, "{policy:?}");
        assert_eq!(visit.remote_reads().is_empty(), policy == Some("Retain"));
    }
}

/// What happens to the app.
type Change = fn(&mut World);

#[test]
fn with_its_app_nothing_is_left_to_do() {
    let cases: [(&str, Change); 4] = [
        ("the SpiceApp is gone", |world| world.app_is_there = false),
        ("it has no app any more", |world| world.app.id = None),
        ("it has another app", |world| world.app.id = Some(APP + 1)),
        ("the app is another's", |world| {
            let app = json!({ "id": APP, "name": "my-app", "tags": { OWNER_TAG: "another" } });
            world.app_shows = serde_json::from_value(app).unwrap();
        }),
    ];
    for (case, change) in cases {
        let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
        change(&mut world);
        world.delete();
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.deleted.len()), (Outcome::Finalized, 0), "{case}");
    }
    // While the app is being deleted it is still there.
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    world.app.unready = Some("is being deleted".into());
    world.delete();
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.deleted.len()), (Outcome::Finalized, 1));
}

#[test]
fn a_delete_that_fails_is_tried_again_and_ends_when_it_is_to_be_retained() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    world.delete();
    world.refused.insert("TOKEN".into(), ErrorKind::Server);
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)), "{visit:?}");
    assert_eq!(world.names(), ["TOKEN"]);
    world.object.spec.deletion_policy = Some(crate::api::DeletionPolicy::Retain);
    world.pass(10);
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.remote_reads().len()), (Outcome::Finalized, 0));
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    world.delete();
    world.app.organization.as_mut().unwrap().suspended = true;
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::WriteFailed(Reason::DependencyNotReady, ..)), "{visit:?}");
    assert_eq!((visit.remote_reads().len(), world.remote.len()), (0, 1), "the stop button");
}

#[test]
fn two_that_are_deleted_at_once_do_not_wait_for_each_other() {
    // Each has noted that the other one has set what it asks for.
    let names = |names: [&str; 1]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    for (created, timings) in [(-10, true), (10, false)] {
        let mut world = World::settled(one("OURS"), &[("key", "value")]);
        let mut status = world.status();
        let theirs =
            SecretConflict { name: "THEIRS".into(), owned_by: "other".into(), present: Some(true), adopted: None };
        status.conflicts.push(theirs);
        world.object.status = Some(status);
        world.siblings = vec![SiblingSecret {
            object: "other".into(),
            created: Some(Timestamp::from_second(1_000_000 + created).unwrap()),
            uid: "uid-of-other".into(),
            deleting: true,
            undecodable: false,
            requested: names(["OURS"]),
            managed: names(["THEIRS"]),
            adopted: BTreeSet::new(),
            acknowledged: ["OURS", "THEIRS"].map(str::to_owned).into(),
        }];
        world.delete();
        let visit = world.visit();
        assert_eq!(matches!(visit.outcome, Outcome::Terminating(_)), timings, "{visit:?}");
        assert_eq!(visit.deleted.is_empty(), timings);
    }
}

#[test]
fn without_a_key_of_digests_nothing_is_set_and_what_was_set_can_be_deleted() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    world.has_key = false;
    world.source(values(&[("key", "rotated")]));
    let visit = world.visit();
    assert_eq!((visit.set.len(), visit.remote_reads().len()), (0, 0), "{visit:?}");
    assert!(world.ready().2.contains("The operator has no digest key yet"), "{:?}", world.ready());
    world.has_key = true;
    assert_eq!(world.visit().set, ["TOKEN"]);
    world.has_key = false;
    world.delete();
    assert_eq!(world.visit().deleted, ["TOKEN"]);
}
