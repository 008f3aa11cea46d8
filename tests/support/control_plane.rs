//! A real Kubernetes API: kube-apiserver with etcd, started here, or an existing cluster.
//!
//! With `USE_EXISTING_CLUSTER=true` and `KUBECONFIG` the cluster of that file is used: the operator and the viewer are
//! then impersonated, and the namespaces made here stay, with the label `app.kubernetes.io/created-by` set to
//! [`CREATED_BY`].

use std::{
    env,
    net::TcpListener,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use k8s_openapi::{ByteString, api::core::v1::Namespace};
use kube::{
    Api, Client, Config,
    api::{GetParams, ObjectMeta, PostParams, Request},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use super::{
    eventually::{DEADLINE, poll},
    process::{self, Child},
    run_dir::RunDir,
};

/// The namespace that the manifests install the operator into.
pub const OPERATOR_NAMESPACE: &str = "spice-cloud-operator-system";

/// The value of the label `app.kubernetes.io/created-by` on every namespace made here.
pub const CREATED_BY: &str = "spice-cloud-operator-tests";

/// How often a start is tried: a port found free can be taken by somebody else before it is used.
const ATTEMPTS: u32 = 5;

/// Who speaks to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// The ServiceAccount that the manifests give to the operator: what they bind to it applies, and nothing else.
    Operator,
    /// A person without any rights but those that a test gives to the user `viewer`.
    Viewer,
}

impl User {
    const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Viewer];

    /// The user name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "system:serviceaccount:spice-cloud-operator-system:spice-cloud-operator",
            Self::Viewer => "viewer",
        }
    }

    fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Admin => &["system:masters"],
            Self::Operator => &["system:serviceaccounts", "system:serviceaccounts:spice-cloud-operator-system"],
            Self::Viewer => &[],
        }
    }

    /// The name of its kubeconfig file.
    fn file(self) -> &'static str {
        match self {
            Self::Admin => "admin.kubeconfig",
            Self::Operator => "operator.kubeconfig",
            Self::Viewer => "viewer.kubeconfig",
        }
    }
}

/// A Kubernetes API to work with. Usable from any thread and runtime; ends when dropped.
pub struct ControlPlane {
    // Stopped in this order.
    apiserver: Option<Child>,
    etcd: Option<Child>,
    kubectl: PathBuf,
    /// Base URL of etcd, where it is ours.
    store: Option<String>,
    run: Arc<RunDir>,
}

impl ControlPlane {
    /// Starts one, with a run folder of its own: for tests about restarts, outages and cluster-wide objects.
    pub async fn start() -> Result<Self, String> {
        Self::start_in(&RunDir::new("control-plane")?).await
    }

    /// Starts one with its files in `run`. It answers when this returns.
    pub async fn start_in(run: &Arc<RunDir>) -> Result<Self, String> {
        // Two TLS providers could be compiled in; the first to be installed stays, whoever does it.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        if use_existing_cluster() { Self::existing(run).await } else { Self::own(run).await }
    }

    /// The one that a whole test binary shares; each test takes a namespace of its own.
    pub async fn shared() -> Result<Held, String> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let started = SHARED.get_or_init(Self::start).await.as_ref();
        started.map(|shared| Held(Holder::Shared(shared))).map_err(Clone::clone)
    }

    /// One that a test has for itself, because it changes what is no namespace's own.
    pub async fn alone() -> Result<Held, String> {
        Ok(Held(Holder::Own(Box::new(Self::start().await?))))
    }

    /// A kubeconfig file with which `user` reaches the API.
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.run.data().join(user.file())
    }

    /// A client of `user`. It belongs to the runtime it was made in.
    pub async fn client(&self, user: User) -> Result<Client, String> {
        client(&self.kubeconfig(user)).await
    }

    /// The kubectl that matches the server.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// Runs kubectl as the administrator and gives its standard output; the error shows its standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.kubectl_as(User::Admin, args).await
    }

    /// Runs kubectl as `user`.
    pub async fn kubectl_as(&self, user: User, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.kubectl);
        // Its cache goes by host and port, which the next control plane may have as well.
        command.arg("--cache-dir").arg(self.run.data().join("kubectl-cache"));
        command.arg("--kubeconfig").arg(self.kubeconfig(user)).args(args);
        process::output(&command).await
    }

    /// `kubectl apply` of a file or folder (with a `kustomization.yaml`, as that).
    pub async fn kubectl_apply(&self, path: &Path) -> Result<String, String> {
        let flag = if path.join("kustomization.yaml").exists() { "--kustomize" } else { "--filename" };
        self.kubectl(&["apply", flag, &path.to_string_lossy()]).await
    }

    /// `kubectl apply` of YAML or JSON text.
    pub async fn kubectl_apply_text(&self, manifest: &str) -> Result<String, String> {
        let path = self.run.write(&format!("{}.yaml", uuid::Uuid::new_v4()), manifest)?;
        self.kubectl_apply(&path).await
    }

    /// Makes a namespace that nobody else has; its name begins with `hint`.
    pub async fn namespace(&self, hint: &str) -> Result<String, String> {
        let suffix = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{hint}-{}", &suffix[..8]);
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

    /// All that is stored, keys and values, but no Secret; nothing if the cluster is not ours.
    pub async fn dump(&self) -> Result<Option<Vec<Vec<u8>>>, String> {
        let Some(store) = &self.store else { return Ok(None) };
        let http = reqwest::Client::builder().no_proxy().build().map_err(|e| e.to_string())?;
        let mut parts = Vec::new();
        // Keys from the first up to the second; a zero byte alone is the first key there can be, and no end.
        for (from, to) in [("\0", "/registry/secrets/"), ("/registry/secrets0", "\0")] {
            let [key, end] = [from, to].map(|key| json!(ByteString(key.as_bytes().to_vec())));
            let request = http.post(format!("{store}/v3/kv/range")).json(&json!({ "key": key, "range_end": end }));
            let answer = request.timeout(DEADLINE).send().await.map_err(|e| format!("etcd: {e:?}"))?;
            let range: Range = answer.json().await.map_err(|e| format!("etcd: {e:?}"))?;
            parts.extend(range.kvs.into_iter().flat_map(|entry| [entry.key.0, entry.value.0]));
        }
        Ok(Some(parts))
    }

    /// Stops the API, then its store; both are gone when this returns. An existing cluster is left alone.
    pub fn stop(self) -> Result<(), String> {
        for child in [&self.apiserver, &self.etcd].into_iter().flatten() {
            child.kill()?;
        }
        Ok(())
    }

    /// Lets it run on after our own end; its files stay.
    pub fn detach(self) {
        self.run.keep_everything();
        [self.apiserver, self.etcd].into_iter().flatten().for_each(Child::detach);
    }

    /// Process ids, for a person who has to end what was detached.
    pub fn pids(&self) -> Vec<u32> {
        [&self.apiserver, &self.etcd].into_iter().flatten().map(Child::pid).collect()
    }

    async fn existing(run: &Arc<RunDir>) -> Result<Self, String> {
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
            Some(folder) => Path::new(&folder).join("kubectl"),
            None => PathBuf::from("kubectl"),
        };
        let cluster = Self { apiserver: None, etcd: None, kubectl, store: None, run: run.clone() };
        cluster.answers().await?;
        Ok(cluster)
    }

    async fn own(run: &Arc<RunDir>) -> Result<Self, String> {
        let binaries = binaries(&[]).await?;
        let mut attempt = 1;
        loop {
            match Self::try_own(run, &binaries).await {
                Err(message) if attempt < ATTEMPTS && message.contains("address already in use") => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_own(run: &Arc<RunDir>, binaries: &Path) -> Result<Self, String> {
        let [etcd_port, port] = free_ports()?;
        let store = format!("http://127.0.0.1:{etcd_port}");
        let data = run.data().join(format!("etcd-{etcd_port}"));
        let certificates = run.data().join(format!("certificates-{port}"));
        let tokens = write_users(run, port, &certificates)?;

        let mut etcd = Command::new(binaries.join("etcd"));
        etcd.arg("--data-dir").arg(&data).args(["--listen-client-urls", &store, "--advertise-client-urls", &store]);
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:0", "--unsafe-no-fsync"]);

        // The server makes its certificate and key at the start; the key signs the tokens of service accounts as well.
        let key = certificates.join("apiserver.key").to_string_lossy().into_owned();
        let mut apiserver = Command::new(binaries.join("kube-apiserver"));
        apiserver.arg(format!("--etcd-servers={store}"));
        apiserver.args(["--bind-address=127.0.0.1", &format!("--secure-port={port}")]);
        // Without these it looks for an address that other machines could use, and does not start where there is none.
        apiserver.args(["--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]);
        apiserver.arg("--cert-dir").arg(&certificates);
        apiserver.arg("--token-auth-file").arg(&tokens);
        apiserver.arg("--service-account-issuer=https://kubernetes.default.svc");
        apiserver.args(["--service-account-key-file", &key, "--service-account-signing-key-file", &key]);
        apiserver.args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"]);
        // It would refuse every Pod, as nobody makes the default ServiceAccounts here.
        apiserver.arg("--disable-admission-plugins=ServiceAccount");

        let etcd = Child::start(run, "etcd", &etcd)?;
        let apiserver = Child::start(run, "kube-apiserver", &apiserver)?;
        let kubectl = binaries.join("kubectl");
        let (apiserver, etcd, store) = (Some(apiserver), Some(etcd), Some(store));
        let control_plane = Self { apiserver, etcd, kubectl, store, run: run.clone() };
        control_plane.answers().await?;
        Ok(control_plane)
    }

    /// Waits until the API says it is ready and has the namespaces that every cluster has.
    async fn answers(&self) -> Result<(), String> {
        let answer = poll("the Kubernetes API is ready", DEADLINE, async || {
            for child in [&self.etcd, &self.apiserver].into_iter().flatten() {
                if let Some(status) = child.ended() {
                    return Ok(Err(child.exit_report(status)));
                }
            }
            let client = self.client(User::Admin).await?;
            let request = Request::new("").get("readyz", &GetParams::default()).map_err(|e| e.to_string())?;
            client.request_text(request).await.map_err(|e| e.to_string())?;
            Api::<Namespace>::all(client).get("kube-system").await.map_err(|e| e.to_string())?;
            Ok(Ok(()))
        });
        answer.await.inspect_err(|_| self.run.keep_logs())?
    }
}

/// What etcd's JSON gateway answers.
#[derive(Deserialize)]
struct Range {
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: ByteString,
    value: ByteString,
}

/// A control plane in the hands of one test: a test that panics with it keeps the logs.
pub struct Held(Holder);

enum Holder {
    Shared(&'static ControlPlane),
    Own(Box<ControlPlane>),
}

impl Deref for Held {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match &self.0 {
            Holder::Shared(shared) => shared,
            Holder::Own(own) => own,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if thread::panicking() {
            self.run.keep_logs();
        }
    }
}

/// Whether `USE_EXISTING_CLUSTER=true` is set.
pub fn use_existing_cluster() -> bool {
    env::var("USE_EXISTING_CLUSTER").is_ok_and(|value| value == "true")
}

/// The Kubernetes version that `tests/control-plane` builds, as in `v1.2.3`.
pub fn pinned_version() -> Option<&'static str> {
    let lines = include_str!("../control-plane/go.mod").lines();
    lines.filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes ")).find_map(|rest| rest.split(' ').next())
}

/// The folder of these binaries, or those that the API itself needs; builds them if there are none, which it says on
/// standard error.
pub(super) async fn binaries(names: &[&str]) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build.sh");
    let mut command = tokio::process::Command::new("/bin/sh");
    command.arg(script).args(names).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::inherit());
    let output = command.output().await.map_err(|e| format!("tests/control-plane/build.sh: {e}"))?;
    if !output.status.success() {
        return Err(String::from("there is no control plane; tests/control-plane/build.sh says why"));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()))
}

/// A client with the rights of a kubeconfig file. It belongs to the runtime it was made in.
pub(super) async fn client(kubeconfig: &Path) -> Result<Client, String> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(|e| e.to_string())?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| e.to_string())?;
    if !use_existing_cluster() {
        // From HTTPS_PROXY, which is not for the loopback interface.
        config.proxy_url = None;
    }
    // Tests see what the API answers, not what it answers in the end.
    config.default_retry = false;
    Client::try_from(config).map_err(|e| e.to_string())
}

/// Two ports that nobody listened on a moment ago; held together, so that they differ.
fn free_ports() -> Result<[u16; 2], String> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).map_err(|e| format!("no free port: {e}"));
    let port =
        |listener: &TcpListener| listener.local_addr().map(|a| a.port()).map_err(|e| format!("no free port: {e}"));
    let (first, second) = (bind()?, bind()?);
    Ok([port(&first)?, port(&second)?])
}

/// Writes a kubeconfig for each user and the file by which the API server knows them; returns the latter.
fn write_users(run: &RunDir, port: u16, certificates: &Path) -> Result<PathBuf, String> {
    let mut tokens = String::new();
    for user in User::ALL {
        let token = uuid::Uuid::new_v4().to_string();
        let (name, groups) = (user.name(), user.groups().join(","));
        tokens.push_str(&format!("{token},{name},{name},\"{groups}\"\n"));
        // As in a pod: the operator's own namespace is the one that it looks for its Lease in.
        let namespace = if user == User::Operator { OPERATOR_NAMESPACE } else { "default" };
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                // The server certificate comes with the authority that signed it.
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

/// Lets the user of the current context act as `user`.
fn impersonate(kubeconfig: &mut Kubeconfig, identity: &AuthInfo, user: User) {
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
