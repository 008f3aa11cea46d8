//! Updates of an app: drift, added and removed fields, and tags of other clients.

use super::*;

/// A spec with every field.
pub(super) fn full() -> Value {
    json!({
        "description": "one", "visibility": "public", "productionBranch": "main", "tags": {"team": "a", "tier": "b"},
        "region": "us-east-1", "spicepod": {"version": "v1", "name": "pod"},
        "runtime": {"image": "i", "registry": "r", "imageTag": "1.0", "updateChannel": "stable", "version": "2.x",
            "replicas": 2, "resources": {"limits": {"cpu": "1"}}, "executor": {"replicas": 1}, "nodeGroup": "n",
            "storageSizeGb": 5},
    })
}

#[test]
fn drift_of_each_field_is_corrected_and_only_that_field_is_sent() {
    let mut fixture = Fixture::settled(full());
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
        let before = fixture.remote.apps[&101].clone();
        fixture.remote.apps.get_mut(&101).unwrap().insert(field.into(), other);
        fixture.advance(3600);
        let result = fixture.reconcile();
        assert_eq!(result.put(), [field.to_owned()].into(), "{result:?}");
        assert_eq!(result.outcome, Outcome::InSync, "{field}");
        assert_eq!(result.events[0].reason, "DriftCorrected", "{field}");
        if field == "tags" {
            let mut tags = before["tags"].clone();
            tags["theirs"] = json!("y");
            assert_eq!(fixture.remote.apps[&101]["tags"], tags);
        } else {
            assert_eq!(fixture.remote.apps[&101], before, "{field}");
        }
        fixture.remote.apps.insert(101, before);
    }
}

#[test]
fn a_field_never_named_is_left_alone() {
    let mut fixture = Fixture::settled(json!({"description": "one"}));
    for (field, value) in [
        ("replicas", json!(7)),
        ("image_tag", json!("x")),
        ("production_branch", json!("dev")),
        ("region", json!("us-east-1")),
        ("spicepod", json!({"name": "theirs"})),
    ] {
        fixture.remote.apps.get_mut(&101).unwrap().insert(field.into(), value);
    }
    let before = fixture.remote.apps.clone();
    let result = fixture.reconcile();
    assert!(result.writes.is_empty() && result.remote_reads() == 1, "{result:?}");
    fixture.edit(json!({"description": "two"}));
    fixture.reconcile();
    let mut expected = before;
    expected.get_mut(&101).unwrap().insert("description".into(), json!("two"));
    assert_eq!(fixture.remote.apps, expected);
}

#[test]
fn a_field_removed_from_the_spec_is_cleared_or_reported_as_unmanaged() {
    for (pointer, field, left) in [
        ("/description", "description", Some(json!(""))),
        ("/runtime/imageTag", "image_tag", Some(Value::Null)),
        ("/tags/team", "tags", None),
        ("/productionBranch", "production_branch", Some(json!("main"))),
        ("/runtime/replicas", "replicas", Some(json!(2))),
        ("/spicepod", "spicepod", Some(json!({"version": "v1", "name": "pod"}))),
    ] {
        let mut fixture = Fixture::settled(full());
        let mut spec = full();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        fixture.edit(spec);
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::InSync, "{pointer}");
        let live = fixture.remote.apps[&101][field].clone();
        let unmanaged = result.events.iter().any(|event| event.warning && event.reason == "FieldUnmanaged");
        match left {
            Some(value) => assert_eq!(live, value, "{pointer}"),
            None => assert!(live.get("team").is_none() && live["tier"] == "b" && live[OWNER_TAG] == fixture.owner()),
        }
        let cleared = ["description", "image_tag", "tags"].contains(&field);
        assert_eq!((result.writes.len(), unmanaged), if cleared { (1, false) } else { (0, true) }, "{pointer}");

        // The field is unmanaged now: other clients may change it, and no further event is published.
        let path = pointer[1..].replace('/', ".");
        assert!(!fixture.status().last_applied.contains_key(&path), "{path}");
        if field != "tags" {
            fixture.remote.apps.get_mut(&101).unwrap().insert(field.into(), json!("theirs"));
        }
        fixture.advance(3600);
        let next = fixture.reconcile();
        assert!(next.writes.is_empty() && next.events.is_empty(), "{pointer}: {next:?}");
    }
}

/// The visibility of an app without `spec.visibility`, after another client made the app public.
#[test]
fn the_default_visibility_of_a_created_app_is_kept_as_declared() {
    for (policy, expected, drift) in [("Correct", "private", None), ("Report", "public", Some("visibility"))] {
        let mut fixture = Fixture::settled(json!({"driftPolicy": policy}));
        assert_eq!(fixture.remote.apps[&101]["visibility"], "private");
        fixture.remote.apps.get_mut(&101).unwrap().insert("visibility".into(), json!("public"));
        let result = fixture.reconcile();
        assert_eq!(
            (&result.outcome, result.writes.len()),
            (&Outcome::InSync, usize::from(drift.is_none())),
            "{policy}"
        );
        assert_eq!(fixture.remote.apps[&101]["visibility"], expected, "{policy}");
        assert_eq!(fixture.status().drift, drift.into_iter().collect::<Vec<_>>(), "{policy}");
    }

    // After a lost status, the creation ID on the app shows that the object created the app.
    let mut fixture = Fixture::settled(json!({}));
    fixture.object.status = None;
    fixture.restart();
    assert_eq!(fixture.reconcile().writes, []);
    assert!(fixture.status().last_applied.contains_key("visibility"));
    fixture.object.status = None;
    fixture.restart();
    fixture.remote.apps.get_mut(&101).unwrap().insert("visibility".into(), json!("public"));
    assert_eq!(fixture.reconcile().put(), ["visibility".to_owned()].into());
    assert_eq!(fixture.remote.apps[&101]["visibility"], "private");

    // The removal of the field declares the default again.
    let mut fixture = Fixture::settled(json!({"visibility": "public"}));
    fixture.edit(json!({}));
    let result = fixture.reconcile();
    assert_eq!((result.put(), &result.outcome), (["visibility".to_owned()].into(), &Outcome::InSync));
    assert_eq!((result.events[0].reason.as_str(), result.events[0].warning), ("Updated", false));
    assert_eq!(fixture.remote.apps[&101]["visibility"], "private");
}

#[test]
fn the_visibility_of_an_adopted_app_changes_only_if_the_spec_names_a_visibility() {
    let mut fixture = Fixture::new(json!({"adoptionPolicy": "Adopt"}));
    let id = fixture.remote.add("my-app", json!({"visibility": "public"}));
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.put()), (&Outcome::InSync, ["tags".to_owned()].into()));
    assert_eq!(fixture.remote.apps[&id]["visibility"], "public");
    fixture.object.status = None;
    fixture.restart();
    assert_eq!(fixture.reconcile().writes, [], "the creation ID on the app shows the adoption");
    fixture.edit(json!({"adoptionPolicy": "Adopt", "visibility": "private"}));
    assert_eq!(fixture.reconcile().put(), ["visibility".to_owned()].into());
    fixture.edit(json!({"adoptionPolicy": "Adopt"}));
    let result = fixture.reconcile();
    assert_eq!((result.writes.len(), result.events[0].reason.as_str()), (0, "FieldUnmanaged"));
}

/// The default region is the place of a new app. A correction would move the app and its data.
#[test]
fn an_app_that_another_client_moved_stays_there_unless_a_region_is_declared() {
    let mut fixture = Fixture::settled(json!({}));
    assert_eq!(fixture.remote.apps[&101]["region"], "us-west-2");
    fixture.remote.apps.get_mut(&101).unwrap().insert("region".into(), json!("us-east-1"));
    let result = fixture.reconcile();
    assert_eq!((result.writes.len(), &result.outcome), (0, &Outcome::InSync));
    assert_eq!(fixture.status().region.as_deref(), Some("us-east-1"));
}

#[test]
fn a_normalised_value_is_no_drift() {
    let mut fixture = Fixture::new(json!({"runtime": {"imageTag": "Nightly-X"}}));
    fixture.remote.normalises = true;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.remote.apps[&101]["image_tag"], "nightly-x");
    for restart in [false, true, false] {
        fixture.advance(3600);
        if restart {
            fixture.restart();
            fixture.advance(3600);
        }
        let result = fixture.reconcile();
        assert!(result.writes.is_empty() && result.outcome == Outcome::InSync, "{result:?}");
    }
    fixture.remote.apps.get_mut(&101).unwrap().insert("image_tag".into(), json!("other"));
    fixture.advance(3600);
    assert_eq!(fixture.reconcile().put(), ["image_tag".to_owned()].into());
}

#[test]
fn tags_of_other_clients_survive_every_update() {
    let mut fixture = Fixture::settled(json!({"tags": {"team": "a"}}));
    let theirs = |fixture: &Fixture| fixture.remote.apps[&101]["tags"]["theirs"] == "t";
    fixture.remote.apps.get_mut(&101).unwrap()["tags"]["theirs"] = json!("t");
    for tags in [json!({"team": "b"}), json!({"team": "b", "tier": "c"}), json!({})] {
        fixture.edit(json!({"tags": tags}));
        assert_eq!((fixture.reconcile().put(), theirs(&fixture)), (["tags".to_owned()].into(), true), "{tags}");
    }
    // A missing owner tag is drift like any other.
    fixture.remote.apps.get_mut(&101).unwrap()["tags"].as_object_mut().unwrap().remove(OWNER_TAG);
    fixture.advance(3600);
    assert_eq!((fixture.reconcile().put(), theirs(&fixture)), (["tags".to_owned()].into(), true));
    assert_eq!(fixture.remote.apps[&101]["tags"][OWNER_TAG], fixture.owner());
}

#[test]
fn three_equal_corrections_are_a_correction_loop_and_other_fields_are_updated() {
    let mut fixture = Fixture::settled(json!({"description": "ours", "runtime": {"replicas": 2}}));
    let change = |fixture: &mut Fixture, field: &str, value: Value| {
        fixture.remote.apps.get_mut(&101).unwrap().insert(field.into(), value);
        fixture.advance(660);
    };
    for _ in 0..3 {
        change(&mut fixture, "description", json!("theirs"));
        assert_eq!(fixture.reconcile().put(), ["description".to_owned()].into());
    }
    change(&mut fixture, "description", json!("theirs"));
    change(&mut fixture, "replicas", json!(7));
    let result = fixture.reconcile();
    assert_eq!((result.put(), result.stalled()), (["replicas".to_owned()].into(), Some(Reason::CorrectionLoop)));
    let message = "Correction loop: description was corrected 3 times and changed again by another client. Stop the other \
                   client, then edit the spec. The next attempt follows 24h after the last correction";
    assert_eq!(result.outcome, Outcome::Stalled(Reason::CorrectionLoop, message.to_owned()));
    assert_eq!(
        (fixture.remote.apps[&101]["description"].clone(), fixture.status().drift),
        (json!("theirs"), vec!["description".to_owned()])
    );

    // A read shows that the correction loop has ended.
    change(&mut fixture, "description", json!("ours"));
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    // After a new spec, or a day later, the field is corrected again.
    for a_day_later in [false, true] {
        change(&mut fixture, "description", json!("theirs"));
        if a_day_later {
            fixture.advance(24 * 3600);
        } else {
            fixture.edit(json!({"description": "ours", "runtime": {"replicas": 3}}));
        }
        fixture.reconcile();
        assert_eq!(fixture.remote.apps[&101]["description"], "ours", "{a_day_later}");
    }
}

#[test]
fn reported_drift_is_listed_and_kept_and_own_edits_are_sent() {
    let spec = |description: &str, replicas: u32| json!({"description": description, "tags": {"team": "a", "tier": "b"}, "driftPolicy": "Report", "runtime": {"replicas": replicas}});
    let mut fixture = Fixture::settled(spec("ours", 2));
    let app = fixture.remote.apps.get_mut(&101).unwrap();
    app.insert("description".into(), json!("theirs"));
    app["tags"]["team"] = json!("theirs");
    let result = fixture.reconcile();
    assert_eq!((result.writes.len(), result.outcome), (0, Outcome::InSync));
    assert_eq!(fixture.status().drift, ["description", "tags.team"]);
    let drifted_condition =
        |fixture: &Fixture| fixture.status().core.conditions.iter().find(|it| it.type_ == "Drifted").cloned();
    assert_eq!(fixture.ready(), ("True".into(), "Succeeded".into()));
    assert!(drifted_condition(&fixture).unwrap().message.contains("description, tags.team"));

    // An edit of another field and of another tag does not correct the drift.
    let mut edit = spec("ours", 3);
    edit["tags"]["tier"] = json!("c");
    fixture.edit(edit);
    let result = fixture.reconcile();
    assert_eq!(result.put(), ["replicas".to_owned(), "tags".to_owned()].into());
    let app = &fixture.remote.apps[&101];
    assert_eq!(
        (&app["tags"]["team"], &app["tags"]["tier"], &app["description"]),
        (&json!("theirs"), &json!("c"), &json!("theirs"))
    );
    assert_eq!(fixture.status().drift, ["description", "tags.team"]);

    // The owner tag is restored nevertheless, and a field with the declared value again is no drift.
    let owner = fixture.owner();
    let app = fixture.remote.apps.get_mut(&101).unwrap();
    app["tags"].as_object_mut().unwrap().remove(OWNER_TAG);
    app["tags"]["team"] = json!("a");
    app.insert("description".into(), json!("ours"));
    fixture.advance(3600);
    assert_eq!(fixture.reconcile().put(), ["tags".to_owned()].into());
    assert_eq!(fixture.remote.apps[&101]["tags"][OWNER_TAG], owner);
    assert_eq!((fixture.status().drift, drifted_condition(&fixture)), (Vec::<String>::new(), None));
}
