//! A SpiceApp and its SpiceSecret that are deleted in any order and created again, as kubectl, Helm and Argo CD do.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::{CREDENTIAL_FINALIZER, SpiceApp, SpiceSecret};

use crate::{
    secrets::{env_with_app, expected_secrets, remote_secrets},
    support::{
        control_plane::use_existing_cluster,
        eventually::{DEADLINE, eventually},
        namespace_controller::NamespaceController,
        operator::Operator,
        test_env::{CREDENTIAL, TestEnv, id_of},
    },
};

const VALUE: &str = "fake-value-token";

/// Applies a SpiceSecret with one secret, and waits until it is Ready.
async fn apply_secret(env: &TestEnv) {
    env.set_values("src", json!({ "TOKEN": VALUE })).await;
    env.apply_secret_and_wait("src", json!({})).await;
}

/// An environment with a Ready SpiceApp `my-app` and a Ready SpiceSecret `src`. Returns the ID of the app.
async fn env_with_pair(name: &str, wait: &str) -> (TestEnv, Operator, u64) {
    let wait = format!("--dependent-deletion-wait={wait}");
    let (env, operator, id) = env_with_app(name, &[], &[&wait]).await;
    apply_secret(&env).await;
    (env, operator, id)
}

/// Waits for an event of an object.
async fn wait_for_event(env: &TestEnv, object: &str, text: &str) {
    eventually(text, DEADLINE, async || {
        let events = env.kubectl(&["events", "--for", object]).await?;
        if events.contains(text) { Ok(()) } else { Err(events) }
    })
    .await;
}

/// Returns the names of the secrets of an app, which may be deleted.
async fn secret_names(env: &TestEnv, id: u64) -> Vec<Value> {
    let state = env.sandbox.state().await.unwrap();
    let app = state["apps"].as_array().unwrap().iter().find(|app| app["id"] == id).cloned().unwrap();
    app["secrets"].as_array().unwrap().iter().map(|secret| secret["name"].clone()).collect()
}

/// Applies both objects, and checks that both become Ready with the same app and the value.
async fn apply_again(env: &TestEnv, id: u64) {
    env.apply_app("my-app", json!({})).await;
    env.apply_secret("src", json!({})).await;
    assert_eq!(id_of(&env.wait_for_ready::<SpiceApp>("my-app").await), id, "the create reactivates the app");
    env.wait_for_ready::<SpiceSecret>("src").await;
    assert_eq!(remote_secrets(env, id).await, expected_secrets(&[("TOKEN", VALUE)]));
}

#[tokio::test]
async fn app_waits_for_the_deletion_of_its_secret() {
    let (env, _operator, id) = env_with_pair("app-first", "1h").await;
    env.delete::<SpiceApp>("my-app").await;
    let message = "Waiting up to 1h for a deletion of SpiceSecret \"src\"";
    env.wait_for_message::<SpiceApp>("my-app", "DependencyNotReady", message).await;
    env.delete_and_wait::<SpiceSecret>("src").await;
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    assert_eq!((secret_names(&env, id).await.len(), env.remote_apps().await.len()), (0, 0));
    wait_for_event(&env, "spicesecret/src", "Deleted secret TOKEN").await;
    apply_again(&env, id).await;
}

#[tokio::test]
async fn secret_that_is_deleted_after_its_app_is_ready_again_in_the_reactivated_app() {
    // Long enough that the API shows the app as older than the create.
    let (env, _operator, id) = env_with_pair("app-long-before", "5s").await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
    env.delete_and_wait::<SpiceSecret>("src").await;
    assert_eq!(secret_names(&env, id).await, ["TOKEN"]);
    wait_for_event(&env, "spicesecret/src", &format!("Did not delete secret TOKEN from app {id}")).await;
    let events = env.kubectl(&["events", "--for", "spicesecret/src"]).await.unwrap();
    assert!(!events.contains("Deleted secret"), "{events}");
    apply_again(&env, id).await;
}

#[tokio::test]
async fn retained_app_loses_the_secrets_that_are_deleted_within_the_wait() {
    let (env, _operator, id) = env_with_pair("retain-within", "1h").await;
    env.apply_app_and_wait("my-app", json!({ "deletionPolicy": "Retain" })).await;
    env.delete::<SpiceApp>("my-app").await;
    env.delete_and_wait::<SpiceSecret>("src").await;
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[]));
    assert_eq!(env.remote_apps().await[0]["tags"], json!({}), "the operator removes its tags");
}

#[tokio::test]
async fn events_name_the_secrets_that_stay_in_a_retained_app() {
    let (env, _operator, id) = env_with_pair("retain-late", "0s").await;
    env.apply_app_and_wait("my-app", json!({ "deletionPolicy": "Retain" })).await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
    let message = format!("App {id} is kept with the secrets that SpiceSecrets have set: TOKEN");
    wait_for_event(&env, "spiceapp/my-app", &message).await;
    env.delete_and_wait::<SpiceSecret>("src").await;
    let message = format!("Did not delete secret TOKEN from app {id}: SpiceApp \"my-app\" does not exist");
    wait_for_event(&env, "spicesecret/src", &message).await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", VALUE)]));
}

#[tokio::test]
async fn app_that_is_retained_while_it_waits_is_released_at_once() {
    let (env, _operator, id) = env_with_pair("retain-now", "1h").await;
    env.delete::<SpiceApp>("my-app").await;
    let message = "for a deletion of SpiceSecret \"src\"";
    env.wait_for_message::<SpiceApp>("my-app", "DependencyNotReady", message).await;
    let before = env.sandbox.revision().await.unwrap();
    env.patch::<SpiceApp>("my-app", json!({ "spec": { "deletionPolicy": "Retain" } })).await;
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    assert_eq!(env.calls_since(before).await, [""; 0]);
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", VALUE)]));
}

/// One API call of a client, or its wait for the end of an object.
#[derive(Clone, Copy, Debug)]
enum Step {
    DeleteApp,
    DeleteSecret,
    WaitForApp,
    WaitForSecret,
    CreateApp,
    CreateSecret,
}

impl Step {
    async fn run(self, env: &TestEnv) {
        match self {
            Self::DeleteApp => env.delete::<SpiceApp>("my-app").await,
            Self::DeleteSecret => env.delete::<SpiceSecret>("src").await,
            Self::WaitForApp => env.wait_for_deletion::<SpiceApp>("my-app").await,
            Self::WaitForSecret => env.wait_for_deletion::<SpiceSecret>("src").await,
            Self::CreateApp => drop(env.apply_app("my-app", json!({})).await),
            Self::CreateSecret => drop(env.apply_secret("src", json!({})).await),
        }
    }
}

#[tokio::test]
async fn sequences_of_clients_that_recreate_objects_end_in_ready_objects() {
    use Step::{CreateApp, CreateSecret, DeleteApp, DeleteSecret, WaitForApp, WaitForSecret};
    let (env, _operator, id) = env_with_pair("sequences", "5s").await;
    for (client, steps) in [
        (
            "kubectl replace --force of a file",
            &[DeleteApp, DeleteSecret, WaitForApp, WaitForSecret, CreateApp, CreateSecret][..],
        ),
        ("kubectl replace --force of the app", &[DeleteApp, WaitForApp, CreateApp]),
        ("kubectl replace --force of the secret", &[DeleteSecret, WaitForSecret, CreateSecret]),
        (
            "helm uninstall, then install",
            &[DeleteSecret, DeleteApp, WaitForSecret, WaitForApp, CreateApp, CreateSecret],
        ),
        (
            "Argo CD with Force and Replace",
            &[DeleteApp, WaitForApp, CreateApp, DeleteSecret, WaitForSecret, CreateSecret],
        ),
        ("Argo CD in another order", &[DeleteSecret, WaitForSecret, CreateSecret, DeleteApp, WaitForApp, CreateApp]),
    ] {
        for step in steps {
            step.run(&env).await;
        }
        assert_eq!(id_of(&env.wait_for_ready::<SpiceApp>("my-app").await), id, "{client}");
        env.reconcile::<SpiceSecret>("src").await;
        env.wait_for_ready::<SpiceSecret>("src").await;
        assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", VALUE)]), "{client}");
    }
}

/// The operator keeps the credential Secret of a terminating namespace only where it watches every namespace.
#[tokio::test]
async fn objects_of_a_recreated_namespace_become_ready() {
    if use_existing_cluster() {
        return;
    }
    let env = TestEnv::cluster_wide("namespace-again").await;
    let _controller = NamespaceController::start(&env.cluster).await.unwrap();
    let _operator = env.start_operator().await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({})).await);
    apply_secret(&env).await;
    eventually("the credential Secret has the finalizer", DEADLINE, async || {
        let secret = env.kubernetes_secrets().get(CREDENTIAL.0).await.map_err(|error| error.to_string())?;
        if secret.finalizers() == [CREDENTIAL_FINALIZER] { Ok(()) } else { Err(format!("{:?}", secret.metadata)) }
    })
    .await;
    env.delete_namespace().await;
    env.wait_for_namespace_deletion().await;
    assert_eq!((secret_names(&env, id).await.len(), env.remote_apps().await.len()), (0, 0));
    let namespaces: Api<Namespace> = Api::all(env.client.clone());
    let namespace = serde_json::from_value(json!({ "metadata": { "name": env.namespace } })).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    env.set_credential(&env.sandbox.credential("operator").unwrap().token.clone().unwrap()).await;
    env.apply_organization(env.sandbox.url()).await;
    env.set_values("src", json!({ "TOKEN": VALUE })).await;
    apply_again(&env, id).await;
}
