//! The data of the Kubernetes Secret, and its absence.

use super::*;

#[test]
fn a_missing_or_empty_source_deletes_nothing_and_is_reported() {
    for spec in [
        all(),
        one("TOKEN"),
        json!({ "secretRef": { "name": "source", "items": [{ "key": "key", "name": "TOKEN" }] } }),
    ] {
        let selects_all = spec == all();
        let mut fixture = Fixture::settled(spec, &[("key", "value"), ("more", "value")]);
        let before: Vec<String> = fixture.remote.keys().cloned().collect();
        for (data, message) in [
            (
                None,
                "Secret \"source\" not found. Secrets already set from it are kept. Create the Secret, or correct \
                 spec.secretRef",
            ),
            (
                Some(vec![]),
                if selects_all {
                    "Secret \"source\" has no data; add a key"
                } else {
                    "Secret \"source\" has no key \"key\"; add the key, or correct spec.secretRef.items"
                },
            ),
        ] {
            match data {
                Some(data) => fixture.set_source(values(&data)),
                None => fixture.source = None,
            }
            let result = fixture.reconcile();
            assert_eq!((result.set.len(), result.deleted.len()), (0, 0), "{result:?}");
            let (status, reason, shown) = fixture.ready();
            assert_eq!((status.as_str(), reason.as_str(), shown.as_str()), ("False", "SourceNotFound", message));
        }
        assert_eq!(fixture.remote.keys().cloned().collect::<Vec<_>>(), before);
        fixture.set_source(values(&[("key", "value"), ("more", "value")]));
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 0), "the content is applied already");
    }
}

#[test]
fn a_key_removed_from_the_source_is_deleted_only_if_the_object_created_the_secret() {
    let mut fixture = Fixture::new(
        json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt" }),
        &[("A", "1"), ("B", "2"), ("C", "3")],
    );
    fixture.set_in_portal("B", "theirs");
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    fixture.set_in_portal("D", "theirs");
    fixture.set_source(values(&[("A", "1")]));
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.deleted), (Outcome::InSync, vec!["C".to_owned()]));
    // The adopted secret and the foreign secret stay.
    assert_eq!(
        (fixture.names(), fixture.remote()),
        (vec!["A".to_owned()], vec![("A", "1"), ("B", "2"), ("D", "theirs")])
    );
}

#[test]
fn every_invalid_key_is_listed_and_the_other_secrets_are_set() {
    let mut fixture = Fixture::new(all(), &[]);
    let mut data = values(&[("good", "value"), ("bad-name", "value"), ("1st", "value"), ("empty", "")]);
    data.insert("binary".into(), vec![0xff, 0xfe]);
    data.insert("huge".into(), vec![b'x'; 64 * 1024 + 1]);
    data.insert("large".into(), vec![b'x'; 64 * 1024]);
    fixture.set_source(data);
    let result = fixture.reconcile();
    assert_eq!(result.set, ["empty", "good", "large"]);
    assert_eq!(result.event("EmptyValue"), Some("The value is empty: empty"));
    let Outcome::Stalled(Reason::InvalidSpec, message) = &result.outcome else { panic!("{result:?}") };
    let message: Vec<&str> = message.split(". ").collect();
    assert_eq!(
        message,
        [
            "Secret \"source\": key \"1st\" is not a valid secret name; map the key in spec.secretRef.items",
            "Secret \"source\": key \"bad-name\" is not a valid secret name; map the key in spec.secretRef.items",
            "Secret \"source\": the value of key \"binary\" is not UTF-8",
            "Secret \"source\": the value of key \"huge\" is longer than 64 KiB",
        ]
    );
    // After a restart, nothing is read.
    fixture.restart();
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.remote_reads().len()), (Outcome::Skipped, 0));
    // A value that becomes too large does not change the secret.
    let mut data = values(&[("good", "value")]);
    data.insert("large".into(), vec![b'x'; 64 * 1024 + 1]);
    fixture.set_source(data);
    let result = fixture.reconcile();
    assert_eq!((result.set.len(), result.deleted.len()), (0, 0), "{result:?}");
    assert_eq!(fixture.remote.len(), 3);
}

#[test]
fn a_new_version_with_the_same_content_starts_no_attempt() {
    type Prepare = fn(&mut Fixture);
    let cases: [(&str, Value, Prepare, &str); 4] = [
        ("in sync", one("TOKEN"), |_| {}, "Succeeded"),
        ("another owner", one("TOKEN"), |fixture| fixture.set_in_portal("TOKEN", "theirs"), "NameTaken"),
        ("an invalid key", all(), |_| {}, "InvalidSpec"),
        (
            "rejected",
            one("TOKEN"),
            |fixture| fixture.rejected = [("TOKEN".into(), ErrorKind::Invalid)].into(),
            "InvalidSpec",
        ),
    ];
    for (name, spec, prepare, reason) in cases {
        let is_listed = spec != all();
        let mut fixture = Fixture::new(spec, &[("key", "value"), ("bad-name", "value")]);
        prepare(&mut fixture);
        fixture.reconcile();
        assert_eq!(fixture.ready().1, reason, "{name}");
        for restart in [false, true] {
            // The hold on a rejected write is in memory only.
            if restart && name != "rejected" {
                fixture.restart();
            }
            let mut data = vec![("key", "value"), ("bad-name", "value")];
            // A key that the spec does not select.
            data.extend((is_listed && restart).then_some(("other", "value")));
            fixture.set_source(values(&data));
            let result = fixture.reconcile();
            assert_eq!((&result.outcome, result.remote_reads().len()), (&Outcome::Skipped, 0), "{name}: {result:?}");
            assert_eq!(fixture.ready().1, reason, "{name}");
        }
        // Another Secret of the name with the same content.
        fixture.source_uid = "another-uid";
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.remote_reads().len()), (&Outcome::Skipped, 0), "{name}: {result:?}");
        fixture.set_source(values(&[("key", "rotated"), ("bad-name", "value")]));
        let result = fixture.reconcile();
        assert!(!result.remote_reads().is_empty() || result.set == ["TOKEN"], "{name}, another value: {result:?}");
    }
}

#[test]
fn a_rename_sets_the_new_name_before_it_deletes_the_old_one() {
    let mut fixture = Fixture::settled(one("OLD"), &[("key", "value")]);
    fixture.edit(one("NEW"));
    fixture.rejected.insert("NEW".into(), ErrorKind::Server);
    let result = fixture.reconcile();
    assert!(result.deleted.is_empty() && fixture.remote.contains_key("OLD"), "{result:?}");
    fixture.rejected.clear();
    fixture.advance(60);
    let result = fixture.reconcile();
    assert_eq!(
        (result.outcome, result.set, result.deleted),
        (Outcome::InSync, vec!["NEW".to_owned()], vec!["OLD".to_owned()])
    );
    // With Retain, the old secret stays, and is no longer managed.
    let mut fixture = Fixture::settled(
        json!({ "secretRef": { "name": "source", "items": [{ "key": "key", "name": "OLD" }] }, "deletionPolicy": "Retain" }),
        &[("key", "value")],
    );
    fixture
        .edit(json!({ "secretRef": { "name": "source", "items": [{ "key": "key", "name": "NEW" }] }, "deletionPolicy": "Retain" }));
    assert_eq!(fixture.reconcile().deleted, [""; 0]);
    assert_eq!((fixture.names(), fixture.remote.len()), (vec!["NEW".to_owned()], 2));
}

#[test]
fn an_invalid_spec_stalls_without_a_remote_read() {
    for (spec, message) in [
        (one("1A"), "spec.secretRef.items[0].name: \"1A\""),
        (
            json!({ "secretRef": { "name": "source", "items": [{ "key": "a", "name": "A" }, { "key": "A" }] } }),
            "spec.secretRef.items[1].name: duplicate name \"A\"",
        ),
        (
            json!({ "secretRef": { "name": "source", "items": [{ "key": "a.b" }] } }),
            "spec.secretRef.items[0].name: \"a.b\"",
        ),
        // An older schema accepts an empty list. The list selects no key, and a missing field selects every key.
        (json!({ "secretRef": { "name": "source", "items": [] } }), "spec.secretRef.items must list at least one key"),
        (
            json!({ "secretRef": { "name": "source", "items": null } }),
            "spec.secretRef.items must list at least one key",
        ),
    ] {
        let mut fixture = Fixture::new(spec, &[("key", "value")]);
        let result = fixture.reconcile();
        let Outcome::Stalled(Reason::InvalidSpec, shown) = &result.outcome else { panic!("{result:?}") };
        assert!(shown.contains(message) && result.reads == [SecretRead::Siblings], "{shown}");
        assert!(result.set.is_empty() && fixture.remote.is_empty(), "{message}");
    }
}
