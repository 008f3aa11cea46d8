//! A spicepod from a ConfigMap.

use super::*;

fn from_config_map(more: Value) -> Value {
    let mut spec = json!({"spicepodFrom": {"configMapKeyRef": {"name": "pods"}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn reads_source(result: &Reconciled<SpiceApp>) -> bool {
    result.reads.iter().any(|read| matches!(read, AppRead::Spicepod(_)))
}

#[test]
fn a_change_of_the_config_map_is_applied_at_once() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("version: v1\nname: first".into())));
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.remote.apps[&101]["spicepod"], json!({"version": "v1", "name": "first"}));
    assert_eq!(fixture.status().core.observed_sources, [remote::source(1)]);

    // The version shows that nothing changed, so the content is not read again, also after a restart.
    for restart in [false, true] {
        if restart {
            fixture.restart();
        }
        let result = fixture.reconcile();
        assert_eq!((&result.outcome, result.remote_reads(), reads_source(&result)), (&Outcome::Skipped, 0, false));
    }
    fixture.config_map = Some((2, Some(r#"{"version": "v1", "name": "second"}"#.into())));
    assert_eq!(fixture.reconcile().put(), ["spicepod".to_owned()].into());
    assert_eq!(
        (fixture.remote.apps[&101]["spicepod"]["name"].as_str(), fixture.status().core.observed_sources),
        (Some("second"), vec![remote::source(2)])
    );
    // A new version with the same content is read and causes no update.
    fixture.config_map = Some((3, Some("version: v1\nname: second".into())));
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.writes.len(), reads_source(&result)), (&Outcome::InSync, 0, true));
    assert_eq!(fixture.status().core.observed_sources, [remote::source(3)]);
}

#[test]
fn a_change_that_was_not_applied_is_applied_after_a_restart() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("name: first".into())));
    fixture.reconcile();
    fixture.advance(60);
    fixture.config_map = Some((2, Some("name: second".into())));
    fixture.read_error = Some((FailingRead::App, ApiError::local(ErrorKind::Connect, "down")));
    assert!(matches!(fixture.reconcile().outcome, Outcome::ReadFailed(..)));
    assert_eq!(fixture.status().core.observed_sources, [remote::source(1)]);
    fixture.restart();
    fixture.read_error = None;
    assert_eq!(fixture.reconcile().put(), ["spicepod".to_owned()].into());
}

#[test]
fn a_rejected_spicepod_is_sent_again_only_after_a_change_of_the_config_map() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("name: first".into())));
    fixture.reconcile();
    fixture.advance(60);
    fixture.config_map = Some((2, Some("name: second".into())));
    fixture.remote.fault = Some((ApiError::local(ErrorKind::Invalid, "no"), false));
    assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(Reason::InvalidSpec, ..)));
    fixture.advance(60);
    let next = fixture.reconcile();
    assert_eq!((next.writes.len(), next.remote_reads(), next.outcome), (0, 0, Outcome::Skipped));
    fixture.config_map = Some((3, Some("name: third".into())));
    assert_eq!(fixture.reconcile().put(), ["spicepod".to_owned()].into());
}

#[test]
fn an_invalid_spicepod_stalls_without_a_request_and_without_its_text() {
    for (config_map, message) in [
        (Some((1, Some("- hidden-value".to_owned()))), "not a mapping"),
        (Some((1, Some("hidden-value: [".to_owned()))), "invalid YAML"),
        (Some((1, Some("hidden: 1\nhidden: 2".to_owned()))), "duplicate key: line 2"),
        (Some((1, Some("hidden: 1\n---\nhidden: 2".to_owned()))), "more than one document"),
        (Some((1, Some(format!("a: {}", "x".repeat(256 * 1024))))), "maximum is 262144"),
        (Some((1, Some(format!("{}1{}", "{a: ".repeat(80), "}".repeat(80))))), "nested too deep"),
    ] {
        let mut fixture = Fixture::new(from_config_map(json!({})));
        fixture.config_map = config_map;
        let result = fixture.reconcile();
        let Outcome::Stalled(Reason::InvalidSpec, shown) = &result.outcome else { panic!("{message}: {result:?}") };
        let start = "ConfigMap \"pods\": key \"spicepod.yaml\" is not a valid spicepod: ";
        assert!(shown.starts_with(start) && shown.contains(message) && !shown.contains("hidden"), "{shown}");
        assert_eq!((result.remote_reads(), result.writes.len()), (0, 0));
        let next = fixture.reconcile();
        assert_eq!((next.outcome, next.reads.len()), (Outcome::Skipped, 1), "only the cache is read");

        // A valid spicepod is applied. An object with an invalid one can be deleted.
        let mut corrected = Fixture::with_object(fixture.object.clone());
        corrected.config_map = Some((9, Some("name: good".into())));
        assert_eq!(corrected.reconcile().outcome, Outcome::InSync, "{message}");
        fixture.delete();
        assert_eq!(fixture.reconcile().outcome, Outcome::Finalized);
    }
}

#[test]
fn an_unreadable_source_fails_only_the_current_reconcile() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("name: first".into())));
    fixture.read_error = Some((FailingRead::Source, ApiError::local(ErrorKind::Connect, "no answer")));
    let result = fixture.reconcile();
    assert!(matches!(result.outcome, Outcome::ReadFailed(..)) && result.writes.is_empty(), "{result:?}");
    fixture.read_error = None;
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
}

#[test]
fn a_number_with_leading_zeros_is_a_string() {
    let read = parse_spicepod("account: 00123456789\nmode: 0644\ncount: 12\nshare: 0.5\nnone: 0\n").unwrap();
    let expected = json!({"account": "00123456789", "mode": "0644", "count": 12, "share": 0.5, "none": 0});
    assert_eq!(Value::Object(read), expected);
}

#[test]
fn a_source_that_is_missing_is_named_without_a_call_and_taken_when_it_appears() {
    for (config_map, message) in [
        (None, "ConfigMap \"pods\" not found. Create the ConfigMap, or correct spec.spicepodFrom"),
        (Some((1, None)), "ConfigMap \"pods\" has no key \"spicepod.yaml\". Add the key, or correct spec.spicepodFrom"),
    ] {
        let mut fixture = Fixture::new(from_config_map(json!({})));
        fixture.config_map = config_map;
        let result = fixture.reconcile();
        let Outcome::WriteFailed(Reason::SourceNotFound, told, _) = &result.outcome else { panic!("{result:?}") };
        assert_eq!((told.as_str(), result.remote_reads(), result.writes.len()), (message, 0, 0));
        assert_eq!(fixture.ready(), ("False".to_owned(), "SourceNotFound".to_owned()));
        let requeue_after = fixture.reconcile();
        assert_eq!(
            (requeue_after.outcome, requeue_after.reads.len()),
            (Outcome::Skipped, 1),
            "nothing is read but the cache"
        );

        fixture.config_map = Some((2, Some("name: good".into())));
        assert_eq!(fixture.reconcile().outcome, Outcome::InSync, "{message}");
        // One that vanishes later changes nothing in the app, and the object can be deleted as it is.
        let before = fixture.remote.apps.clone();
        fixture.config_map = None;
        let result = fixture.reconcile();
        assert!(matches!(result.outcome, Outcome::WriteFailed(Reason::SourceNotFound, ..)), "{result:?}");
        assert_eq!((result.writes.len(), &fixture.remote.apps), (0, &before));
        fixture.delete();
        assert_eq!(fixture.reconcile().outcome, Outcome::Finalized);
    }
}
