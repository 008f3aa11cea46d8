//! Absent apps, other organizations, and responses that only look like either.

use super::*;

fn organization(fixture: &mut Fixture, change: impl FnOnce(&mut OrganizationView)) {
    let Observed::Present(organization) = &mut fixture.organization else { panic!("no organization") };
    change(organization);
}

#[test]
fn a_created_app_that_was_deleted_externally_is_created_again() {
    let mut fixture = Fixture::settled(json!({"description": "one", "runtime": {"replicas": 2}}));
    let before = fixture.status();
    fixture.remote.deleted.insert(101);
    let result = fixture.reconcile();
    assert_eq!(result.outcome, Outcome::InSync, "{result:?}");
    assert!(result.events.iter().any(|event| event.warning && event.reason == "Recreating"), "{result:?}");
    assert_eq!((fixture.remote.apps.len(), fixture.remote.deleted.len()), (1, 0));
    assert_ne!(fixture.status().incarnation, before.incarnation, "a new creation ID");
    assert_eq!(fixture.remote.apps[&101]["description"], "one");
}

#[test]
fn an_adopted_app_that_was_deleted_externally_is_not_created_again() {
    let mut fixture = Fixture::new(json!({"adoptionPolicy": "Adopt"}));
    fixture.remote.add("my-app", json!({}));
    fixture.reconcile();
    fixture.advance(3600);
    fixture.remote.deleted.insert(101);
    let result = fixture.reconcile();
    assert_eq!((result.stalled(), result.writes.len()), (Some(Reason::DeletedExternally), 0));
    assert!(fixture.remote.deleted.contains(&101));
}

#[test]
fn an_absence_is_unknown_until_the_recorded_apps_are_compared_with_the_list() {
    for deleting in [false, true] {
        let mut fixture = Fixture::settled(json!({}));
        fixture.remote.deleted.insert(101);
        fixture.siblings_are_read = false;
        if deleting {
            fixture.delete();
        }
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::ReadFailed(Reason::RemoteUnavailable, ..)), "{result:?}");
        assert_eq!((result.writes.len(), fixture.has_finalizer()), (0, true), "{result:?}");
    }
}

#[test]
fn many_missing_apps_stall_until_a_user_accepts_that_they_are_missing() {
    // Listed siblings, missing siblings, number that a user accepts; whether the reconcile continues.
    for (listed, missing, accepted, continues) in [
        (0, 2, 0, true),
        (0, 3, 0, false),
        (15, 3, 0, false),
        (16, 3, 0, true),
        (0, 3, 4, true),
        (0, 3, 3, false),
        (95, 23, 0, false),
    ] {
        for deleting in [false, true] {
            let mut fixture = Fixture::settled(json!({}));
            fixture.remote.deleted.insert(101);
            fixture.siblings = (0..missing).map(|id| 900 + id).collect();
            for number in 0..listed {
                let id = fixture.remote.add(&format!("sibling-{number}"), json!({}));
                fixture.siblings.push(id);
            }
            // A terminating object does not count its own app.
            if deleting {
                fixture.delete();
                fixture.siblings.push(999);
            }
            organization(&mut fixture, |organization| organization.accepted_missing_apps = accepted);
            let result = fixture.reconcile();
            let case = format!("{listed} {missing} {accepted} {deleting}: {result:?}");
            if continues {
                assert_eq!(result.outcome, if deleting { Outcome::Finalized } else { Outcome::InSync }, "{case}");
                continue;
            }
            assert_eq!((result.writes.len(), fixture.has_finalizer()), (0, true), "{case}");
            match &result.outcome {
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
fn an_app_recorded_in_another_organization_is_neither_read_nor_written() {
    let mut fixture = Fixture::settled(json!({"description": "one"}));
    assert_eq!(fixture.status().organization_binding.as_deref(), Some("https://api.example#1"));
    organization(&mut fixture, |organization| organization.binding = Some("https://api.example#2".into()));
    fixture.edit(json!({"description": "two"}));
    let result = fixture.reconcile();
    assert_eq!(
        (result.stalled(), result.remote_reads(), result.writes.len()),
        (Some(Reason::OrganizationMismatch), 0, 0)
    );

    for (policy, is_released) in [("Delete", false), ("Retain", true)] {
        let organization = fixture.organization.clone();
        let mut fixture = Fixture { organization, ..Fixture::with_object(fixture.object.clone()) };
        fixture.edit(json!({"deletionPolicy": policy}));
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!(
            (result.remote_reads(), result.writes.len(), result.outcome == Outcome::Finalized),
            (0, 0, is_released),
            "{policy}"
        );
    }
    organization(&mut fixture, |organization| organization.binding = Some("https://api.example#1".into()));
    fixture.runtime_state.force_resync = true;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync, "the binding is restored");
}

#[test]
fn an_organization_at_a_new_endpoint_is_the_same_organization() {
    let mut fixture = Fixture::settled(json!({}));
    organization(&mut fixture, |organization| organization.binding = Some("https://api.moved.example#1".into()));
    fixture.advance(3600);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.status().organization_binding.as_deref(), Some("https://api.moved.example#1"));
}

#[test]
fn an_organization_whose_id_becomes_known_is_the_same_organization() {
    let mut fixture = Fixture::new(json!({}));
    organization(&mut fixture, |organization| organization.binding = Some("https://api.example".into()));
    fixture.reconcile();
    assert_eq!(fixture.status().organization_binding.as_deref(), Some("https://api.example"));
    organization(&mut fixture, |organization| organization.binding = Some("https://api.example#7".into()));
    fixture.advance(3600);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.status().organization_binding.as_deref(), Some("https://api.example#7"));
}

#[test]
fn an_organization_that_allows_no_adoption_prevents_it() {
    for tags in [json!({}), json!({OWNER_TAG: "somebody"})] {
        let mut fixture = Fixture::new(json!({"adoptionPolicy": "Adopt"}));
        fixture.object.metadata.annotations =
            Some([(crate::api::TAKE_OWNERSHIP_FROM.to_owned(), "somebody".to_owned())].into());
        organization(&mut fixture, |organization| organization.adoption_allowed = false);
        fixture.remote.add("my-app", json!({"tags": tags}));
        let result = fixture.reconcile();
        assert!(matches!(result.stalled(), Some(Reason::NameTaken | Reason::OwnedElsewhere)), "{result:?}");
        assert_eq!(result.writes, []);
    }
}

#[test]
fn an_app_is_recorded_in_its_organization_once_it_may_exist() {
    let mut fixture = Fixture::new(json!({}));
    fixture.organization_ref = organization_ref("shared", "acme");
    fixture.organization = Observed::Absent;
    let result = fixture.reconcile();
    let message = "SpiceOrganization \"shared/acme\" not found. Create the SpiceOrganization. With --watch-namespace, the \
                   SpiceOrganization must be in that namespace";
    assert_eq!(result.outcome, Outcome::WaitingForDependency(Reason::DependencyNotReady, message.to_owned()));
    assert_eq!(fixture.status().organization_ref, None, "nothing was created there");
    fixture.organization = Fixture::new(json!({})).organization;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.status().recorded_organization(), Some(&organization_ref("shared", "acme")));
}

#[test]
fn a_recorded_app_does_not_move_and_a_reference_that_means_the_same_changes_nothing() {
    let mut fixture = Fixture::settled(json!({}));
    let recorded = organization_ref("team", "default");
    assert_eq!(fixture.status().organization_ref, Some(recorded));
    for same in [json!({ "name": "default" }), json!({ "name": "default", "namespace": "team" })] {
        fixture.edit(json!({ "organizationRef": same }));
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.writes.len()), (Outcome::InSync, 0), "{same}");
    }
    for other in [json!({ "name": "other" }), json!({ "name": "default", "namespace": "shared" })] {
        fixture.edit(json!({ "organizationRef": other, "description": "new" }));
        let result = fixture.reconcile();
        assert_eq!(
            (result.stalled(), result.remote_reads(), result.writes.len()),
            (Some(Reason::OrganizationMismatch), 0, 0),
            "{other}"
        );
    }
    fixture.delete();
    assert_eq!(
        (fixture.reconcile().deletes(), fixture.has_finalizer()),
        (vec![101], false),
        "in the recorded organization"
    );
}

/// References of an app in namespace `team`, before and after an edit, and whether they mean the same organization.
#[test]
fn a_reference_may_change_its_form_and_not_its_meaning() {
    let home = || organization_ref("team", "default");
    let shared = || organization_ref("shared", "acme");
    let (unset, default) = (Value::Null, json!({ "name": "default" }));
    let home_default = json!({ "name": "default", "namespace": "team" });
    let (own_acme, shared_acme) = (json!({ "name": "acme" }), json!({ "name": "acme", "namespace": "shared" }));
    for (recorded, before, after, is_same) in [
        (home(), &unset, &default, true),
        (home(), &unset, &home_default, true),
        (home(), &default, &home_default, true),
        (home(), &home_default, &default, true),
        (home(), &home_default, &unset, true),
        (home(), &unset, &own_acme, false),
        (home(), &default, &json!({ "name": "default", "namespace": "shared" }), false),
        (home(), &home_default, &json!({ "name": "default", "namespace": "shared" }), false),
        // The reference was resolved to the default of the operator.
        (shared(), &unset, &shared_acme, true),
        (shared(), &unset, &own_acme, false),
        (shared(), &unset, &default, false),
        (shared(), &shared_acme, &own_acme, false),
        (shared(), &shared_acme, &unset, true),
    ] {
        let case = format!("{recorded:?}: {before} then {after}");
        let spec =
            |reference: &Value, description: &str| json!({ "organizationRef": reference, "description": description });
        let mut fixture = Fixture::new(spec(before, "one"));
        fixture.organization_ref = recorded.clone();
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync, "{case}");
        assert_eq!(fixture.status().organization_ref, Some(recorded.clone()), "{case}");
        fixture.advance(660);
        fixture.edit(spec(after, "two"));
        let result = fixture.reconcile();
        if is_same {
            assert_eq!((result.put(), result.outcome), (["description".to_owned()].into(), Outcome::InSync), "{case}");
        } else {
            let (stalled, writes) = (result.stalled(), result.writes.len());
            assert_eq!((stalled, result.remote_reads(), writes), (Some(Reason::OrganizationMismatch), 0, 0), "{case}");
            let Outcome::Stalled(_, message) = &result.outcome else { panic!("{result:?}") };
            assert!(
                message.ends_with("create it again") && message.contains("spec.organizationRef names"),
                "{message}"
            );
            fixture.edit(spec(before, "three"));
            assert_eq!(fixture.reconcile().put(), ["description".to_owned()].into(), "{case}: restored");
        }
        assert_eq!(fixture.status().organization_ref, Some(recorded), "{case}");
    }
}

#[test]
fn a_404_alone_is_no_absence() {
    let mut fixture = Fixture::settled(json!({}));
    fixture.read_error = Some((FailingRead::App, ApiError::local(ErrorKind::NotFound { json: true }, "not found")));
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::ReadFailed(Reason::RemoteUnavailable, ..)), "{result:?}");
    assert_eq!((result.writes.len(), fixture.ready().0.as_str()), (0, "True"));
}
