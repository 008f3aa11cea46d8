//! The server behaves as the document describes.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::super::{OPERATOR, READER, TestSandbox, UNKNOWN, client_grant, credential, named, path, reply};
use super::{Document, Operation, fill_parameters};
use crate::sandbox::{Profile, SandboxConfig};

#[tokio::test]
async fn every_operation_requires_its_documented_scope() {
    let credentials = vec![credential("bare", &[])];
    let sandbox = TestSandbox::start_with(SandboxConfig { credentials, ..SandboxConfig::default() }).await;
    let document = Document::fetch(&sandbox).await;
    for Operation { path, method, body } in document.operations() {
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let (anonymous, _) = reply(sandbox.request(verb.clone(), &fill_parameters(path))).await;
        assert_eq!(anonymous == 401, body.get("security").is_some(), "{method} {path}");
        for scheme in body["security"].as_array().into_iter().flatten() {
            let scopes: Vec<_> =
                scheme.as_object().unwrap().values().flat_map(|scopes| scopes.as_array().unwrap()).collect();
            let [scope] = scopes.as_slice() else { panic!("{method} {path} {scopes:?}") };
            let error = format!("Insufficient scope. Required: {}", scope.as_str().unwrap());
            let (status, response) =
                sandbox.call(verb.clone(), &fill_parameters(path), "sandbox-fake-token-bare", None).await;
            assert_eq!((status, &response["error"]), (403, &json!(error)), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn request_schemas_document_exactly_the_validated_fields() {
    let sandbox = TestSandbox::start().await;
    let document = Document::fetch(&sandbox).await;
    let app = sandbox.create_app(named("app-one")).await;
    let schemas = &document.0["components"]["schemas"];
    let names = |schema: &str| document.properties(&schemas[schema]).into_iter().map(|(name, _)| name);
    let all = ["CreateApp", "UpdateApp", "AppWithConfig", "AppConfig", "Secret"].into_iter().flat_map(names);
    // A value that is invalid for every field.
    let invalid: Map<_, _> = all.map(|name| (name, json!([true]))).collect();
    let secrets = format!("{}/secrets", path(&app));
    let cases = [
        (Method::POST, "/v1/apps", "CreateApp"),
        (Method::PUT, &path(&app), "UpdateApp"),
        (Method::POST, &secrets, "SetSecret"),
    ];
    for (method, url, schema) in cases {
        let (status, body) = sandbox.call(method, url, OPERATOR, Some(&invalid.clone().into())).await;
        assert_eq!(status, 400, "{body}");
        let read = body["details"]["fieldErrors"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(schema).collect::<BTreeSet<_>>(), read, "{schema}");
    }
}

/// Returns values of a field, and whether the schema allows them.
fn boundary_values(schema: &Value) -> Vec<(Value, bool)> {
    let mut values = Vec::new();
    for (name, inward) in [("minimum", 1), ("maximum", -1)] {
        if let Some(bound) = schema[name].as_i64() {
            values.extend([(json!(bound), true), (json!(bound + inward), true), (json!(bound - inward), false)]);
        }
    }
    if let Some(bound) = schema["exclusiveMinimum"].as_i64() {
        values.extend([(json!(bound), false), (json!(bound + 1), true)]);
    }
    for (name, inward) in [("minLength", 1), ("maxLength", -1)] {
        if let Some(bound) = schema[name].as_i64() {
            let text = |length: i64| json!("a".repeat(usize::try_from(length).unwrap()));
            values.extend([(text(bound), true), (text(bound + inward), true), (text(bound - inward), false)]);
        }
    }
    if let Some(choices) = schema["enum"].as_array() {
        values.extend(choices.iter().map(|choice| (choice.clone(), true)));
        values.push((json!("another"), false));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let classes = pattern.trim_start_matches("^[").trim_end_matches("]+$").trim_end_matches("]*$");
        // One class for all characters, or one class for the first character and one for the rest.
        let (first, rest) = classes.split_once("][").unwrap_or((classes, classes));
        assert!(rest.starts_with("a-zA-Z0-9") && rest.len() < 13, "more than this test understands: {rest}");
        assert!(first.starts_with("a-zA-Z") && !first.contains(['[', ']']), "more than this test understands: {first}");
        for other in ["-", ".", "_", "@", "/", " "] {
            values.push((json!(format!("ab{other}cd")), rest["a-zA-Z0-9".len()..].contains(other)));
            values.push((json!(format!("{other}abcd")), first["a-zA-Z".len()..].contains(other)));
        }
        values.push((json!("0abcd"), first.contains("0-9")));
    }
    let kind = &schema["type"];
    let nullable = kind.as_array().is_some_and(|kinds| kinds.contains(&json!("null"))) || schema["oneOf"].is_array();
    values.push((Value::Null, nullable));
    values
}

#[tokio::test]
async fn documented_bounds_are_enforced() {
    let sandbox = TestSandbox::start().await;
    let document = Document::fetch(&sandbox).await;
    let app = path(&sandbox.create_app(named("app-one")).await);
    let schemas = &document.0["components"]["schemas"];
    let secrets = format!("{app}/secrets");
    // Mandatory fields of the body in addition to the tested field.
    let cases = [
        (Method::POST, "/v1/apps", "CreateApp", json!({ "name": "app-two" })),
        (Method::PUT, &app, "UpdateApp", json!({})),
        (Method::POST, &secrets, "SetSecret", json!({ "name": "TOKEN", "value": "x" })),
    ];
    for (method, url, schema, whole) in cases {
        let is_create = url == "/v1/apps";
        for (field, schema) in document.properties(&schemas[schema]) {
            for (value, allowed) in boundary_values(&schema) {
                let mut body = whole.clone();
                body[field.as_str()] = value;
                let (status, response) = sandbox.call(method.clone(), url, OPERATOR, Some(&body)).await;
                assert_eq!(status < 300, allowed, "{method} {body}: {response}");
                if is_create && status < 300 {
                    sandbox.delete(&path(&response)).await;
                }
            }
        }
    }
}

/// Sends a request with the ID of an app, and asserts that the document describes the response.
async fn assert_described(
    sandbox: &TestSandbox,
    document: &Document,
    method: Method,
    path: &str,
    id: &Value,
    token: &str,
    body: Option<&Value>,
) -> Value {
    let url = path.replace("{appId}", &id.to_string()).replace("{secretName}", "TOKEN");
    let request = sandbox.request(method.clone(), &url).bearer_auth(token);
    let request = if let Some(body) = body { request.json(body) } else { request };
    document.assert_describes(request.send().await.unwrap(), &method.as_str().to_lowercase(), path).await
}

#[tokio::test]
async fn app_responses_match_the_document() {
    for profile in [Profile::Current, Profile::Legacy] {
        let sandbox = TestSandbox::start_with_profile(profile).await;
        let document = Document::fetch(&sandbox).await;
        let app = "/v1/apps/{appId}";
        let full = json!({
            "name": "app-one", "region": "us-west-2", "description": "text", "tags": { "a": "1" }, "replicas": 2,
            "resources": { "limits": { "cpu": "-", "memory": "1Gi", "ephemeral-storage": "1Gi" } },
            "executor": { "replicas": 2, "resources": { "requests": { "cpu": "1" } }, "storage_size_gb": 2.5 },
            "storage_size_gb": 10, "update_channel": "stable",
        });
        let send = async |method: Method, path: &str, id: &Value, token: &str, body: Option<&Value>| {
            assert_described(&sandbox, &document, method, path, id, token, body).await
        };
        let none = &Value::Null;
        let id = send(Method::POST, "/v1/apps", none, OPERATOR, Some(&full)).await["id"].clone();
        // Portal actions on an app.
        let portal = async |verb: &str| sandbox.post(&format!("/sandbox/apps/{id}/{verb}"), json!({})).await.0 == 204;
        let spicepod = json!({ "spicepod": { "name": "pod", "datasets": [1] }, "image_tag": "1.0", "node_group": "a" });
        let second = json!({ "name": "app-two", "cname": "us-east-2.spice.cloud" });
        assert!(portal("connect").await);
        send(Method::PUT, app, &id, OPERATOR, Some(&spicepod)).await;
        assert!(portal("disconnect").await);
        let steps = [
            (Method::PUT, app, &id, OPERATOR, Some(&spicepod)),
            (Method::POST, "/v1/apps", none, OPERATOR, Some(&second)),
            (Method::POST, "/v1/apps", none, OPERATOR, Some(&second)),
            (Method::POST, "/v1/apps", none, OPERATOR, Some(&spicepod)),
            (Method::POST, "/v1/apps", none, READER, Some(&second)),
            (Method::POST, "/v1/apps", none, UNKNOWN, Some(&second)),
            (Method::PUT, app, &id, OPERATOR, Some(none)),
            (Method::GET, app, &id, OPERATOR, None),
            (Method::GET, app, &json!(1), OPERATOR, None),
            (Method::GET, app, &json!(0), OPERATOR, None),
            (Method::GET, "/v1/apps", none, OPERATOR, None),
            (Method::DELETE, app, &id, OPERATOR, None),
            (Method::DELETE, app, &id, OPERATOR, None),
        ];
        for (path, id) in [("/v1/apps/{appId}/metrics", &id), ("/v1/projects/{appId}/metrics", &id)] {
            if profile == Profile::Current {
                send(Method::GET, path, id, OPERATOR, None).await;
            }
        }
        for (method, path, id, token, body) in steps {
            send(method, path, id, token, body).await;
        }
        for Operation { path, method, .. } in document.operations() {
            if method == "get" && !path.contains('{') {
                let response = send(Method::GET, path, none, OPERATOR, None).await;
                assert!(response.get("error").is_none(), "{path} {response}");
            }
        }
    }
}

#[tokio::test]
async fn login_and_token_responses_match_the_document() {
    for profile in [Profile::Current, Profile::Legacy] {
        let sandbox = TestSandbox::start_with_profile(profile).await;
        let document = Document::fetch(&sandbox).await;
        let send = async |path: &str, body: &Value| {
            assert_described(&sandbox, &document, Method::POST, path, &Value::Null, OPERATOR, Some(body)).await
        };
        for code in [json!("ABCD2345"), json!("WXYZ6789"), json!(1)] {
            send("/auth/token/exchange", &json!({ "code": code })).await;
            let page = sandbox.request(Method::GET, "/auth/token?code=WXYZ6789").send().await.unwrap();
            assert_eq!(page.status(), 200);
        }
        for body in [json!({ "client_id": "a" }), client_grant("oauth"), client_grant("nobody")] {
            send("/api/oauth/token", &body).await;
        }
    }
}

#[tokio::test]
async fn secret_responses_match_the_document() {
    let (old, new) = (TestSandbox::start_with_profile(Profile::Legacy).await, TestSandbox::start().await);
    for (sandbox, prefix) in [(&old, "/v1/apps"), (&new, "/v1/apps"), (&new, "/v1/projects")] {
        let document = Document::fetch(sandbox).await;
        let app = json!({ "name": format!("app{}", prefix.len()), "cname": "us-east-2.spice.cloud" });
        let id = sandbox.create_app(app).await["id"].clone();
        let secrets = format!("{prefix}/{{appId}}/secrets");
        let secret_path = format!("{secrets}/{{secretName}}");
        let (none, secret) = (Value::Null, json!({ "name": "TOKEN", "value": "fake" }));
        let steps = [
            (Method::POST, &secrets, &id, OPERATOR, Some(&secret)),
            (Method::POST, &secrets, &id, OPERATOR, Some(&secret)),
            (Method::POST, &secrets, &id, OPERATOR, Some(&none)),
            (Method::POST, &secrets, &id, READER, Some(&secret)),
            (Method::POST, &secrets, &json!(1), OPERATOR, Some(&secret)),
            (Method::GET, &secrets, &id, OPERATOR, None),
            (Method::GET, &secrets, &json!(0), OPERATOR, None),
            (Method::GET, &secret_path, &id, OPERATOR, None),
            (Method::GET, &secret_path, &id, UNKNOWN, None),
            (Method::DELETE, &secret_path, &id, OPERATOR, None),
            (Method::DELETE, &secret_path, &id, OPERATOR, None),
            (Method::GET, &secret_path, &id, OPERATOR, None),
        ];
        for (method, path, id, token, body) in steps {
            assert_described(sandbox, &document, method, path, id, token, body).await;
        }
    }
}

#[tokio::test]
async fn responses_to_excessive_requests_match_the_document() {
    let huge = "x".repeat(1024 * 1024 + 1);
    let mut config = SandboxConfig::default();
    config.rate_limits.per_user = 1;
    let sandbox = TestSandbox::start_with(config).await;
    let document = Document::fetch(&sandbox).await;
    for (path, expected) in
        [("/v1/apps", 413), ("/v1/apps", 429), ("/api/oauth/token", 413), ("/auth/token/exchange", 413)]
    {
        let request = sandbox.request(Method::POST, path).bearer_auth(OPERATOR).body(huge.clone());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
        document.assert_describes(response, "post", path).await;
    }
}
