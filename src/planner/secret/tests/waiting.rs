//! What is said of an object that cannot be looked at now.

use super::*;

#[test]
fn a_suspended_object_and_one_whose_app_cannot_be_used_call_nothing() {
    let mut world = World::settled(one("TOKEN"), &[("key", "one")]);
    let all_well = world.app.clone();
    let unready = |message: &str| Some(message.to_owned());
    let troubles = [
        (
            ParentApp { unready: unready("is being deleted"), ..all_well.clone() },
            "SpiceApp \"my-app\" is being deleted",
        ),
        (ParentApp { id: None, ..all_well.clone() }, "SpiceApp \"my-app\" has no app yet"),
        (ParentApp { organization: None, ..all_well.clone() }, "SpiceOrganization \"default\" not found"),
        (
            ParentApp { organization_binding: Some("https://api.example#2".into()), ..all_well.clone() },
            "SpiceOrganization \"default\" is bound to another organization than the one that the app is recorded in",
        ),
    ];
    // Before a rotation and after it.
    for (rotated, ready) in [(false, "True"), (true, "False")] {
        if rotated {
            world.source(values(&[("key", "two")]));
        }
        for (facts, message) in troubles.clone() {
            world.app = facts;
            let visit = world.visit();
            let expected = Outcome::WaitingForDependency(Reason::DependencyNotReady, message.to_owned());
            assert_eq!((visit.outcome.clone(), visit.remote_reads().len()), (expected, 0));
            assert_eq!(world.ready().0, ready, "what was achieved does not flip, and only that");
        }
    }
    world.app = all_well;
    let mut suspended = one("TOKEN");
    suspended["suspend"] = json!(true);
    world.edit(suspended);
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.reads), (Outcome::Suspended, vec![SecretRead::Siblings]));
    world.edit(one("TOKEN"));
    assert_eq!(world.visit().set, ["TOKEN"]);
}

#[test]
fn without_its_app_a_secret_is_not_ready_until_there_is_another() {
    let mut world = World::settled(one("TOKEN"), &[("key", "one")]);
    world.app_is_there = false;
    assert_eq!(world.visit().remote_reads().len(), 0);
    let message = ["False", "DependencyNotReady", "SpiceApp \"my-app\" not found"];
    assert_eq!(world.ready(), message.map(str::to_owned).into());
    world.app_is_there = true;
    world.visit();
    assert_eq!(world.ready().0, "True");
}

#[test]
fn a_namespace_that_is_admitted_no_more_sets_nothing_and_may_still_delete() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    let organization = world.app.organization.as_mut().unwrap();
    organization.not_allowed = Some("SpiceOrganization org/default does not admit namespace team".into());
    world.source(values(&[("key", "rotated")]));
    let visit = world.visit();
    assert_eq!((visit.set.len(), visit.remote_reads().len()), (0, 0), "{visit:?}");
    let (status, reason, message) = world.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NamespaceNotAllowed"));
    assert!(message.starts_with("Secret \"source\" has changed and is not applied yet: "), "{message}");
    world.delete();
    assert_eq!(world.visit().deleted, ["TOKEN"]);
}

#[test]
fn another_version_of_the_same_content_flips_nothing_also_where_nothing_can_be_set() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    let well = world.app.clone();
    world.app.unready = Some("is not ready: RateLimited".to_owned());
    // As a label makes it.
    world.source(values(&[("key", "value"), ("another", "which is not asked for")]));
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::WaitingForDependency(..)), "{visit:?}");
    assert_eq!((world.ready().0.as_str(), visit.remote_reads().len()), ("True", 0));
    assert!(!world.visit().reads.contains(&SecretRead::SourceValues), "it was taken up");
    world.source(values(&[("key", "rotated")]));
    world.visit();
    assert_eq!(world.ready().0, "False");
    assert!(
        world.ready().2.starts_with("Secret \"source\" has changed and is not applied yet: "),
        "{:?}",
        world.ready()
    );
    world.app = well;
    assert_eq!(world.visit().set, ["TOKEN"]);
}

#[test]
fn one_that_was_never_set_waits_and_speaks_of_no_change() {
    let mut world = World::new(one("TOKEN"), &[("key", "value")]);
    world.app.unready = Some("has not been reconciled yet".to_owned());
    let (reason, message) = world.says();
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("DependencyNotReady", "SpiceApp \"my-app\" has not been reconciled yet")
    );
}

#[test]
fn another_version_of_the_same_content_says_nothing_new_of_one_that_was_not_seen_for_long() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    world.app.unready = Some("is not ready: RemoteUnavailable".to_owned());
    world.pass(4 * 660);
    world.visit();
    assert_eq!(world.ready().0, "Unknown");
    world.source(values(&[("key", "value"), ("another", "which is not asked for")]));
    world.visit();
    assert_eq!(world.ready().0, "Unknown", "{:?}", world.ready());
}
