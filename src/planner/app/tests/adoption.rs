//! An app that is older than the object: adopted, observed, or not changed.

use super::*;
use crate::api::TAKE_OWNERSHIP_FROM;

fn foreign_app() -> Value {
    json!({"description": "theirs", "replicas": 5, "tags": {"foreign": "f"}})
}

fn adopting(more: Value) -> Fixture {
    let mut spec = json!({"description": "ours", "tags": {"team": "a"}, "adoptionPolicy": "Adopt"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Fixture::new(spec)
}

fn allow_owner(fixture: &mut Fixture, tag: &str) {
    fixture.object.metadata.annotations = Some([(TAKE_OWNERSHIP_FROM.to_owned(), tag.to_owned())].into());
}

#[test]
fn an_adoption_is_one_update_with_owner_tags_and_declared_fields() {
    let mut fixture = adopting(json!({}));
    let id = fixture.remote.add("My-App", foreign_app());
    let result = fixture.reconcile();
    assert_eq!(result.put(), ["description".to_owned(), "tags".to_owned()].into(), "{result:?}");
    assert_eq!(result.outcome, Outcome::InSync);
    let (app, status) = (&fixture.remote.apps[&id], fixture.status());
    assert_eq!(
        app["tags"],
        json!({"foreign": "f", "team": "a", OWNER_TAG: fixture.owner(), INCARNATION_TAG: status.incarnation})
    );
    assert_eq!((&app["description"], &app["replicas"]), (&json!("ours"), &json!(5)));
    assert!(status.incarnation.unwrap().starts_with("a-"));
    assert_eq!((status.id, status.create_intent), (Some(id), None));
    // The ID is stored before the tags are set, so that the adoption continues after a crash.
    assert_eq!(result.first, [KubernetesWrite::AddFinalizer, KubernetesWrite::StoreStatus]);

    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.deletes().len()), (&Outcome::Finalized, 0), "an adopted app is retained");
}

#[test]
fn an_adoption_of_unknown_outcome_continues_with_the_same_app() {
    for applied in [true, false] {
        let mut fixture = adopting(json!({}));
        let id = fixture.remote.add("my-app", foreign_app());
        fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), applied));
        assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
        let incarnation = fixture.status().incarnation;
        fixture.restart();
        fixture.advance(60);
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, usize::from(!applied)), "{result:?}");
        assert_eq!((fixture.status().id, &fixture.status().incarnation), (Some(id), &incarnation));
        assert_eq!(fixture.remote.apps[&id]["tags"][INCARNATION_TAG], incarnation.unwrap());
    }
}

#[test]
fn an_adoption_under_report_sets_only_the_owner_tags_and_lists_the_differences() {
    let mut fixture = adopting(json!({"driftPolicy": "Report"}));
    let id = fixture.remote.add("my-app", foreign_app());
    let result = fixture.reconcile();
    assert_eq!((result.put(), &result.outcome), (["tags".to_owned()].into(), &Outcome::InSync), "{result:?}");
    let app = &fixture.remote.apps[&id];
    assert_eq!((&app["description"], app["tags"].get("team")), (&json!("theirs"), None));
    assert_eq!(fixture.status().drift, ["description", "tags.team"]);
}

#[test]
fn ownership_is_taken_only_if_the_annotation_names_the_owner_tag() {
    for (policy, annotation, is_taken) in [
        ("Adopt", Some("somebody"), true),
        ("Adopt", Some("other"), false),
        ("Adopt", None, false),
        ("Fail", Some("somebody"), false),
    ] {
        for recorded in [false, true] {
            let mut fixture = Fixture::new(json!({"description": "ours", "adoptionPolicy": policy}));
            let id = if recorded {
                fixture.reconcile();
                101
            } else {
                fixture.remote.add("my-app", foreign_app())
            };
            fixture.remote.apps.get_mut(&id).unwrap()["tags"][OWNER_TAG] = json!("somebody");
            fixture.advance(3600);
            let first = fixture.reconcile();
            assert_eq!((first.stalled(), first.writes.len()), (Some(Reason::OwnedElsewhere), 0), "{first:?}");
            if let Some(tag) = annotation {
                allow_owner(&mut fixture, tag);
            }
            let result = fixture.reconcile();
            let case = format!("{policy} {annotation:?} {recorded}: {result:?}");
            assert_eq!(result.outcome == Outcome::InSync, is_taken, "{case}");
            assert_eq!(result.writes.len(), usize::from(is_taken), "{case}");
            let owner = if is_taken { fixture.owner() } else { "somebody".to_owned() };
            assert_eq!(fixture.remote.apps[&id]["tags"][OWNER_TAG], owner, "{case}");
        }
    }
}

#[test]
fn an_observed_app_is_never_written_and_its_differences_are_listed() {
    let mut fixture =
        Fixture::new(json!({"description": "ours", "managementPolicy": "Observe", "adoptionPolicy": "Adopt"}));
    let result = fixture.reconcile();
    assert_eq!((result.stalled(), result.writes.len()), (Some(Reason::NotFound), 0));
    let id = fixture.remote.add("my-app", json!({"tags": {OWNER_TAG: "somebody"}, "description": "theirs"}));
    fixture.advance(3600);
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 0), "{result:?}");
    assert_eq!((fixture.status().id, fixture.status().incarnation), (Some(id), None));
    assert_eq!(fixture.status().drift, ["description"]);
    let (before, next) = (fixture.status(), fixture.reconcile());
    assert_eq!((next.outcome, next.reads.len()), (Outcome::Skipped, 0), "up to date");
    fixture.advance(3600);
    let next = fixture.reconcile();
    assert_eq!((next.writes.len(), fixture.status()), (0, before));

    // An app that was only observed is not owned: neither after a change to Manage nor during the deletion.
    let remote = fixture.remote.clone();
    let mut managed = Fixture { remote, ..Fixture::with_object(fixture.object.clone()) };
    managed.edit(json!({"description": "ours"}));
    let result = managed.reconcile();
    assert_eq!((result.stalled(), result.writes.len()), (Some(Reason::OwnedElsewhere), 0));
    managed.edit(json!({"deletionPolicy": "Delete"}));
    for mut fixture in [fixture, managed] {
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.writes.len()), (Outcome::Finalized, 0));
    }
}

#[test]
fn an_own_app_stays_owned_while_it_is_only_observed() {
    let mut fixture = Fixture::settled(json!({"description": "ours"}));
    let incarnation = fixture.status().incarnation;
    fixture.edit(json!({"description": "other", "managementPolicy": "Observe"}));
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.writes.len()), (&Outcome::InSync, 0), "{result:?}");
    assert_eq!((fixture.status().drift, fixture.status().incarnation), (vec!["description".to_owned()], incarnation));
    fixture.edit(json!({"description": "other"}));
    assert_eq!(fixture.reconcile().put(), ["description".to_owned()].into());
    assert_eq!(fixture.status().drift, [""; 0]);
}

#[test]
fn an_app_without_owner_tag_is_owned_if_it_matches_the_create_intent() {
    // Minutes from the creation of the app to the intent, whether the API lacks tags, whether the app is owned.
    for (minutes, tags_unsupported, is_owned) in [
        (60, false, true),
        (60, true, true),
        (4, false, false),
        (4, true, true),
        (-1, true, true),
        (-1, false, false),
        (-10, true, false),
    ] {
        let mut fixture = Fixture::new(json!({}));
        fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), false));
        fixture.reconcile();
        let intent = fixture.status().create_intent.unwrap();
        let created_at = (intent.at.0 - jiff::SignedDuration::from_mins(minutes)).to_string();
        fixture.remote.add("my-app", json!({"created_at": created_at}));
        fixture.organization = Observed::Present(OrganizationView {
            apps_without_tags: if tags_unsupported { 2 } else { 1 },
            default_region: Some("us-west-2".into()),
            ..OrganizationView::default()
        });
        fixture.advance(3600);
        let result = fixture.reconcile();
        let case = format!("{minutes} {tags_unsupported}: {result:?}");
        assert_eq!(result.outcome == Outcome::InSync, is_owned, "{case}");
        assert_eq!(result.stalled() == Some(Reason::NameTaken), !is_owned, "{case}");
        if is_owned {
            assert_eq!(fixture.status().incarnation, Some(format!("c-{}", intent.id)), "{case}");
        }
    }
}
