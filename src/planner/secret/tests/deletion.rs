//! Deletion of a SpiceSecret.

use super::*;
use crate::api::SecretConflict;

#[test]
fn created_secrets_are_deleted_and_adopted_ones_stay_unless_the_policy_differs() {
    for (policy, left) in [(None, vec!["B"]), (Some("Delete"), vec![]), (Some("Retain"), vec!["A", "B"])] {
        let spec = json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt", "deletionPolicy": policy });
        let mut fixture = Fixture::new(spec, &[("A", "one"), ("B", "two")]);
        fixture.set_in_portal("B", "theirs");
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
        fixture.delete();
        // The deletion reads neither the spec nor the source.
        fixture.source = None;
        fixture.object.spec.secret_ref = None;
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::Finalized, "{policy:?}");
        assert_eq!(fixture.remote.keys().collect::<Vec<_>>(), left, "{policy:?}");
        assert_eq!(result.remote_reads().is_empty(), policy == Some("Retain"));
    }
}

/// A change of the app.
type Change = fn(&mut Fixture);

#[test]
fn a_secret_of_an_absent_or_foreign_app_is_released_without_a_delete() {
    let cases: [(&str, Change); 4] = [
        ("the SpiceApp does not exist", |fixture| fixture.app_exists = false),
        ("the SpiceApp has no app", |fixture| fixture.app.id = None),
        ("the SpiceApp has another app", |fixture| fixture.app.id = Some(APP + 1)),
        ("the app has another owner", |fixture| {
            let app = json!({ "id": APP, "name": "my-app", "tags": { OWNER_TAG: "another" } });
            fixture.remote_app = serde_json::from_value(app).unwrap();
        }),
    ];
    for (case, change) in cases {
        let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
        change(&mut fixture);
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.deleted.len()), (Outcome::Finalized, 0), "{case}");
    }
    // The app still exists while the SpiceApp is being deleted.
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    fixture.app.unready = Some("is being deleted".into());
    fixture.delete();
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.deleted.len()), (Outcome::Finalized, 1));
}

#[test]
fn a_failed_delete_is_retried_until_the_policy_is_retain() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    fixture.delete();
    fixture.rejected.insert("TOKEN".into(), ErrorKind::Server);
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)), "{result:?}");
    assert_eq!(fixture.names(), ["TOKEN"]);
    fixture.object.spec.deletion_policy = Some(crate::api::DeletionPolicy::Retain);
    fixture.advance(10);
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.remote_reads().len()), (Outcome::Finalized, 0));
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    fixture.delete();
    fixture.organization().suspended = true;
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::WriteFailed(Reason::DependencyNotReady, ..)), "{result:?}");
    assert_eq!((result.remote_reads().len(), fixture.remote.len()), (0, 1), "a suspended organization stops deletes");
}

#[test]
fn two_terminating_objects_do_not_wait_for_each_other() {
    // Each object records that the other one has set the name that it requests.
    let names = |names: [&str; 1]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    for (created, waits) in [(-10, true), (10, false)] {
        let mut fixture = Fixture::settled(one("OURS"), &[("key", "value")]);
        let mut status = fixture.status();
        let conflict =
            SecretConflict { name: "THEIRS".into(), owned_by: "other".into(), present: Some(true), adopted: None };
        status.conflicts.push(conflict);
        fixture.object.status = Some(status);
        fixture.siblings = vec![SiblingSecret {
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
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!(matches!(result.outcome, Outcome::Terminating(_)), waits, "{result:?}");
        assert_eq!(result.deleted.is_empty(), waits);
    }
}

#[test]
fn without_a_digest_key_nothing_is_set_but_secrets_can_be_deleted() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    fixture.has_key = false;
    fixture.set_source(values(&[("key", "rotated")]));
    let result = fixture.reconcile();
    assert_eq!((result.set.len(), result.remote_reads().len()), (0, 0), "{result:?}");
    assert!(fixture.ready().2.contains("The operator has no digest key yet"), "{:?}", fixture.ready());
    fixture.has_key = true;
    assert_eq!(fixture.reconcile().set, ["TOKEN"]);
    fixture.has_key = false;
    fixture.delete();
    assert_eq!(fixture.reconcile().deleted, ["TOKEN"]);
}

#[test]
fn deleted_or_retained_secrets_are_reported_on_an_object_that_another_finalizer_keeps() {
    use crate::api::{DeletionPolicy::Retain, FINALIZER};
    for (policy, names, result) in [
        (None, vec![], "The secrets are deleted remotely"),
        (Some(Retain), vec!["A"], "The operator released the object"),
    ] {
        let mut fixture = Fixture::settled(one("A"), &[("key", "value")]);
        fixture.object.spec.deletion_policy = policy;
        fixture.object.metadata.finalizers = Some(vec![FINALIZER.into(), "example.com/backup".into()]);
        fixture.delete();
        assert_eq!(fixture.reconcile().outcome, Outcome::Finalized, "{policy:?}");
        let message = format!("{result}; waiting for other finalizers: example.com/backup");
        let ready = ("False".to_owned(), "Progressing".to_owned(), message);
        assert_eq!((fixture.ready(), fixture.names()), (ready.clone(), names.into_iter().map(str::to_owned).collect()));
        assert_eq!(fixture.status().applied_secrets.is_some(), policy.is_some(), "{policy:?}");
        fixture.restart();
        let result = fixture.reconcile();
        assert_eq!((result.reads.len(), fixture.ready()), (0, ready), "{policy:?}");
    }
}

#[test]
fn only_secrets_that_a_delete_deleted_are_reported_as_deleted() {
    for (missing, expected) in
        [(&[][..], Some("Deleted secret A, B")), (&["A"], Some("Deleted secret B")), (&["A", "B"], None)]
    {
        let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
        for name in missing {
            fixture.remote.remove(*name);
        }
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.event("Deleted")), (&Outcome::Finalized, expected), "{result:?}");
    }
}

#[test]
fn the_last_event_of_a_deleted_object_names_the_secrets_that_it_leaves_in_the_app() {
    let cases: [(&str, Change, Option<&str>); 5] = [
        (
            "the SpiceApp does not exist",
            |fixture| fixture.app_exists = false,
            Some("SpiceApp \"my-app\" does not exist. If the app was kept, the secrets stay in the app"),
        ),
        (
            "the SpiceApp has another app",
            |fixture| fixture.app.id = Some(APP + 1),
            Some("SpiceApp \"my-app\" does not manage this app"),
        ),
        (
            "the app has another owner",
            |fixture| {
                let app = json!({ "id": APP, "name": "my-app", "tags": { OWNER_TAG: "another" } });
                fixture.remote_app = serde_json::from_value(app).unwrap();
            },
            Some("the app has another owner"),
        ),
        (
            "the user keeps the secrets",
            |fixture| {
                fixture.app_exists = false;
                fixture.object.spec.deletion_policy = Some(crate::api::DeletionPolicy::Retain);
            },
            None,
        ),
        (
            "a sibling takes the secret over",
            |fixture| {
                fixture.app_exists = false;
                let names: BTreeSet<String> = ["TOKEN".to_owned()].into();
                let other = SiblingSecret { object: "other".into(), requested: names.clone(), ..Default::default() };
                fixture.siblings = vec![SiblingSecret { acknowledged: names, ..other }];
            },
            None,
        ),
    ];
    for (case, change, why) in cases {
        let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
        change(&mut fixture);
        fixture.delete();
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.deleted.len()), (&Outcome::Finalized, 0), "{case}");
        let expected = why.map(|why| format!("Did not delete secret TOKEN from app 7: {why}"));
        assert_eq!(result.event("SecretsKept"), expected.as_deref(), "{case}");
        assert!(result.events.iter().all(|event| event.warning || event.reason != "SecretsKept"));
        assert_eq!(result.event("Deleted"), None, "{case}");
    }
}
