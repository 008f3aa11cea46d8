//! Invariants 1, 2 and 5 for random specs, records and remote states.

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;

/// A spec from a few values, so that an edit often changes nothing or restores earlier values.
fn specs() -> impl Strategy<Value = Value> {
    let text = |prefix: &'static str| weighted(0.7, (0..3_u8).prop_map(move |n| format!("{prefix}{n}")));
    let tags = proptest::collection::btree_map("[abc]", "[XYZ]", 0..3);
    (text("text"), weighted(0.5, any::<bool>()), tags, text("Tag-"), weighted(0.6, 1..4_u8), text("pod"), text("us-"))
        .prop_map(|(description, public, tags, image_tag, replicas, pod, region)| {
            let mut spec = json!({"tags": tags, "runtime": {}});
            let mut put = |pointer: &str, key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    spec.pointer_mut(pointer).unwrap()[key] = value;
                }
            };
            put("", "description", description.map(Value::from));
            put("", "visibility", public.map(|public| json!(if public { "public" } else { "private" })));
            put("", "spicepod", pod.map(|pod| json!({"version": "v1", "name": pod})));
            put("", "region", region.map(Value::from));
            put("/runtime", "imageTag", image_tag.map(Value::from));
            put("/runtime", "replicas", replicas.map(Value::from));
            spec
        })
}

/// Changes that other clients make to an app.
fn changes() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        (0..3_u8).prop_map(|n| json!({"description": format!("text{n}")})),
        (1..9_u8).prop_map(|n| json!({"replicas": n, "image_tag": null})),
        "[abcd]".prop_map(|key| json!({"tags": {key: "Theirs", "foreign": "F"}})),
        Just(json!({"spicepod": null, "region": "us-9", "node_group": "n"})),
    ]
}

/// Remote state before the create of the object.
#[derive(Clone, Debug)]
enum InitialState {
    Nothing,
    Unrelated,
    Deleted(Value),
    Own(Value),
    Foreign(Value),
}

fn initial_states() -> impl Strategy<Value = InitialState> {
    prop_oneof![
        Just(InitialState::Nothing),
        Just(InitialState::Unrelated),
        changes().prop_map(InitialState::Deleted),
        changes().prop_map(InitialState::Own),
        changes().prop_map(InitialState::Foreign),
    ]
}

fn place(fixture: &mut Fixture, initial: &InitialState) {
    let owner = fixture.owner();
    match initial {
        InitialState::Nothing => {}
        InitialState::Unrelated => drop(fixture.remote.add("my-app-2", json!({"tags": {OWNER_TAG: owner}}))),
        InitialState::Deleted(fields) => {
            let id = fixture.remote.add("My-App", fields.clone());
            fixture.remote.deleted.insert(id);
        }
        InitialState::Own(fields) => {
            let id = fixture.remote.add("my-app", fields.clone());
            fixture.remote.apps.get_mut(&id).unwrap()["tags"][OWNER_TAG] = json!(owner);
        }
        InitialState::Foreign(fields) => drop(fixture.remote.add("my-app", fields.clone())),
    }
}

/// Checks that the app is in sync within three iterations, and that nothing is read or written from then on, neither in
/// this process nor in the next.
fn check_in_sync(fixture: &mut Fixture) -> TestCaseResult {
    let result = fixture.reconcile();
    prop_assert_eq!(&result.outcome, &Outcome::InSync, "{:?}", result);
    prop_assert!(result.iterations <= 3, "{:?}", result);
    let stored = fixture.object.status.clone();
    let remote = fixture.remote.apps.clone();
    for restart in [false, true] {
        if restart {
            fixture.restart();
        }
        let next = fixture.reconcile();
        prop_assert_eq!(next.reads.len() + next.writes.len() + next.first.len(), 0, "{:?}", next);
        prop_assert_eq!(&fixture.object.status, &stored, "no status write");
        // The next resync reads the app once and changes nothing.
        let wait = next.requeue_after.unwrap();
        prop_assert!(wait <= Duration::from_secs(600), "{:?}", wait);
        fixture.advance(i64::try_from(wait.as_secs()).unwrap() + 1);
        let resync = fixture.reconcile();
        prop_assert_eq!((resync.remote_reads(), resync.writes.len()), (1, 0), "{:?}", resync);
        prop_assert_eq!(&fixture.object.status, &stored, "no status write");
        fixture.advance(60);
    }
    prop_assert_eq!(&fixture.remote.apps, &remote);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariant_1_an_app_is_in_sync_within_three_iterations_and_its_plan_is_then_empty(
        spec in specs(),
        initial in initial_states(),
        normalises in any::<bool>(),
        steps in proptest::collection::vec((weighted(0.7, specs()), changes()), 0..4),
    ) {
        let mut fixture = Fixture::new(spec);
        fixture.remote.normalises = normalises;
        place(&mut fixture, &initial);
        if matches!(initial, InitialState::Foreign(_)) {
            let before = fixture.remote.apps.clone();
            let result = fixture.reconcile();
            prop_assert_eq!(result.stalled(), Some(Reason::NameTaken));
            prop_assert_eq!(&fixture.remote.apps, &before);
            let next = fixture.reconcile();
            prop_assert_eq!(next.reads.len() + next.writes.len() + next.first.len(), 0, "{:?}", next);
            return Ok(());
        }
        check_in_sync(&mut fixture)?;
        let id = fixture.status().id.unwrap();
        for (edit, change) in steps {
            fixture.remote.apps.get_mut(&id).unwrap().extend(change.as_object().unwrap().clone());
            match edit {
                Some(spec) => fixture.edit(spec),
                None => fixture.advance(1200),
            }
            check_in_sync(&mut fixture)?;
            let foreign = change.pointer("/tags/foreign").is_none_or(|tag| *tag == fixture.remote.apps[&id]["tags"]["foreign"]);
            prop_assert!(foreign, "a foreign tag was removed");
            prop_assert_eq!(fixture.remote.apps.len(), if matches!(initial, InitialState::Unrelated) { 2 } else { 1 });
            prop_assert_eq!(&fixture.remote.apps[&id]["tags"][OWNER_TAG], &json!(fixture.owner()));
        }
    }
}

#[test]
fn invariant_2_nothing_is_created_or_deleted_on_unknown() {
    for error in errors() {
        for at in [FailingRead::CrdTerminating, FailingRead::List, FailingRead::App] {
            for (state, deleting) in
                [("new", false), ("intent", false), ("recorded", false), ("intent", true), ("recorded", true)]
            {
                let mut fixture = Fixture::new(json!({"description": "one"}));
                match state {
                    "recorded" => drop(fixture.reconcile()),
                    "intent" => {
                        fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), false));
                        fixture.reconcile();
                    }
                    _ => {}
                }
                fixture.edit(json!({"description": "two"}));
                fixture.advance(3600);
                if deleting {
                    fixture.delete();
                }
                fixture.read_error = Some((at, error.clone()));
                let is_affected = match at {
                    FailingRead::Source => false,
                    FailingRead::CrdTerminating => deleting,
                    FailingRead::List => state != "recorded",
                    FailingRead::App => state == "recorded",
                };
                let result = fixture.reconcile();
                let case = format!("{error:?} at {at:?}, {state}, deleting: {deleting}: {result:?}");
                if is_affected {
                    assert_eq!(result.writes, [], "{case}");
                    assert!(!result.first.contains(&KubernetesWrite::RemoveFinalizer), "{case}");
                    assert!(!matches!(result.outcome, Outcome::InSync | Outcome::Finalized), "{case}");
                } else {
                    assert!(matches!(result.outcome, Outcome::InSync | Outcome::Finalized), "{case}");
                }
            }
        }
    }
}
