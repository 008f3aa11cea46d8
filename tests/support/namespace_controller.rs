//! kube-controller-manager with the namespace controller only. It deletes the objects in a terminating namespace.

use std::process::Command;

use super::{
    control_plane::{ControlPlane, User, binaries, use_existing_cluster},
    process::Child,
    run_dir::RunDir,
};

/// A running kube-controller-manager. A drop stops the process.
pub struct NamespaceController(#[expect(dead_code, reason = "the process runs until the drop")] Option<Child>);

impl NamespaceController {
    /// Starts the controller. An existing cluster has its own, so nothing is started.
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
