//! Users of the control plane and their kubeconfig files.

use std::path::{Path, PathBuf};

use kube::config::{AuthInfo, Kubeconfig};
use serde_json::json;

use super::{super::run_dir::RunDir, OPERATOR_NAMESPACE};

/// A user of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Cluster administrator.
    Admin,
    /// The operator's ServiceAccount. It has exactly the permissions that the manifests bind to it.
    Operator,
    /// A user without permissions, except those that a test binds to the user `viewer`.
    Viewer,
}

impl User {
    pub(super) const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Viewer];

    /// Returns the user name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "system:serviceaccount:spice-cloud-operator-system:spice-cloud-operator",
            Self::Viewer => "viewer",
        }
    }

    pub(super) fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Admin => &["system:masters"],
            Self::Operator => &["system:serviceaccounts", "system:serviceaccounts:spice-cloud-operator-system"],
            Self::Viewer => &[],
        }
    }

    /// Returns the name of the kubeconfig file.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Admin => "admin.kubeconfig",
            Self::Operator => "operator.kubeconfig",
            Self::Viewer => "viewer.kubeconfig",
        }
    }
}

/// Writes a kubeconfig for each user and the token file of the apiserver. Returns the path of the token file.
pub(super) fn write_users(run: &RunDir, port: u16, certificates: &Path) -> Result<PathBuf, String> {
    let mut tokens = String::new();
    for user in User::ALL {
        let token = uuid::Uuid::new_v4().to_string();
        let (name, groups) = (user.name(), user.groups().join(","));
        tokens.push_str(&format!("{token},{name},{name},\"{groups}\"\n"));
        // As in a pod, the operator uses the namespace of its kubeconfig context for the Lease.
        let namespace = if user == User::Operator { OPERATOR_NAMESPACE } else { "default" };
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                // The file also contains the certificate of the authority.
                "certificate-authority": certificates.join("apiserver.crt"),
            }}],
            "users": [{"name": user.name(), "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user.name(), "namespace": namespace}}],
            "current-context": "tests",
        });
        run.write(user.file(), &kubeconfig.to_string())?;
    }
    run.write("tokens.csv", &tokens)
}

/// Makes the user of the current context impersonate `user`.
pub(super) fn impersonate(kubeconfig: &mut Kubeconfig, identity: &AuthInfo, user: User) {
    let mut identity = identity.clone();
    identity.impersonate = Some(user.name().to_owned());
    let groups = user.groups().iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned());
    identity.impersonate_groups = Some(groups.collect());
    kubeconfig.auth_infos = vec![kube::config::NamedAuthInfo {
        name: user.name().to_owned(),
        auth_info: Some(identity),
        ..Default::default()
    }];
    for context in kubeconfig.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
        context.user = Some(user.name().to_owned());
    }
}
