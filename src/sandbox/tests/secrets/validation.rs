//! Validation of secrets, and the order of errors.

use reqwest::Method;
use serde_json::{Value, json};

use super::{digest, digests, names, set, start_with_app};
use crate::sandbox::SandboxConfig;
use crate::sandbox::tests::{ELSEWHERE, OPERATOR, READER, UNKNOWN, named, path};

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
    let longest = "\u{e4}".repeat(32 * 1024);
    set(&sandbox, &secrets, "BIG", &longest).await;
    let too_long = json!({ "name": "BIG", "value": format!("{longest}y") });
    let (status, body) = sandbox.post(&secrets, too_long).await;
    let rule = json!({ "value": ["must be at most 65536 bytes"] });
    assert_eq!((status, &body["details"]["fieldErrors"]), (400, &rule));
    let too_long = json!({ "name": "BIG", "value": "x".repeat(1024 * 1024) });
    assert_eq!(sandbox.post(&secrets, too_long).await, (413, json!({ "error": "Request body too large" })));
    assert_eq!(digests(&sandbox).await, [("BIG".into(), digest(&longest))]);
}

#[tokio::test]
async fn errors_follow_the_documented_order() {
    let (sandbox, secrets) = start_with_app(SandboxConfig::default()).await;
    set(&sandbox, &secrets, "TOKEN", "x").await;
    let deleted = sandbox.create_app(named("app-two")).await;
    sandbox.delete(&path(&deleted)).await;
    let foreign = sandbox.call(Method::POST, "/v1/apps", ELSEWHERE, Some(&named("app-one"))).await.1;
    let (deleted, foreign) = (format!("{}/secrets", path(&deleted)), format!("{}/secrets", path(&foreign)));
    let valid = json!({ "name": "TOKEN", "value": "x" });
    let huge = json!({ "name": "-", "value": "x".repeat(1024 * 1024) });
    let invalid = json!({ "name": "-" });
    for prefix in ["apps", "projects"] {
        let check = async |method: Method, token: &str, url: &str, body: Option<&Value>, expected: u16| {
            let url = url.replace("apps", prefix);
            let (status, response) = sandbox.call(method.clone(), &url, token, body).await;
            assert_eq!(status, expected, "{method} {url} by {token}: {response}");
        };
        let cases = [
            (UNKNOWN, "/v1/apps/x/secrets", &huge, 401),
            (READER, "/v1/apps/x/secrets", &huge, 403),
            (OPERATOR, "/v1/apps/x/secrets", &huge, 400),
            (OPERATOR, "/v1/apps/0/secrets", &valid, 400),
            (OPERATOR, "/v1/apps/999999/secrets", &huge, 404),
            (OPERATOR, &deleted, &invalid, 404),
            (OPERATOR, &foreign, &valid, 404),
            (OPERATOR, &secrets, &huge, 413),
            (OPERATOR, &secrets, &invalid, 400),
            (OPERATOR, &secrets, &valid, 200),
        ];
        for (token, url, body, expected) in cases {
            check(Method::POST, token, url, Some(body), expected).await;
        }
        let cases = [
            (UNKNOWN, "/v1/apps/x/secrets", 401),
            (READER, "/v1/apps/x/secrets", 403),
            (OPERATOR, "/v1/apps/x/secrets", 400),
            (OPERATOR, "/v1/apps/999999/secrets", 404),
            (OPERATOR, &deleted, 404),
            (OPERATOR, &foreign, 404),
            (OPERATOR, &secrets, 400),
        ];
        for (token, url, expected) in cases {
            check(Method::GET, token, &format!("{url}?limit=0"), None, expected).await;
        }
        let cases = [
            (UNKNOWN, "/v1/apps/x/secrets/TOKEN", 401),
            (READER, "/v1/apps/x/secrets/TOKEN", 403),
            (OPERATOR, "/v1/apps/x/secrets/TOKEN", 400),
            (OPERATOR, "/v1/apps/99999999999999999999/secrets/TOKEN", 400),
            (OPERATOR, "/v1/apps/%ff/secrets/TOKEN", 400),
            (OPERATOR, "/v1/apps/999999/secrets/TOKEN", 404),
            (OPERATOR, &format!("{deleted}/TOKEN"), 404),
            (OPERATOR, &format!("{foreign}/TOKEN"), 404),
            (OPERATOR, &format!("{secrets}/%ff"), 400),
            (OPERATOR, &format!("{secrets}/token"), 404),
            (OPERATOR, &format!("{secrets}/no-name"), 404),
        ];
        for (token, url, expected) in cases {
            for method in [Method::GET, Method::DELETE] {
                check(method, token, url, None, expected).await;
            }
        }
    }
    assert_eq!(names(&sandbox.get(&secrets).await.1), ["TOKEN"]);
}
