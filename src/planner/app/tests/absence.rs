//! An app that is gone, an organization that is another one, and what only looks like either.

use super::*;

fn organization(world: &mut World, change: impl FnOnce(&mut OrganizationView)) {
    let Observed::Present(organization) = &mut world.organization else { panic!("no organization") };
    change(organization);
}

#[test]
fn an_app_that_we_made_and_somebody_deleted_is_made_anew() {
    let mut world = World::settled(json!({"description": "one", "runtime": {"replicas": 2}}));
    let before = world.status();
    world.remote.deleted.insert(101);
    let visit = world.visit();
    assert_eq!(visit.outcome, Outcome::InSync, "{visit:?}");
    assert!(visit.events.iter().any(|note| note.warning && note.reason == "Recreating"), "{visit:?}");
    assert_eq!((world.remote.apps.len(), world.remote.deleted.len()), (1, 0));
    assert_ne!(world.status().incarnation, before.incarnation, "another life");
    assert_eq!(world.remote.apps[&101]["description"], "one");
}

#[test]
fn an_app_that_was_adopted_and_somebody_deleted_is_not_made_anew() {
    let mut world = World::new(json!({"adoptionPolicy": "Adopt"}));
    world.remote.add("my-app", json!({}));
    world.visit();
    world.pass(3600);
    world.remote.deleted.insert(101);
    let visit = world.visit();
    assert_eq!((visit.stalled(), visit.writes.len()), (Some(Reason::DeletedExternally), 0));
    assert!(world.remote.deleted.contains(&101));
}

#[test]
fn so_many_missing_at_once_are_another_organization_until_a_person_says_that_they_are_gone() {
    // Siblings that are listed, siblings that are not, how many a person accepts; whether it goes on.
    for (listed, missing, accepted, goes_on) in [
        (0, 2, 0, true),
        (0, 3, 0, false),
        (15, 3, 0, false),
        (16, 3, 0, true),
        (0, 3, 4, true),
        (0, 3, 3, false),
        (95, 23, 0, false),
    ] {
        for deleting in [false, true] {
            let mut world = World::settled(json!({}));
            world.remote.deleted.insert(101);
            world.siblings = (0..missing).map(|id| 900 + id).collect();
            for number in 0..listed {
                let id = world.remote.add(&format!("sibling-{number}"), json!({}));
                world.siblings.push(id);
            }
            // One that is being deleted is not counted itself.
            if deleting {
                world.delete();
                world.siblings.push(999);
            }
            organization(&mut world, |organization| organization.accepted_missing_apps = accepted);
            let visit = world.visit();
            let case = format!("{listed} {missing} {accepted} {deleting}: {visit:?}");
            if goes_on {
                assert_eq!(visit.outcome, if deleting { Outcome::Finalized } else { Outcome::InSync }, "{case}");
                continue;
            }
            assert_eq!((visit.writes.len(), world.has_finalizer()), (0, true), "{case}");
            match &visit.outcome {
                Outcome::Stalled(Reason::OrganizationMismatch, message)
                | Outcome::WriteFailed(Reason::OrganizationMismatch, message, _) => {
                    assert!(
                        message.contains("accept-missing-apps") && message.contains(&(missing + 1).to_string()),
                        "{case}"
                    );
                }
                _ => panic!("{case}"),
            }
        }
    }
}

#[test]
fn what_was_recorded_in_another_organization_is_neither_read_nor_written() {
    let mut world = World::settled(json!({"description": "one"}));
    assert_eq!(world.status().organization_binding.as_deref(), Some("https://api.example#1"));
    organization(&mut world, |organization| organization.binding = Some("https://api.example#2".into()));
    world.edit(json!({"description": "two"}));
    let visit = world.visit();
    assert_eq!((visit.stalled(), visit.remote_reads(), visit.writes.len()), (Some(Reason::OrganizationMismatch), 0, 0));

    for (policy, goes) in [("Delete", false), ("Retain", true)] {
        let mut world =
            World { object: world.object.clone(), organization: world.organization.clone(), ..World::new(json!({})) };
        world.edit(json!({"deletionPolicy": policy}));
        world.delete();
        let visit = world.visit();
        assert_eq!(
            (visit.remote_reads(), visit.writes.len(), visit.outcome == Outcome::Finalized),
            (0, 0, goes),
            "{policy}"
        );
    }
    organization(&mut world, |organization| organization.binding = Some("https://api.example#1".into()));
    world.runtime_state.force_resync = true;
    assert_eq!(world.visit().outcome, Outcome::InSync, "led back");
}

#[test]
fn an_organization_that_moved_to_another_endpoint_is_the_same_one() {
    let mut world = World::settled(json!({}));
    organization(&mut world, |organization| organization.binding = Some("https://api.moved.example#1".into()));
    world.pass(3600);
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.status().organization_binding.as_deref(), Some("https://api.moved.example#1"));
}

#[test]
fn an_organization_whose_id_becomes_known_is_the_same_one() {
    let mut world = World::new(json!({}));
    organization(&mut world, |organization| organization.binding = Some("https://api.example".into()));
    world.visit();
    assert_eq!(world.status().organization_binding.as_deref(), Some("https://api.example"));
    organization(&mut world, |organization| organization.binding = Some("https://api.example#7".into()));
    world.pass(3600);
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.status().organization_binding.as_deref(), Some("https://api.example#7"));
}

#[test]
fn where_adoption_is_not_allowed_nothing_is_adopted() {
    for tags in [json!({}), json!({OWNER_TAG: "somebody"})] {
        let mut world = World::new(json!({"adoptionPolicy": "Adopt"}));
        world.object.metadata.annotations =
            Some([(crate::api::TAKE_OWNERSHIP_FROM.to_owned(), "somebody".to_owned())].into());
        organization(&mut world, |organization| organization.adoption_allowed = false);
        world.remote.add("my-app", json!({"tags": tags}));
        let visit = world.visit();
        assert!(matches!(visit.stalled(), Some(Reason::NameTaken | Reason::OwnedElsewhere)), "{visit:?}");
        assert_eq!(visit.writes, []);
    }
}

#[test]
fn an_app_is_recorded_in_its_organization_once_it_may_exist() {
    let mut world = World::new(json!({}));
    world.organization_ref = organization_ref("shared", "acme");
    world.organization = Observed::Absent;
    let visit = world.visit();
    let message = "SpiceOrganization \"shared/acme\" not found".to_owned();
    assert_eq!(visit.outcome, Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    assert_eq!(world.status().organization_ref, None, "nothing was created there");
    world.organization = World::new(json!({})).organization;
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.status().recorded_organization(), Some(&organization_ref("shared", "acme")));
}

#[test]
fn a_recorded_app_does_not_move_and_a_reference_that_means_the_same_changes_nothing() {
    let mut world = World::settled(json!({}));
    let recorded = organization_ref("team", "default");
    assert_eq!(world.status().organization_ref, Some(recorded));
    for same in [json!({ "name": "default" }), json!({ "name": "default", "namespace": "team" })] {
        world.edit(json!({ "organizationRef": same }));
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.writes.len()), (Outcome::InSync, 0), "{same}");
    }
    for other in [json!({ "name": "other" }), json!({ "name": "default", "namespace": "shared" })] {
        world.edit(json!({ "organizationRef": other, "description": "new" }));
        let visit = world.visit();
        assert_eq!(
            (visit.stalled(), visit.remote_reads(), visit.writes.len()),
            (Some(Reason::OrganizationMismatch), 0, 0),
            "{other}"
        );
    }
    world.delete();
    assert_eq!((world.visit().deletes(), world.has_finalizer()), (vec![101], false), "in the recorded organization");
}
