//! Permissions that `config/rbac` grants to the operator.

use std::path::Path;

use crate::support::{
    control_plane::{ControlPlane, OPERATOR_NAMESPACE, User, use_existing_cluster},
    definitions::install_definitions,
    eventually::{DEADLINE, eventually},
};

/// Arguments of `kubectl auth can-i` that the operator needs.
const ALLOWED: &[&str] = &[
    "get spiceapps.cloud.spice.ai -A",
    "watch spiceapps.cloud.spice.ai -A",
    "patch spiceapps.cloud.spice.ai -A",
    "update spiceapps.cloud.spice.ai --subresource=status -A",
    "list spiceorganizations.cloud.spice.ai -A",
    "watch spiceorganizations.cloud.spice.ai -A",
    "patch spiceorganizations.cloud.spice.ai -A",
    "update spiceorganizations.cloud.spice.ai --subresource=status -A",
    "list spicesecrets.cloud.spice.ai -A",
    "watch spicesecrets.cloud.spice.ai -A",
    "patch spicesecrets.cloud.spice.ai -A",
    "update spicesecrets.cloud.spice.ai --subresource=status -A",
    "create secrets -n spice-cloud-operator-system",
    "get secrets -A",
    "list secrets -A",
    "watch secrets -A",
    "patch secrets -A",
    "get configmaps -A",
    "watch configmaps -A",
    "create events.events.k8s.io -A",
    "patch events.events.k8s.io -A",
    "get namespaces/kube-system",
    "list namespaces",
    "watch namespaces",
    "get customresourcedefinitions/spiceapps.cloud.spice.ai",
    "get customresourcedefinitions/spiceorganizations.cloud.spice.ai",
    "get customresourcedefinitions/spicesecrets.cloud.spice.ai",
];

/// Arguments of `kubectl auth can-i` that the operator must not have.
const FORBIDDEN: &[&str] = &[
    "create spiceapps.cloud.spice.ai -A",
    "delete spiceapps.cloud.spice.ai -A",
    "update spiceapps.cloud.spice.ai -A",
    "create spiceorganizations.cloud.spice.ai -A",
    "delete spiceorganizations.cloud.spice.ai -A",
    "create spicesecrets.cloud.spice.ai -A",
    "delete spicesecrets.cloud.spice.ai -A",
    "create secrets -A",
    "update secrets -n spice-cloud-operator-system",
    "delete secrets -n spice-cloud-operator-system",
    "update secrets -A",
    "delete secrets -A",
    "get namespaces/default",
    "patch namespaces",
    "list customresourcedefinitions",
    "get customresourcedefinitions/others.example.org",
    "delete customresourcedefinitions/spiceapps.cloud.spice.ai",
    "create configmaps -A",
    "patch configmaps -A",
    "create pods -A",
    "escalate clusterroles",
    "impersonate users",
];

#[tokio::test]
async fn operator_has_exactly_the_required_permissions() {
    if use_existing_cluster() {
        // A test must not change the permissions of an operator in an existing cluster.
        return;
    }
    // A separate control plane: the role bindings must not affect other tests.
    let cluster = ControlPlane::start().await.unwrap();
    install_definitions(&cluster).await.unwrap();
    cluster.kubectl_apply(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac")).await.unwrap();
    let is_allowed = async |request: &str| {
        let args = ["auth", "can-i"].into_iter().chain(request.split(' ')).collect::<Vec<_>>();
        match cluster.kubectl_as(User::Operator, &args).await {
            Ok(output) if output.trim() == "yes" => true,
            // kubectl exits with 1 if the answer is no.
            Err(error) if error.lines().any(|line| line.trim().ends_with("no")) => false,
            other => panic!("{request}: {other:?}"),
        }
    };
    eventually("the binding takes effect", DEADLINE, async || {
        if is_allowed("list spiceapps.cloud.spice.ai -A").await { Ok(()) } else { Err("not allowed yet".to_owned()) }
    })
    .await;
    for request in ALLOWED {
        assert!(is_allowed(request).await, "not allowed: {request}");
    }
    for request in FORBIDDEN {
        assert!(!is_allowed(request).await, "allowed: {request}");
    }
    let account = cluster.kubectl(&["get", "serviceaccount", "spice-cloud-operator", "-n", OPERATOR_NAMESPACE]).await;
    account.unwrap();
}
