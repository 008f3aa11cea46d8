//! Invariants 1, 2 and 5, whatever is wanted, recorded and there.

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;

/// A spec, made of few values, so that edits often change nothing or go back.
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

/// What people may do to an app behind our back.
fn changes() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        (0..3_u8).prop_map(|n| json!({"description": format!("text{n}")})),
        (1..9_u8).prop_map(|n| json!({"replicas": n, "image_tag": null})),
        "[abcd]".prop_map(|key| json!({"tags": {key: "Theirs", "foreign": "F"}})),
        Just(json!({"spicepod": null, "region": "us-9", "node_group": "n"})),
    ]
}

/// What is there before the object.
#[derive(Clone, Debug)]
enum Prior {
    Nothing,
    Unrelated,
    Deleted(Value),
    Ours(Value),
    Strangers(Value),
}

fn priors() -> impl Strategy<Value = Prior> {
    prop_oneof![
        Just(Prior::Nothing),
        Just(Prior::Unrelated),
        changes().prop_map(Prior::Deleted),
        changes().prop_map(Prior::Ours),
        changes().prop_map(Prior::Strangers),
    ]
}

fn place(world: &mut World, prior: &Prior) {
    let owner = world.owner();
    match prior {
        Prior::Nothing => {}
        Prior::Unrelated => drop(world.remote.add("my-app-2", json!({"tags": {OWNER_TAG: owner}}))),
        Prior::Deleted(fields) => {
            let id = world.remote.add("My-App", fields.clone());
            world.remote.deleted.insert(id);
        }
        Prior::Ours(fields) => {
            let id = world.remote.add("my-app", fields.clone());
            world.remote.apps.get_mut(&id).unwrap()["tags"][OWNER_TAG] = json!(owner);
        }
        Prior::Strangers(fields) => drop(world.remote.add("my-app", fields.clone())),
    }
}

/// Settled within three rounds; then nothing is planned, read or written, in this process and in the next.
fn settles(world: &mut World) -> TestCaseResult {
    let visit = world.visit();
    prop_assert_eq!(&visit.outcome, &Outcome::InSync, "{:?}", visit);
    prop_assert!(visit.iterations <= 3, "{:?}", visit);
    let stored = world.object.status.clone();
    let remote = world.remote.apps.clone();
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        let requeue_after = world.visit();
        prop_assert_eq!(
            requeue_after.reads.len() + requeue_after.writes.len() + requeue_after.first.len(),
            0,
            "{:?}",
            requeue_after
        );
        prop_assert_eq!(&world.object.status, &stored, "no status write");
        // At the next phase point it is read once, and found to be as it is.
        let wait = requeue_after.requeue_after.unwrap();
        prop_assert!(wait <= Duration::from_secs(600), "{:?}", wait);
        world.pass(i64::try_from(wait.as_secs()).unwrap() + 1);
        let check = world.visit();
        prop_assert_eq!((check.remote_reads(), check.writes.len()), (1, 0), "{:?}", check);
        prop_assert_eq!(&world.object.status, &stored, "no status write");
        world.pass(60);
    }
    prop_assert_eq!(&world.remote.apps, &remote);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariant_1_plan_is_empty_when_settled_and_settles_within_three_rounds(
        spec in specs(),
        prior in priors(),
        normalises in any::<bool>(),
        steps in proptest::collection::vec((weighted(0.7, specs()), changes()), 0..4),
    ) {
        let mut world = World::new(spec);
        world.remote.normalises = normalises;
        place(&mut world, &prior);
        if matches!(prior, Prior::Strangers(_)) {
            let before = world.remote.apps.clone();
            let visit = world.visit();
            prop_assert_eq!(visit.stalled(), Some(Reason::NameTaken));
            prop_assert_eq!(&world.remote.apps, &before);
            let requeue_after = world.visit();
            prop_assert_eq!(requeue_after.reads.len() + requeue_after.writes.len() + requeue_after.first.len(), 0, "{:?}", requeue_after);
            return Ok(());
        }
        settles(&mut world)?;
        let id = world.status().id.unwrap();
        for (edit, change) in steps {
            world.remote.apps.get_mut(&id).unwrap().extend(change.as_object().unwrap().clone());
            match edit {
                Some(spec) => world.edit(spec),
                None => world.pass(1200),
            }
            settles(&mut world)?;
            let foreign = change.pointer("/tags/foreign").is_none_or(|tag| *tag == world.remote.apps[&id]["tags"]["foreign"]);
            prop_assert!(foreign, "a foreign tag is gone");
            prop_assert_eq!(world.remote.apps.len(), if matches!(prior, Prior::Unrelated) { 2 } else { 1 });
            prop_assert_eq!(&world.remote.apps[&id]["tags"][OWNER_TAG], &json!(world.owner()));
        }
    }
}

#[test]
fn invariant_2_nothing_is_created_or_deleted_on_unknown() {
    for error in failures() {
        for at in [At::Definition, At::List, At::App] {
            for (state, deleting) in
                [("new", false), ("intent", false), ("recorded", false), ("intent", true), ("recorded", true)]
            {
                let mut world = World::new(json!({"description": "one"}));
                match state {
                    "recorded" => drop(world.visit()),
                    "intent" => {
                        world.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "broken"), false));
                        world.visit();
                    }
                    _ => {}
                }
                world.edit(json!({"description": "two"}));
                world.pass(3600);
                if deleting {
                    world.delete();
                }
                world.blind = Some((at, error.clone()));
                let blinded = match at {
                    At::Source => false,
                    At::Definition => deleting,
                    At::List => state != "recorded",
                    At::App => state == "recorded",
                };
                let visit = world.visit();
                let case = format!("{error:?} at {at:?}, {state}, deleting: {deleting}: {visit:?}");
                if blinded {
                    assert_eq!(visit.writes, [], "{case}");
                    assert!(!visit.first.contains(&KubernetesWrite::RemoveFinalizer), "{case}");
                    assert!(!matches!(visit.outcome, Outcome::InSync | Outcome::Finalized), "{case}");
                } else {
                    assert!(matches!(visit.outcome, Outcome::InSync | Outcome::Finalized), "{case}");
                }
            }
        }
    }
}
