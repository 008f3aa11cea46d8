//! A real Kubernetes API: a local kube-apiserver with etcd, or an existing cluster.
//!
//! `USE_EXISTING_CLUSTER=true` and `KUBECONFIG` select an existing cluster. The tests then impersonate the operator and
//! the viewer. The created namespaces remain, with the label `app.kubernetes.io/created-by` set to [`CREATED_BY`].

use std::{
    env,
    net::TcpListener,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use k8s_openapi::{ByteString, api::core::v1::Namespace};
use kube::{
    Api, Client, Config,
    api::{GetParams, ObjectMeta, PostParams, Request},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use super::{
    eventually::{DEADLINE, poll},
    process::{self, Child},
    run_dir::RunDir,
};

pub use users::User;
use users::{impersonate, write_users};

mod users;

/// Namespace of the operator in the manifests.
pub const OPERATOR_NAMESPACE: &str = "spice-cloud-operator-system";

/// Value of the label `app.kubernetes.io/created-by` on every namespace of the tests.
pub const CREATED_BY: &str = "spice-cloud-operator-tests";

/// Maximum number of start attempts. Another process can take a free port before its use.
const ATTEMPTS: u32 = 5;

/// A Kubernetes API, usable from any thread and runtime. A drop stops the processes.
pub struct ControlPlane {
    // The drop order: the apiserver first.
    apiserver: Mutex<Option<Child>>,
    etcd: Option<Child>,
    /// Command of the apiserver, for a restart. `None` for an existing cluster.
    apiserver_command: Option<Command>,
    kubectl: PathBuf,
    /// Base URL of etcd. `None` for an existing cluster.
    etcd_url: Option<String>,
    run: Arc<RunDir>,
}

impl ControlPlane {
    /// Starts a control plane with its own run directory.
    pub async fn start() -> Result<Self, String> {
        Self::start_in(&RunDir::new("control-plane")?).await
    }

    /// Starts a control plane with its files in `run`. The apiserver is ready when this function returns.
    pub async fn start_in(run: &Arc<RunDir>) -> Result<Self, String> {
        // The first installed TLS provider remains the default, so a repeated call has no effect.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        if use_existing_cluster() { Self::connect_to_existing(run).await } else { Self::start_local(run).await }
    }

    /// Returns the control plane of this test binary. Each test creates its own namespace.
    pub async fn shared() -> Result<ControlPlaneGuard, String> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let started = SHARED.get_or_init(Self::start).await.as_ref();
        started.map(|shared| ControlPlaneGuard(ControlPlaneRef::Shared(shared))).map_err(Clone::clone)
    }

    /// Starts a control plane for one test. For tests that change cluster-wide objects.
    pub async fn dedicated() -> Result<ControlPlaneGuard, String> {
        Ok(ControlPlaneGuard(ControlPlaneRef::Own(Arc::new(Self::start().await?))))
    }

    /// Returns the path of the kubeconfig file of `user`.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.run.data().join(user.file())
    }

    /// Creates a client of `user`. The client is bound to the current runtime.
    pub async fn client(&self, user: User) -> Result<Client, String> {
        client(&self.kubeconfig(user)).await
    }

    /// Returns the path of the kubectl with the version of the server.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// Runs kubectl as the administrator and returns its standard output. The error contains its standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.kubectl_as(User::Admin, args).await
    }

    /// Runs kubectl as `user`.
    pub async fn kubectl_as(&self, user: User, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.kubectl);
        // The cache key is host and port, and a later control plane can have the same port.
        command.arg("--cache-dir").arg(self.run.data().join("kubectl-cache"));
        command.arg("--kubeconfig").arg(self.kubeconfig(user)).args(args);
        process::output(&command).await
    }

    /// Runs `kubectl apply` for a file or a directory. Uses Kustomize if the directory has a `kustomization.yaml`.
    pub async fn kubectl_apply(&self, path: &Path) -> Result<String, String> {
        let flag = if path.join("kustomization.yaml").exists() { "--kustomize" } else { "--filename" };
        self.kubectl(&["apply", flag, &path.to_string_lossy()]).await
    }

    /// Runs `kubectl apply` for YAML or JSON text.
    pub async fn kubectl_apply_text(&self, manifest: &str) -> Result<String, String> {
        let path = self.run.write(&format!("{}.yaml", uuid::Uuid::new_v4()), manifest)?;
        self.kubectl_apply(&path).await
    }

    /// Creates a namespace with a unique name that starts with `prefix`.
    pub async fn create_namespace(&self, prefix: &str) -> Result<String, String> {
        let suffix = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}-{}", &suffix[..8]);
        let labels = [(String::from("app.kubernetes.io/created-by"), String::from(CREATED_BY))];
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels.into()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(self.client(User::Admin).await?)
            .create(&PostParams::default(), &namespace)
            .await
            .map_err(|e| format!("namespace {name}: {e}"))?;
        Ok(name)
    }

    /// Returns all keys and values in etcd, except Secrets. `None` for an existing cluster.
    pub async fn dump_etcd(&self) -> Result<Option<Vec<Vec<u8>>>, String> {
        let Some(etcd_url) = &self.etcd_url else { return Ok(None) };
        let http = reqwest::Client::builder().no_proxy().build().map_err(|e| e.to_string())?;
        let mut parts = Vec::new();
        // Range from the first key to the second. In etcd, a zero byte means the smallest key, or no upper bound.
        for (from, to) in [("\0", "/registry/secrets/"), ("/registry/secrets0", "\0")] {
            let [key, end] = [from, to].map(|key| json!(ByteString(key.as_bytes().to_vec())));
            let request = http.post(format!("{etcd_url}/v3/kv/range")).json(&json!({ "key": key, "range_end": end }));
            let response = request.timeout(DEADLINE).send().await.map_err(|e| format!("etcd: {e:?}"))?;
            let range: Range = response.json().await.map_err(|e| format!("etcd: {e:?}"))?;
            parts.extend(range.kvs.into_iter().flat_map(|entry| [entry.key.0, entry.value.0]));
        }
        Ok(Some(parts))
    }

    /// Stops the apiserver, then etcd. An existing cluster is not affected.
    pub fn stop(self) -> Result<(), String> {
        let apiserver = self.apiserver().take();
        for child in [apiserver, self.etcd].into_iter().flatten() {
            child.kill()?;
        }
        Ok(())
    }

    /// Kills the apiserver, waits for `pause`, and starts the apiserver again on the same port with the same data.
    pub async fn restart_apiserver(&self, pause: impl Future<Output = ()>) -> Result<(), String> {
        let command = self.apiserver_command.as_ref().ok_or("the apiserver of an existing cluster cannot restart")?;
        let apiserver = self.apiserver().take();
        apiserver.map(|apiserver| apiserver.kill()).transpose()?;
        pause.await;
        *self.apiserver() = Some(Child::start(&self.run, "kube-apiserver", command)?);
        self.wait_until_ready().await
    }

    /// Keeps the processes and their files after the end of this process.
    pub fn detach(self) {
        self.run.keep_everything();
        let apiserver = self.apiserver().take();
        [apiserver, self.etcd].into_iter().flatten().for_each(Child::detach);
    }

    /// Returns the process IDs, for a later cleanup of detached processes.
    pub fn pids(&self) -> Vec<u32> {
        [self.apiserver().as_ref(), self.etcd.as_ref()].into_iter().flatten().map(Child::pid).collect()
    }

    async fn connect_to_existing(run: &Arc<RunDir>) -> Result<Self, String> {
        let admin = Kubeconfig::from_env()
            .map_err(|e| format!("KUBECONFIG: {e}"))?
            .ok_or("USE_EXISTING_CLUSTER=true needs KUBECONFIG")?;
        let options = KubeConfigOptions::default();
        let current = Config::from_custom_kubeconfig(admin.clone(), &options);
        let identity = current.await.map_err(|e| format!("KUBECONFIG: {e}"))?.auth_info;
        for user in User::ALL {
            let mut kubeconfig = admin.clone();
            if user != User::Admin {
                impersonate(&mut kubeconfig, &identity, user);
            }
            let text = serde_json::to_string(&kubeconfig).map_err(|e| format!("KUBECONFIG: {e}"))?;
            run.write(user.file(), &text)?;
        }
        let kubectl = match env::var_os("KUBEBUILDER_ASSETS") {
            Some(directory) => Path::new(&directory).join("kubectl"),
            None => PathBuf::from("kubectl"),
        };
        let (apiserver, run) = (Mutex::default(), run.clone());
        let cluster = Self { apiserver, etcd: None, apiserver_command: None, kubectl, etcd_url: None, run };
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    async fn start_local(run: &Arc<RunDir>) -> Result<Self, String> {
        let binaries = binaries(&[]).await?;
        let mut attempt = 1;
        loop {
            match Self::try_start_local(run, &binaries).await {
                Err(message) if attempt < ATTEMPTS && message.contains("address already in use") => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_start_local(run: &Arc<RunDir>, binaries: &Path) -> Result<Self, String> {
        let [etcd_port, port] = free_ports()?;
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let data = run.data().join(format!("etcd-{etcd_port}"));
        let certificates = run.data().join(format!("certificates-{port}"));
        let tokens = write_users(run, port, &certificates)?;

        let mut etcd = Command::new(binaries.join("etcd"));
        etcd.arg("--data-dir").arg(&data).args([
            "--listen-client-urls",
            &etcd_url,
            "--advertise-client-urls",
            &etcd_url,
        ]);
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:0", "--unsafe-no-fsync"]);

        // The apiserver creates its certificate and key at startup. The key also signs the ServiceAccount tokens.
        let key = certificates.join("apiserver.key").to_string_lossy().into_owned();
        let mut apiserver = Command::new(binaries.join("kube-apiserver"));
        apiserver.arg(format!("--etcd-servers={etcd_url}"));
        apiserver.args(["--bind-address=127.0.0.1", &format!("--secure-port={port}")]);
        // Without these flags, the apiserver requires a network interface with an external address.
        apiserver.args(["--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]);
        apiserver.arg("--cert-dir").arg(&certificates);
        apiserver.arg("--token-auth-file").arg(&tokens);
        apiserver.arg("--service-account-issuer=https://kubernetes.default.svc");
        apiserver.args(["--service-account-key-file", &key, "--service-account-signing-key-file", &key]);
        apiserver.args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"]);
        // No controller creates the default ServiceAccounts, so this plugin would reject every Pod.
        apiserver.arg("--disable-admission-plugins=ServiceAccount");

        let etcd = Child::start(run, "etcd", &etcd)?;
        let command = apiserver;
        let apiserver = Mutex::new(Some(Child::start(run, "kube-apiserver", &command)?));
        let kubectl = binaries.join("kubectl");
        let (etcd, apiserver_command, etcd_url) = (Some(etcd), Some(command), Some(etcd_url));
        let control_plane = Self { apiserver, etcd, apiserver_command, kubectl, etcd_url, run: run.clone() };
        control_plane.wait_until_ready().await?;
        Ok(control_plane)
    }

    /// Waits until the apiserver is ready and the namespace `kube-system` exists.
    async fn wait_until_ready(&self) -> Result<(), String> {
        let ready = poll("the Kubernetes API is ready", DEADLINE, async || {
            if let Some(report) = self.exit_report() {
                return Ok(Err(report));
            }
            let client = self.client(User::Admin).await?;
            let request = Request::new("").get("readyz", &GetParams::default()).map_err(|e| e.to_string())?;
            client.request_text(request).await.map_err(|e| e.to_string())?;
            Api::<Namespace>::all(client).get("kube-system").await.map_err(|e| e.to_string())?;
            Ok(Ok(()))
        });
        ready.await.inspect_err(|_| self.run.keep_logs())?
    }

    fn apiserver(&self) -> MutexGuard<'_, Option<Child>> {
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error text of a process that has ended.
    fn exit_report(&self) -> Option<String> {
        let apiserver = self.apiserver();
        let mut children = [self.etcd.as_ref(), apiserver.as_ref()].into_iter().flatten();
        children.find_map(|child| Some(child.exit_report(child.exit_status()?)))
    }
}

/// Response of etcd's JSON gateway.
#[derive(Deserialize)]
struct Range {
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: ByteString,
    value: ByteString,
}

/// Access of one test to a control plane. A drop during a panic keeps the logs.
#[derive(Clone)]
pub struct ControlPlaneGuard(ControlPlaneRef);

#[derive(Clone)]
enum ControlPlaneRef {
    Shared(&'static ControlPlane),
    Own(Arc<ControlPlane>),
}

impl Deref for ControlPlaneGuard {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match &self.0 {
            ControlPlaneRef::Shared(shared) => shared,
            ControlPlaneRef::Own(own) => own,
        }
    }
}

impl Drop for ControlPlaneGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.run.keep_logs();
        }
    }
}

/// Returns true if `USE_EXISTING_CLUSTER=true` is set.
pub fn use_existing_cluster() -> bool {
    env::var("USE_EXISTING_CLUSTER").is_ok_and(|value| value == "true")
}

/// Returns the Kubernetes version that `tests/control-plane` builds, such as `v1.2.3`.
pub fn pinned_version() -> Option<&'static str> {
    let lines = include_str!("../control-plane/go.mod").lines();
    lines.filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes ")).find_map(|rest| rest.split(' ').next())
}

/// Returns the directory of the named binaries. Without names: the binaries of the control plane itself. The script
/// builds missing binaries and reports that on standard error.
pub(super) async fn binaries(names: &[&str]) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build.sh");
    let mut command = tokio::process::Command::new("/bin/sh");
    command.arg(script).args(names).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::inherit());
    let output = command.output().await.map_err(|e| format!("tests/control-plane/build.sh: {e}"))?;
    if !output.status.success() {
        return Err(String::from("no control plane; see the output of tests/control-plane/build.sh"));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

/// Creates a client from a kubeconfig file. The client is bound to the current runtime.
pub(super) async fn client(kubeconfig: &Path) -> Result<Client, String> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|e| e.to_string())?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| e.to_string())?;
    if !use_existing_cluster() {
        // The loopback interface must not use the proxy of HTTPS_PROXY.
        config.proxy_url = None;
    }
    // Tests must see every error of the apiserver.
    config.default_retry = false;
    Client::try_from(config).map_err(|e| e.to_string())
}

/// Returns two free ports. Both listeners exist at the same time, so the ports differ.
fn free_ports() -> Result<[u16; 2], String> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).map_err(|e| format!("no free port: {e}"));
    let port =
        |listener: &TcpListener| listener.local_addr().map(|a| a.port()).map_err(|e| format!("no free port: {e}"));
    let (first, second) = (bind()?, bind()?);
    Ok([port(&first)?, port(&second)?])
}
