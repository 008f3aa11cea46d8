//! A spicepod that a ConfigMap holds.

use super::*;

fn from_config_map(more: Value) -> Value {
    let mut spec = json!({"spicepodFrom": {"configMapKeyRef": {"name": "pods"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn reads_source(visit: &Reconciled<SpiceApp>) -> bool {
    visit.reads.iter().any(|read| matches!(read, AppRead::Spicepod(_)))
}

#[test]
fn the_spicepod_of_a_config_map_is_kept_and_its_change_seen_at_once() {
    let mut world = World::new(from_config_map(json!({})));
    world.config_map = Some((1, Some("version: v1\nname: first".into())));
    assert_eq!(world.visit().outcome, Outcome::InSync);
    assert_eq!(world.remote.apps[&101]["spicepod"], json!({"version": "v1", "name": "first"}));
    assert_eq!(world.status().core.observed_sources, [remote::source(1)]);

    // In date: its version tells, and it is not read again, nor after a restart.
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        let visit = world.visit();
        assert_eq!((&visit.outcome, visit.remote_reads(), reads_source(&visit)), (&Outcome::Skipped, 0, false));
    }
    world.config_map = Some((2, Some(r#"{"version": "v1", "name": "second"}"#.into())));
    assert_eq!(world.visit().put(), ["spicepod".to_owned()].into());
    assert_eq!(
        (world.remote.apps[&101]["spicepod"]["name"].as_str(), world.status().core.observed_sources),
        (Some("second"), vec![remote::source(2)])
    );
    // Another version with the same content is read, and sends nothing.
    world.config_map = Some((3, Some("version: v1\nname: second".into())));
    let visit = world.visit();
    assert_eq!((&visit.outcome, visit.writes.len(), reads_source(&visit)), (&Outcome::InSync, 0, true));
    assert_eq!(world.status().core.observed_sources, [remote::source(3)]);
}

#[test]
fn a_change_that_could_not_be_acted_on_is_still_to_be_seen() {
    let mut world = World::new(from_config_map(json!({})));
    world.config_map = Some((1, Some("name: first".into())));
    world.visit();
    world.pass(60);
    world.config_map = Some((2, Some("name: second".into())));
    world.blind = Some((At::App, ApiError::local(ErrorKind::Connect, "down")));
    assert!(matches!(world.visit().outcome, Outcome::ReadFailed(..)));
    assert_eq!(world.status().core.observed_sources, [remote::source(1)]);
    world.restart();
    world.blind = None;
    assert_eq!(world.visit().put(), ["spicepod".to_owned()].into());
}

#[test]
fn what_the_service_refuses_of_a_config_map_is_sent_again_when_it_changes_and_not_by_whatever_wakes_the_object() {
    let mut world = World::new(from_config_map(json!({})));
    world.config_map = Some((1, Some("name: first".into())));
    world.visit();
    world.pass(60);
    world.config_map = Some((2, Some("name: second".into())));
    world.remote.fault = Some((ApiError::local(ErrorKind::Invalid, "no"), false));
    assert!(matches!(world.visit().outcome, Outcome::WriteFailed(Reason::InvalidSpec, ..)));
    world.pass(60);
    let held = world.visit();
    assert_eq!((held.writes.len(), held.remote_reads(), held.outcome), (0, 0, Outcome::Skipped));
    world.config_map = Some((3, Some("name: third".into())));
    assert_eq!(world.visit().put(), ["spicepod".to_owned()].into());
}

#[test]
fn what_is_no_spicepod_is_refused_without_a_call_and_without_its_text() {
    for (config_map, message) in [
        (Some((1, Some("- hidden-value".to_owned()))), "not a mapping"),
        (Some((1, Some("hidden-value: [".to_owned()))), "not YAML"),
        (Some((1, Some("hidden: 1\nhidden: 2".to_owned()))), "a key is there twice: line 2"),
        (Some((1, Some("hidden: 1\n---\nhidden: 2".to_owned()))), "more than one document"),
        (Some((1, Some(format!("a: {}", "x".repeat(256 * 1024))))), "at most 262144"),
        (Some((1, Some(format!("{}1{}", "{a: ".repeat(80), "}".repeat(80))))), "nested too deep"),
    ] {
        let mut world = World::new(from_config_map(json!({})));
        world.config_map = config_map;
        let visit = world.visit();
        let Outcome::Stalled(Reason::InvalidSpec, told) = &visit.outcome else { panic!("{message}: {visit:?}") };
        assert!(told.contains("spec.spicepodFrom") && told.contains(message) && !told.contains("hidden"), "{told}");
        assert_eq!((visit.remote_reads(), visit.writes.len()), (0, 0));
        let requeue_after = world.visit();
        assert_eq!(
            (requeue_after.outcome, requeue_after.reads.len()),
            (Outcome::Skipped, 1),
            "nothing is read but the cache"
        );

        // Mended, it goes on; the object can be deleted as it is.
        let mut mended = World { object: world.object.clone(), ..World::new(json!({})) };
        mended.config_map = Some((9, Some("name: good".into())));
        assert_eq!(mended.visit().outcome, Outcome::InSync, "{message}");
        world.delete();
        assert_eq!(world.visit().outcome, Outcome::Finalized);
    }
}

#[test]
fn a_source_that_cannot_be_read_stops_nothing_else_than_this_visit() {
    let mut world = World::new(from_config_map(json!({})));
    world.config_map = Some((1, Some("name: first".into())));
    world.blind = Some((At::Source, ApiError::local(ErrorKind::Connect, "no answer")));
    let visit = world.visit();
    assert!(matches!(visit.outcome, Outcome::ReadFailed(..)) && visit.writes.is_empty(), "{visit:?}");
    world.blind = None;
    assert_eq!(world.visit().outcome, Outcome::InSync);
}

#[test]
fn what_looks_like_a_number_and_begins_with_a_zero_is_a_text() {
    let read = parse_spicepod("account: 00123456789\nmode: 0644\ncount: 12\nshare: 0.5\nnone: 0\n").unwrap();
    let expected = json!({"account": "00123456789", "mode": "0644", "count": 12, "share": 0.5, "none": 0});
    assert_eq!(Value::Object(read), expected);
}

#[test]
fn a_source_that_is_missing_is_named_without_a_call_and_taken_when_it_appears() {
    for (config_map, message) in
        [(None, "ConfigMap \"pods\" not found"), (Some((1, None)), "ConfigMap \"pods\" has no key \"spicepod.yaml\"")]
    {
        let mut world = World::new(from_config_map(json!({})));
        world.config_map = config_map;
        let visit = world.visit();
        let Outcome::WriteFailed(Reason::SourceNotFound, told, _) = &visit.outcome else { panic!("{visit:?}") };
        assert_eq!((told.as_str(), visit.remote_reads(), visit.writes.len()), (message, 0, 0));
        assert_eq!(world.ready(), ("False".to_owned(), "SourceNotFound".to_owned()));
        let requeue_after = world.visit();
        assert_eq!(
            (requeue_after.outcome, requeue_after.reads.len()),
            (Outcome::Skipped, 1),
            "nothing is read but the cache"
        );

        world.config_map = Some((2, Some("name: good".into())));
        assert_eq!(world.visit().outcome, Outcome::InSync, "{message}");
        // One that vanishes later changes nothing in the app, and the object can be deleted as it is.
        let before = world.remote.apps.clone();
        world.config_map = None;
        let visit = world.visit();
        assert!(matches!(visit.outcome, Outcome::WriteFailed(Reason::SourceNotFound, ..)), "{visit:?}");
        assert_eq!((visit.writes.len(), &world.remote.apps), (0, &before));
        world.delete();
        assert_eq!(world.visit().outcome, Outcome::Finalized);
    }
}
