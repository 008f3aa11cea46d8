//! What can be wrong with a credential, a source, an endpoint or an app, and what is said and done then.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        sandbox::{Action, Fault, Sandbox, When},
        test_env::{CREDENTIAL, TestEnv, id_of},
    },
};

fn message(app: &SpiceApp) -> &str {
    &app.status.as_ref().unwrap().core.conditions[0].message
}

#[tokio::test]
async fn a_credential_that_is_no_longer_accepted_is_told_on_the_organization_and_tried_by_it_alone() {
    for verb in ["revoke", "expire"] {
        let env = TestEnv::new(verb, program()).await;
        let operator = env.operator().await;
        let names = ["one-app", "two-app", "three-app"];
        for name in names {
            env.app(name, json!({})).await;
            env.app_is(name, "True", "Succeeded").await;
        }
        env.sandbox.credential_is("operator", verb).await.unwrap();
        // The next call of whichever app tells.
        env.request_reconcile("one-app").await;
        let organization = env.organization_is("False", "Unauthorized").await;
        let words = &organization.status.unwrap().core.conditions[0].message;
        assert!(words.starts_with("the API is up, and refuses the credential"), "{words}");
        let before = env.sandbox.revision().await.unwrap();
        let reconciles = operator.metrics().await.unwrap().reconciles("SpiceApp") as u64;
        for name in names {
            env.request_reconcile(name).await;
        }
        env.reconciles(&operator, "SpiceApp", reconciles + 3).await;
        let of_apps = env.calls(before).await.into_iter().filter(|call| call.contains("/apps"));
        assert_eq!(of_apps.collect::<Vec<_>>(), [""; 0]);
        // What was achieved is not lost by it.
        for name in names {
            env.app_is(name, "True", "Succeeded").await;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_secret_of_a_credential_is_named() {
    let env = TestEnv::without_credential("secret", program()).await;
    let _operator = env.operator().await;
    let api: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
    let (name, key) = CREDENTIAL;
    for (data, words) in [
        (json!({}), format!("Secret \"{name}\" has no key \"{key}\"")),
        (json!({ "other": "x" }), format!("Secret \"{name}\" has no key \"{key}\"")),
        (json!({ key: "" }), format!("Secret \"{name}\": key \"{key}\" is empty")),
        (json!({ key: " \n" }), format!("Secret \"{name}\": key \"{key}\" is empty")),
        (
            json!({ key: "two words" }),
            format!("Secret \"{name}\": key \"{key}\" has a character that no credential contains"),
        ),
        (
            json!({ key: "t\u{f6}ken" }),
            format!("Secret \"{name}\": key \"{key}\" has a character that no credential contains"),
        ),
    ] {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
        env.says::<SpiceOrganization>("default", "CredentialsMissing", &words).await;
    }
    assert_eq!(env.calls(0).await, [""; 0]);
}

#[tokio::test]
async fn a_secret_that_is_replaced_leaves_a_ready_organization_ready() {
    let env = TestEnv::new("replace", program()).await;
    let _operator = env.operator().await;
    let before = env.organization_is("True", "Succeeded").await.status.unwrap();
    let api: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
    // As `kubectl replace` does: another content, and without the finalizer that the operator has put on.
    let mut secret = api.get(CREDENTIAL.0).await.unwrap();
    secret.metadata.finalizers = None;
    secret.metadata.managed_fields = None;
    secret.metadata.annotations = Some([("somebody/else".to_owned(), "writes".to_owned())].into());
    api.replace(CREDENTIAL.0, &PostParams::default(), &secret).await.unwrap();
    let after = env
        .until("default", "checked with the new version", |organization: &SpiceOrganization| {
            organization
                .status
                .as_ref()
                .is_some_and(|status| status.core.observed_sources != before.core.observed_sources)
        })
        .await;
    assert_eq!(after.status.unwrap().core.conditions, before.core.conditions, "nor was it anything else meanwhile");
}

#[tokio::test]
async fn what_is_wrong_with_the_config_map_of_a_spicepod_is_named() {
    let env = TestEnv::new("config-map", program()).await;
    let _operator = env.operator().await;
    let large = format!("version: v1\nname: {}\n", "x".repeat(300 * 1024));
    env.app("my-app", json!({ "spicepodFrom": { "configMapKeyRef": { "name": "pods" } } })).await;
    for (data, words) in [
        (json!({ "other": "x" }), "ConfigMap \"pods\" has no key \"spicepod.yaml\""),
        (json!({ "spicepod.yaml": "" }), "ConfigMap pods, key spicepod.yaml: not a mapping"),
        (json!({ "spicepod.yaml": "just words" }), "ConfigMap pods, key spicepod.yaml: not a mapping"),
        (json!({ "spicepod.yaml": "a: [" }), "ConfigMap pods, key spicepod.yaml: not YAML"),
        (json!({ "spicepod.yaml": "a: 1\na: 2\n" }), "ConfigMap pods, key spicepod.yaml: a key is there twice: line 2"),
        (json!({ "spicepod.yaml": large }), "ConfigMap pods, key spicepod.yaml: "),
    ] {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": { "name": "pods", "namespace": env.namespace } });
        // Not by `kubectl apply`, whose copy in an annotation would be too large.
        let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(env.client.clone(), &env.namespace);
        api.patch("pods", &PatchParams::apply("test").force(), &Patch::Apply(&map)).await.unwrap();
        let reason = if data["spicepod.yaml"].is_null() { "SourceNotFound" } else { "InvalidSpec" };
        env.says::<SpiceApp>("my-app", reason, words).await;
    }
    env.app("other-app", json!({})).await;
    env.app_is("other-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn another_endpoint_is_called_for_its_identity_alone_until_a_person_accepts_it() {
    let env = TestEnv::new("endpoint", program()).await;
    let other = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.organization(other.url()).await;
    let mismatch = env.organization_is("False", "OrganizationMismatch").await;
    let words = mismatch.status.unwrap().core.conditions[0].message.clone();
    assert!(words.contains(env.sandbox.url()) && words.contains(other.url()), "{words}");
    assert!(words.contains("cloud.spice.ai/accept-organization="), "{words}");
    env.app("my-app", json!({ "description": "new" })).await;
    env.app("new-app", json!({})).await;
    for name in ["my-app", "new-app"] {
        env.app_is(name, "False", "DependencyNotReady").await;
    }
    let routes = other.calls_by("operator", 0).await.unwrap().into_iter().map(|call| call.path);
    assert_eq!(routes.filter(|path| path != "/v1/orgs").collect::<Vec<_>>(), [""; 0]);
    env.organization(env.sandbox.url()).await;
    for name in ["my-app", "new-app"] {
        env.app_is(name, "True", "Succeeded").await;
    }
    assert_eq!(env.remote_apps().await.len(), 2);
}

#[tokio::test]
async fn a_spicepod_that_comes_from_a_repository_is_refused_once_and_the_rest_is_kept() {
    let env = TestEnv::new("repository", program()).await;
    let _operator = env.operator().await;
    // Looked at again without being asked to.
    let spec = |description: &str, name: &str| json!({ "description": description, "interval": "1s", "spicepod": { "name": name } });
    env.app("my-app", spec("first", "one")).await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    env.sandbox.repository(id, "connect").await.unwrap();
    env.app("my-app", spec("second", "two")).await;
    env.app_is("my-app", "False", "RepositoryConnected").await;
    let remote = &env.remote_apps().await[0];
    assert_eq!((&remote["description"], &remote["config"]["spicepod"]["name"]), (&json!("second"), &json!("one")));
    let before = env.sandbox.revision().await.unwrap();
    env.sandbox
        .call("it is read again", before, |call| call.method == "GET" && call.status == Some(200))
        .await
        .unwrap();
    assert!(env.calls(before).await.iter().all(|call| call.starts_with("GET")));

    env.sandbox.repository(id, "disconnect").await.unwrap();
    env.request_reconcile("my-app").await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["config"]["spicepod"]["name"], "two");
}

#[tokio::test]
async fn a_fight_over_a_field_is_ended_and_told_with_its_path() {
    let env = TestEnv::new("fight", program()).await;
    let _operator = env.operator().await;
    let portal = env.sandbox.portal().unwrap();
    env.app("my-app", json!({ "description": "ours", "visibility": "private" })).await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    for _ in 0..3 {
        portal.update_app(id, &json!({ "description": "theirs" })).await.unwrap();
        env.reconcile_app("my-app").await;
        env.app_is("my-app", "True", "Succeeded").await;
        assert_eq!(env.remote_apps().await[0]["description"], "ours");
    }
    portal.update_app(id, &json!({ "description": "theirs", "visibility": "public" })).await.unwrap();
    env.request_reconcile("my-app").await;
    let app = env.app_is("my-app", "False", "CorrectionLoop").await;
    assert!(message(&app).contains("description"), "{}", message(&app));
    assert_eq!(app.status.unwrap().drift, ["description"]);
    let remote = &env.remote_apps().await[0];
    assert_eq!(
        (&remote["description"], &remote["visibility"]),
        (&json!("theirs"), &json!("private")),
        "the rest is kept"
    );
    // A change of what is wanted ends it.
    env.app("my-app", json!({ "description": "ours again", "visibility": "private" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["description"], "ours again");
}

#[tokio::test]
async fn from_the_second_failure_in_a_row_a_reconcile_makes_at_most_two_calls() {
    let env = TestEnv::new("failures", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let fault = |method: &str| {
        let (method, action) = (Some(method.to_owned()), Action::Status(503));
        Fault { method, route: None, when: When::Before, action, times: None }
    };
    for (method, description) in [("GET", "unseen"), ("PUT", "refused")] {
        env.sandbox.add_fault(&fault(method)).await.unwrap();
        env.app("my-app", json!({ "description": description })).await;
        env.app_is("my-app", "False", "RemoteUnavailable").await;
        let reconciles = async || operator.metrics().await.unwrap().reconciles("SpiceApp") as u64;
        // The reconciles are counted first and last, so that none of the calls between belongs to one that is not counted.
        let (first, before) = (reconciles().await, env.sandbox.revision().await.unwrap());
        env.reconciles(&operator, "SpiceApp", first + 5).await;
        let calls = env.calls(before).await.len() as u64;
        let made = reconciles().await + 1 - first;
        assert!(calls <= 2 * made, "{method}: {calls} calls in {made} reconciles");
        env.sandbox.remove_faults().await.unwrap();
        env.app_is("my-app", "True", "Succeeded").await;
    }
}

#[tokio::test]
async fn a_request_for_a_reconcile_reads_and_is_acknowledged() {
    let env = TestEnv::new("forced", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({ "description": "ours" })).await;
    let id = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    env.sandbox.portal().unwrap().update_app(id, &json!({ "description": "theirs" })).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let app = env.reconcile_app("my-app").await;
    assert!(app.status.unwrap().core.last_handled_reconcile_at.is_some());
    assert_eq!(env.calls(before).await, ["GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
    let described: Value = env.remote_apps().await[0]["description"].clone();
    assert_eq!(described, "ours");
}
