//! Tests of the control plane.

use std::env;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::support::{
    control_plane::{ControlPlane, User, pinned_version, use_existing_cluster},
    eventually::{DEADLINE, eventually},
    run_dir::RunDir,
};

#[tokio::test]
async fn apiserver_and_kubectl_have_the_pinned_version() {
    let cluster = ControlPlane::shared().await.unwrap();
    let versions: Value = serde_json::from_str(&cluster.kubectl(&["version", "--output=json"]).await.unwrap()).unwrap();
    let server = cluster.client(User::Admin).await.unwrap().apiserver_version().await.unwrap();
    assert_eq!(versions["serverVersion"]["gitVersion"], server.git_version.as_str());
    if !use_existing_cluster() {
        assert_eq!(versions["clientVersion"]["gitVersion"], server.git_version.as_str());
        if env::var_os("KUBEBUILDER_ASSETS").is_none() {
            assert_eq!(Some(server.git_version.as_str()), pinned_version());
        }
    }
}

#[tokio::test]
async fn namespaces_are_unique_and_isolated() {
    let cluster = ControlPlane::shared().await.unwrap();
    let (first, second) =
        (cluster.create_namespace("same").await.unwrap(), cluster.create_namespace("same").await.unwrap());
    assert_ne!(first, second);

    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note", "namespace": first}});
    cluster.kubectl_apply_text(&manifest.to_string()).await.unwrap();

    let client = cluster.client(User::Admin).await.unwrap();
    let in_first = Api::<ConfigMap>::namespaced(client.clone(), &first).get_opt("note").await.unwrap();
    let in_second = Api::<ConfigMap>::namespaced(client, &second).get_opt("note").await.unwrap();
    assert!(in_first.is_some());
    assert!(in_second.is_none());
}

#[tokio::test]
async fn users_have_only_their_rbac_permissions() {
    let cluster = ControlPlane::shared().await.unwrap();
    let namespace = cluster.create_namespace("rbac").await.unwrap();
    let list = async |user| {
        let client = cluster.client(user).await.unwrap();
        match Api::<Pod>::namespaced(client, &namespace).list(&ListParams::default()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    };
    for (user, expected) in [(User::Admin, 200), (User::Operator, 403), (User::Viewer, 403)] {
        assert_eq!(list(user).await, expected, "{user:?}");
    }

    // As in the manifests, the binding refers to the ServiceAccount, not to a user name.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "reader", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "reader", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "spice-cloud-operator",
                      "namespace": "spice-cloud-operator-system"}]});
    cluster.kubectl_apply_text(&format!("{role}\n---\n{binding}")).await.unwrap();

    eventually("the operator can list pods", DEADLINE, async || match list(User::Operator).await {
        200 => Ok(()),
        code => Err(format!("status {code}")),
    })
    .await;
    assert_eq!(list(User::Viewer).await, 403);
}

#[tokio::test]
async fn kubectl_errors_contain_command_and_stderr() {
    let cluster = ControlPlane::shared().await.unwrap();
    let error = cluster.kubectl(&["get", "--raw", "/nothing-here"]).await.unwrap_err();
    assert!(error.contains("get --raw /nothing-here"), "{error}");
    assert!(error.contains("NotFound"), "{error}");
}

#[tokio::test]
async fn separate_control_plane_starts_empty_and_stops() {
    if use_existing_cluster() {
        return;
    }
    let run = RunDir::new("separate").unwrap();
    let separate = ControlPlane::start_in(&run).await.unwrap();
    let shared = ControlPlane::shared().await.unwrap();
    let namespace = shared.create_namespace("shared").await.unwrap();
    assert!(separate.kubectl(&["get", "namespace", &namespace]).await.unwrap_err().contains("NotFound"));

    let client = separate.client(User::Admin).await.unwrap();
    separate.stop().unwrap();
    client.apiserver_version().await.unwrap_err();
}
