//! A create of a deleted name, which reactivates the deleted app with its settings.

use super::*;

fn foreign_tags() -> Value {
    json!({ OWNER_TAG: "0123456789abcdef0123456789abcdef", INCARNATION_TAG: "c-theirs" })
}

/// A deleted app of another owner with the name, which a create reactivates without a change.
fn add_deleted_foreign_app(fixture: &mut Fixture) -> i64 {
    let created_at = (fixture.now - jiff::SignedDuration::from_hours(1)).to_string();
    let old = fixture.remote.add("my-app", json!({"created_at": created_at, "tags": foreign_tags()}));
    fixture.remote.deleted.insert(old);
    fixture.remote.keeps_reactivated = true;
    old
}

#[test]
fn a_reactivated_app_gets_the_declared_fields() {
    let mut fixture = Fixture::new(json!({"description": "one", "runtime": {"replicas": 3}}));
    let old = fixture.remote.add("my-app", json!({"visibility": "public", "description": "old", "replicas": 9}));
    fixture.remote.deleted.insert(old);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    let app = &fixture.remote.apps[&old];
    assert_eq!(
        (&app["visibility"], &app["description"], &app["replicas"]),
        (&json!("private"), &json!("one"), &json!(3))
    );
}

#[test]
fn kept_fields_of_a_reactivated_app_are_corrected_and_other_settings_reported() {
    for keeps_fields in [false, true] {
        let mut fixture = Fixture::new(json!({"description": "one", "visibility": "public", "tags": {"team": "a"}}));
        let created_at = (fixture.now - jiff::SignedDuration::from_hours(1)).to_string();
        let fields = json!({"description": "old", "image_tag": "1.0", "spicepod": {}, "created_at": created_at});
        let old = fixture.remote.add("my-app", fields);
        fixture.remote.deleted.insert(old);
        fixture.remote.keeps_reactivated = keeps_fields;
        let result = fixture.reconcile();
        assert_eq!(
            (&result.outcome, result.writes.len()),
            (&Outcome::InSync, 1 + usize::from(keeps_fields)),
            "{result:?}"
        );
        let app = &fixture.remote.apps[&old];
        assert_eq!(
            (&app["description"], &app["visibility"], &app["tags"]["team"]),
            (&json!("one"), &json!("public"), &json!("a"))
        );
        let reactivated: Vec<_> = result.events.iter().filter(|event| event.reason == "Reactivated").collect();
        assert_eq!(reactivated.len(), 1, "{keeps_fields}: {result:?}");
        assert!(
            reactivated[0].warning && reactivated[0].message.ends_with(": spicepod, runtime.imageTag"),
            "{reactivated:?}"
        );
        assert_eq!(
            (&app["image_tag"], fixture.status().id),
            (&json!("1.0"), Some(old)),
            "an unmanaged field does not change"
        );
    }
}

#[test]
fn an_app_reactivated_by_the_create_is_owned_whatever_tag_it_shows() {
    let mut fixture = Fixture::new(json!({"description": "one"}));
    let old = add_deleted_foreign_app(&mut fixture);
    let result = fixture.reconcile();
    // The create, the owner tags, then the other fields.
    assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 3), "{result:?}");
    let tags = &fixture.remote.apps[&old]["tags"];
    assert_eq!((tags[OWNER_TAG].as_str(), fixture.status().id), (Some(fixture.owner().as_str()), Some(old)));
    assert_eq!(tags[INCARNATION_TAG].as_str(), fixture.status().incarnation.as_deref());
    assert_ne!(fixture.status().incarnation.as_deref(), Some("c-theirs"));
}

#[test]
fn a_reactivated_app_stays_owned_if_its_tags_are_not_set_at_once() {
    for deleted in [false, true] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        let old = add_deleted_foreign_app(&mut fixture);
        fixture.remote.fault = Some((ApiError::local(ErrorKind::Server, "no"), false));
        fixture.remote.fault_after = 1;
        assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
        fixture.restart();
        if deleted {
            fixture.delete();
            let result = fixture.reconcile();
            assert_eq!((result.deletes(), result.outcome), (vec![old], Outcome::Finalized));
            continue;
        }
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
        assert_eq!(fixture.status().create_intent, None);
        assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG), Some(fixture.owner().as_str()));
        // From then on, a foreign tag means a foreign owner.
        let tags = foreign_tags();
        fixture.remote.apps.get_mut(&old).unwrap().insert("tags".into(), tags);
        fixture.advance(3600);
        assert_eq!(fixture.reconcile().stalled(), Some(Reason::OwnedElsewhere));
    }
}

#[test]
fn owner_tags_of_a_reactivated_app_are_set_before_any_rejectable_update() {
    for lacks_tags in [false, true] {
        let mut fixture = Fixture::new(json!({"runtime": {"imageTag": "9"}}));
        let old = add_deleted_foreign_app(&mut fixture);
        if lacks_tags {
            fixture.organization = Observed::Present(OrganizationView {
                apps_without_tags: 2,
                default_region: Some("us-west-2".into()),
                ..OrganizationView::default()
            });
        }
        // The create and the owner tags succeed; the update is rejected.
        fixture.remote.fault = Some((ApiError::local(ErrorKind::Invalid, "no such image"), false));
        (fixture.remote.fault_after, fixture.remote.fault_lasts) = (2, true);
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WriteFailed(Reason::InvalidSpec, ..)), "{result:?}");
        assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG), Some(fixture.owner().as_str()));
        assert_eq!(fixture.status().create_intent, None);
        // The rejected update is not repeated before its retry time.
        fixture.advance(60);
        assert_eq!(fixture.reconcile().outcome, Outcome::Skipped);
        (fixture.remote.fault, fixture.remote.fault_lasts) = (None, false);
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.deletes(), result.outcome), (vec![old], Outcome::Finalized));
    }
}

#[test]
fn a_reactivated_app_stays_owned_while_it_is_only_observed() {
    let mut fixture = Fixture::new(json!({}));
    add_deleted_foreign_app(&mut fixture);
    fixture.remote.fault = Some((ApiError::local(ErrorKind::Server, "no"), false));
    fixture.remote.fault_after = 1;
    fixture.reconcile();
    fixture.edit(json!({"managementPolicy": "Observe"}));
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    fixture.edit(json!({}));
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.remote.list()[0].tag(OWNER_TAG), Some(fixture.owner().as_str()));
}

#[test]
fn a_reactivation_is_detected_by_the_clock_of_the_api() {
    // Age of the app by the clock of the API, in seconds; difference between the clocks; and whether the API returns
    // its time.
    for (age, skew, has_date, is_known) in [
        (0, 0, true, false),
        (2, 0, true, false),
        (3, 0, true, true),
        (45, 0, true, true),
        (2, 7200, true, false),
        (3, -7200, true, true),
        (45, 0, false, false),
        (299, 0, false, false),
        (301, 0, false, true),
    ] {
        let mut fixture = Fixture::new(json!({"description": "one"}));
        let server_time = fixture.now + jiff::SignedDuration::from_secs(skew);
        let created_at = (server_time - jiff::SignedDuration::from_secs(age)).to_string();
        let old = fixture.remote.add("my-app", json!({"created_at": created_at, "production_branch": "main"}));
        fixture.remote.deleted.insert(old);
        fixture.server_time = has_date.then_some(server_time);
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::InSync);
        let case = format!("{age} {skew} {has_date}");
        assert_eq!(result.events.iter().any(|event| event.reason == "Reactivated"), is_known, "{case}");
        let recorded = fixture.status().reactivated_at.map(|time| time.0);
        assert_eq!(recorded, Some(server_time).filter(|_| is_known && has_date), "{case}");
    }
}

#[test]
fn a_later_create_or_adoption_removes_the_reactivation_time() {
    let reactivated = || {
        let mut fixture = Fixture::new(json!({}));
        let created_at = (fixture.now - jiff::SignedDuration::from_secs(45)).to_string();
        let old = fixture.remote.add("my-app", json!({ "created_at": created_at }));
        fixture.remote.deleted.insert(old);
        fixture.server_time = Some(fixture.now);
        fixture.reconcile();
        assert!(fixture.status().reactivated_at.is_some());
        fixture.advance(660);
        fixture
    };
    // Deleted by another client and created again, with a lost response: no time of the API is known.
    let mut fixture = reactivated();
    fixture.remote.deleted.insert(101);
    fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "lost"), true));
    fixture.reconcile();
    fixture.advance(60);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!((fixture.status().id, fixture.status().reactivated_at), (Some(101), None));
}
