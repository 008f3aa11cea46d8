//! What is deleted together goes together: apps, their organization and the Secret of its credential, in any order.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{CREDENTIAL_FINALIZER, SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        control_plane::{ControlPlane, OPERATOR_NAMESPACE, User},
        eventually::{DEADLINE, poll},
        namespace_controller::NamespaceController,
        test_env::{CREDENTIAL, TestEnv},
    },
};

/// What is there to be deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Secret,
    Organization,
    App,
}

use Part::{App, Organization, Secret as Credential};

const ORDERS: [[Part; 3]; 6] = [
    [Credential, Organization, App],
    [Credential, App, Organization],
    [Organization, Credential, App],
    [Organization, App, Credential],
    [App, Credential, Organization],
    [App, Organization, Credential],
];

impl Part {
    async fn delete(self, env: &TestEnv) {
        let params = DeleteParams::default();
        match self {
            Self::Secret => drop(secrets(env).delete(CREDENTIAL.0, &params).await.unwrap()),
            Self::Organization => drop(env.api::<SpiceOrganization>().delete("default", &params).await.unwrap()),
            Self::App => drop(env.api::<SpiceApp>().delete("my-app", &params).await.unwrap()),
        }
    }
}

fn secrets(env: &TestEnv) -> Api<Secret> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

async fn secret_is(env: &TestEnv, what: &str, wanted: impl Fn(Option<&Secret>) -> bool) {
    poll(what, DEADLINE, async || {
        let secret = secrets(env).get_opt(CREDENTIAL.0).await.map_err(|error| error.to_string())?;
        if wanted(secret.as_ref()) { Ok(()) } else { Err(format!("{:?}", secret.map(|secret| secret.metadata))) }
    })
    .await
    .unwrap();
}

fn is_held(secret: Option<&Secret>) -> bool {
    secret.is_some_and(|secret| secret.finalizers().iter().any(|finalizer| finalizer == CREDENTIAL_FINALIZER))
}

/// A env whose app is made and whose credential is held.
async fn in_use(env: &TestEnv) {
    env.app("my-app", json!({ "description": "ours" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    secret_is(env, "the credential is held", is_held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_deleted_one_by_one_go_in_every_order_and_leave_nothing() {
    let cases = ORDERS.into_iter().flat_map(|order| [(order, false), (order, true)]);
    let run = |(order, restart)| async move { tokio::spawn(deleted_in(order, restart)).await.unwrap() };
    futures::stream::iter(cases).for_each_concurrent(3, run).await;
}

async fn deleted_in(order: [Part; 3], restart: bool) {
    let env = TestEnv::new("parts", program()).await;
    let mut operator = Some(env.operator_with(&["--credential-release-delay=1h"]).await);
    in_use(&env).await;
    for part in order {
        if restart && part == order[1] {
            operator.take().unwrap().kill().unwrap();
        }
        part.delete(&env).await;
    }
    if restart {
        operator = Some(env.operator_with(&["--credential-release-delay=1h"]).await);
    }
    env.gone::<SpiceApp>("my-app").await;
    env.gone::<SpiceOrganization>("default").await;
    secret_is(&env, "the Secret is gone", |secret| secret.is_none()).await;
    assert_eq!(env.remote_apps().await, [Value::Null; 0], "{order:?}, restart: {restart}");
    drop(operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_all_that_is_in_it_and_leaves_nothing() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    let cases = [(false, ""), (true, ""), (false, "--watch-secrets=false")];
    let run = |(while_away, settings)| async move { tokio::spawn(namespace_goes(while_away, settings)).await.unwrap() };
    futures::stream::iter(cases).for_each_concurrent(3, run).await;
}

async fn namespace_goes(while_away: bool, settings: &'static str) {
    let env = TestEnv::new("namespace", program()).await;
    let settings: Vec<_> = ["--secret-poll-interval=1s", settings].into_iter().filter(|it| !it.is_empty()).collect();
    let mut operator = Some(env.operator_with(&settings).await);
    in_use(&env).await;
    let spec = json!({ "deletionPolicy": "Retain" });
    env.app("kept-app", spec).await;
    env.app_is("kept-app", "True", "Succeeded").await;

    if while_away {
        operator.take().unwrap().kill().unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(env.client.clone());
    namespaces.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
    if while_away {
        operator = Some(env.operator_with(&settings).await);
    }
    env.namespace_is_gone().await;
    let names: Vec<_> = env.remote_apps().await.iter().map(|app| app["name"].clone()).collect();
    assert_eq!(names, ["kept-app"], "while away: {while_away}, {settings:?}");
    drop(operator);
}

#[tokio::test]
async fn a_credential_is_let_go_when_nobody_needs_it() {
    let env = TestEnv::new("let-go", program()).await;
    let operator = env.operator_with(&["--credential-release-delay=1s"]).await;
    in_use(&env).await;

    // Named no more.
    let other = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "other", "namespace": env.namespace },
        "stringData": { "token": "sandbox-fake-token-operator" },
    });
    secrets(&env).patch("other", &PatchParams::apply("test"), &Patch::Apply(&other)).await.unwrap();
    let name = async |name: &str| {
        let patch = json!({ "spec": { "credentials": { "personalAccessToken": { "secretRef": { "name": name } } } } });
        let params = PatchParams::default();
        env.api::<SpiceOrganization>().patch("default", &params, &Patch::Merge(patch)).await.unwrap();
    };
    name("other").await;
    secret_is(&env, "one that is named no more is let go", |secret| secret.is_some() && !is_held(secret)).await;
    name(CREDENTIAL.0).await;
    secret_is(&env, "the credential is held again", is_held).await;

    // Deleted, and no app goes with it.
    Part::Secret.delete(&env).await;
    secret_is(&env, "the Secret is gone", |secret| secret.is_none()).await;
    env.organization_is("False", "CredentialsMissing").await;

    // Switched off.
    env.give_credential("sandbox-fake-token-operator").await;
    secret_is(&env, "the credential is held again", is_held).await;
    operator.kill().unwrap();
    let _operator = env.operator_with(&["--protect-credential-secrets=false"]).await;
    secret_is(&env, "the credential is let go", |secret| secret.is_some() && !is_held(secret)).await;
}

#[tokio::test]
async fn without_a_watch_a_credential_is_read_now_and_then() {
    let env = TestEnv::without_credential("polled", program()).await;
    let _operator = env
        .operator_with(&["--watch-secrets=false", "--secret-poll-interval=1s", "--credential-release-delay=1s"])
        .await;
    env.organization_is("False", "CredentialsMissing").await;
    env.give_credential("sandbox-fake-token-unknown").await;
    env.organization_is("False", "Unauthorized").await;
    env.give_credential("sandbox-fake-token-operator").await;
    env.organization_is("True", "Succeeded").await;
    secrets(&env).delete(CREDENTIAL.0, &DeleteParams::default()).await.unwrap();
    env.organization_is("False", "CredentialsMissing").await;
}

/// What the operator may do with Secrets can be narrowed, with a switch for what it then does without.
#[tokio::test]
async fn it_works_with_fewer_rights_to_secrets() {
    for (verbs, settings) in [
        (json!(["get", "list", "watch"]), &["--protect-credential-secrets=false"][..]),
        (json!(["get", "patch"]), &["--watch-secrets=false"]),
        (json!(["get"]), &["--watch-secrets=false", "--protect-credential-secrets=false"]),
        // Not told so, it finds out, and goes on.
        (json!(["get", "list", "watch"]), &[]),
    ] {
        let env = TestEnv::new("rights", program()).await;
        let user = format!("narrow-{}", env.namespace);
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
        let own = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": user, "namespace": OPERATOR_NAMESPACE }, "subjects": binding["subjects"],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "spice-cloud-operator" },
        });
        for object in [role, binding, own] {
            env.cluster.kubectl_apply_text(&object.to_string()).await.unwrap();
        }
        let admin = std::fs::read_to_string(env.cluster.kubeconfig(User::Admin)).unwrap();
        let mut kubeconfig: Value = serde_json::from_str(&admin).unwrap();
        kubeconfig["users"][0]["user"]["as"] = json!(user);
        let kubeconfig = env.run.write("narrow.kubeconfig", &kubeconfig.to_string()).unwrap();

        let _operator = env.operator_by(&kubeconfig, settings).await;
        env.app("my-app", json!({})).await;
        env.app_is("my-app", "True", "Succeeded").await;
        let (patch, held) = (verbs.as_array().unwrap().contains(&json!("patch")), is_held);
        secret_is(&env, "held where that is allowed", |secret| held(secret) == patch).await;
        env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceApp>("my-app").await;
    }
}
