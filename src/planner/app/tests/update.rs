//! An app that is wanted: drift, fields that come and go, tags of others, names that are taken, lost status.

use super::*;

fn full() -> Value {
    json!({
        "description": "one", "visibility": "public", "productionBranch": "main", "tags": {"team": "a", "tier": "b"},
        "region": "us-east-1", "spicepod": {"version": "v1", "name": "pod"},
        "runtime": {"image": "i", "registry": "r", "imageTag": "1.0", "updateChannel": "stable", "version": "2.x",
            "replicas": 2, "resources": {"limits": {"cpu": "1"}}, "executor": {"replicas": 1}, "nodeGroup": "n",
            "storageSizeGb": 5},
    })
}

#[test]
fn drift_of_each_field_is_put_back_and_only_that_is_sent() {
    let mut world = World::settled(full());
    for (field, other) in [
        ("description", json!("two")),
        ("visibility", json!("private")),
        ("production_branch", json!("dev")),
        ("tags", json!({"team": "x", "theirs": "y"})),
        ("region", json!("us-west-2")),
        ("spicepod", json!({"version": "v1"})),
        ("image", json!("j")),
        ("registry", json!("s")),
        ("image_tag", Value::Null),
        ("update_channel", json!("nightly")),
        ("version", json!("3.x")),
        ("replicas", json!(9)),
        ("resources", json!({})),
        ("executor", Value::Null),
        ("node_group", json!("m")),
        ("storage_size_gb", json!(6)),
    ] {
        let before = world.remote.apps[&101].clone();
        world.remote.apps.get_mut(&101).unwrap().insert(field.into(), other);
        world.pass(3600);
        let visit = world.visit();
        assert_eq!(visit.put(), [field.to_owned()].into(), "{visit:?}");
        assert_eq!(visit.outcome, Outcome::InSync, "{field}");
        assert_eq!(visit.events[0].reason, "DriftCorrected", "{field}");
        if field == "tags" {
            let mut tags = before["tags"].clone();
            tags["theirs"] = json!("y");
            assert_eq!(world.remote.apps[&101]["tags"], tags);
        } else {
            assert_eq!(world.remote.apps[&101], before, "{field}");
        }
        world.remote.apps.insert(101, before);
    }
}

#[test]
fn a_field_never_named_is_left_alone() {
    let mut world = World::settled(json!({"description": "one"}));
    for (field, value) in [
        ("replicas", json!(7)),
        ("image_tag", json!("x")),
        ("production_branch", json!("dev")),
        ("region", json!("us-east-1")),
        ("visibility", json!("public")),
        ("spicepod", json!({"name": "theirs"})),
    ] {
        world.remote.apps.get_mut(&101).unwrap().insert(field.into(), value);
    }
    let before = world.remote.apps.clone();
    let visit = world.visit();
    assert!(visit.writes.is_empty() && visit.remote_reads() == 1, "{visit:?}");
    world.edit(json!({"description": "two"}));
    world.visit();
    let mut expected = before;
    expected.get_mut(&101).unwrap().insert("description".into(), json!("two"));
    assert_eq!(world.remote.apps, expected);
}

#[test]
fn a_field_taken_out_of_the_spec_is_cleared_or_said_to_be_unmanaged() {
    for (pointer, field, left) in [
        ("/description", "description", Some(json!(""))),
        ("/runtime/imageTag", "image_tag", Some(Value::Null)),
        ("/tags/team", "tags", None),
        ("/visibility", "visibility", Some(json!("public"))),
        ("/productionBranch", "production_branch", Some(json!("main"))),
        ("/runtime/replicas", "replicas", Some(json!(2))),
        ("/spicepod", "spicepod", Some(json!({"version": "v1", "name": "pod"}))),
    ] {
        let mut world = World::settled(full());
        let mut spec = full();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        world.edit(spec);
        let visit = world.visit();
        assert_eq!(visit.outcome, Outcome::InSync, "{pointer}");
        let live = world.remote.apps[&101][field].clone();
        let unmanaged = visit.events.iter().any(|note| note.warning && note.reason == "FieldUnmanaged");
        match left {
            Some(value) => assert_eq!(live, value, "{pointer}"),
            None => assert!(live.get("team").is_none() && live["tier"] == "b" && live[OWNER_TAG] == world.owner()),
        }
        let cleared = ["description", "image_tag", "tags"].contains(&field);
        assert_eq!((visit.writes.len(), unmanaged), if cleared { (1, false) } else { (0, true) }, "{pointer}");

        // Nobody's now: what others make of it stays, and nothing is told again.
        let path = pointer[1..].replace('/', ".");
        assert!(!world.status().last_applied.contains_key(&path), "{path}");
        if field != "tags" {
            world.remote.apps.get_mut(&101).unwrap().insert(field.into(), json!("theirs"));
        }
        world.pass(3600);
        let requeue_after = world.visit();
        assert!(requeue_after.writes.is_empty() && requeue_after.events.is_empty(), "{pointer}: {requeue_after:?}");
    }
}

#[test]
fn a_server_that_normalises_is_not_written_to_again() {
    let mut world = World::new(json!({"runtime": {"imageTag": "Nightly-X"}}));
    world.remote.normalises = true;
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.remote.apps[&101]["image_tag"], "nightly-x");
    for restart in [false, true, false] {
        world.pass(3600);
        if restart {
            world.restart();
            world.pass(3600);
        }
        let visit = world.visit();
        assert!(visit.writes.is_empty() && visit.outcome == Outcome::InSync, "{visit:?}");
    }
    world.remote.apps.get_mut(&101).unwrap().insert("image_tag".into(), json!("other"));
    world.pass(3600);
    assert_eq!(world.visit().put(), ["image_tag".to_owned()].into());
}

#[test]
fn tags_of_others_survive_every_write() {
    let mut world = World::settled(json!({"tags": {"team": "a"}}));
    let theirs = |world: &World| world.remote.apps[&101]["tags"]["theirs"] == "t";
    world.remote.apps.get_mut(&101).unwrap()["tags"]["theirs"] = json!("t");
    for tags in [json!({"team": "b"}), json!({"team": "b", "tier": "c"}), json!({})] {
        world.edit(json!({"tags": tags}));
        assert_eq!((world.visit().put(), theirs(&world)), (["tags".to_owned()].into(), true), "{tags}");
    }
    // Our own tag is drift as any other.
    world.remote.apps.get_mut(&101).unwrap()["tags"].as_object_mut().unwrap().remove(OWNER_TAG);
    world.pass(3600);
    assert_eq!((world.visit().put(), theirs(&world)), (["tags".to_owned()].into(), true));
    assert_eq!(world.remote.apps[&101]["tags"][OWNER_TAG], world.owner());
}

#[test]
fn another_app_of_the_name_is_never_written_to() {
    for (name, tags, expected) in [
        ("my-app", json!({}), Reason::NameTaken),
        ("MY-App", json!({"team": "x"}), Reason::NameTaken),
        ("my-app", json!({OWNER_TAG: "somebody"}), Reason::OwnedElsewhere),
    ] {
        let mut world = World::new(json!({"description": "one"}));
        world.remote.add(name, json!({"tags": tags}));
        let before = world.remote.apps.clone();
        for _ in 0..3 {
            let visit = world.visit();
            assert_eq!(visit.stalled(), Some(expected));
            assert!(visit.writes.is_empty(), "{visit:?}");
            world.pass(3600);
        }
        assert_eq!(world.remote.apps, before);
        // A read shows the cause gone, and work goes on.
        world.remote.apps.clear();
        assert_eq!(world.visit().outcome, Outcome::InSync);
    }
}

#[test]
fn a_recorded_app_that_shows_another_owner_or_name_is_not_written_to() {
    for (field, value) in [("tags", json!({OWNER_TAG: "somebody"})), ("name", json!("other-app"))] {
        let mut world = World::settled(json!({"description": "one"}));
        world.remote.apps.get_mut(&101).unwrap().insert(field.into(), value);
        world.edit(json!({"description": "two"}));
        let visit = world.visit();
        assert_eq!((visit.stalled(), visit.writes.len()), (Some(Reason::OwnedElsewhere), 0));
    }
}

#[test]
fn a_404_alone_is_no_absence() {
    let mut world = World::settled(json!({}));
    world.blind = Some((At::App, ApiError::local(ErrorKind::NotFound { json: true }, "not found")));
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::ReadFailed(Reason::RemoteUnavailable, ..)), "{visit:?}");
    assert_eq!((visit.writes.len(), world.ready().0.as_str()), (0, "True"));
}

#[test]
fn lost_status_attaches_again_and_writes_nothing() {
    let mut world = World::settled(full());
    let (before, remote) = (world.status(), world.remote.apps.clone());
    world.object.status = None;
    world.restart();
    let visit = world.visit();
    assert_eq!((visit.outcome.clone(), visit.writes.len()), (Outcome::InSync, 0), "{visit:?}");
    let after = world.status();
    assert_eq!(
        (after.id, &after.incarnation, &after.last_applied),
        (before.id, &before.incarnation, &before.last_applied)
    );
    assert_eq!(world.remote.apps, remote);
}

#[test]
fn a_create_of_unknown_outcome_is_found_or_repeated_under_the_same_intent() {
    for applied in [true, false] {
        let mut world = World::new(json!({"description": "one"}));
        world.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), applied));
        assert!(matches!(world.visit().outcome, Outcome::WriteFailed(Reason::RemoteUnavailable, ..)));
        let intent = world.status().create_intent.unwrap();
        world.restart();
        world.pass(1);
        let visit = world.visit();
        assert_eq!(visit.outcome, Outcome::InSync);
        assert_eq!((visit.writes.len(), world.remote.apps.len()), (usize::from(!applied), 1));
        assert_eq!(world.remote.apps[&101]["tags"][INCARNATION_TAG], format!("c-{}", intent.id));
        assert_eq!(world.status().create_intent, None);
    }
}

#[test]
fn an_intent_goes_with_a_proven_refusal_of_its_only_attempt() {
    use ErrorKind::*;
    for error in failures() {
        let gone =
            matches!(error.kind, Connect | CredentialMissing | Invalid | Unauthorized | Forbidden | RateLimited { .. });
        for attempts_before in [0, 1] {
            let mut world = World::new(json!({}));
            for _ in 0..attempts_before {
                world.remote.fault = Some((ApiError::local(OutcomeUnknown, "broken"), false));
                world.visit();
                world.pass(60);
            }
            world.remote.fault = Some((error.clone(), false));
            world.remote.fault_lasts = true;
            let visit = world.visit();
            assert!(matches!(visit.outcome, Outcome::WriteFailed(..)), "{visit:?}");
            let intent = world.status().create_intent;
            assert_eq!(intent.is_none(), gone && attempts_before == 0, "{error:?} after {attempts_before}");
            if let Some(intent) = intent {
                assert_eq!(intent.at.0, world.now, "it says when the last attempt was");
            }
        }
    }
}

#[test]
fn the_same_correction_three_times_is_a_fight_and_another_field_goes_on() {
    let mut world = World::settled(json!({"description": "ours", "runtime": {"replicas": 2}}));
    let spoil = |world: &mut World, field: &str, value: Value| {
        world.remote.apps.get_mut(&101).unwrap().insert(field.into(), value);
        world.pass(660);
    };
    for _ in 0..3 {
        spoil(&mut world, "description", json!("theirs"));
        assert_eq!(world.visit().put(), ["description".to_owned()].into());
    }
    spoil(&mut world, "description", json!("theirs"));
    spoil(&mut world, "replicas", json!(7));
    let visit = world.visit();
    assert_eq!((visit.put(), visit.stalled()), (["replicas".to_owned()].into(), Some(Reason::CorrectionLoop)));
    assert!(matches!(&visit.outcome, Outcome::Stalled(_, message) if message.contains("description")), "{visit:?}");
    assert_eq!(
        (world.remote.apps[&101]["description"].clone(), world.status().drift),
        (json!("theirs"), vec!["description".to_owned()])
    );

    // Nobody fights any more: a read shows it.
    spoil(&mut world, "description", json!("ours"));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    // A new wish, or a day later: it is put back again.
    for a_day_later in [false, true] {
        spoil(&mut world, "description", json!("theirs"));
        if a_day_later {
            world.pass(24 * 3600);
        } else {
            world.edit(json!({"description": "ours", "runtime": {"replicas": 3}}));
        }
        world.visit();
        assert_eq!(world.remote.apps[&101]["description"], "ours", "{a_day_later}");
    }
}

#[test]
fn drift_that_is_only_reported_is_named_and_left_and_the_own_edit_goes_out() {
    let spec = |description: &str, replicas: u32| json!({"description": description, "tags": {"team": "a", "tier": "b"}, "driftPolicy": "Report", "runtime": {"replicas": replicas}});
    let mut world = World::settled(spec("ours", 2));
    let app = world.remote.apps.get_mut(&101).unwrap();
    app.insert("description".into(), json!("theirs"));
    app["tags"]["team"] = json!("theirs");
    let visit = world.visit();
    assert_eq!((visit.writes.len(), visit.outcome), (0, Outcome::InSync));
    assert_eq!(world.status().drift, ["description", "tags.team"]);
    let drifted = |world: &World| world.status().core.conditions.iter().find(|it| it.type_ == "Drifted").cloned();
    assert_eq!(world.ready(), ("True".into(), "Succeeded".into()));
    assert!(drifted(&world).unwrap().message.contains("description, tags.team"));

    // An edit of another field, and of another tag, leaves what they did.
    let mut edit = spec("ours", 3);
    edit["tags"]["tier"] = json!("c");
    world.edit(edit);
    let visit = world.visit();
    assert_eq!(visit.put(), ["replicas".to_owned(), "tags".to_owned()].into());
    let app = &world.remote.apps[&101];
    assert_eq!(
        (&app["tags"]["team"], &app["tags"]["tier"], &app["description"]),
        (&json!("theirs"), &json!("c"), &json!("theirs"))
    );
    assert_eq!(world.status().drift, ["description", "tags.team"]);

    // Our own tag is put back all the same, and what is as wanted again is no drift.
    let owner = world.owner();
    let app = world.remote.apps.get_mut(&101).unwrap();
    app["tags"].as_object_mut().unwrap().remove(OWNER_TAG);
    app["tags"]["team"] = json!("a");
    app.insert("description".into(), json!("ours"));
    world.pass(3600);
    assert_eq!(world.visit().put(), ["tags".to_owned()].into());
    assert_eq!(world.remote.apps[&101]["tags"][OWNER_TAG], owner);
    assert_eq!((world.status().drift, drifted(&world)), (Vec::<String>::new(), None));
}

#[test]
fn a_suspended_object_makes_no_call() {
    for suspend in [true, false] {
        let mut world = World::new(json!({"suspend": suspend}));
        world.object.metadata.annotations =
            (!suspend).then(|| [(crate::api::SUSPEND.to_owned(), "true".to_owned())].into());
        let visit = world.visit();
        assert_eq!((visit.outcome, visit.reads.len(), visit.writes.len()), (Outcome::Suspended, 0, 0));
    }
}

#[test]
fn an_organization_that_cannot_be_used_is_waited_for_without_a_call() {
    let organization = OrganizationView::default();
    for organization in [
        Observed::Absent,
        Observed::Present(OrganizationView { suspended: true, ..organization.clone() }),
        Observed::Present(OrganizationView { unusable: Some("why".into()), ..organization.clone() }),
        Observed::Unknown(ApiError::local(ErrorKind::Connect, "why")),
    ] {
        let mut world = World::new(json!({}));
        world.organization = organization;
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WaitingForDependency(Reason::DependencyNotReady, _)), "{visit:?}");
        assert_eq!((visit.remote_reads(), visit.writes.len()), (0, 0));
    }
    let mut world = World::new(json!({}));
    world.organization = Observed::Present(organization);
    let visit = world.visit();
    assert!(
        matches!(&visit.outcome, Outcome::WaitingForDependency(_, message) if message.contains("region")),
        "{visit:?}"
    );
    assert_eq!((visit.writes.len(), world.status().create_intent), (0, None));
}

#[test]
fn of_two_objects_for_one_app_the_first_goes_on() {
    let claim = |without_id, seconds: i64, uid: &str| CompetingApp {
        without_id,
        created: Some(Timestamp::from_second(seconds).unwrap()),
        uid: uid.into(),
        namespace: "team".into(),
        name: "other".into(),
    };
    for (other, stalled) in [
        (claim(false, 2_000_000, "z"), true),
        (claim(true, 999_999, "z"), true),
        (claim(true, 1_000_000, "a"), true),
        (claim(true, 1_000_000, "z"), false),
        (claim(true, 1_000_001, "a"), false),
    ] {
        let mut world = World::new(json!({}));
        world.competing_apps = vec![other.clone()];
        let visit = world.visit();
        assert_eq!(visit.stalled() == Some(Reason::NameTaken), stalled, "{other:?}");
        assert_eq!(visit.remote_reads() == 0, stalled, "{other:?}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused_without_a_call() {
    for (spec, field) in [
        (json!({"tags": {"1x": "a"}}), "spec.tags"),
        (json!({"tags": {"a": "b c"}}), "spec.tags"),
        (json!({"tags": {"spice-operator-owner": "a"}}), "spec.tags"),
        (json!({"region": "a", "cname": "b"}), "spec.cname"),
        (json!({"spicepod": {"a": "x".repeat(256 * 1024)}}), "spec.spicepod"),
    ] {
        let mut world = World::new(spec);
        let visit = world.visit();
        assert!(matches!(&visit.outcome, Outcome::Stalled(Reason::InvalidSpec, message) if message.contains(field)));
        assert_eq!(visit.reads, []);
    }
}

#[test]
fn the_page_in_the_portal_is_told_where_it_is_known() {
    let mut world = World::new(json!({}));
    let Observed::Present(organization) = &mut world.organization else { unreachable!() };
    organization.portal = Some("https://example/team/my-app".into());
    world.visit();
    assert_eq!(world.status().url.as_deref(), Some("https://example/team/my-app"));
}

#[test]
fn an_app_that_a_create_met_is_ours_by_its_tag_alone() {
    for tagged in [false, true] {
        let mut world = World::new(json!({}));
        world.remote.fault = Some((ApiError::local(ErrorKind::Conflict, "the name is taken"), false));
        assert!(matches!(world.visit().outcome, Outcome::WriteFailed(..)));
        // It is older than the create: the list has passed it over.
        let tags = if tagged { json!({ OWNER_TAG: world.owner() }) } else { json!({}) };
        let old = (world.now - jiff::SignedDuration::from_hours(1)).to_string();
        world.remote.add("my-app", json!({ "created_at": old, "tags": tags }));
        for _ in 0..2 {
            world.pass(60);
            let visit = world.visit();
            assert_eq!(visit.stalled(), (!tagged).then_some(Reason::NameTaken), "{visit:?}");
            assert!(tagged || visit.writes.is_empty(), "{visit:?}");
            world.restart();
        }
        world.delete();
        assert_eq!(world.visit().deletes().len(), usize::from(tagged), "what is not ours stays");
    }
}

#[test]
fn a_create_rests_on_a_list_that_is_fresh_however_long_it_was_wanted() {
    let mut world = World::new(json!({}));
    let wanted = world.now;
    world.runtime_state.pending_since = Some(wanted);
    world.pass(600);
    let visit = world.visit();
    let Some(AppRead::List(not_before)) = visit.reads.iter().find(|read| matches!(read, AppRead::List(_))) else {
        panic!("no list: {visit:?}")
    };
    assert!(world.now.duration_since(*not_before) <= jiff::SignedDuration::from_secs(30), "{not_before}");
}

#[test]
fn resources_and_executors_are_sent_under_the_names_of_the_api() {
    let resources =
        |disk: &str| json!({ "limits": { "cpu": "4", "memory": "16Gi", disk: "50Gi" }, "requests": { "cpu": "2" } });
    let mut world = World::new(json!({ "runtime": {
        "resources": resources("ephemeralStorage"),
        "executor": { "replicas": 2, "resources": resources("ephemeralStorage"), "storageSizeGb": 50 },
    } }));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    let app = &world.remote.apps[&101];
    assert_eq!(app["resources"], resources("ephemeral-storage"));
    let executor = json!({ "replicas": 2, "resources": resources("ephemeral-storage"), "storage_size_gb": 50 });
    assert_eq!(app["executor"], executor);
    world.pass(3600);
    assert!(world.visit().writes.is_empty(), "as the API shows them");
}

#[test]
fn ready_names_the_app_and_says_where_it_differs() {
    let mut world = World::settled(json!({ "description": "ours", "driftPolicy": "Report" }));
    let message = |world: &World| world.status().core.conditions[0].message.clone();
    assert_eq!(message(&world), "App 101 is in sync with the spec");
    world.remote.apps.get_mut(&101).unwrap().insert("description".into(), json!("theirs"));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(message(&world), "App 101 is in sync with the spec, except for the fields in status.drift");
}
