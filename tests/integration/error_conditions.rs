//! Conditions and behaviour for invalid credentials, sources, endpoints and apps.

use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        sandbox::{Action, Fault, Sandbox, When},
        test_env::{CREDENTIAL, Kind, TestEnv, id_of},
    },
};

#[tokio::test]
async fn rejected_credential_is_reported_and_retried_by_the_organization_only() {
    for verb in ["revoke", "expire"] {
        let env = TestEnv::new(verb).await;
        let operator = env.start_operator().await;
        let names = ["one-app", "two-app", "three-app"];
        for name in names {
            env.apply_app_and_wait(name, json!({})).await;
        }
        env.sandbox.change_credential("operator", verb).await.unwrap();
        // The next request of any app reveals the rejection.
        env.request_reconcile::<SpiceApp>("one-app").await;
        let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
        let message = organization.ready_message();
        let expected = format!("The API rejected the credential in Secret \"{}\": ", CREDENTIAL.0);
        assert!(message.starts_with(&expected), "{message}");
        let before = env.sandbox.revision().await.unwrap();
        let reconciles = operator.reconciles("SpiceApp").await.unwrap();
        for name in names {
            env.request_reconcile::<SpiceApp>(name).await;
        }
        operator.wait_for_reconciles("SpiceApp", reconciles + 3).await.unwrap();
        let app_calls = env.calls_since(before).await.into_iter().filter(|call| call.contains("/apps"));
        assert_eq!(app_calls.collect::<Vec<_>>(), [""; 0]);
        // The apps keep Ready.
        for name in names {
            env.wait_for_ready::<SpiceApp>(name).await;
        }
    }
}

#[tokio::test]
async fn unusable_credential_secret_is_reported_by_name() {
    let env = TestEnv::without_credential("secret").await;
    let _operator = env.start_operator().await;
    let api = env.kubernetes_secrets();
    let (name, key) = CREDENTIAL;
    for (data, message) in [
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
        env.wait_for_message::<SpiceOrganization>("default", "CredentialsMissing", &message).await;
    }
    assert_eq!(env.calls_since(0).await, [""; 0]);
}

#[tokio::test]
async fn replaced_credential_secret_keeps_the_organization_ready() {
    let env = TestEnv::new("replace").await;
    let _operator = env.start_operator().await;
    let before = env.wait_for_ready::<SpiceOrganization>("default").await.status.unwrap();
    let api = env.kubernetes_secrets();
    // As with `kubectl replace`: new content, without the operator's finalizer.
    let mut secret = api.get(CREDENTIAL.0).await.unwrap();
    secret.metadata.finalizers = None;
    secret.metadata.managed_fields = None;
    secret.metadata.annotations = Some([("example.com/other".to_owned(), "value".to_owned())].into());
    api.replace(CREDENTIAL.0, &PostParams::default(), &secret).await.unwrap();
    let after = env
        .wait_for("default", "observedSources has the new version", |organization: &SpiceOrganization| {
            organization
                .status
                .as_ref()
                .is_some_and(|status| status.core.observed_sources != before.core.observed_sources)
        })
        .await;
    assert_eq!(after.status.unwrap().core.conditions, before.core.conditions, "no condition changed in the meantime");
}

#[tokio::test]
async fn unusable_spicepod_config_map_is_reported() {
    let env = TestEnv::new("config-map").await;
    let _operator = env.start_operator().await;
    let large = format!("version: v1\nname: {}\n", "x".repeat(300 * 1024));
    env.apply_app("my-app", json!({ "spicepodFrom": { "configMapKeyRef": { "name": "pods" } } })).await;
    let invalid = |why: &str| format!("ConfigMap \"pods\": key \"spicepod.yaml\" is not a valid spicepod: {why}");
    for (data, message) in [
        (json!({ "other": "x" }), "ConfigMap \"pods\" has no key \"spicepod.yaml\"".to_owned()),
        (json!({ "spicepod.yaml": "" }), invalid("not a mapping")),
        (json!({ "spicepod.yaml": "plain text" }), invalid("not a mapping")),
        (json!({ "spicepod.yaml": "a: [" }), invalid("invalid YAML")),
        (json!({ "spicepod.yaml": "a: 1\na: 2\n" }), invalid("duplicate key: line 2")),
        (json!({ "spicepod.yaml": large }), invalid("")),
    ] {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": { "name": "pods", "namespace": env.namespace } });
        // `kubectl apply` would copy the large value into an annotation, which has a size limit.
        let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(env.client.clone(), &env.namespace);
        api.patch("pods", &PatchParams::apply("test").force(), &Patch::Apply(&map)).await.unwrap();
        let reason = if data["spicepod.yaml"].is_null() { "SourceNotFound" } else { "InvalidSpec" };
        env.wait_for_message::<SpiceApp>("my-app", reason, &message).await;
    }
    env.apply_app_and_wait("other-app", json!({})).await;
    assert_eq!(env.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn changed_endpoint_receives_identity_reads_only() {
    let env = TestEnv::new("endpoint").await;
    let other = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.apply_organization(other.url()).await;
    let mismatch = env.wait_for_reason::<SpiceOrganization>("default", "False", "OrganizationMismatch").await;
    let message = mismatch.ready_message();
    assert!(message.contains(env.sandbox.url()) && message.contains(other.url()), "{message}");
    assert!(message.contains("cloud.spice.ai/accept-organization="), "{message}");
    env.apply_app("my-app", json!({ "description": "new" })).await;
    env.apply_app("new-app", json!({})).await;
    for name in ["my-app", "new-app"] {
        env.wait_for_reason::<SpiceApp>(name, "False", "DependencyNotReady").await;
    }
    let paths = other.calls_by("operator", 0).await.unwrap().into_iter().map(|call| call.path);
    assert_eq!(paths.filter(|path| path != "/v1/orgs").collect::<Vec<_>>(), [""; 0]);
    env.apply_organization(env.sandbox.url()).await;
    for name in ["my-app", "new-app"] {
        env.wait_for_ready::<SpiceApp>(name).await;
    }
    assert_eq!(env.remote_apps().await.len(), 2);
}

#[tokio::test]
async fn app_with_repository_rejects_only_the_spicepod() {
    let env = TestEnv::new("repository").await;
    let _operator = env.start_operator().await;
    // The short interval causes a resync during the test.
    let spec = |description: &str, name: &str| {
        json!({
            "description": description, "interval": "1s", "spicepod": { "name": name },
        })
    };
    let id = id_of(&env.apply_app_and_wait("my-app", spec("first", "one")).await);
    env.sandbox.change_repository(id, "connect").await.unwrap();
    env.apply_app("my-app", spec("second", "two")).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "RepositoryConnected").await;
    let remote = &env.remote_apps().await[0];
    assert_eq!((&remote["description"], &remote["config"]["spicepod"]["name"]), (&json!("second"), &json!("one")));
    let before = env.sandbox.revision().await.unwrap();
    env.sandbox
        .wait_for_call("the app is read again", before, |call| call.method == "GET" && call.status == Some(200))
        .await
        .unwrap();
    assert_eq!(env.writes_since(before).await, [""; 0]);

    env.sandbox.change_repository(id, "disconnect").await.unwrap();
    env.request_reconcile::<SpiceApp>("my-app").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await[0]["config"]["spicepod"]["name"], "two");
}

#[tokio::test]
async fn correction_loop_stops_and_is_reported_by_field() {
    let env = TestEnv::new("correction-loop").await;
    let _operator = env.start_operator().await;
    let portal = env.sandbox.portal().unwrap();
    let id =
        id_of(&env.apply_app_and_wait("my-app", json!({ "description": "desired", "visibility": "private" })).await);
    for _ in 0..3 {
        portal.update_app(id, &json!({ "description": "foreign-value" })).await.unwrap();
        env.reconcile::<SpiceApp>("my-app").await;
        env.wait_for_ready::<SpiceApp>("my-app").await;
        assert_eq!(env.remote_apps().await[0]["description"], "desired");
    }
    portal.update_app(id, &json!({ "description": "foreign-value", "visibility": "public" })).await.unwrap();
    env.request_reconcile::<SpiceApp>("my-app").await;
    let app = env.wait_for_reason::<SpiceApp>("my-app", "False", "CorrectionLoop").await;
    assert!(app.ready_message().contains("description"), "{}", app.ready_message());
    assert_eq!(app.status.unwrap().drift, ["description"]);
    let remote = &env.remote_apps().await[0];
    assert_eq!(
        (&remote["description"], &remote["visibility"]),
        (&json!("foreign-value"), &json!("private")),
        "other fields are corrected"
    );
    // A change of the spec ends the correction loop.
    env.apply_app_and_wait("my-app", json!({ "description": "desired again", "visibility": "private" })).await;
    assert_eq!(env.remote_apps().await[0]["description"], "desired again");
}

#[tokio::test]
async fn repeated_failures_cause_at_most_two_requests_per_reconcile() {
    let env = TestEnv::new("failures").await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    for (method, description) in [("GET", "unseen"), ("PUT", "refused")] {
        env.sandbox.add_fault(Fault::new(When::Before, Action::Status(503)).method(method)).await.unwrap();
        env.apply_app("my-app", json!({ "description": description })).await;
        env.wait_for_reason::<SpiceApp>("my-app", "False", "RemoteUnavailable").await;
        let reconciles = async || operator.reconciles("SpiceApp").await.unwrap();
        // Reconciles are counted before and after the requests: every counted request belongs to a counted reconcile.
        let (first, before) = (reconciles().await, env.sandbox.revision().await.unwrap());
        operator.wait_for_reconciles("SpiceApp", first + 5).await.unwrap();
        let calls = env.calls_since(before).await.len() as u64;
        let finished = reconciles().await + 1 - first;
        assert!(calls <= 2 * finished, "{method}: {calls} requests in {finished} reconciles");
        env.sandbox.remove_faults().await.unwrap();
        env.wait_for_ready::<SpiceApp>("my-app").await;
    }
}

#[tokio::test]
async fn requested_reconcile_reads_the_app_and_is_recorded() {
    let env = TestEnv::new("forced").await;
    let _operator = env.start_operator().await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({ "description": "desired" })).await);
    env.sandbox.portal().unwrap().update_app(id, &json!({ "description": "foreign-value" })).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let app = env.reconcile::<SpiceApp>("my-app").await;
    assert!(app.status.unwrap().core.last_handled_reconcile_at.is_some());
    assert_eq!(env.calls_since(before).await, ["GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
    assert_eq!(env.remote_apps().await[0]["description"], "desired");
}
