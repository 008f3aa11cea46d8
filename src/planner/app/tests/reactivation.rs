//! A name that was deleted once and comes back with what it had.

use super::*;

fn tags_of_others() -> Value {
    json!({ OWNER_TAG: "0123456789abcdef0123456789abcdef", INCARNATION_TAG: "c-theirs" })
}

/// A deleted app of the name that somebody else had made, and that a create brings back as it was.
fn comes_back_with_tags_of_others(world: &mut World) -> i64 {
    let created_at = (world.now - jiff::SignedDuration::from_hours(1)).to_string();
    let old = world.remote.add("my-app", json!({"created_at": created_at, "tags": tags_of_others()}));
    world.remote.deleted.insert(old);
    world.remote.keeps_reactivated = true;
    old
}

#[test]
fn a_deleted_app_of_the_name_comes_back_as_the_spec_wants_it() {
    let mut world = World::new(json!({"description": "one", "runtime": {"replicas": 3}}));
    let old = world.remote.add("my-app", json!({"visibility": "public", "description": "old", "replicas": 9}));
    world.remote.deleted.insert(old);
    assert_eq!(world.visit().outcome, Outcome::InSync);
    let app = &world.remote.apps[&old];
    assert_eq!(
        (&app["visibility"], &app["description"], &app["replicas"]),
        (&json!("private"), &json!("one"), &json!(3))
    );
}

#[test]
fn what_a_reactivated_app_kept_is_put_right_and_the_rest_of_it_is_told() {
    for keeps in [false, true] {
        let mut world = World::new(json!({"description": "one", "visibility": "public", "tags": {"team": "a"}}));
        let created_at = (world.now - jiff::SignedDuration::from_hours(1)).to_string();
        let kept = json!({"description": "old", "image_tag": "1.0", "spicepod": {}, "created_at": created_at});
        let old = world.remote.add("my-app", kept);
        world.remote.deleted.insert(old);
        world.remote.keeps_reactivated = keeps;
        let visit = world.visit();
        assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, 1 + usize::from(keeps)), "{visit:?}");
        let app = &world.remote.apps[&old];
        assert_eq!(
            (&app["description"], &app["visibility"], &app["tags"]["team"]),
            (&json!("one"), &json!("public"), &json!("a"))
        );
        let told: Vec<_> = visit.events.iter().filter(|note| note.reason == "Reactivated").collect();
        assert_eq!(told.len(), 1, "{keeps}: {visit:?}");
        assert!(told[0].warning && told[0].message.ends_with(": spicepod, runtime.imageTag"), "{told:?}");
        assert_eq!((&app["image_tag"], world.status().id), (&json!("1.0"), Some(old)), "it is left alone");
    }
}

#[test]
fn what_our_create_brought_back_is_ours_whosever_it_was() {
    let mut world = World::new(json!({"description": "one"}));
    let old = comes_back_with_tags_of_others(&mut world);
    let visit = world.visit();
    // The create, our tags, and then the rest.
    assert_eq!((&visit.outcome, visit.writes.len()), (&Outcome::InSync, 3), "{visit:?}");
    let tags = &world.remote.apps[&old]["tags"];
    assert_eq!((tags[OWNER_TAG].as_str(), world.status().id), (Some(world.owner().as_str()), Some(old)));
    assert_eq!(tags[INCARNATION_TAG].as_str(), world.status().incarnation.as_deref());
    assert_ne!(world.status().incarnation.as_deref(), Some("c-theirs"));
}

#[test]
fn what_our_create_brought_back_stays_ours_when_its_tags_are_not_set_at_once() {
    for deleted in [false, true] {
        let mut world = World::new(json!({"description": "one"}));
        let old = comes_back_with_tags_of_others(&mut world);
        world.remote.fault = Some((ApiError::local(ErrorKind::Server, "no"), false));
        world.remote.fault_after = 1;
        assert!(matches!(world.visit().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
        world.restart();
        if deleted {
            world.delete();
            let visit = world.visit();
            assert_eq!((visit.deletes(), visit.outcome), (vec![old], Outcome::Finalized));
            continue;
        }
        assert_eq!(world.visit().outcome, Outcome::InSync);
        assert_eq!(world.status().create_intent, None);
        assert_eq!(world.remote.list()[0].tag(OWNER_TAG), Some(world.owner().as_str()));
        // From then on, another's tag is another's.
        let tags = tags_of_others();
        world.remote.apps.get_mut(&old).unwrap().insert("tags".into(), tags);
        world.pass(3600);
        assert_eq!(world.visit().stalled(), Some(Reason::OwnedElsewhere));
    }
}

#[test]
fn our_tags_are_put_on_what_came_back_before_anything_that_may_be_refused() {
    for no_tags in [false, true] {
        let mut world = World::new(json!({"runtime": {"imageTag": "9"}}));
        let old = comes_back_with_tags_of_others(&mut world);
        if no_tags {
            world.organization = Observed::Present(OrganizationView {
                tags_unsupported: true,
                default_region: Some("us-west-2".into()),
                ..OrganizationView::default()
            });
        }
        // The create, the tags; then what is refused.
        world.remote.fault = Some((ApiError::local(ErrorKind::Invalid, "no such image"), false));
        (world.remote.fault_after, world.remote.fault_lasts) = (2, true);
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WriteFailed(Reason::InvalidSpec, ..)), "{visit:?}");
        assert_eq!(world.remote.list()[0].tag(OWNER_TAG), Some(world.owner().as_str()));
        assert_eq!(world.status().create_intent, None);
        // Nor is it sent again before its time.
        world.pass(60);
        assert_eq!(world.visit().outcome, Outcome::Skipped);
        (world.remote.fault, world.remote.fault_lasts) = (None, false);
        world.delete();
        let visit = world.visit();
        assert_eq!((visit.deletes(), visit.outcome), (vec![old], Outcome::Finalized));
    }
}

#[test]
fn what_came_back_and_is_only_observed_for_a_while_is_still_ours() {
    let mut world = World::new(json!({}));
    comes_back_with_tags_of_others(&mut world);
    world.remote.fault = Some((ApiError::local(ErrorKind::Server, "no"), false));
    world.remote.fault_after = 1;
    world.visit();
    world.edit(json!({"managementPolicy": "Observe"}));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    world.edit(json!({}));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.remote.list()[0].tag(OWNER_TAG), Some(world.owner().as_str()));
}
