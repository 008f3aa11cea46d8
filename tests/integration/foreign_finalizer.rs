//! Objects that another finalizer keeps in Kubernetes after the operator's part of the deletion.

use kube::ResourceExt;
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    secrets::{env_with_app, expected_secrets, one_key_spec, remote_secrets, wait_for_next_second},
    support::test_env::{Kind, TestEnv},
};

const FOREIGN: &str = "example.com/backup";

/// Adds the finalizer of another controller, and deletes the object.
async fn delete_with_foreign_finalizer<K: Kind>(env: &TestEnv, name: &str) {
    let mut finalizers = env.api::<K>().get(name).await.unwrap().finalizers().to_vec();
    finalizers.push(FOREIGN.to_owned());
    env.patch::<K>(name, json!({ "metadata": { "finalizers": finalizers } })).await;
    env.delete::<K>(name).await;
}

/// Waits until the status shows that the operator has finished the deletion.
async fn wait_for_release<K: Kind>(env: &TestEnv, name: &str, result: &str) {
    let message = format!("{result}; waiting for other finalizers: {FOREIGN}");
    let object = env.wait_for_message::<K>(name, "Progressing", &message).await;
    assert!(object.has_ready("False", "Progressing") && object.finalizers() == [FOREIGN], "{:?}", object.meta());
    let kind = K::plural(&());
    let table = env.kubectl(&["get", &kind, name, "--no-headers"]).await.unwrap();
    assert_eq!(table.split_whitespace().take(3).collect::<Vec<_>>(), [name, "False", "Progressing"]);
}

#[tokio::test]
async fn released_app_blocks_neither_its_name_nor_its_organization() {
    for restart in [false, true] {
        let env = TestEnv::new("foreign-finalizer-app").await;
        let mut operator = env.start_operator().await;
        env.apply_app_and_wait("my-app", json!({})).await;
        delete_with_foreign_finalizer::<SpiceApp>(&env, "my-app").await;
        wait_for_release::<SpiceApp>(&env, "my-app", "The app is deleted remotely").await;
        assert_eq!(env.remote_apps().await, [Value::Null; 0]);
        if restart {
            operator.kill().unwrap();
            operator = env.start_operator().await;
        }
        env.set_values("values", json!({ "key": "fake-value-of-a-secret" })).await;
        env.apply_secret("my-secret", one_key_spec("values", "key", "TOKEN")).await;
        let message = "SpiceApp \"my-app\" is being deleted";
        env.wait_for_message::<SpiceSecret>("my-secret", "DependencyNotReady", message).await;
        env.delete_and_wait::<SpiceSecret>("my-secret").await;
        env.apply_app_and_wait("successor", json!({ "name": "my-app" })).await;
        env.wait_for::<SpiceOrganization>("default", "one app counts", |object| {
            object.status.as_ref().is_some_and(|status| status.apps == Some(1))
        })
        .await;
        env.delete_and_wait::<SpiceApp>("successor").await;
        env.delete_and_wait::<SpiceOrganization>("default").await;
        wait_for_release::<SpiceApp>(&env, "my-app", "The app is deleted remotely").await;
        drop(operator);
    }
}

#[tokio::test]
async fn released_secret_blocks_neither_its_names_nor_its_app() {
    let (env, _operator, id) = env_with_app("foreign-finalizer-secret", &[], &[]).await;
    env.set_values("one", json!({ "key": "fake-value-one" })).await;
    env.set_values("two", json!({ "key": "fake-value-two" })).await;
    env.apply_secret_and_wait("old", one_key_spec("one", "key", "TOKEN")).await;
    wait_for_next_second().await;
    env.apply_secret("new", one_key_spec("two", "key", "TOKEN")).await;
    env.wait_for_reason::<SpiceSecret>("new", "False", "NameTaken").await;
    delete_with_foreign_finalizer::<SpiceSecret>(&env, "old").await;
    // The name passes to the other object, so the secret is not deleted.
    wait_for_release::<SpiceSecret>(&env, "old", "The operator released the object").await;
    env.wait_for_ready::<SpiceSecret>("new").await;
    assert_eq!(remote_secrets(&env, id).await, expected_secrets(&[("TOKEN", "fake-value-two")]));
    delete_with_foreign_finalizer::<SpiceSecret>(&env, "new").await;
    wait_for_release::<SpiceSecret>(&env, "new", "The secrets are deleted remotely").await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn released_organization_is_reported_and_does_not_exist_for_its_apps() {
    let env = TestEnv::new("foreign-finalizer-organization").await;
    let _operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    delete_with_foreign_finalizer::<SpiceOrganization>(&env, "default").await;
    wait_for_release::<SpiceOrganization>(&env, "default", "The operator released the object").await;
    env.apply_app("my-app", json!({})).await;
    let message = "SpiceOrganization \"default\" not found";
    env.wait_for_message::<SpiceApp>("my-app", "DependencyNotReady", message).await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
}
