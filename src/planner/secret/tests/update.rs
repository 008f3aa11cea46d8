//! First set, rotation, drift, and secrets of other clients.

use super::*;
use crate::api::SecretEntry;

#[test]
fn a_secret_is_recorded_then_set_once() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value-1-long")]);
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.set.as_slice()), (&Outcome::InSync, ["TOKEN".to_owned()].as_slice()));
    assert_eq!(result.first, [KubernetesWrite::AddFinalizer, KubernetesWrite::StoreStatus]);
    assert_eq!(result.event("Created"), Some("Created secret TOKEN"));
    assert_eq!(fixture.remote(), [("TOKEN", "value-1-long")]);
    for check in 0..100 {
        fixture.advance(660);
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 0), "check {check}");
        assert!(!result.reads.contains(&SecretRead::SourceValues), "the digest shows that the value is unchanged");
    }
}

#[test]
fn after_a_restart_an_up_to_date_object_reads_neither_the_api_nor_the_source() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    fixture.restart();
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.remote_reads().len()), (Outcome::Skipped, 0));
    assert!(!result.reads.contains(&SecretRead::SourceValues));
}

#[test]
fn a_rotation_is_one_post_and_no_list() {
    let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
    fixture.reconcile();
    fixture.set_source(values(&[("A", "one"), ("B", "three")]));
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.set.as_slice()), (Outcome::InSync, ["B".to_owned()].as_slice()));
    assert_eq!(result.remote_reads().len(), 1, "{result:?}");
    assert_eq!(result.event("Rotated"), Some("Set new value of secret B"));
    let before = fixture.status();
    // A new version with the same content, as after a change of an annotation.
    fixture.set_source(values(&[("A", "one"), ("B", "three")]));
    let result = fixture.reconcile();
    assert_eq!((result.outcome.clone(), result.set.len(), result.remote_reads().len()), (Outcome::Skipped, 0, 0));
    assert_eq!(fixture.status().secrets, before.secrets);
}

#[test]
fn external_changes_and_deletions_are_corrected_or_reported() {
    for (policy, expected) in [("Correct", vec!["A".to_owned(), "B".to_owned()]), ("Report", vec![])] {
        let spec = json!({ "secretRef": { "name": "source" }, "driftPolicy": policy });
        let mut fixture = Fixture::settled(spec, &[("A", "one"), ("B", "two"), ("C", "three")]);
        fixture.set_in_portal("A", "theirs");
        fixture.remote.remove("B");
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, &result.set), (&Outcome::InSync, &expected), "{policy}");
        let drift = fixture.status().drift;
        if policy == "Correct" {
            assert_eq!(result.event("DriftCorrected"), Some("Corrected drift: A, B"));
            assert_eq!((drift.len(), fixture.remote()), (0, vec![("A", "one"), ("B", "two"), ("C", "three")]));
        } else {
            assert_eq!(drift, ["A", "B"]);
            // A rotated secret is set nevertheless, and is no longer drift.
            fixture.set_source(values(&[("A", "new"), ("B", "two"), ("C", "three")]));
            let result = fixture.reconcile();
            assert_eq!((result.outcome, result.set), (Outcome::InSync, vec!["A".to_owned()]));
            assert_eq!(fixture.status().drift, ["B"]);
        }
    }
}

#[test]
fn drift_within_the_settle_period_is_ignored() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
    fixture.object.spec.interval = None;
    fixture.reconcile();
    fixture.remote.clear();
    fixture.runtime_state.force_resync = true;
    fixture.advance(10);
    let result = fixture.reconcile();
    assert!(result.set.is_empty(), "{result:?}");
}

#[test]
fn a_correction_loop_stalls() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "value")]);
    for round in 0..3 {
        fixture.set_in_portal("TOKEN", "theirs");
        assert_eq!(fixture.reconcile().set.len(), 1, "round {round}");
        fixture.advance(660);
    }
    fixture.set_in_portal("TOKEN", "theirs");
    let result = fixture.reconcile();
    assert!(
        matches!(result.outcome, Outcome::Stalled(Reason::CorrectionLoop, _)) && result.set.is_empty(),
        "{result:?}"
    );
    assert_eq!(fixture.status().drift, ["TOKEN"]);
}

#[test]
fn a_new_digest_key_or_version_sets_each_secret_once_and_keeps_its_content_hash() {
    type Change = fn(&mut Fixture);
    let changes: [Change; 2] = [
        |fixture| fixture.key = DigestKey::new(vec![8; 32]),
        |fixture| {
            for entry in &mut fixture.object.status.as_mut().unwrap().secrets {
                let other = entry.digest.as_ref().unwrap().replacen("v2:", "v1:", 1);
                (entry.digest, entry.content_hash) = (Some(other.clone()), Some(other));
            }
        },
    ];
    for change in changes {
        let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
        change(&mut fixture);
        let ids: Vec<_> = fixture.status().secrets.into_iter().map(|entry| entry.content_hash).collect();
        fixture.restart();
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 2));
        fixture.advance(660);
        assert_eq!(fixture.reconcile().set.len(), 0);
        let entries = fixture.status().secrets;
        assert_eq!(entries.iter().map(|entry| entry.content_hash.clone()).collect::<Vec<_>>(), ids);
        assert!(entries.iter().all(|entry| entry.digest != entry.content_hash));
    }
}

#[test]
fn equal_values_of_two_objects_have_different_digests_and_a_recreated_object_has_the_same() {
    let recorded = |namespace: &str, object: &str, uid: &str| {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "value")]);
        let meta = &mut fixture.object.metadata;
        (meta.namespace, meta.name, meta.uid) = (Some(namespace.into()), Some(object.into()), Some(uid.into()));
        let tags = json!({ OWNER_TAG: digest::owner(&identity(), namespace, "my-app") });
        fixture.remote_app = serde_json::from_value(json!({ "id": APP, "name": "my-app", "tags": tags })).unwrap();
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
        let [SecretEntry { digest, content_hash, .. }] = fixture.status().secrets.try_into().unwrap();
        assert_eq!(digest, content_hash, "the first digest of the content");
        digest.unwrap()
    };
    let first = recorded("team", "my-object", "uid-1");
    for (namespace, object) in [("other", "my-object"), ("team", "other")] {
        assert_ne!(recorded(namespace, object, "uid-2"), first, "{namespace}/{object}");
    }
    assert_eq!(recorded("team", "my-object", "uid-2"), first);
}

#[test]
fn after_lost_status_a_secret_is_name_taken_until_it_is_adopted_with_one_post() {
    let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
    // The app was created long before.
    fixture.app.created_at = None;
    fixture.object.status = None;
    fixture.restart();
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::Stalled(Reason::NameTaken, _)) && result.set.is_empty(), "{result:?}");
    assert!(fixture.ready().2.contains("adoptionPolicy"), "{:?}", fixture.ready());
    fixture.edit(json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt" }));
    let result = fixture.reconcile();
    assert_eq!(result.event("Adopted"), Some("Adopted secret A, B"));
    assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 2));
    assert!(fixture.status().secrets.iter().all(|entry| entry.adopted == Some(true)));
}

#[test]
fn a_secret_of_another_client_is_not_written_and_the_others_are_set() {
    let mut fixture = Fixture::new(all(), &[("A", "ours"), ("B", "ours")]);
    fixture.set_in_portal("A", "theirs");
    let result = fixture.reconcile();
    let Outcome::Stalled(Reason::NameTaken, message) = &result.outcome else { panic!("{result:?}") };
    assert!(message.starts_with("App secret \"A\" exists in app 7 and is not managed by this object"), "{message}");
    assert_eq!((result.set.as_slice(), fixture.names()), (["B".to_owned()].as_slice(), vec!["B".to_owned()]));
    // Resyncs only read. After the deletion of the foreign secret, the reconcile continues.
    fixture.advance(660);
    assert_eq!(fixture.reconcile().set.len(), 0);
    fixture.remote.remove("A");
    fixture.advance(660);
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.set), (Outcome::InSync, vec!["A".to_owned()]));
    // If the organization allows no adoption, the policy Adopt has no effect.
    let mut fixture =
        Fixture::new(json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt" }), &[("A", "ours")]);
    fixture.set_in_portal("A", "theirs");
    fixture.organization().adoption_allowed = false;
    assert!(fixture.reconciled_ready().1.contains("does not allow adoption in this namespace"));
}

#[test]
fn leftover_secrets_of_a_reactivated_app_are_overwritten_or_reported_never_deleted() {
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
    for name in ["TOKEN", "OLD", "ELSEWHERE"] {
        fixture.set_in_portal(name, "of an earlier life");
    }
    fixture.siblings = vec![SiblingSecret {
        object: "other".into(),
        requested: ["ELSEWHERE".to_owned()].into(),
        ..Default::default()
    }];
    fixture.advance(3600);
    fixture.app.created_at = Some(fixture.now);
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.set.as_slice()), (&Outcome::InSync, ["TOKEN".to_owned()].as_slice()));
    let message = "App 7 was reactivated and kept secrets that no SpiceSecret requests: OLD";
    assert_eq!(result.event("Reactivated"), Some(message));
    fixture.advance(660);
    assert_eq!(fixture.reconcile().event("Reactivated"), None, "once");
    assert!(fixture.remote.contains_key("OLD") && fixture.remote.contains_key("ELSEWHERE"));
    // A secret that was set after the create of the app is foreign.
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
    fixture.advance(3600);
    fixture.set_in_portal("TOKEN", "theirs");
    assert_eq!(fixture.reconciled_ready().0, "NameTaken");
}

#[test]
fn every_secret_older_than_a_known_reactivation_is_a_leftover() {
    // Age of the secret at the create, and time since the create by the clock of the API, in seconds.
    for (age, since, is_known, is_leftover) in [
        (1, 0, true, true),
        (45, 5, true, true),
        (7200, 5, true, true),
        (0, 0, true, false),
        (-3, 5, true, false),
        (45, 5, false, false),
        (299, 5, false, false),
        (301, 5, false, true),
    ] {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "ours")]);
        fixture.set_in_portal("TOKEN", "of an earlier life");
        fixture.advance(age);
        fixture.app.created_at = Some(fixture.now);
        fixture.app.reactivated_at = Some(fixture.now).filter(|_| is_known);
        fixture.advance(since);
        let result = fixture.reconcile();
        let set: &[&str] = if is_leftover { &["TOKEN"] } else { &[] };
        assert_eq!(result.set, set, "{age} {since} {is_known}: {result:?}");
        assert!(fixture.status().secrets.iter().all(|entry| entry.adopted.is_none()));
    }
}

#[test]
fn a_new_incarnation_gets_every_secret_again_and_surviving_secrets_stay_owned() {
    for survives in [true, false] {
        let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
        if !survives {
            fixture.remote.clear();
        }
        fixture.advance(3600);
        (fixture.app.incarnation, fixture.app.created_at) = (Some("c-2".into()), None);
        let result = fixture.reconcile();
        assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 2), "{survives}");
        assert!(fixture.status().secrets.iter().all(|entry| entry.incarnation.as_deref() == Some("c-2")));
    }
    // A secret that another client set in the new app is foreign.
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "one")]);
    (fixture.app.incarnation, fixture.app.created_at) = (Some("c-2".into()), None);
    fixture.set_in_portal("TOKEN", "theirs");
    assert_eq!(fixture.reconciled_ready().0, "NameTaken");
}

#[test]
fn a_rejected_secret_is_reported_by_name_and_the_others_are_set() {
    let mut fixture = Fixture::new(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
    fixture.rejected.insert("B".into(), ErrorKind::Invalid);
    let result = fixture.reconcile();
    assert_eq!(result.set, ["A", "C"]);
    let Outcome::WriteFailed(Reason::InvalidSpec, message, Retry::After(_)) = &result.outcome else {
        panic!("{result:?}")
    };
    assert_eq!(message, "App secret \"B\": it failed");
    assert_eq!(fixture.names(), ["A", "C"], "the rejected secret is not recorded");
    // The write is held, and is repeated every 30 min.
    fixture.advance(60);
    assert_eq!(fixture.reconcile().outcome, Outcome::Skipped);
    fixture.advance(1800);
    fixture.rejected.clear();
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.set), (Outcome::InSync, vec!["B".to_owned()]));
}

#[test]
fn an_error_that_ends_a_batch_is_reported_and_the_rest_follows_later() {
    for kind in [ErrorKind::OutcomeUnknown, ErrorKind::Forbidden, ErrorKind::Server] {
        let mut fixture = Fixture::new(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
        fixture.rejected.insert("B".into(), kind);
        let result = fixture.reconcile();
        assert_eq!(result.set, ["A"], "{kind:?}");
        assert!(matches!(result.outcome, Outcome::WriteFailed(..)), "{result:?}");
        // A secret that may have been set is recorded. A secret that certainly was not set, or was not sent, is not.
        let maybe = kind != ErrorKind::Forbidden;
        assert_eq!(fixture.names(), if maybe { vec!["A", "B"] } else { vec!["A"] }, "{kind:?}");
        if maybe {
            fixture.set_in_portal("B", "two");
        }
        fixture.rejected.clear();
        fixture.advance(1860);
        let result = fixture.reconcile();
        assert_eq!(
            (result.outcome, result.set.as_slice()),
            (Outcome::InSync, ["B".to_owned(), "C".to_owned()].as_slice())
        );
    }
}

#[test]
fn invariant_2_nothing_is_set_or_deleted_on_unknown() {
    for change in [true, false] {
        let mut fixture = Fixture::settled(all(), &[("A", "one"), ("B", "two")]);
        fixture.read_error = Some(ApiError::local(ErrorKind::Server, "it is down"));
        if change {
            fixture.set_source(values(&[("A", "new")]));
        }
        fixture.remote.remove("A");
        let result = fixture.reconcile();
        assert!(result.set.is_empty() && result.deleted.is_empty(), "{result:?}");
        assert!(matches!(result.outcome, Outcome::ReadFailed(..)), "{result:?}");
    }
}

#[test]
fn several_batches_are_sent_in_one_reconcile() {
    let many: Vec<(String, Vec<u8>)> = (0..200).map(|number| (format!("N{number:03}"), b"value".to_vec())).collect();
    let mut fixture = Fixture::new(all(), &[]);
    fixture.set_source(many.iter().cloned().collect());
    let result = fixture.reconcile();
    assert_eq!((result.outcome, result.set.len()), (Outcome::InSync, 200));
    assert_eq!(fixture.names().len(), 200);
    fixture.set_source((0..257).map(|number| (format!("N{number:03}"), b"value".to_vec())).collect());
    let (reason, message) = fixture.reconciled_ready();
    assert_eq!(
        (reason.as_str(), message.as_str()),
        (
            "InvalidSpec",
            "Secret \"source\" has 257 keys; a SpiceSecret supports at most 256. List keys in spec.secretRef.items of \
             several SpiceSecrets"
        )
    );
    assert_eq!(fixture.remote.len(), 200, "nothing is deleted");
}

#[test]
fn an_app_that_does_not_show_the_owner_tag_gets_no_secrets() {
    for tags in [json!({}), json!({ OWNER_TAG: "another" })] {
        let mut fixture = Fixture::new(one("TOKEN"), &[("key", "one")]);
        fixture.remote_app = serde_json::from_value(json!({ "id": APP, "name": "my-app", "tags": tags })).unwrap();
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WaitingForDependency(Reason::DependencyNotReady, _)), "{result:?}");
        assert!(result.set.is_empty());
    }
    let mut fixture = Fixture::new(one("TOKEN"), &[("key", "one")]);
    fixture.remote_app = serde_json::from_value(json!({ "id": APP, "name": "my-app" })).unwrap();
    fixture.app.tags_unsupported = true;
    assert_eq!(fixture.reconcile().set, ["TOKEN"], "without tag support the recorded ID counts");
}

#[test]
fn another_key_of_the_same_source_is_new_content() {
    let mut fixture = Fixture::settled(one("TOKEN"), &[("key", "one"), ("other", "two")]);
    let before = fixture.status().secrets[0].content_hash.clone();
    fixture.edit(json!({ "secretRef": { "name": "source", "items": [{ "key": "other", "name": "TOKEN" }] } }));
    assert_eq!(fixture.reconcile().set, ["TOKEN"]);
    assert_ne!(fixture.status().secrets[0].content_hash, before);
}
