//! What config/rbac gives to the operator: all that it needs, and nothing else.

use std::path::Path;

use crate::support::{
    control_plane::{ControlPlane, OPERATOR_NAMESPACE, User, use_existing_cluster},
    definitions::install_definitions,
    eventually::{DEADLINE, eventually},
};

#[tokio::test]
async fn the_operator_may_do_what_it_does_and_nothing_else() {
    if use_existing_cluster() {
        // It may hold an operator already, whose rights are not for tests to change.
        return;
    }
    // Of its own: what is bound here must not reach the tests beside it.
    let cluster = ControlPlane::start().await.unwrap();
    install_definitions(&cluster).await.unwrap();
    cluster.kubectl_apply(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac")).await.unwrap();
    let may = async |words: &str| {
        let args = ["auth", "can-i"].into_iter().chain(words.split(' ')).collect::<Vec<_>>();
        match cluster.kubectl_as(User::Operator, &args).await {
            Ok(answer) if answer.trim() == "yes" => true,
            // kubectl ends with 1 for a no.
            Err(error) if error.lines().any(|line| line.trim().ends_with("no")) => false,
            other => panic!("{words}: {other:?}"),
        }
    };
    eventually("the binding takes effect", DEADLINE, async || {
        if may("list spiceapps.cloud.spice.ai -A").await { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    for words in [
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
    ] {
        assert!(may(words).await, "may not {words}");
    }
    for words in [
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
    ] {
        assert!(!may(words).await, "may {words}");
    }
    let account = cluster.kubectl(&["get", "serviceaccount", "spice-cloud-operator", "-n", OPERATOR_NAMESPACE]).await;
    account.unwrap();
}
