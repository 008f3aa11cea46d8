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

/// Versions of the sources in status.
fn versions(fixture: &Fixture) -> Vec<String> {
    fixture.status().core.observed_sources.into_iter().map(|source| source.resource_version).collect()
}

#[test]
fn a_change_of_the_config_map_is_applied_at_once() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("version: v1\nname: first".into())));
    assert_eq!(fixture.reconcile().outcome, Outcome::InSync);
    assert_eq!(fixture.remote.apps[&101]["spicepod"], json!({"version": "v1", "name": "first"}));
    assert_eq!(versions(&fixture), ["1"]);

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
        (fixture.remote.apps[&101]["spicepod"]["name"].as_str(), versions(&fixture)),
        (Some("second"), vec!["2".to_owned()])
    );
    // A new version with the same content is read and causes no update.
    fixture.config_map = Some((3, Some("version: v1\nname: second".into())));
    let result = fixture.reconcile();
    assert_eq!((&result.outcome, result.remote_reads(), reads_source(&result)), (&Outcome::Skipped, 0, true));
    assert_eq!(versions(&fixture), ["3"]);
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
    assert_eq!(versions(&fixture), ["1"]);
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
fn a_new_version_with_the_same_spicepod_starts_no_attempt() {
    type Prepare = fn(&mut Fixture);
    let cases: [(&str, Prepare, Option<Reason>); 4] = [
        ("in sync", |_| {}, None),
        ("rejected", |fixture| fixture.remote.fault = Some((ApiError::local(ErrorKind::Invalid, "no"), false)), None),
        ("repository", |fixture| fixture.remote.has_repository = true, Some(Reason::RepositoryConnected)),
        (
            "another binding",
            |fixture| {
                let binding = Some("https://api.example#2".to_owned());
                let view = OrganizationView { binding, ..OrganizationView::default() };
                fixture.organization = Observed::Present(view);
            },
            Some(Reason::OrganizationMismatch),
        ),
    ];
    for (name, prepare, stalled) in cases {
        let mut fixture = Fixture::new(from_config_map(json!({})));
        fixture.config_map = Some((1, Some("name: first".into())));
        fixture.reconcile();
        fixture.advance(60);
        prepare(&mut fixture);
        fixture.config_map = Some((2, Some("name: second".into())));
        let result = fixture.reconcile();
        assert_eq!(result.stalled(), stalled, "{name}: {result:?}");
        let is_rejected = name == "rejected";
        for (version, restart) in [(3, false), (4, true)] {
            if restart && !is_rejected {
                fixture.restart();
            }
            fixture.config_map = Some((version, Some("# another text\nname: second".into())));
            let result = fixture.reconcile();
            assert_eq!((&result.outcome, result.remote_reads()), (&Outcome::Skipped, 0), "{name}, version {version}");
            let recorded = if is_rejected { 1 } else { version };
            assert_eq!(versions(&fixture), [recorded.to_string()], "{name}: a version is recorded once it is applied");
        }
        fixture.config_map = Some((5, Some("name: third".into())));
        assert_ne!(fixture.reconcile().outcome, Outcome::Skipped, "{name}: another spicepod");
    }
}

#[test]
fn the_spicepod_from_before_a_failed_update_is_sent_again() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("name: first".into())));
    fixture.reconcile();
    fixture.advance(60);
    fixture.config_map = Some((2, Some("name: second".into())));
    // The update takes effect, and its response is lost.
    fixture.remote.fault = Some((ApiError::local(ErrorKind::OutcomeUnknown, "no response"), true));
    assert!(matches!(fixture.reconcile().outcome, Outcome::WriteFailed(..)));
    fixture.restart();
    fixture.advance(60);
    fixture.config_map = Some((3, Some("name: first".into())));
    assert_eq!(fixture.reconcile().put(), ["spicepod".to_owned()].into());
}

#[test]
fn the_rejection_of_another_spicepod_shows_its_own_text() {
    let mut fixture = Fixture::new(from_config_map(json!({})));
    fixture.config_map = Some((1, Some("name: first".into())));
    fixture.reconcile();
    let message = |fixture: &Fixture| fixture.status().core.conditions[0].message.clone();
    let mut reject = |version, text: &str| {
        fixture.advance(60 * 60);
        fixture.config_map = Some((version, Some(format!("name: version-{version}"))));
        fixture.remote.fault = Some((ApiError::local(ErrorKind::Invalid, format!("400: “{text}”")), false));
        assert_eq!(fixture.reconcile().put(), ["spicepod".to_owned()].into());
        message(&fixture)
    };
    assert_eq!(reject(2, "no views"), "400: “no views”");
    assert_eq!(reject(2, "no views, request 2"), "400: “no views”");
    assert_eq!(reject(3, "no datasets"), "400: “no datasets”");
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
    assert_eq!(read.to_value(), expected);
}

/// Scalars without quotes, and their values by the core schema of YAML 1.2. A text has the value None.
#[test]
fn scalars_follow_the_core_schema() {
    let float = |number: f64| Some(json!(number));
    for (scalar, expected) in [
        ("0", Some(json!(0))),
        ("12", Some(json!(12))),
        ("+12", Some(json!(12))),
        ("-12", Some(json!(-12))),
        ("-0", Some(json!(0))),
        ("0o17", Some(json!(15))),
        ("0x1F", Some(json!(31))),
        ("0xabCD", Some(json!(0xabcd))),
        ("9223372036854775807", Some(json!(i64::MAX))),
        ("-9223372036854775808", Some(json!(i64::MIN))),
        ("18446744073709551615", Some(json!(u64::MAX))),
        ("0xffffffffffffffff", Some(json!(u64::MAX))),
        ("1.5", float(1.5)),
        ("-1.5", float(-1.5)),
        ("+.5", float(0.5)),
        ("1.", float(1.0)),
        ("1e3", float(1000.0)),
        ("1.5E-2", float(0.015)),
        ("0.5", float(0.5)),
        ("true", Some(json!(true))),
        ("True", Some(json!(true))),
        ("FALSE", Some(json!(false))),
        ("null", Some(Value::Null)),
        ("Null", Some(Value::Null)),
        ("NULL", Some(Value::Null)),
        ("~", Some(Value::Null)),
        ("", Some(Value::Null)),
        // An integer with leading zeros is a number in the core schema. A text keeps the zeros.
        ("00123", None),
        ("017", None),
        ("-007", None),
        ("+00", None),
        ("1_000", None),
        ("1_000.5", None),
        ("0b101", None),
        ("0B101", None),
        ("0O17", None),
        ("0X1F", None),
        ("-0x1F", None),
        ("+0o17", None),
        ("0o18", None),
        ("0xFG", None),
        ("0x", None),
        ("0x_1F", None),
        ("12:30:45", None),
        ("190:20:30.15", None),
        ("2001-12-14", None),
        ("yes", None),
        ("no", None),
        ("on", None),
        ("off", None),
        ("y", None),
        ("tRue", None),
        ("nULL", None),
        ("inf", None),
        ("nan", None),
        ("infinity", None),
        ("+.nan", None),
        (".iNF", None),
        ("1e", None),
        ("e1", None),
        ("1e+", None),
        ("1.5.2", None),
        (".", None),
        ("+", None),
        ("1,000", None),
        ("0.5f", None),
        ("\u{661}", None),
        ("=", None),
    ] {
        let expected = expected.unwrap_or_else(|| json!(scalar));
        let read = parse_spicepod(&format!("value: {scalar}\nlist: [{scalar}]")).unwrap();
        let in_list = if scalar.is_empty() { json!([]) } else { json!([expected]) };
        let item = if scalar == "1,000" { json!([1, "000"]) } else { in_list };
        assert_eq!(read.to_value(), json!({ "value": expected, "list": item }), "{scalar:?}");
        for quoted in [format!("'{scalar}'"), format!("\"{scalar}\""), format!("!!str {scalar}"), format!("! {scalar}")]
        {
            let read = parse_spicepod(&format!("value: {quoted}")).unwrap();
            assert_eq!(read.to_value()["value"], json!(scalar), "{quoted}");
        }
    }
}

#[test]
fn tags_anchors_and_block_scalars_are_read() {
    let text = "a: &x {n: 1}\nb: *x\nc: |\n  1\n  2\nd: >-\n  1\n  2\ne: !!int '12'\nf: !!float 1\n1: x\ntrue: y\n";
    let read = parse_spicepod(text).unwrap().to_value();
    assert_eq!(
        read,
        json!({"a": {"n": 1}, "b": {"n": 1}, "c": "1\n2\n", "d": "1 2", "e": 12, "f": 1.0, "1": "x", "true": "y"})
    );
}

#[test]
fn an_invalid_text_has_a_message_with_its_problem_and_position() {
    let integer = "integer with more than 64 bits; write the value as a text in quotes";
    let number = "number that JSON cannot represent; write the value as a text in quotes";
    let deep = "nested too deeply; the maximum is 64 levels";
    let large = "too large; the maximum is 262144 bytes as JSON";
    let key = "key that is not a string";
    let aliases: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    let nested: String = (1..80).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
    let cases = [
        ("hidden: [", "invalid YAML: line 1, column 9".to_owned()),
        ("a: 1\n b: hidden", "invalid YAML: line 2, column 3".to_owned()),
        ("a: *hidden", "invalid YAML: line 1, column 4".to_owned()),
        ("a: &x [*x]", "alias of a value that contains the alias: line 1, column 8".to_owned()),
        ("", "not a mapping".to_owned()),
        ("# hidden", "not a mapping".to_owned()),
        ("hidden", "not a mapping".to_owned()),
        ("a: 1\n---\nb: 2", "more than one document: line 2, column 1".to_owned()),
        ("1: hidden\n\"1\": b", "duplicate key: line 2, column 1".to_owned()),
        ("{\"a\": 1, \"\\u0061\": 2}", "duplicate key: line 1, column 10".to_owned()),
        ("? [hidden]\n: 1", format!("{key}: line 1, column 3")),
        ("~: hidden", format!("{key}: line 1, column 1")),
        ("a: {? {b: hidden} : 1}", format!("{key}: line 1, column 7")),
        (
            "a: &x {b: 1}\nc:\n  <<: *x",
            "merge key, which YAML 1.2 does not have; repeat the fields: line 3, column 3".to_owned(),
        ),
        ("a: 18446744073709551616", format!("{integer}: line 1, column 4")),
        ("a: -9223372036854775809", format!("{integer}: line 1, column 4")),
        ("a: 0x10000000000000000", format!("{integer}: line 1, column 4")),
        ("{\"a\": [1, 100000000000000000000]}", format!("{integer}: line 1, column 11")),
        ("a: .inf", format!("{number}: line 1, column 4")),
        ("a: -.INF", format!("{number}: line 1, column 4")),
        ("a: .nan", format!("{number}: line 1, column 4")),
        ("a: 1e400", format!("{number}: line 1, column 4")),
        ("a: !!int hidden", "value that does not match its tag: line 1, column 10".to_owned()),
        ("a: !!binary aGlkZGVu", "unsupported tag: line 1, column 13".to_owned()),
        ("a: !hidden {b: 1}", "unsupported tag: line 1, column 12".to_owned()),
        (&format!("a: {}{}", "[".repeat(64), "]".repeat(64)), format!("{deep}: line 1, column 67")),
        (&format!("a0: &a0 [hidden]\n{nested}"), format!("{deep}: line 64, column 12")),
        (&format!("a0: &a0 [hidden]\n{aliases}"), format!("{large}: line 15, column 18")),
        (&format!("a: {}", "x".repeat(262_144)), format!("{large}: line 1, column 4")),
    ];
    let differs = |(text, message): &(&str, String)| {
        let found = parse_spicepod(text);
        (found.as_ref() != Err(message)).then(|| (text.chars().take(80).collect::<String>(), found, message.clone()))
    };
    assert_eq!(cases.iter().filter_map(differs).collect::<Vec<_>>(), []);
    let deepest = format!("a: {}{}", "[".repeat(63), "]".repeat(63));
    assert!(parse_spicepod(&deepest).is_ok());
}

proptest::proptest! {
    #[test]
    fn json_is_read_as_json(text in "[\\PC]{0,20}", number in proptest::num::f64::NORMAL, integer in proptest::num::i64::ANY) {
        let value = json!({ "text": text, "list": [number, integer, null, true], text.as_str(): { "n": number } });
        let read = parse_spicepod(&value.to_string()).map(|read| read.to_value());
        proptest::prop_assert_eq!(read, Ok(value));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "([a-c0-9:&*!<>|?,\\[\\]{}'\"#~. \\n-]|\\PC){0,60}") {
        let _ = parse_spicepod(&text);
    }
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
