//! Deletion of apps, their organization and the credential Secret in any order, and the credential finalizer.

use std::path::PathBuf;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{CREDENTIAL_FINALIZER, SpiceApp, SpiceOrganization};

use crate::support::{
    control_plane::{OPERATOR_NAMESPACE, User, use_existing_cluster},
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

/// The operator keeps a credential Secret only where it watches every namespace. One operator serves all orders.
#[tokio::test]
async fn objects_can_be_deleted_in_every_order() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let first = TestEnv::cluster_wide("order").await;
    for restart in [false, true] {
        let envs = join_all(ORDERS.iter().map(|_| first.sibling("order"))).await;
        let mut operator = Some(first.start_operator_with(&["--credential-release-delay=1h"]).await);
        join_all(envs.iter().map(create_app)).await;
        for step in 0..3 {
            if restart && step == 1 {
                operator.take().unwrap().kill().unwrap();
            }
            join_all(envs.iter().zip(ORDERS).map(|(env, order)| order[step].delete(env))).await;
        }
        if restart {
            operator = Some(first.start_operator_with(&["--credential-release-delay=1h"]).await);
        }
        for (env, order) in envs.iter().zip(ORDERS) {
            env.wait_for_deletion::<SpiceApp>("my-app").await;
            env.wait_for_deletion::<SpiceOrganization>("default").await;
            wait_for_secret(env, "the Secret is deleted", |secret| secret.is_none()).await;
            assert_eq!(env.remote_apps().await, [Value::Null; 0], "{order:?}, restart: {restart}");
        }
        drop(operator);
    }
}

#[tokio::test]
async fn namespace_deletion_deletes_all_objects_and_unretained_apps() {
    if use_existing_cluster() {
        return;
    }
    let first = TestEnv::cluster_wide("namespace").await;
    let _controller = NamespaceController::start(&first.cluster).await.unwrap();
    for restart in [false, true] {
        delete_namespace(&first.sibling("namespace").await, restart).await;
    }
}

async fn delete_namespace(env: &TestEnv, restart: bool) {
    let mut operator = Some(env.start_operator().await);
    create_app(env).await;
    let spec = json!({ "deletionPolicy": "Retain" });
    env.apply_app_and_wait("retained-app", spec).await;

    if restart {
        operator.take().unwrap().kill().unwrap();
    }
    env.delete_namespace().await;
    if restart {
        operator = Some(env.start_operator().await);
    }
    env.wait_for_namespace_deletion().await;
    let names: Vec<_> = env.remote_apps().await.iter().map(|app| app["name"].clone()).collect();
    assert_eq!(names, ["retained-app"], "restart: {restart}");
    drop(operator);
}

#[tokio::test]
async fn unused_credential_secret_loses_its_finalizer() {
    if use_existing_cluster() {
        return;
    }
    let env = TestEnv::cluster_wide("release").await;
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

/// A copy is a Secret with the finalizer that no SpiceOrganization names.
#[tokio::test]
async fn copy_of_a_credential_secret_is_released() {
    if use_existing_cluster() {
        return;
    }
    let env = TestEnv::cluster_wide("copy").await;
    let copies = Api::<Secret>::namespaced(env.client.clone(), &env.cluster.create_namespace("copies").await.unwrap());
    let _operator = env.start_operator().await;
    create_app(&env).await;
    let original = env.kubernetes_secrets().get(CREDENTIAL.0).await.unwrap();
    for name in ["kept", "deleted"] {
        let metadata = json!({ "name": name, "finalizers": original.metadata.finalizers });
        let copy = serde_json::from_value(json!({ "metadata": metadata, "data": original.data })).unwrap();
        copies.create(&PostParams::default(), &copy).await.unwrap();
    }
    copies.delete("deleted", &DeleteParams::default()).await.unwrap();
    eventually("the copies are released", DEADLINE, async || {
        let all = copies.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let left: Vec<_> = all.iter().map(|secret| (secret.name_any(), has_finalizer(Some(secret)))).collect();
        if left == [("kept".to_owned(), false)] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert!(has_finalizer(Some(&env.kubernetes_secrets().get(CREDENTIAL.0).await.unwrap())));
}

/// An operator that cannot see a copy of a credential Secret sets no finalizer, and removes existing finalizers.
#[tokio::test]
async fn finalizer_is_removed_where_secrets_are_not_listed_cluster_wide() {
    for args in [&[][..], &["--watch-secrets=false", "--secret-poll-interval=1s"]] {
        let env = TestEnv::new("scope").await;
        let patch = json!({ "metadata": { "finalizers": [CREDENTIAL_FINALIZER, "example.com/other"] } });
        let secrets = env.kubernetes_secrets();
        secrets.patch(CREDENTIAL.0, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let operator = env.start_operator_with(args).await;
        env.apply_app_and_wait("my-app", json!({})).await;
        wait_for_secret(&env, "the credential Secret has no finalizer of the operator", |secret| {
            secret.is_some_and(|secret| secret.finalizers() == ["example.com/other"])
        })
        .await;
        // A restart sets no finalizer.
        operator.kill().unwrap();
        let operator = env.start_operator_with(args).await;
        env.reconcile::<SpiceOrganization>("default").await;
        assert!(!operator.log().contains("Added finalizer to credential Secret"), "{args:?}");
        wait_for_secret(&env, "no finalizer", |secret| secret.is_some() && !has_finalizer(secret)).await;
    }
}

/// Reduced permissions for Secrets, each with the flag that disables the corresponding feature.
#[tokio::test]
async fn operator_works_with_reduced_secret_permissions() {
    if use_existing_cluster() {
        return;
    }
    let first = TestEnv::cluster_wide("rights").await;
    for (verbs, args, is_protected) in [
        (json!(["get", "list", "watch", "patch"]), &[][..], true),
        (json!(["get", "list", "watch"]), &["--protect-credential-secrets=false"], false),
        (json!(["get"]), &["--watch-secrets=false"], false),
        (json!(["get"]), &["--watch-secrets=false", "--protect-credential-secrets=false"], false),
        // Without the flag, the operator detects the missing permission and continues.
        (json!(["get", "list", "watch"]), &[], false),
    ] {
        let env = first.sibling("rights").await;
        let kubeconfig = reduced_kubeconfig(&env, &verbs).await;
        let _operator = env.start_operator_as(&kubeconfig, args).await;
        env.apply_app_and_wait("my-app", json!({})).await;
        wait_for_secret(&env, "the finalizer depends on the patch permission", |secret| {
            has_finalizer(secret) == is_protected
        })
        .await;
        env.delete_and_wait::<SpiceApp>("my-app").await;
        env.delete_and_wait::<SpiceOrganization>("default").await;
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
