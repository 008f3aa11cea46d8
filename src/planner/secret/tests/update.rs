//! Setting, rotation, and what somebody else does.

use super::*;

#[test]
fn a_secret_is_recorded_set_once_and_then_left_alone() {
    let mut world = World::new(one("TOKEN"), &[("key", "value-1-long")]);
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.set.as_slice()), (&Outcome::InSync, ["TOKEN".to_owned()].as_slice()));
    assert_eq!(visit.first, [KubernetesWrite::AddFinalizer, KubernetesWrite::StoreStatus]);
    assert_eq!(visit.told("Created"), Some("Created secret TOKEN"));
    assert_eq!(world.remote(), [("TOKEN", "value-1-long")]);
    for check in 0..100 {
        world.pass(660);
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 0), "check {check}");
        assert!(!visit.reads.contains(&SecretRead::SourceValues), "what was set is known by its digest");
    }
}

#[test]
fn a_restart_with_everything_in_date_reads_neither_the_service_nor_the_source() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    assert_eq!(world.visit().outcome, Outcome::InSync);
    world.restart();
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.remote_reads().len()), (Outcome::Skipped, 0));
    assert!(!visit.reads.contains(&SecretRead::SourceValues));
}

#[test]
fn a_rotation_is_one_post_and_no_list() {
    let mut world = World::settled(all(), &[("A", "one"), ("B", "two")]);
    world.visit();
    world.source(values(&[("A", "one"), ("B", "three")]));
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.set.as_slice()), (Outcome::InSync, ["B".to_owned()].as_slice()));
    assert_eq!(visit.remote_reads().len(), 1, "{visit:?}");
    assert_eq!(visit.told("Rotated"), Some("Set new value of secret B"));
    let before = world.status();
    // Another version of the same content, as an annotation makes it.
    world.source(values(&[("A", "one"), ("B", "three")]));
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.set.len(), visit.remote_reads().len()), (Outcome::InSync, 0, 0));
    assert_eq!(world.status().secrets, before.secrets);
}

#[test]
fn what_is_changed_or_deleted_outside_is_put_back_or_reported() {
    for (policy, expected) in [("Correct", vec!["A".to_owned(), "B".to_owned()]), ("Report", vec![])] {
        let spec = json!({ "secretRef": { "name": "source" }, "driftPolicy": policy });
        let mut world = World::settled(spec, &[("A", "one"), ("B", "two"), ("C", "three")]);
        world.portal("A", "theirs");
        world.remote.remove("B");
        let visit = world.visit();
        assert_eq!((&visit.outcome, &visit.set), (&Outcome::InSync, &expected), "{policy}");
        let drift = world.status().drift;
        if policy == "Correct" {
            assert_eq!(visit.told("DriftCorrected"), Some("Corrected drift: A, B"));
            assert_eq!((drift.len(), world.remote()), (0, vec![("A", "one"), ("B", "two"), ("C", "three")]));
        } else {
            assert_eq!(drift, ["A", "B"]);
            // What is rotated is set all the same, and is no drift any more.
            world.source(values(&[("A", "new"), ("B", "two"), ("C", "three")]));
            let visit = world.visit();
            assert_eq!((visit.outcome, visit.set), (Outcome::InSync, vec!["A".to_owned()]));
            assert_eq!(world.status().drift, ["B"]);
        }
    }
}

#[test]
fn right_after_a_write_no_drift_is_believed() {
    let mut world = World::new(one("TOKEN"), &[("key", "value")]);
    world.object.spec.interval = None;
    world.visit();
    world.remote.clear();
    world.runtime_state.force_resync = true;
    world.pass(10);
    let visit = world.visit();
    assert!(visit.set.is_empty(), "{visit:?}");
}

#[test]
fn a_fight_is_given_up_and_told() {
    let mut world = World::settled(one("TOKEN"), &[("key", "value")]);
    for round in 0..3 {
        world.portal("TOKEN", "theirs");
        assert_eq!(world.visit().set.len(), 1, "round {round}");
        world.pass(660);
    }
    world.portal("TOKEN", "theirs");
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::Stalled(Reason::CorrectionLoop, _)) && visit.set.is_empty(), "{visit:?}");
    assert_eq!(world.status().drift, ["TOKEN"]);
}

#[test]
fn under_another_key_of_digests_each_entry_is_set_once_more_and_its_content_stays_the_same() {
    let mut world = World::settled(all(), &[("A", "one"), ("B", "two")]);
    let ids: Vec<_> = world.status().secrets.into_iter().map(|entry| entry.content_hash).collect();
    world.key = DigestKey::new(vec![8; 32]);
    world.restart();
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 2));
    world.pass(660);
    assert_eq!(world.visit().set.len(), 0);
    let entries = world.status().secrets;
    assert_eq!(entries.iter().map(|entry| entry.content_hash.clone()).collect::<Vec<_>>(), ids);
    assert!(entries.iter().all(|entry| entry.digest != entry.content_hash));
}

#[test]
fn with_its_status_lost_a_secret_is_taken_until_it_is_adopted_with_one_post_an_entry() {
    let mut world = World::settled(all(), &[("A", "one"), ("B", "two")]);
    // The app was made long before.
    world.app.created_at = None;
    (world.object.status, world.runtime_state) = (None, RuntimeState::new(world.now));
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::Stalled(Reason::NameTaken, _)) && visit.set.is_empty(), "{visit:?}");
    assert!(world.ready().2.contains("adoptionPolicy"), "{:?}", world.ready());
    world.edit(json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt" }));
    let visit = world.visit();
    assert_eq!(visit.told("Adopted"), Some("Adopted secret A, B"));
    assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 2));
    assert!(world.status().secrets.iter().all(|entry| entry.adopted == Some(true)));
}

#[test]
fn one_that_was_made_in_the_portal_is_left_alone_and_the_others_go_out() {
    let mut world = World::new(all(), &[("A", "ours"), ("B", "ours")]);
    world.portal("A", "theirs");
    let visit = world.visit();
    let Outcome::Stalled(Reason::NameTaken, message) = &visit.outcome else { panic!("{visit:?}") };
    assert!(message.starts_with("Secret \"A\" exists in app 7 and is not managed by this object"), "{message}");
    assert_eq!((visit.set.as_slice(), world.names()), (["B".to_owned()].as_slice(), vec!["B".to_owned()]));
    // Looked at again by reads only; when it is gone, work goes on.
    world.pass(660);
    assert_eq!(world.visit().set.len(), 0);
    world.remote.remove("A");
    world.pass(660);
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set), (Outcome::InSync, vec!["A".to_owned()]));
    // Where the organization allows no adoption, Adopt does not help.
    let mut world =
        World::new(json!({ "secretRef": { "name": "source" }, "adoptionPolicy": "Adopt" }), &[("A", "ours")]);
    world.portal("A", "theirs");
    world.app.organization.as_mut().unwrap().adoption_allowed = false;
    assert!(world.says().1.contains("does not allow this namespace to adopt it"));
}

#[test]
fn left_overs_of_an_app_that_came_back_are_overwritten_where_named_reported_and_never_deleted() {
    let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
    for name in ["TOKEN", "OLD", "ELSEWHERE"] {
        world.portal(name, "of another life");
    }
    world.siblings = vec![SiblingSecret {
        object: "other".into(),
        requested: ["ELSEWHERE".to_owned()].into(),
        ..Default::default()
    }];
    world.pass(3600);
    world.app.created_at = Some(world.now);
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.set.as_slice()), (&Outcome::InSync, ["TOKEN".to_owned()].as_slice()));
    let message = "App 7 was reactivated and kept secrets that no SpiceSecret requests: OLD";
    assert_eq!(visit.told("Reactivated"), Some(message));
    world.pass(660);
    assert_eq!(world.visit().told("Reactivated"), None, "once");
    assert!(world.remote.contains_key("OLD") && world.remote.contains_key("ELSEWHERE"));
    // One that was set after the app was made is somebody's.
    let mut world = World::new(one("TOKEN"), &[("key", "ours")]);
    world.pass(3600);
    world.portal("TOKEN", "theirs");
    assert_eq!(world.says().0, "NameTaken");
}

#[test]
fn another_incarnation_of_the_app_gets_everything_anew_and_what_survived_is_ours() {
    for survives in [true, false] {
        let mut world = World::settled(all(), &[("A", "one"), ("B", "two")]);
        if !survives {
            world.remote.clear();
        }
        world.pass(3600);
        (world.app.incarnation, world.app.created_at) = (Some("c-2".into()), None);
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 2), "{survives}");
        assert!(world.status().secrets.iter().all(|entry| entry.incarnation.as_deref() == Some("c-2")));
    }
    // What somebody else has set in the new one is theirs.
    let mut world = World::settled(one("TOKEN"), &[("key", "one")]);
    (world.app.incarnation, world.app.created_at) = (Some("c-2".into()), None);
    world.portal("TOKEN", "theirs");
    assert_eq!(world.says().0, "NameTaken");
}

#[test]
fn each_refusal_is_told_with_its_name_and_the_others_go_out() {
    let mut world = World::new(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
    world.refused.insert("B".into(), ErrorKind::Invalid);
    let visit = world.visit();
    assert_eq!(visit.set, ["A", "C"]);
    let Outcome::WriteFailed(Reason::InvalidSpec, message, Retry::After(_)) = &visit.outcome else {
        panic!("{visit:?}")
    };
    assert_eq!(message, "Secret \"B\": it failed");
    assert_eq!(world.names(), ["A", "C"], "nothing of it is there");
    // It is held back, and the write is repeated half-hourly.
    world.pass(60);
    assert_eq!(world.visit().outcome, Outcome::Skipped);
    world.pass(1800);
    world.refused.clear();
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set), (Outcome::InSync, vec!["B".to_owned()]));
}

#[test]
fn what_ends_a_batch_is_told_and_the_rest_follows() {
    for kind in [ErrorKind::OutcomeUnknown, ErrorKind::Forbidden, ErrorKind::Server] {
        let mut world = World::new(all(), &[("A", "one"), ("B", "two"), ("C", "three")]);
        world.refused.insert("B".into(), kind);
        let visit = world.visit();
        assert_eq!(visit.set, ["A"], "{kind:?}");
        assert!(matches!(visit.outcome, Outcome::WriteFailed(..)), "{visit:?}");
        // What may have taken effect is ours; what certainly has not, and what was not reached, is not.
        let maybe = kind != ErrorKind::Forbidden;
        assert_eq!(world.names(), if maybe { vec!["A", "B"] } else { vec!["A"] }, "{kind:?}");
        if maybe {
            world.portal("B", "two");
        }
        world.refused.clear();
        world.pass(1860);
        let visit = world.visit();
        assert_eq!(
            (visit.outcome, visit.set.as_slice()),
            (Outcome::InSync, ["B".to_owned(), "C".to_owned()].as_slice())
        );
    }
}

#[test]
fn invariant_2_nothing_is_set_or_deleted_on_unknown() {
    for change in [true, false] {
        let mut world = World::settled(all(), &[("A", "one"), ("B", "two")]);
        world.blind = Some(ApiError::local(ErrorKind::Server, "it is down"));
        if change {
            world.source(values(&[("A", "new")]));
        }
        world.remote.remove("A");
        let visit = world.visit();
        assert!(visit.set.is_empty() && visit.deleted.is_empty(), "{visit:?}");
        assert!(matches!(visit.outcome, Outcome::ReadFailed(..)), "{visit:?}");
    }
}

#[test]
fn more_secrets_than_one_batch_takes_are_set_in_one_visit() {
    let many: Vec<(String, Vec<u8>)> = (0..200).map(|number| (format!("N{number:03}"), b"value".to_vec())).collect();
    let mut world = World::new(all(), &[]);
    world.source(many.iter().cloned().collect());
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set.len()), (Outcome::InSync, 200));
    assert_eq!(world.names().len(), 200);
    world.source((0..257).map(|number| (format!("N{number:03}"), b"value".to_vec())).collect());
    let (reason, message) = world.says();
    assert_eq!(
        (reason.as_str(), message.as_str()),
        (
            "InvalidSpec",
            "Secret \"source\" has 257 keys; a SpiceSecret supports at most 256. List keys in spec.secretRef.items of \
             several SpiceSecrets"
        )
    );
    assert_eq!(world.remote.len(), 200, "nothing is deleted");
}

#[test]
fn an_app_that_does_not_show_that_it_is_ours_gets_nothing() {
    for tags in [json!({}), json!({ OWNER_TAG: "another" })] {
        let mut world = World::new(one("TOKEN"), &[("key", "one")]);
        world.app_shows = serde_json::from_value(json!({ "id": APP, "name": "my-app", "tags": tags })).unwrap();
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WaitingForDependency(Reason::DependencyNotReady, _)), "{visit:?}");
        assert!(visit.set.is_empty());
    }
    let mut world = World::new(one("TOKEN"), &[("key", "one")]);
    world.app_shows = serde_json::from_value(json!({ "id": APP, "name": "my-app" })).unwrap();
    world.app.tags_unsupported = true;
    assert_eq!(world.visit().set, ["TOKEN"], "where no tags are kept the recorded id counts");
}

#[test]
fn another_key_of_the_same_source_is_other_content() {
    let mut world = World::settled(one("TOKEN"), &[("key", "one"), ("other", "two")]);
    let before = world.status().secrets[0].content_hash.clone();
    world.edit(json!({ "secretRef": { "name": "source", "items": [{ "key": "other", "name": "TOKEN" }] } }));
    assert_eq!(world.visit().set, ["TOKEN"]);
    assert_ne!(world.status().secrets[0].content_hash, before);
}

#[test]
fn an_empty_spec_takes_every_key_of_the_secret_and_the_app_of_its_own_name() {
    let mut world = World::new(json!({}), &[("A", "1"), ("B", "2")]);
    world.object.spec = SpiceSecretSpec::default();
    let owner = digest::owner(&World::identity(), "team", "my-object");
    world.app_shows =
        serde_json::from_value(json!({ "id": APP, "name": "my-app", "tags": { OWNER_TAG: owner } })).unwrap();
    let visit = world.visit();
    assert_eq!((visit.outcome, visit.set), (Outcome::InSync, vec!["A".to_owned(), "B".to_owned()]));
    assert_eq!((world.object.app_name(), world.object.source_name()), ("my-object", "my-object"));
    let status = world.status();
    assert_eq!(status.app_ref.map(|app| app.name).as_deref(), Some("my-object"));
    assert_eq!(status.applied_secrets.as_deref(), Some("2/2"));
    assert_eq!(world.ready().2, "2 secrets are in sync with Secret \"my-object\"");
}

#[test]
fn status_counts_the_applied_secrets_and_keeps_the_count_while_it_is_not_read() {
    let two = json!({ "secretRef": { "name": "source", "items": [{ "key": "A" }, { "key": "B" }] } });
    let mut world = World::new(two, &[("A", "1"), ("B", "2")]);
    let applied = |world: &World| world.status().applied_secrets;
    world.app.unready = Some("is not ready".to_owned());
    world.visit();
    assert_eq!(applied(&world).as_deref(), Some("0/2"), "nothing is set in an app that is not ready");
    world.app.unready = None;
    world.refused.insert("B".into(), ErrorKind::Invalid);
    world.visit();
    assert_eq!(applied(&world).as_deref(), Some("1/2"));
    assert_eq!(world.visit().outcome, Outcome::Skipped);
    assert_eq!(applied(&world).as_deref(), Some("1/2"));
    world.refused.clear();
    world.pass(1860);
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(applied(&world).as_deref(), Some("2/2"));
    // A new value that is refused is not applied, and a source that vanishes changes no secret.
    world.source(values(&[("A", "new"), ("B", "2")]));
    world.refused.insert("A".into(), ErrorKind::Invalid);
    world.visit();
    assert_eq!(applied(&world).as_deref(), Some("1/2"));
    world.source = None;
    world.visit();
    assert_eq!(applied(&world).as_deref(), Some("1/2"));
}
