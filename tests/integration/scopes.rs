//! Each kind works with exactly the scopes that its page in `docs/` lists, and names the one that is missing.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    program,
    support::{
        sandbox::{PORTAL, Sandbox},
        test_env::TestEnv,
    },
};

/// What is done with a set of scopes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The organization is checked.
    Check,
    /// An app is made and kept.
    Keep,
    /// It is deleted.
    Delete,
}

use Step::{Check, Delete, Keep};

/// A env whose credential `operator` has these scopes and no others.
async fn env_with(scopes: &[&str], more: &[&str]) -> TestEnv {
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
    args.extend(more);
    TestEnv::with_sandbox("scopes", program(), &args).await
}

/// The message of Ready, for this reason.
async fn refused(env: &TestEnv, step: Step, reason: &str) -> String {
    let conditions = match step {
        Check => {
            let organization = env.until("default", reason, |organization: &SpiceOrganization| {
                let mut conditions = organization.status.iter().flat_map(|status| &status.core.conditions);
                conditions.any(|condition| condition.type_ == "Ready" && condition.reason == reason)
            });
            organization.await.status.unwrap().core.conditions
        }
        Keep | Delete => {
            let app = env.until("my-app", reason, |app: &SpiceApp| {
                let mut conditions = app.status.iter().flat_map(|status| &status.core.conditions);
                conditions.any(|condition| condition.type_ == "Ready" && condition.reason == reason)
            });
            app.await.status.unwrap().core.conditions
        }
    };
    conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_works_with_its_scopes_and_names_the_one_that_is_missing() {
    let strict: &[&str] = &["--config-scopes"];
    // The scopes; how strict the API is; at which step which of them is missed.
    let cases: [(&[&str], &[&str], _); 8] = [
        (&["apps:write", "apps:delete"], &[], None),
        (&["apps:write", "apps:delete", "config:write"], strict, None),
        (&["secrets:write"], &[], Some((Check, "apps:read"))),
        (&["apps:read"], &[], Some((Keep, "apps:write"))),
        (&["apps:read", "apps:delete"], &[], Some((Keep, "apps:write"))),
        (&["apps:write"], &[], Some((Delete, "apps:delete"))),
        (&["apps:write", "apps:delete"], strict, Some((Keep, "config:write"))),
        (&["apps:write", "apps:delete", "config:read"], strict, Some((Keep, "config:write"))),
    ];
    for (scopes, strict, missing) in cases {
        let env = env_with(scopes, strict).await;
        let _operator = env.operator().await;
        env.app("my-app", json!({ "description": "ours", "runtime": { "replicas": 2 } })).await;
        if let Some((step @ (Check | Keep), scope)) = missing {
            let message = refused(&env, step, "Forbidden").await;
            assert!(message.contains(&format!("lacks the scope {scope}")), "{scopes:?}: {message}");
            continue;
        }
        env.organization_is("True", "Succeeded").await;
        env.app_is("my-app", "True", "Succeeded").await;
        env.reconcile_app("my-app").await;
        env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
        if let Some((step, scope)) = missing {
            let message = refused(&env, step, "Forbidden").await;
            assert!(message.contains(&format!("lacks the scope {scope}")), "{scopes:?}: {message}");
            assert_eq!(env.remote_apps().await.len(), 1);
            continue;
        }
        env.gone::<SpiceApp>("my-app").await;
        let refusals = statuses(&env.sandbox).await.into_iter().filter(|status| *status == 403).count();
        assert_eq!(refusals, 0, "{scopes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_need_their_scopes_beside_those_of_their_app() {
    let cases: [(&[&str], _); 3] = [
        (&["apps:write", "secrets:write"], None),
        (&["apps:write"], Some("secrets:read")),
        (&["apps:write", "secrets:read"], Some("secrets:write")),
    ];
    for (scopes, missing) in cases {
        let env = env_with(scopes, &[]).await;
        let _operator = env.operator().await;
        env.app("my-app", json!({})).await;
        env.values("src", json!({ "TOKEN": "fake-value-token" })).await;
        env.secret("src", json!({ "secretRef": { "name": "src" } })).await;
        if let Some(scope) = missing {
            env.says::<SpiceSecret>("src", "Forbidden", &format!("lacks the scope {scope}")).await;
            continue;
        }
        env.secret_is("src", "True", "Succeeded").await;
        env.reconcile_secret("src").await;
        env.api::<SpiceSecret>().delete("src", &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceSecret>("src").await;
        assert!(!statuses(&env.sandbox).await.contains(&403), "{scopes:?}");
    }
}

async fn statuses(sandbox: &Sandbox) -> Vec<u16> {
    sandbox.calls_by("operator", 0).await.unwrap().iter().filter_map(|call| call.status).collect()
}
