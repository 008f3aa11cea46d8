//! The secrets of an app: what is told of them, and that no value is.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::{ELSEWHERE, OPERATOR, READER, TestSandbox, assert_has, named, path, reply};
use crate::sandbox::{ApiSwitches, Profile, Reactivation, SandboxConfig, ValueDigest};

/// In no answer, journal or file is there anything that looks like this.
const CANARY: &str = "c4n4ry-\"value\"-\u{e4}";

/// A running sandbox with an app, and the path of the app's secrets.
async fn with_app(config: SandboxConfig) -> (TestSandbox, String) {
    let world = TestSandbox::with(config).await;
    let app = world.app(json!({ "name": "app-one", "cname": "us-west-2-prod-aws-data" })).await;
    let secrets = format!("{}/secrets", path(&app));
    (world, secrets)
}

async fn with_switches(switches: ApiSwitches) -> (TestSandbox, String) {
    with_app(SandboxConfig { switches, ..SandboxConfig::default() }).await
}

/// Sets a secret that must be accepted.
async fn set(world: &TestSandbox, secrets: &str, name: &str, value: &str) -> Value {
    let (status, secret) = world.post(secrets, json!({ "name": name, "value": value })).await;
    assert_eq!(status, 200, "{secret}");
    secret
}

/// Name and digest of every secret that is kept of the first app.
async fn digests(world: &TestSandbox) -> Vec<(String, String)> {
    let (_, state) = world.get("/sandbox/state").await;
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
async fn a_secret_that_is_set_is_shown_with_asterisks_under_both_names_of_its_app() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
    let projects = secrets.replace("apps", "projects");
    assert_eq!(world.get(&secrets).await, (200, json!({ "secrets": [] })));
    let first = set(&world, &secrets, "DATABASE_URL", CANARY).await;
    let second = set(&world, &projects, "_a1", "").await;
    assert_eq!(
        first.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["created_at", "id", "name", "updated_at", "value"]
    );
    assert_has(&first, &json!({ "name": "DATABASE_URL", "value": "********", "updated_at": first["created_at"] }));
    assert_eq!(second["value"], "********", "the asterisks do not tell how long the value is");
    assert!(first["id"].as_u64().unwrap() < second["id"].as_u64().unwrap());
    for prefix in [&secrets, &projects] {
        assert_eq!(world.get(prefix).await, (200, json!({ "secrets": [first, second] })));
        assert_eq!(world.get(&format!("{prefix}/DATABASE_URL")).await, (200, first.clone()));
        assert_eq!(world.get(&format!("{prefix}/DATABASE%5FURL")).await, (200, first.clone()));
    }
    assert_eq!(world.delete(&format!("{projects}/_a1")).await, (204, Value::Null));
    assert_eq!(world.get(&secrets).await, (200, json!({ "secrets": [first] })));
}

#[tokio::test]
async fn setting_a_secret_again_moves_only_the_time_of_its_change() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
    let first = set(&world, &secrets, "TOKEN", "one").await;
    let other = set(&world, &secrets, "token", "other").await;
    assert_ne!(first["id"], other["id"], "the case of a name counts");
    let mut last = first.clone();
    // The last of them changes nothing, and is a change all the same. That they are fast does not make two times one.
    for value in ["two", "three", "three"] {
        let next = set(&world, &secrets, "TOKEN", value).await;
        assert_has(&next, &json!({ "id": first["id"], "created_at": first["created_at"], "name": "TOKEN" }));
        assert!(last["updated_at"].as_str() < next["updated_at"].as_str(), "{last} {next}");
        last = next;
    }
    assert_eq!(world.get(&secrets).await.1, json!({ "secrets": [last, other] }));
    assert_eq!(digests(&world).await, [("TOKEN".into(), digest("three")), ("token".into(), digest("other"))]);
}

#[tokio::test]
async fn a_secret_that_is_deleted_is_gone_for_good() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
    let before = set(&world, &secrets, "TOKEN", "one").await;
    let url = format!("{secrets}/TOKEN");
    assert_eq!(world.delete(&url).await, (204, Value::Null));
    let missing = json!({ "error": "Secret \"TOKEN\" not found" });
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(world.call(method, &url, OPERATOR, None).await, (404, missing.clone()));
    }
    assert_eq!(digests(&world).await, []);
    let after = set(&world, &secrets, "TOKEN", "one").await;
    assert!(before["id"].as_u64() < after["id"].as_u64(), "it is another one");
}

#[tokio::test]
async fn the_value_is_known_by_its_digest_only() {
    // Of the standard's own examples, so that the digest is no other than SHA-256.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (world, secrets) = with_app(SandboxConfig { state_file: Some(file.clone()), ..SandboxConfig::default() }).await;
    let mut answers = Vec::new();
    for (name, value) in [("ABC", "abc"), ("EMPTY", ""), ("CANARY", CANARY)] {
        answers.push(set(&world, &secrets, name, value).await);
    }
    let expected = [("ABC", abc.into()), ("EMPTY", empty.into()), ("CANARY", digest(CANARY))];
    assert_eq!(digests(&world).await, expected.map(|(name, digest)| (name.to_owned(), digest)));
    // Whatever is wrong with a body, or with where it is sent, nothing of it is told.
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
        let (status, answer) = world.call(method, &url, token, Some(body)).await;
        assert!((400..500).contains(&status), "{url} {answer}");
        answers.push(answer);
    }
    for text in [format!("{{\"value\":\"{CANARY}"), format!("\"{CANARY}\" 1"), CANARY.to_owned()] {
        answers.push(reply(world.request(Method::POST, &secrets).bearer_auth(OPERATOR).body(text)).await.1);
    }
    for url in [secrets.as_str(), "/sandbox/state", "/sandbox/faults", "/openapi.json"] {
        answers.push(world.get(url).await.1);
    }
    let mut texts: Vec<_> = answers.iter().map(Value::to_string).collect();
    texts.push(fs::read_to_string(&file).unwrap());
    // The name of a secret is told as it came, and one body says the value in its place.
    let journal = world.journal(0, 0).await;
    let entries = journal["entries"].as_array().unwrap();
    texts.extend(entries.iter().filter(|entry| entry["body"]["name"] != CANARY).map(Value::to_string));
    assert!(texts.len() > 2 * bodies.len() && entries.len() > 15);
    let told: Vec<_> = texts.iter().filter(|text| text.contains("c4n4ry")).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn the_journal_tells_route_and_name_and_that_there_was_a_value() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
    set(&world, &secrets, "TOKEN", CANARY).await;
    world.get(&format!("{secrets}/TOKEN")).await;
    world.post(&secrets, json!({ "value": null, "more": { "value": CANARY } })).await;
    world.post(&secrets, json!([1])).await;
    let route = "/v1/apps/{appId}/secrets";
    let one = "/v1/apps/{appId}/secrets/{secretName}";
    let hidden = "********";
    let expected = [
        (route, secrets.clone(), json!({ "name": "TOKEN", "value": hidden }), 200),
        (one, format!("{secrets}/TOKEN"), Value::Null, 200),
        (route, secrets.clone(), json!({ "value": hidden, "more": hidden }), 400),
        (route, secrets.clone(), json!(hidden), 400),
    ];
    let journal = world.journal(0, 0).await;
    // The first entry is the app.
    for ((route, path, body, status), entry) in expected.iter().zip(&journal["entries"].as_array().unwrap()[1..]) {
        assert_has(entry, &json!({ "route": route, "path": path, "body": body, "status": status }));
    }
}

#[tokio::test]
async fn a_body_that_breaks_a_rule_is_told_by_its_fields() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
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
        let refusal = json!({ "error": "Validation failed", "details": { "fieldErrors": fields, "formErrors": [] } });
        assert_eq!(world.post(&secrets, body.clone()).await, (400, refusal), "{body}");
    }
    for body in [json!([]), json!("A"), Value::Null] {
        assert_eq!(
            world.post(&secrets, body).await.1["details"]["formErrors"],
            json!(["the body must be a JSON object"])
        );
    }
    assert_eq!(world.get(&secrets).await.1, json!({ "secrets": [] }));
    for name in ["a", "_", "Z9_", &"N".repeat(300)] {
        set(&world, &secrets, name, "").await;
    }
    assert_eq!(world.post(&secrets, json!({ "name": "A", "value": "x", "unheard_of": 1 })).await.0, 200);
}

#[tokio::test]
async fn a_value_has_at_most_64_kib_and_a_body_at_most_1_mib() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
    // In bytes, of which some letters take two.
    let most = "\u{e4}".repeat(32 * 1024);
    set(&world, &secrets, "BIG", &most).await;
    let more = json!({ "name": "BIG", "value": format!("{most}y") });
    let (status, body) = world.post(&secrets, more).await;
    let rule = json!({ "value": ["must be at most 65536 bytes"] });
    assert_eq!((status, &body["details"]["fieldErrors"]), (400, &rule));
    let more = json!({ "name": "BIG", "value": "x".repeat(1024 * 1024) });
    assert_eq!(world.post(&secrets, more).await, (413, json!({ "error": "Request body too large" })));
    assert_eq!(digests(&world).await, [("BIG".into(), digest(&most))]);
}

#[tokio::test]
async fn refusals_come_in_the_order_of_the_contract() {
    let (world, secrets) = with_app(SandboxConfig::default()).await;
    set(&world, &secrets, "TOKEN", "x").await;
    let gone = world.app(named("app-two")).await;
    world.delete(&path(&gone)).await;
    let theirs = world.call(Method::POST, "/v1/apps", ELSEWHERE, Some(&named("app-one"))).await.1;
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
            let (status, answer) = world.call(Method::POST, &of(url), token, Some(body)).await;
            assert_eq!(status, expected, "POST {url} by {token}: {answer}");
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
            let (status, answer) = world.call(Method::GET, &of(&format!("{url}?limit=0")), token, None).await;
            assert_eq!(status, expected, "GET {url} by {token}: {answer}");
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
                let (status, answer) = world.call(method.clone(), &of(url), token, None).await;
                assert_eq!(status, expected, "{method} {url} by {token}: {answer}");
            }
        }
    }
    assert_eq!(names(&world.get(&secrets).await.1), ["TOKEN"]);
}

#[tokio::test]
async fn the_list_has_pages_as_every_list_has() {
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
        let (world, secrets) = with_switches(switches).await;
        // Not in the order of the names: that of the ids is what counts.
        let all: Vec<_> = (0..23).rev().map(|number| format!("S{number:02}")).collect();
        for name in &all {
            set(&world, &secrets, name, name).await;
        }
        set(&world, &secrets, &all[0], "again").await;
        let (status, list) = world.get(&format!("{secrets}{query}")).await;
        assert_eq!((status, names(&list)), (200, all[first..first + count].iter().map(String::as_str).collect()));
    }
}

#[tokio::test]
async fn times_come_at_two_precisions_if_the_sandbox_is_told_so() {
    let (world, secrets) =
        with_switches(ApiSwitches { mixed_timestamp_precision: true, ..ApiSwitches::default() }).await;
    set(&world, &secrets, "TOKEN", "one").await;
    let written = set(&world, &secrets, "TOKEN", "two").await;
    let (_, read) = world.get(&format!("{secrets}/TOKEN")).await;
    let (_, list) = world.get(&secrets).await;
    assert_eq!(list, json!({ "secrets": [read] }));
    let time = |secret: &Value| secret["updated_at"].as_str().unwrap().to_owned();
    assert_eq!(
        (time(&written).len(), time(&read).len()),
        ("2026-01-02T03:04:05.678901Z".len(), "2026-01-02T03:04:05Z".len())
    );
    assert_eq!(time(&written)[..19], time(&read)[..19], "it is one time");
    let instant = |secret: &Value| time(secret).parse::<jiff::Timestamp>().unwrap();
    assert!(instant(&read) <= instant(&written));
    assert_eq!(read["created_at"], written["created_at"]);
}

#[tokio::test]
async fn the_secrets_of_a_deleted_app_come_back_with_it() {
    for reactivation in [Reactivation::Apply, Reactivation::Keep] {
        let (world, secrets) = with_switches(ApiSwitches { reactivation, ..ApiSwitches::default() }).await;
        let left = set(&world, &secrets, "LEFT", "over").await;
        let (app, _) = secrets.rsplit_once('/').unwrap();
        world.delete(app).await;
        assert_eq!(world.get(&secrets).await.0, 404);
        assert_eq!(digests(&world).await, [("LEFT".into(), digest("over"))]);
        let back = world.app(named("APP-one")).await;
        assert_eq!(format!("{}/secrets", path(&back)), secrets);
        assert_eq!(world.get(&secrets).await, (200, json!({ "secrets": [left] })), "{reactivation:?}");
    }
}

#[tokio::test]
async fn secrets_outlive_a_server_that_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let config = SandboxConfig { state_file: Some(file.clone()), ..SandboxConfig::default() };
    let (world, secrets) = with_app(config.clone()).await;
    let first = set(&world, &secrets, "FIRST", "one").await;
    let gone = set(&world, &secrets, "GONE", "two").await;
    world.delete(&format!("{secrets}/GONE")).await;
    let kept = world.get("/sandbox/state").await;
    drop(world);

    let world = TestSandbox::with(config.clone()).await;
    assert_eq!(world.get("/sandbox/state").await, kept);
    assert_eq!(world.get(&secrets).await.1, json!({ "secrets": [first] }));
    let new = set(&world, &secrets, "NEW", "three").await;
    assert!(gone["id"].as_u64() < new["id"].as_u64(), "no id is used twice");
    drop(world);

    // A file of a sandbox that knew no secrets.
    let mut old: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    old["store"].as_object_mut().unwrap().remove("next_secret");
    for app in old["store"]["apps"].as_object_mut().unwrap().values_mut() {
        app.as_object_mut().unwrap().remove("secrets");
    }
    fs::write(&file, old.to_string()).unwrap();
    let world = TestSandbox::with(config).await;
    assert_eq!(world.get(&secrets).await.1, json!({ "secrets": [] }));
    assert_eq!(set(&world, &secrets, "FIRST", "one").await["id"], first["id"]);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_changes_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let (world, secrets) =
        with_app(SandboxConfig { state_file: Some(inner.join("state.json")), ..SandboxConfig::default() }).await;
    let secret = set(&world, &secrets, "TOKEN", "one").await;
    fs::remove_dir_all(&inner).unwrap();
    assert_eq!(world.post(&secrets, json!({ "name": "TOKEN", "value": "two" })).await.0, 500);
    assert_eq!(world.delete(&format!("{secrets}/TOKEN")).await.0, 500);
    assert_eq!(world.get(&secrets).await.1, json!({ "secrets": [secret] }));
    assert_eq!(digests(&world).await, [("TOKEN".into(), digest("one"))]);
}

fn seeded(secrets: &str) -> Result<SandboxConfig, String> {
    let mut config = SandboxConfig::default();
    let app = format!("{{ organization: sandbox, body: {{ name: app-one }}, secrets: {secrets} }}");
    config.load_seed(&format!("apps: [{app}]")).map(|()| config)
}

#[tokio::test]
async fn a_seed_may_have_secrets_and_keeps_no_value_either() {
    let config = seeded("{ B: '', A: fake-value, C: 0123 }").unwrap();
    assert!(!format!("{:?}", config.apps).contains("fake-value"));
    let world = TestSandbox::with(config).await;
    assert_eq!(
        digests(&world).await,
        [("A".into(), digest("fake-value")), ("B".into(), digest("")), ("C".into(), digest("0123"))]
    );
    let (_, apps) = world.get("/v1/apps").await;
    let (_, list) = world.get(&format!("{}/secrets", path(&apps["apps"][0]))).await;
    assert_eq!(names(&list), ["A", "B", "C"]);

    for secrets in
        ["{ A: [fake-value] }", "{ A: { fake-value: 1 } }", "fake-value", "{ A: x, A: fake-value }", "{ A: null }"]
    {
        let error = seeded(secrets).err().unwrap_or_else(|| panic!("{secrets} is accepted"));
        assert!(!error.contains("fake-value"), "{error}");
    }
    let address = ([127, 0, 0, 1], 0).into();
    let wrong = super::super::serve(SandboxConfig { address, ..seeded("{ A-B: fake-value }").unwrap() }).await;
    let error = wrong.err().unwrap().to_string();
    assert!(error.contains("the app \"app-one\"") && error.contains("\"A-B\" must be a letter"), "{error}");
    assert!(!error.contains("fake-value"), "{error}");
}
