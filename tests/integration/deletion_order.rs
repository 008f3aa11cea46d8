//! Deletion of apps, their organization and the credential Secret in any order, and the credential finalizer.

use std::path::PathBuf;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{CREDENTIAL_FINALIZER, SpiceApp, SpiceOrganization};

use crate::support::{
    control_plane::{ControlPlane, OPERATOR_NAMESPACE, User},
    eventually::{DEADLINE, eventually},
    namespace_controller::NamespaceController,
    test_env::{CREDENTIAL, TestEnv},
};

/// An object to delete.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Secret,
    Organization,
    App,
}

use Target::{App, Organization, Secret as Credential};

const ORDERS: [[Target; 3]; 6] = [
    [Credential, Organization, App],
    [Credential, App, Organization],
    [Organization, Credential, App],
    [Organization, App, Credential],
    [App, Credential, Organization],
    [App, Organization, Credential],
];

impl Target {
    async fn delete(self, env: &TestEnv) {
        let params = DeleteParams::default();
        match self {
            Self::Secret => drop(env.kubernetes_secrets().delete(CREDENTIAL.0, &params).await.unwrap()),
            Self::Organization => env.delete::<SpiceOrganization>("default").await,
            Self::App => env.delete::<SpiceApp>("my-app").await,
        }
    }
}

async fn wait_for_secret(env: &TestEnv, description: &str, condition: impl Fn(Option<&Secret>) -> bool) {
    eventually(description, DEADLINE, async || {
        let secret = env.kubernetes_secrets().get_opt(CREDENTIAL.0).await.map_err(|error| error.to_string())?;
        if condition(secret.as_ref()) { Ok(()) } else { Err(format!("{:?}", secret.map(|secret| secret.metadata))) }
    })
    .await;
}

fn has_finalizer(secret: Option<&Secret>) -> bool {
    secret.is_some_and(|secret| secret.finalizers().iter().any(|finalizer| finalizer == CREDENTIAL_FINALIZER))
}

/// Creates an app and waits for the finalizer of the credential Secret.
async fn create_app(env: &TestEnv) {
    env.apply_app_and_wait("my-app", json!({ "description": "desired" })).await;
    wait_for_secret(env, "the credential Secret has the finalizer", has_finalizer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_can_be_deleted_in_every_order() {
    let cases = ORDERS.into_iter().flat_map(|order| [(order, false), (order, true)]);
    let run = |(order, restart)| async move { tokio::spawn(delete_in_order(order, restart)).await.unwrap() };
    futures::stream::iter(cases).for_each_concurrent(3, run).await;
}

async fn delete_in_order(order: [Target; 3], restart: bool) {
    let env = TestEnv::new("order").await;
    let mut operator = Some(env.start_operator_with(&["--credential-release-delay=1h"]).await);
    create_app(&env).await;
    for target in order {
        if restart && target == order[1] {
            operator.take().unwrap().kill().unwrap();
        }
        target.delete(&env).await;
    }
    if restart {
        operator = Some(env.start_operator_with(&["--credential-release-delay=1h"]).await);
    }
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    env.wait_for_deletion::<SpiceOrganization>("default").await;
    wait_for_secret(&env, "the Secret is deleted", |secret| secret.is_none()).await;
    assert_eq!(env.remote_apps().await, [Value::Null; 0], "{order:?}, restart: {restart}");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_deletion_deletes_all_objects_and_unretained_apps() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    let cases = [(false, ""), (true, ""), (false, "--watch-secrets=false")];
    let run = |(restart, args)| async move { tokio::spawn(delete_namespace(restart, args)).await.unwrap() };
    futures::stream::iter(cases).for_each_concurrent(3, run).await;
}

async fn delete_namespace(restart: bool, arg: &'static str) {
    let env = TestEnv::new("namespace").await;
    let args: Vec<_> = ["--secret-poll-interval=1s", arg].into_iter().filter(|arg| !arg.is_empty()).collect();
    let mut operator = Some(env.start_operator_with(&args).await);
    create_app(&env).await;
    let spec = json!({ "deletionPolicy": "Retain" });
    env.apply_app_and_wait("retained-app", spec).await;

    if restart {
        operator.take().unwrap().kill().unwrap();
    }
    env.delete_namespace().await;
    if restart {
        operator = Some(env.start_operator_with(&args).await);
    }
    env.wait_for_namespace_deletion().await;
    let names: Vec<_> = env.remote_apps().await.iter().map(|app| app["name"].clone()).collect();
    assert_eq!(names, ["retained-app"], "restart: {restart}, {args:?}");
    drop(operator);
}

#[tokio::test]
async fn unused_credential_secret_loses_its_finalizer() {
    let env = TestEnv::new("release").await;
    let operator = env.start_operator_with(&["--credential-release-delay=1s"]).await;
    create_app(&env).await;

    // The organization refers to another Secret.
    let other = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "other", "namespace": env.namespace },
        "stringData": { "token": "sandbox-fake-token-operator" },
    });
    env.kubernetes_secrets().patch("other", &PatchParams::apply("test"), &Patch::Apply(&other)).await.unwrap();
    let set_secret_ref = async |name: &str| {
        let patch = json!({ "spec": { "credentials": { "personalAccessToken": { "secretRef": { "name": name } } } } });
        env.patch::<SpiceOrganization>("default", patch).await;
    };
    set_secret_ref("other").await;
    wait_for_secret(&env, "the unreferenced Secret has no finalizer", |secret| {
        secret.is_some() && !has_finalizer(secret)
    })
    .await;
    set_secret_ref(CREDENTIAL.0).await;
    wait_for_secret(&env, "the credential Secret has the finalizer again", has_finalizer).await;

    // The Secret is deleted, and no app is terminating.
    Target::Secret.delete(&env).await;
    wait_for_secret(&env, "the Secret is deleted", |secret| secret.is_none()).await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "CredentialsMissing").await;

    // The finalizer is disabled.
    env.set_credential("sandbox-fake-token-operator").await;
    wait_for_secret(&env, "the credential Secret has the finalizer again", has_finalizer).await;
    operator.kill().unwrap();
    let _operator = env.start_operator_with(&["--protect-credential-secrets=false"]).await;
    wait_for_secret(&env, "the credential Secret has no finalizer", |secret| {
        secret.is_some() && !has_finalizer(secret)
    })
    .await;
}

#[tokio::test]
async fn credential_is_polled_without_a_secret_watch() {
    let env = TestEnv::without_credential("polled").await;
    let _operator = env
        .start_operator_with(&["--watch-secrets=false", "--secret-poll-interval=1s", "--credential-release-delay=1s"])
        .await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "CredentialsMissing").await;
    env.set_credential("sandbox-fake-token-unknown").await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "Unauthorized").await;
    env.set_credential("sandbox-fake-token-operator").await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    env.kubernetes_secrets().delete(CREDENTIAL.0, &DeleteParams::default()).await.unwrap();
    env.wait_for_reason::<SpiceOrganization>("default", "False", "CredentialsMissing").await;
}

/// Reduced permissions for Secrets, each with the flag that disables the corresponding feature.
#[tokio::test]
async fn operator_works_with_reduced_secret_permissions() {
    for (verbs, args) in [
        (json!(["get", "list", "watch"]), &["--protect-credential-secrets=false"][..]),
        (json!(["get", "patch"]), &["--watch-secrets=false"]),
        (json!(["get"]), &["--watch-secrets=false", "--protect-credential-secrets=false"]),
        // Without the flag, the operator detects the missing permission and continues.
        (json!(["get", "list", "watch"]), &[]),
    ] {
        let env = TestEnv::new("rights").await;
        let kubeconfig = reduced_kubeconfig(&env, &verbs).await;
        let _operator = env.start_operator_as(&kubeconfig, args).await;
        env.apply_app_and_wait("my-app", json!({})).await;
        let can_patch = verbs.as_array().unwrap().contains(&json!("patch"));
        wait_for_secret(&env, "the finalizer depends on the patch permission", |secret| {
            has_finalizer(secret) == can_patch
        })
        .await;
        env.delete_and_wait::<SpiceApp>("my-app").await;
    }
}

/// Creates a user with the operator's role, but only `verbs` for Secrets. Returns the kubeconfig of that user.
async fn reduced_kubeconfig(env: &TestEnv, verbs: &Value) -> PathBuf {
    let user = format!("reduced-{}", env.namespace);
    let role = env.cluster.kubectl(&["get", "clusterrole", "spice-cloud-operator", "-o", "json"]).await.unwrap();
    let mut role: Value = serde_json::from_str(&role).unwrap();
    role["metadata"] = json!({ "name": user });
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["secrets"]) {
            rule["verbs"] = verbs.clone();
        }
    }
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": user },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    let own_namespace = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": user, "namespace": OPERATOR_NAMESPACE }, "subjects": binding["subjects"],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "spice-cloud-operator" },
    });
    for object in [role, binding, own_namespace] {
        env.cluster.kubectl_apply_text(&object.to_string()).await.unwrap();
    }
    let admin = std::fs::read_to_string(env.cluster.kubeconfig(User::Admin)).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&admin).unwrap();
    kubeconfig["users"][0]["user"]["as"] = json!(user);
    env.run.write("reduced.kubeconfig", &kubeconfig.to_string()).unwrap()
}
