//! What empties namespaces that are deleted: kube-controller-manager with this one controller.

use std::process::Command;

use super::{
    control_plane::{ControlPlane, User, binaries, use_existing_cluster},
    process::Child,
    run_dir::RunDir,
};

/// A running kube-controller-manager. Ends when dropped.
pub struct NamespaceController(#[expect(dead_code, reason = "it lives as long as this")] Option<Child>);

impl NamespaceController {
    /// Starts one; an existing cluster has its own.
    pub async fn start(cluster: &ControlPlane) -> Result<Self, String> {
        if use_existing_cluster() {
            return Ok(Self(None));
        }
        let run = RunDir::new("namespace-controller")?;
        let kubeconfig = cluster.kubeconfig(User::Admin);
        let mut command = Command::new(binaries(&["kube-controller-manager"]).await?.join("kube-controller-manager"));
        for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
            command.arg(flag).arg(&kubeconfig);
        }
        command.args(["--controllers=namespace-controller", "--leader-elect=false", "--secure-port=0"]);
        Ok(Self(Some(Child::start(&run, "kube-controller-manager", &command)?)))
    }
}
