//! Scopes: each kind works with exactly the scopes that its page in `docs/` lists, and reports a missing scope.

use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::support::{
    sandbox::{PORTAL, Sandbox},
    test_env::TestEnv,
};

/// Steps of a test case, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Verify the credential of the organization.
    Verify,
    /// Create and update an app.
    Apply,
    /// Delete the app.
    Delete,
}

use Step::{Apply, Delete, Verify};

/// A `TestEnv` whose credential `operator` has only these scopes.
async fn env_with(scopes: &[&str], sandbox_args: &[&str]) -> TestEnv {
    let credential = |name: &str, scopes: Value| {
        json!({
            "kind": "personal_access_token", "token": format!("sandbox-fake-token-{name}"), "name": name,
            "scopes": scopes, "organization": "sandbox", "user": 1, "is_limited": name != PORTAL,
        })
    };
    let seed = json!({ "credentials": [credential("operator", json!(scopes)), credential(PORTAL, json!(["*"]))] });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), seed.to_string()).unwrap();
    let mut args = vec!["--seed", file.path().to_str().unwrap()];
    args.extend(sandbox_args);
    TestEnv::with_sandbox("scopes", &args).await
}

/// Waits until the object of a step reports a missing scope in this part of the message.
async fn wait_for_missing_scope(env: &TestEnv, step: Step, message: &str) {
    match step {
        Verify => drop(env.wait_for_message::<SpiceOrganization>("default", "Forbidden", message).await),
        Apply | Delete => drop(env.wait_for_message::<SpiceApp>("my-app", "Forbidden", message).await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_work_with_documented_scopes_and_report_a_missing_scope() {
    let config_scopes: &[&str] = &["--config-scopes"];
    // No public document requires this scope, so the message names the documented one and quotes the API.
    let config_write = "lacks the scope apps:write: PUT /v1/apps/{appId}: 403 Forbidden: “Insufficient scope. Required: \
                        config:write”";
    // The scopes, the sandbox flags, and the step that fails with its message.
    let cases: [(&[&str], &[&str], _); 8] = [
        (&["apps:write", "apps:delete"], &[], None),
        (&["apps:write", "apps:delete", "config:write"], config_scopes, None),
        (&["secrets:write"], &[], Some((Verify, "lacks the scope apps:read"))),
        (&["apps:read"], &[], Some((Apply, "lacks the scope apps:write"))),
        (&["apps:read", "apps:delete"], &[], Some((Apply, "lacks the scope apps:write"))),
        (&["apps:write"], &[], Some((Delete, "lacks the scope apps:delete"))),
        (&["apps:write", "apps:delete"], config_scopes, Some((Apply, config_write))),
        (&["apps:write", "apps:delete", "config:read"], config_scopes, Some((Apply, config_write))),
    ];
    for (scopes, sandbox_args, missing) in cases {
        let env = env_with(scopes, sandbox_args).await;
        let _operator = env.start_operator().await;
        env.apply_app("my-app", json!({ "description": "ours", "runtime": { "replicas": 2 } })).await;
        if let Some((step @ (Verify | Apply), message)) = missing {
            wait_for_missing_scope(&env, step, message).await;
            continue;
        }
        env.wait_for_ready::<SpiceOrganization>("default").await;
        env.wait_for_ready::<SpiceApp>("my-app").await;
        env.reconcile::<SpiceApp>("my-app").await;
        env.delete::<SpiceApp>("my-app").await;
        if let Some((step, message)) = missing {
            wait_for_missing_scope(&env, step, message).await;
            assert_eq!(env.remote_apps().await.len(), 1);
            continue;
        }
        env.wait_for_deletion::<SpiceApp>("my-app").await;
        let forbidden = statuses(&env.sandbox).await.into_iter().filter(|status| *status == 403).count();
        assert_eq!(forbidden, 0, "{scopes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_need_their_own_scopes_in_addition_to_app_scopes() {
    let cases: [(&[&str], _); 3] = [
        (&["apps:write", "secrets:write"], None),
        (&["apps:write"], Some("secrets:read")),
        (&["apps:write", "secrets:read"], Some("secrets:write")),
    ];
    for (scopes, missing) in cases {
        let env = env_with(scopes, &[]).await;
        let _operator = env.start_operator().await;
        env.apply_app("my-app", json!({})).await;
        env.set_values("src", json!({ "TOKEN": "fake-value-token" })).await;
        env.apply_secret("src", json!({ "secretRef": { "name": "src" } })).await;
        if let Some(scope) = missing {
            env.wait_for_message::<SpiceSecret>("src", "Forbidden", &format!("lacks the scope {scope}")).await;
            continue;
        }
        env.wait_for_ready::<SpiceSecret>("src").await;
        env.reconcile::<SpiceSecret>("src").await;
        env.delete_and_wait::<SpiceSecret>("src").await;
        assert!(!statuses(&env.sandbox).await.contains(&403), "{scopes:?}");
    }
}

/// HTTP status codes of the responses to the operator.
async fn statuses(sandbox: &Sandbox) -> Vec<u16> {
    sandbox.calls_by("operator", 0).await.unwrap().iter().filter_map(|call| call.status).collect()
}
