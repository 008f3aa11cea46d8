//! Secrets of an app. Values never appear in responses, journal or files.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::{ELSEWHERE, OPERATOR, READER, TestSandbox, assert_has, named, path, reply};
use crate::sandbox::{ApiSwitches, Profile, Reactivation, SandboxConfig, ValueDigest};

/// Value that must not appear in any response, journal entry or file.
const CANARY: &str = "c4n4ry-\"value\"-\u{e4}";

/// Starts a sandbox with an app, and returns the path of its secrets.
async fn start_with_app(config: SandboxConfig) -> (TestSandbox, String) {
    let sandbox = TestSandbox::start_with(config).await;
    let app = sandbox.create_app(json!({ "name": "app-one", "cname": "us-west-2-prod-aws-data" })).await;
    let secrets = format!("{}/secrets", path(&app));
    (sandbox, secrets)
}

async fn start_with_switches(switches: ApiSwitches) -> (TestSandbox, String) {
    start_with_app(SandboxConfig { switches, ..SandboxConfig::default() }).await
}

/// Sets a secret and asserts success.
async fn set(sandbox: &TestSandbox, secrets: &str, name: &str, value: &str) -> Value {
    let (status, secret) = sandbox.post(secrets, json!({ "name": name, "value": value })).await;
    assert_eq!(status, 200, "{secret}");
    secret
}

/// Returns name and digest of every stored secret of the first app.
async fn digests(sandbox: &TestSandbox) -> Vec<(String, String)> {
    let (_, state) = sandbox.get("/sandbox/state").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let secrets = state["apps"][0]["secrets"].as_array().unwrap();
    secrets.iter().map(|secret| (text(&secret["name"]), text(&secret["value_sha256"]))).collect()
}

fn digest(value: &str) -> String {
    serde_json::to_value(ValueDigest::of(value)).unwrap().as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    list["secrets"].as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_secret_is_returned_masked_under_apps_and_projects() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let projects = secrets.replace("apps", "projects");
    assert_eq!(sandbox.get(&secrets).await, (200, json!({ "secrets": [] })));
    let first = set(&sandbox, &secrets, "DATABASE_URL", CANARY).await;
    let second = set(&sandbox, &projects, "_a1", "").await;
    assert_eq!(
        first.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["created_at", "id", "name", "updated_at", "value"]
    );
    assert_has(&first, &json!({ "name": "DATABASE_URL", "value": "********", "updated_at": first["created_at"] }));
    assert_eq!(second["value"], "********", "the mask does not reveal the length of the value");
    assert!(first["id"].as_u64().unwrap() < second["id"].as_u64().unwrap());
    for prefix in [&secrets, &projects] {
        assert_eq!(sandbox.get(prefix).await, (200, json!({ "secrets": [first, second] })));
        assert_eq!(sandbox.get(&format!("{prefix}/DATABASE_URL")).await, (200, first.clone()));
        assert_eq!(sandbox.get(&format!("{prefix}/DATABASE%5FURL")).await, (200, first.clone()));
    }
    assert_eq!(sandbox.delete(&format!("{projects}/_a1")).await, (204, Value::Null));
    assert_eq!(sandbox.get(&secrets).await, (200, json!({ "secrets": [first] })));
}

#[tokio::test]
async fn setting_a_secret_again_changes_only_updated_at() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let first = set(&sandbox, &secrets, "TOKEN", "one").await;
    let other = set(&sandbox, &secrets, "token", "other").await;
    assert_ne!(first["id"], other["id"], "secret names are case-sensitive");
    let mut last = first.clone();
    // The last write keeps the value and still increases the time, even within the same millisecond.
    for value in ["two", "three", "three"] {
        let next = set(&sandbox, &secrets, "TOKEN", value).await;
        assert_has(&next, &json!({ "id": first["id"], "created_at": first["created_at"], "name": "TOKEN" }));
        assert!(last["updated_at"].as_str() < next["updated_at"].as_str(), "{last} {next}");
        last = next;
    }
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [last, other] }));
    assert_eq!(digests(&sandbox).await, [("TOKEN".into(), digest("three")), ("token".into(), digest("other"))]);
}

#[tokio::test]
async fn a_deleted_secret_is_removed_permanently() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let before = set(&sandbox, &secrets, "TOKEN", "one").await;
    let url = format!("{secrets}/TOKEN");
    assert_eq!(sandbox.delete(&url).await, (204, Value::Null));
    let missing = json!({ "error": "Secret \"TOKEN\" not found" });
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(sandbox.call(method, &url, OPERATOR, None).await, (404, missing.clone()));
    }
    assert_eq!(digests(&sandbox).await, []);
    let after = set(&sandbox, &secrets, "TOKEN", "one").await;
    assert!(before["id"].as_u64() < after["id"].as_u64(), "a new secret has a new ID");
}

#[tokio::test]
async fn a_value_is_stored_only_as_a_digest_and_never_leaks() {
    // Test vectors of the SHA-256 standard.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (sandbox, secrets) =
        start_with_app(SandboxConfig { state_file: Some(file.clone()), ..SandboxConfig::default() }).await;
    let mut responses = Vec::new();
    for (name, value) in [("ABC", "abc"), ("EMPTY", ""), ("CANARY", CANARY)] {
        responses.push(set(&sandbox, &secrets, name, value).await);
    }
    let expected = [("ABC", abc.into()), ("EMPTY", empty.into()), ("CANARY", digest(CANARY))];
    assert_eq!(digests(&sandbox).await, expected.map(|(name, digest)| (name.to_owned(), digest)));
    // No part of a body leaks, for any invalid body and any invalid path.
    let (app, _) = secrets.rsplit_once('/').unwrap();
    let (nothing, right) = (json!(null), json!({ "name": "CANARY", "value": CANARY }));
    let bodies = [
        json!({ "name": CANARY, "value": 1 }),
        json!({ "name": [CANARY], "value": [CANARY], "other": { "value": CANARY } }),
        json!([CANARY]),
        json!(CANARY),
    ];
    let mut wrong: Vec<_> = bodies.iter().map(|body| (Method::POST, secrets.clone(), OPERATOR, body)).collect();
    for elsewhere in ["/", "/CANARY", "/CANARY/value"] {
        wrong.push((Method::PUT, format!("{secrets}{elsewhere}"), OPERATOR, &right));
    }
    wrong.extend([
        (Method::PUT, secrets.clone(), OPERATOR, &right),
        (Method::POST, secrets.clone(), READER, &right),
        (Method::POST, secrets.clone(), "nobody", &right),
        (Method::POST, format!("{app}/secret"), OPERATOR, &right),
        (Method::POST, format!("{app}/%73ecrets"), OPERATOR, &right),
        (Method::POST, secrets.replace("/v1", "/V1"), OPERATOR, &right),
        (Method::POST, secrets.clone(), OPERATOR, &nothing),
    ]);
    for (method, url, token, body) in wrong {
        let (status, response) = sandbox.call(method, &url, token, Some(body)).await;
        assert!((400..500).contains(&status), "{url} {response}");
        responses.push(response);
    }
    for text in [format!("{{\"value\":\"{CANARY}"), format!("\"{CANARY}\" 1"), CANARY.to_owned()] {
        responses.push(reply(sandbox.request(Method::POST, &secrets).bearer_auth(OPERATOR).body(text)).await.1);
    }
    for url in [secrets.as_str(), "/sandbox/state", "/sandbox/faults", "/openapi.json"] {
        responses.push(sandbox.get(url).await.1);
    }
    let mut texts: Vec<_> = responses.iter().map(Value::to_string).collect();
    texts.push(fs::read_to_string(&file).unwrap());
    // The journal contains secret names unmasked, and one body has the value as its name.
    let journal = sandbox.journal(0, 0).await;
    let entries = journal["entries"].as_array().unwrap();
    texts.extend(entries.iter().filter(|entry| entry["body"]["name"] != CANARY).map(Value::to_string));
    assert!(texts.len() > 2 * bodies.len() && entries.len() > 15);
    let found: Vec<_> = texts.iter().filter(|text| text.contains("c4n4ry")).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn the_journal_contains_route_and_name_but_a_masked_value() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    set(&sandbox, &secrets, "TOKEN", CANARY).await;
    sandbox.get(&format!("{secrets}/TOKEN")).await;
    sandbox.post(&secrets, json!({ "value": null, "more": { "value": CANARY } })).await;
    sandbox.post(&secrets, json!([1])).await;
    let route = "/v1/apps/{appId}/secrets";
    let one = "/v1/apps/{appId}/secrets/{secretName}";
    let hidden = "********";
    let expected = [
        (route, secrets.clone(), json!({ "name": "TOKEN", "value": hidden }), 200),
        (one, format!("{secrets}/TOKEN"), Value::Null, 200),
        (route, secrets.clone(), json!({ "value": hidden, "more": hidden }), 400),
        (route, secrets.clone(), json!(hidden), 400),
    ];
    let journal = sandbox.journal(0, 0).await;
    // The first entry is the app.
    for ((route, path, body, status), entry) in expected.iter().zip(&journal["entries"].as_array().unwrap()[1..]) {
        assert_has(entry, &json!({ "route": route, "path": path, "body": body, "status": status }));
    }
}

#[tokio::test]
async fn an_invalid_secret_body_is_reported_by_field() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    let name = "must be a letter or _ and then letters, digits or _";
    let bad_names = ["", "1A", "a-b", "a b", "A\n", "a.b", "\u{e4}", "A\u{661}", "${A}"];
    let mut cases: Vec<_> =
        bad_names.map(|bad| (json!({ "name": bad, "value": "x" }), json!({ "name": [name] }))).into();
    cases.extend([
        (json!({}), json!({ "name": ["is required"], "value": ["is required"] })),
        (json!({ "name": "A" }), json!({ "value": ["is required"] })),
        (json!({ "name": "A", "value": null }), json!({ "value": ["must not be null"] })),
        (json!({ "name": 1, "value": 1 }), json!({ "name": ["must be a string"], "value": ["must be a string"] })),
        (json!({ "name": "A", "value": ["x"] }), json!({ "value": ["must be a string"] })),
    ]);
    for (body, fields) in cases {
        let error = json!({ "error": "Validation failed", "details": { "fieldErrors": fields, "formErrors": [] } });
        assert_eq!(sandbox.post(&secrets, body.clone()).await, (400, error), "{body}");
    }
    for body in [json!([]), json!("A"), Value::Null] {
        assert_eq!(
            sandbox.post(&secrets, body).await.1["details"]["formErrors"],
            json!(["the body must be a JSON object"])
        );
    }
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [] }));
    for name in ["a", "_", "Z9_", &"N".repeat(300)] {
        set(&sandbox, &secrets, name, "").await;
    }
    assert_eq!(sandbox.post(&secrets, json!({ "name": "A", "value": "x", "unheard_of": 1 })).await.0, 200);
}

#[tokio::test]
async fn a_value_is_limited_to_64_kib_and_a_body_to_1_mib() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    // The limit is in bytes, and some letters take two bytes.
    let most = "\u{e4}".repeat(32 * 1024);
    set(&sandbox, &secrets, "BIG", &most).await;
    let more = json!({ "name": "BIG", "value": format!("{most}y") });
    let (status, body) = sandbox.post(&secrets, more).await;
    let rule = json!({ "value": ["must be at most 65536 bytes"] });
    assert_eq!((status, &body["details"]["fieldErrors"]), (400, &rule));
    let more = json!({ "name": "BIG", "value": "x".repeat(1024 * 1024) });
    assert_eq!(sandbox.post(&secrets, more).await, (413, json!({ "error": "Request body too large" })));
    assert_eq!(digests(&sandbox).await, [("BIG".into(), digest(&most))]);
}

#[tokio::test]
async fn errors_follow_the_documented_order() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    set(&sandbox, &secrets, "TOKEN", "x").await;
    let gone = sandbox.create_app(named("app-two")).await;
    sandbox.delete(&path(&gone)).await;
    let theirs = sandbox.call(Method::POST, "/v1/apps", ELSEWHERE, Some(&named("app-one"))).await.1;
    let (gone, theirs) = (format!("{}/secrets", path(&gone)), format!("{}/secrets", path(&theirs)));
    let good = json!({ "name": "TOKEN", "value": "x" });
    let huge = json!({ "name": "-", "value": "x".repeat(1024 * 1024) });
    let bad = json!({ "name": "-" });
    for prefix in ["apps", "projects"] {
        let of = |url: &str| url.replace("apps", prefix);
        let cases = [
            ("nobody", "/v1/apps/x/secrets", &huge, 401),
            (READER, "/v1/apps/x/secrets", &huge, 403),
            (OPERATOR, "/v1/apps/x/secrets", &huge, 400),
            (OPERATOR, "/v1/apps/0/secrets", &good, 400),
            (OPERATOR, "/v1/apps/999999/secrets", &huge, 404),
            (OPERATOR, &gone, &bad, 404),
            (OPERATOR, &theirs, &good, 404),
            (OPERATOR, &secrets, &huge, 413),
            (OPERATOR, &secrets, &bad, 400),
            (OPERATOR, &secrets, &good, 200),
        ];
        for (token, url, body, expected) in cases {
            let (status, response) = sandbox.call(Method::POST, &of(url), token, Some(body)).await;
            assert_eq!(status, expected, "POST {url} by {token}: {response}");
        }
        let cases = [
            ("nobody", "/v1/apps/x/secrets", 401),
            (READER, "/v1/apps/x/secrets", 403),
            (OPERATOR, "/v1/apps/x/secrets", 400),
            (OPERATOR, "/v1/apps/999999/secrets", 404),
            (OPERATOR, &gone, 404),
            (OPERATOR, &theirs, 404),
            (OPERATOR, &secrets, 400),
        ];
        for (token, url, expected) in cases {
            let (status, response) = sandbox.call(Method::GET, &of(&format!("{url}?limit=0")), token, None).await;
            assert_eq!(status, expected, "GET {url} by {token}: {response}");
        }
        let cases = [
            ("nobody", "/v1/apps/x/secrets/TOKEN", 401),
            (READER, "/v1/apps/x/secrets/TOKEN", 403),
            (OPERATOR, "/v1/apps/x/secrets/TOKEN", 400),
            (OPERATOR, "/v1/apps/99999999999999999999/secrets/TOKEN", 400),
            (OPERATOR, "/v1/apps/%ff/secrets/TOKEN", 400),
            (OPERATOR, "/v1/apps/999999/secrets/TOKEN", 404),
            (OPERATOR, &format!("{gone}/TOKEN"), 404),
            (OPERATOR, &format!("{theirs}/TOKEN"), 404),
            (OPERATOR, &format!("{secrets}/%ff"), 400),
            (OPERATOR, &format!("{secrets}/token"), 404),
            (OPERATOR, &format!("{secrets}/no-name"), 404),
        ];
        for (token, url, expected) in cases {
            for method in [Method::GET, Method::DELETE] {
                let (status, response) = sandbox.call(method.clone(), &of(url), token, None).await;
                assert_eq!(status, expected, "{method} {url} by {token}: {response}");
            }
        }
    }
    assert_eq!(names(&sandbox.get(&secrets).await.1), ["TOKEN"]);
}

#[tokio::test]
async fn the_secret_list_is_paginated_on_request() {
    let seed = ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() };
    let clamped = ApiSwitches { clamp_pages: true, ..ApiSwitches::default() };
    let ignoring = ApiSwitches { ignore_offset: true, ..ApiSwitches::default() };
    let cases = [
        (ApiSwitches::default(), "", 0, 23),
        (ApiSwitches::default(), "?limit=5", 0, 5),
        (ApiSwitches::default(), "?limit=100&offset=20", 20, 3),
        (ApiSwitches::default(), "?offset=1", 1, 20),
        (seed, "", 0, 20),
        (seed, "?limit=100", 0, 23),
        (clamped, "?limit=100", 0, 20),
        (clamped, "?limit=500&offset=20", 20, 3),
        (ignoring, "?limit=10&offset=20", 0, 10),
    ];
    for (switches, query, first, count) in cases {
        let (sandbox, secrets) = start_with_switches(switches).await;
        // In reverse order of names, because lists are ordered by ID.
        let all: Vec<_> = (0..23).rev().map(|number| format!("S{number:02}")).collect();
        for name in &all {
            set(&sandbox, &secrets, name, name).await;
        }
        set(&sandbox, &secrets, &all[0], "again").await;
        let (status, list) = sandbox.get(&format!("{secrets}{query}")).await;
        assert_eq!((status, names(&list)), (200, all[first..first + count].iter().map(String::as_str).collect()));
    }
}

#[tokio::test]
async fn updated_at_can_have_different_precision_on_write_and_read() {
    let (sandbox, secrets) =
        start_with_switches(ApiSwitches { mixed_timestamp_precision: true, ..ApiSwitches::default() }).await;
    set(&sandbox, &secrets, "TOKEN", "one").await;
    let written = set(&sandbox, &secrets, "TOKEN", "two").await;
    let (_, read) = sandbox.get(&format!("{secrets}/TOKEN")).await;
    let (_, list) = sandbox.get(&secrets).await;
    assert_eq!(list, json!({ "secrets": [read] }));
    let time = |secret: &Value| secret["updated_at"].as_str().unwrap().to_owned();
    assert_eq!(
        (time(&written).len(), time(&read).len()),
        ("2026-01-02T03:04:05.678901Z".len(), "2026-01-02T03:04:05Z".len())
    );
    assert_eq!(time(&written)[..19], time(&read)[..19], "both responses have the same time");
    let instant = |secret: &Value| time(secret).parse::<jiff::Timestamp>().unwrap();
    assert!(instant(&read) <= instant(&written));
    assert_eq!(read["created_at"], written["created_at"]);
}

#[tokio::test]
async fn a_reactivated_app_keeps_its_secrets() {
    for reactivation in [Reactivation::Apply, Reactivation::Keep] {
        let (sandbox, secrets) = start_with_switches(ApiSwitches { reactivation, ..ApiSwitches::default() }).await;
        let left = set(&sandbox, &secrets, "LEFT", "over").await;
        let (app, _) = secrets.rsplit_once('/').unwrap();
        sandbox.delete(app).await;
        assert_eq!(sandbox.get(&secrets).await.0, 404);
        assert_eq!(digests(&sandbox).await, [("LEFT".into(), digest("over"))]);
        let back = sandbox.create_app(named("APP-one")).await;
        assert_eq!(format!("{}/secrets", path(&back)), secrets);
        assert_eq!(sandbox.get(&secrets).await, (200, json!({ "secrets": [left] })), "{reactivation:?}");
    }
}

#[tokio::test]
async fn secrets_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let config = SandboxConfig { state_file: Some(file.clone()), ..SandboxConfig::default() };
    let (sandbox, secrets) = start_with_app(config.clone()).await;
    let first = set(&sandbox, &secrets, "FIRST", "one").await;
    let gone = set(&sandbox, &secrets, "GONE", "two").await;
    sandbox.delete(&format!("{secrets}/GONE")).await;
    let stored = sandbox.get("/sandbox/state").await;
    drop(sandbox);

    let sandbox = TestSandbox::start_with(config.clone()).await;
    assert_eq!(sandbox.get("/sandbox/state").await, stored);
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [first] }));
    let new = set(&sandbox, &secrets, "NEW", "three").await;
    assert!(gone["id"].as_u64() < new["id"].as_u64(), "IDs are not reused");
    drop(sandbox);

    // A state file of a version without secrets.
    let mut old: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    old["store"].as_object_mut().unwrap().remove("next_secret");
    for app in old["store"]["apps"].as_object_mut().unwrap().values_mut() {
        app.as_object_mut().unwrap().remove("secrets");
    }
    fs::write(&file, old.to_string()).unwrap();
    let sandbox = TestSandbox::start_with(config).await;
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [] }));
    assert_eq!(set(&sandbox, &secrets, "FIRST", "one").await["id"], first["id"]);
}

#[tokio::test]
async fn a_secret_change_that_cannot_be_written_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let (sandbox, secrets) =
        start_with_app(SandboxConfig { state_file: Some(inner.join("state.json")), ..SandboxConfig::default() }).await;
    let secret = set(&sandbox, &secrets, "TOKEN", "one").await;
    fs::remove_dir_all(&inner).unwrap();
    assert_eq!(sandbox.post(&secrets, json!({ "name": "TOKEN", "value": "two" })).await.0, 500);
    assert_eq!(sandbox.delete(&format!("{secrets}/TOKEN")).await.0, 500);
    assert_eq!(sandbox.get(&secrets).await.1, json!({ "secrets": [secret] }));
    assert_eq!(digests(&sandbox).await, [("TOKEN".into(), digest("one"))]);
}

fn config_from_seed(secrets: &str) -> Result<SandboxConfig, String> {
    let mut config = SandboxConfig::default();
    let app = format!("{{ organization: sandbox, body: {{ name: app-one }}, secrets: {secrets} }}");
    config.load_seed(&format!("apps: [{app}]")).map(|()| config)
}

#[tokio::test]
async fn seed_secrets_are_stored_only_as_digests() {
    let config = config_from_seed("{ B: '', A: fake-value, C: 0123 }").unwrap();
    assert!(!format!("{:?}", config.apps).contains("fake-value"));
    let sandbox = TestSandbox::start_with(config).await;
    assert_eq!(
        digests(&sandbox).await,
        [("A".into(), digest("fake-value")), ("B".into(), digest("")), ("C".into(), digest("0123"))]
    );
    let (_, apps) = sandbox.get("/v1/apps").await;
    let (_, list) = sandbox.get(&format!("{}/secrets", path(&apps["apps"][0]))).await;
    assert_eq!(names(&list), ["A", "B", "C"]);

    for secrets in
        ["{ A: [fake-value] }", "{ A: { fake-value: 1 } }", "fake-value", "{ A: x, A: fake-value }", "{ A: null }"]
    {
        let error = config_from_seed(secrets).err().unwrap_or_else(|| panic!("{secrets} is accepted"));
        assert!(!error.contains("fake-value"), "{error}");
    }
    let address = ([127, 0, 0, 1], 0).into();
    let wrong =
        super::super::serve(SandboxConfig { address, ..config_from_seed("{ A-B: fake-value }").unwrap() }).await;
    let error = wrong.err().unwrap().to_string();
    assert!(error.contains("the app \"app-one\"") && error.contains("\"A-B\" must be a letter"), "{error}");
    assert!(!error.contains("fake-value"), "{error}");
}
