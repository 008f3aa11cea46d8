//! Authentication, scopes, roles and organizations, and the order of errors.

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{BOTH, ELSEWHERE, OPERATOR, READER, Reply, SESSION, TestSandbox, UNKNOWN, credential, named, path, reply};
use crate::sandbox::{Membership, OrganizationConfig, OrganizationRole, SandboxConfig, SubscriptionPlan, UserConfig};

/// Lists the apps with values of the organization header.
async fn list_apps_in(sandbox: &TestSandbox, token: &str, handles: &[&str]) -> Reply {
    let request = sandbox.request(Method::GET, "/v1/apps").bearer_auth(token);
    reply(handles.iter().fold(request, |request, handle| request.header("X-Org-Name", *handle))).await
}

#[tokio::test]
async fn a_request_without_a_valid_bearer_token_gives_401() {
    let sandbox = TestSandbox::start().await;
    let cases = [
        (None, "Missing Authorization header"),
        (Some("Basic abc"), "Invalid token format"),
        (Some("Bearer"), "Invalid token format"),
        (Some("Bearer  "), "Invalid token format"),
        (Some("Bearer sandbox-fake-token-nobody"), "Invalid token"),
    ];
    for (value, error) in cases {
        for url in ["/v1/apps", "/v1/regions", "/v1/apps/x"] {
            let request = sandbox.request(Method::GET, url);
            let request = if let Some(value) = value { request.header(header::AUTHORIZATION, value) } else { request };
            assert_eq!(reply(request).await, (401, json!({ "error": error })), "{value:?} {url}");
        }
    }
}

#[tokio::test]
async fn the_authorization_scheme_is_case_insensitive() {
    let sandbox = TestSandbox::start().await;
    let value = format!("bearer {OPERATOR}");
    assert_eq!(reply(sandbox.request(Method::GET, "/v1/apps").header(header::AUTHORIZATION, value)).await.0, 200);
}

#[tokio::test]
async fn every_endpoint_requires_its_scope_and_only_write_implies_read() {
    const SCOPES: [&str; 7] =
        ["*", "apps:read", "apps:write", "apps:delete", "secrets:read", "secrets:write", "apps:*"];
    let credentials = SCOPES.map(|scope| credential(scope, &[scope])).into();
    let sandbox = TestSandbox::start_with(SandboxConfig { credentials, ..SandboxConfig::default() }).await;
    // An invalid path ID is the next error after the scope, so the objects need not exist.
    let endpoints = [
        (Method::GET, "/v1/apps", "apps:read", 200),
        (Method::GET, "/v1/regions", "apps:read", 200),
        (Method::GET, "/v1/orgs", "apps:read", 200),
        (Method::GET, "/v1/limits", "apps:read", 200),
        (Method::GET, "/v1/clusters", "apps:read", 200),
        (Method::GET, "/v1/container-images", "apps:read", 200),
        (Method::GET, "/v1/apps/x", "apps:read", 400),
        (Method::GET, "/v1/apps/x/metrics", "apps:read", 400),
        (Method::POST, "/v1/apps", "apps:write", 400),
        (Method::PUT, "/v1/apps/x", "apps:write", 400),
        (Method::DELETE, "/v1/apps/x", "apps:delete", 400),
        (Method::GET, "/v1/apps/x/secrets", "secrets:read", 400),
        (Method::GET, "/v1/projects/x/secrets/A", "secrets:read", 400),
        (Method::POST, "/v1/apps/x/secrets", "secrets:write", 400),
        (Method::DELETE, "/v1/projects/x/secrets/A", "secrets:write", 400),
    ];
    for (method, url, required, passes) in endpoints {
        let granted: &[&str] = match required {
            "apps:read" => &["*", "apps:read", "apps:write"],
            "apps:write" => &["*", "apps:write"],
            "apps:delete" => &["*", "apps:delete"],
            "secrets:read" => &["*", "secrets:read", "secrets:write"],
            "secrets:write" => &["*", "secrets:write"],
            other => panic!("{other} is not in the table"),
        };
        let error = format!("Insufficient scope. Required: {required}");
        let error = json!({ "error": error, "code": "insufficient_scope" });
        for scope in SCOPES {
            let token = format!("sandbox-fake-token-{scope}");
            let (status, body) = sandbox.call(method.clone(), url, &token, None).await;
            if granted.contains(&scope) {
                assert_eq!(status, passes, "{method} {url} with {scope}: {body}");
            } else {
                assert_eq!((status, &body), (403, &error), "{method} {url} with {scope}");
            }
        }
    }
}

#[tokio::test]
async fn health_needs_no_credential() {
    let sandbox = TestSandbox::start().await;
    let (status, body) = reply(sandbox.request(Method::GET, "/v1/health")).await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
}

#[tokio::test]
async fn errors_follow_the_documented_order() {
    let sandbox = TestSandbox::start().await;
    let live = path(&sandbox.create_app(named("taken-name")).await);
    let bad = json!({ "replicas": 99 });
    let huge = json!({ "description": "x".repeat(1024 * 1024), "replicas": 99 });
    let cases: [(&str, Method, &str, &str, Value, u16); 10] = [
        ("401 before 403", Method::PUT, UNKNOWN, "/v1/apps/x", bad.clone(), 401),
        ("403 before the path id", Method::PUT, READER, "/v1/apps/x", bad.clone(), 403),
        ("the path ID before existence", Method::PUT, OPERATOR, "/v1/apps/x", bad.clone(), 400),
        ("existence before the body", Method::PUT, OPERATOR, "/v1/apps/999999", bad.clone(), 404),
        ("401 before 413", Method::PUT, UNKNOWN, &live, huge.clone(), 401),
        ("403 before 413", Method::PUT, READER, &live, huge.clone(), 403),
        ("existence before 413", Method::PUT, OPERATOR, "/v1/apps/999999", huge.clone(), 404),
        ("413 before other errors of the body", Method::PUT, OPERATOR, &live, huge, 413),
        ("the body of an existing app", Method::PUT, OPERATOR, &live, bad, 400),
        (
            "the body before a conflict",
            Method::POST,
            OPERATOR,
            "/v1/apps",
            json!({"name": "taken-name", "replicas": 0}),
            400,
        ),
    ];
    for (case, method, token, url, body, expected) in cases {
        let (status, response) = sandbox.call(method, url, token, Some(&body)).await;
        assert_eq!(status, expected, "{case}: {response}");
    }
}

#[tokio::test]
async fn an_app_of_another_organization_is_hidden_and_its_name_is_free() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("shared-name")).await;

    for method in [Method::GET, Method::DELETE] {
        assert_eq!(sandbox.call(method, &path(&app), ELSEWHERE, None).await.0, 404);
    }
    let (status, theirs) = sandbox.call(Method::POST, "/v1/apps", ELSEWHERE, Some(&named("shared-name"))).await;
    assert_eq!((status, &theirs["org"]), (201, &json!("elsewhere")));
    assert_ne!(theirs["id"], app["id"]);
    assert_eq!(sandbox.get("/v1/apps").await.1["apps"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_credential_lists_the_organizations_that_it_can_access() {
    let sandbox = TestSandbox::start().await;
    let own = json!({ "id": 1, "name": "sandbox", "role": "owner" });
    let elsewhere = json!({ "id": 2, "name": "elsewhere", "role": "owner" });
    let cases = [
        (OPERATOR, json!([own])),
        (SESSION, json!([own])),
        (ELSEWHERE, json!([elsewhere])),
        (BOTH, json!([own, elsewhere])),
    ];
    for (token, expected) in cases {
        assert_eq!(sandbox.get_as(token, "/v1/orgs").await, (200, json!({ "orgs": expected })), "{token}");
    }
}

#[tokio::test]
async fn organizations_are_listed_in_ascending_order_of_id() {
    let organization =
        |id: u64, name: &str| OrganizationConfig { id, name: name.into(), plan: SubscriptionPlan::default() };
    let organizations = vec![organization(9, "sandbox"), organization(2, "elsewhere")];
    let sandbox = TestSandbox::start_with(SandboxConfig { organizations, ..SandboxConfig::default() }).await;
    let (_, body) = sandbox.get_as(BOTH, "/v1/orgs").await;
    assert_eq!((&body["orgs"][0]["id"], &body["orgs"][1]["id"]), (&json!(2), &json!(9)), "{body}");
}

#[tokio::test]
async fn the_organization_header_selects_an_accessible_organization() {
    let sandbox = TestSandbox::start().await;
    let machine = sandbox.issue_token("elsewhere-oauth").await;
    let machine = machine.as_str();
    sandbox.call(Method::POST, "/v1/apps", ELSEWHERE, Some(&named("theirs"))).await;
    let cases = [
        (BOTH, "elsewhere", 200, Value::Null),
        (BOTH, "ELSEWHERE", 200, Value::Null),
        (machine, "elsewhere", 200, Value::Null),
        (machine, "sandbox", 403, json!("org_assertion_mismatch")),
        (machine, "nothing", 403, json!("org_assertion_mismatch")),
        (OPERATOR, "elsewhere", 403, json!("org_forbidden")),
        (OPERATOR, "nothing", 403, json!("org_forbidden")),
        (OPERATOR, "", 400, json!("invalid_org_assertion")),
        (OPERATOR, "  ", 400, json!("invalid_org_assertion")),
        (OPERATOR, "two words", 400, json!("invalid_org_assertion")),
        (READER, "", 400, json!("invalid_org_assertion")),
        (UNKNOWN, "", 401, Value::Null),
    ];
    for (token, handle, expected, code) in cases {
        let (status, body) = list_apps_in(&sandbox, token, &[handle]).await;
        assert_eq!((status, &body["code"]), (expected, &code), "{token} {handle:?}: {body}");
        if status == 200 {
            assert_eq!(body["apps"][0]["name"], "theirs");
        }
    }
    assert_eq!(list_apps_in(&sandbox, BOTH, &["sandbox", "elsewhere"]).await.0, 400);
}

#[tokio::test]
async fn a_narrowed_token_cannot_access_other_organizations_of_its_user() {
    let mut config = SandboxConfig::default();
    for credential in &mut config.credentials {
        credential.narrowed = true;
    }
    let sandbox = TestSandbox::start_with(config).await;
    let (_, body) = sandbox.get_as(BOTH, "/v1/orgs").await;
    assert_eq!(body["orgs"].as_array().unwrap().len(), 1, "{body}");
    assert_eq!(list_apps_in(&sandbox, BOTH, &["elsewhere"]).await.1["code"], "org_forbidden");
}

#[tokio::test]
async fn the_organization_is_checked_before_the_scope() {
    let sandbox = TestSandbox::start().await;
    let request = sandbox.request(Method::POST, "/v1/apps").bearer_auth(READER).header("X-Org-Name", "nothing");
    assert_eq!(reply(request.json(&json!({}))).await.1["code"], "org_forbidden");
}

#[tokio::test]
async fn a_viewer_can_read_but_not_write() {
    let membership = Membership { organization: "sandbox".into(), role: OrganizationRole::Viewer };
    let mut config = SandboxConfig {
        organizations: vec![OrganizationConfig { id: 7, name: "sandbox".into(), plan: SubscriptionPlan::default() }],
        users: vec![UserConfig { id: 1, memberships: vec![membership] }],
        ..SandboxConfig::default()
    };
    config.credentials.retain(|credential| ["operator", "reader"].contains(&credential.name.as_str()));
    let sandbox = TestSandbox::start_with(config).await;
    assert_eq!(sandbox.get("/v1/orgs").await.1, json!({ "orgs": [{ "id": 7, "name": "sandbox", "role": "viewer" }] }));
    assert_eq!(sandbox.get("/v1/apps").await.0, 200);
    assert_eq!(sandbox.get("/v1/apps/1/secrets").await.0, 404);
    let changes = [
        (Method::POST, "/v1/apps"),
        (Method::PUT, "/v1/apps/1"),
        (Method::DELETE, "/v1/apps/1"),
        (Method::POST, "/v1/apps/1/secrets"),
        (Method::DELETE, "/v1/apps/1/secrets/TOKEN"),
    ];
    for (method, url) in changes {
        let (status, body) = sandbox.call(method.clone(), url, OPERATOR, Some(&json!({}))).await;
        assert_eq!((status, &body["code"]), (403, &json!("forbidden")), "{method} {url}");
        let (_, body) = sandbox.call(method.clone(), url, READER, Some(&json!({}))).await;
        assert_eq!(body["code"], "insufficient_scope", "the scope is checked first");
    }
}
