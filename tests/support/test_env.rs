//! Environment of one test with its own namespace: the Kubernetes API with the definitions and RBAC manifests, a
//! sandbox with a credential Secret, operators that watch only this namespace, and a status checker.

use std::{
    fmt::Debug,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use spice_cloud_operator::api::{Condition, SpiceApp, SpiceOrganization, SpiceSecret, StatusCore};

use super::{
    canary::leaked_forms,
    control_plane::{ControlPlane, ControlPlaneGuard, OPERATOR_NAMESPACE, User},
    definitions::install_definitions,
    operator::Operator,
    run_dir::RunDir,
    sandbox::Sandbox,
    status_checker::StatusChecker,
};

mod credential;
pub mod waits;

/// Name and key of the credential Secret.
pub const CREDENTIAL: (&str, &str) = ("spice-credentials", "token");

/// Short timings for tests. All other settings have their defaults.
const TEST_TIMINGS: [&str; 13] = [
    "--min-interval=1s",
    "--stalled-resync-interval=1s",
    "--rejected-write-retry-interval=1s",
    "--min-retry-delay=50ms",
    "--max-retry-delay=500ms",
    "--write-settle-period=0s",
    "--create-confirmation-timeout=1s",
    "--dependent-deletion-wait=0s",
    "--startup-poll-interval=100ms",
    "--request-timeout=10s",
    "--min-list-interval=0s",
    "--max-rate-limit-pause=500ms",
    "--read-retry-timeout=300ms",
];

/// Path of the operator binary. Cargo sets the variable for integration tests and not for examples.
const PROGRAM: Option<&str> = option_env!("CARGO_BIN_EXE_spice-cloud-operator");

/// Returns the path of the operator binary in an integration test.
pub fn program() -> &'static Path {
    Path::new(PROGRAM.unwrap())
}

/// The environment of one test.
pub struct TestEnv {
    pub cluster: ControlPlaneGuard,
    pub sandbox: Sandbox,
    pub namespace: String,
    pub client: Client,
    pub run: Arc<RunDir>,
    checker: Option<StatusChecker>,
    /// True if operators of this environment watch every namespace.
    cluster_wide: bool,
    /// Values of the Secrets in this environment that are long enough for a search.
    values: Mutex<Vec<String>>,
}

/// Minimum length of a value that cannot occur in a text by chance.
const MIN_CANARY_LENGTH: usize = 12;

impl TestEnv {
    /// Creates an environment with the SpiceOrganization `default`, which uses the sandbox's credential `operator`.
    pub async fn new(name: &str) -> Self {
        Self::with_sandbox(name, &[]).await
    }

    /// As [`Self::new`], with additional arguments for the sandbox.
    pub async fn with_sandbox(name: &str, args: &[&str]) -> Self {
        let env = Self::without_credential_on(Self::shared().await, name, args).await;
        env.with_credential().await
    }

    /// As [`Self::new`], with its own control plane.
    pub async fn with_dedicated_control_plane(name: &str) -> Self {
        let cluster = ControlPlane::dedicated().await.unwrap();
        install(&cluster).await;
        Self::without_credential_on(cluster, name, &[]).await.with_credential().await
    }

    /// As [`Self::with_dedicated_control_plane`], with operators that watch every namespace. Only one operator of the
    /// environment and its siblings may run at a time.
    pub async fn cluster_wide(name: &str) -> Self {
        let mut env = Self::with_dedicated_control_plane(name).await;
        env.cluster_wide = true;
        env
    }

    /// Another environment in the control plane of this one.
    pub async fn sibling(&self, name: &str) -> Self {
        let mut env = Self::without_credential_on(self.cluster.clone(), name, &[]).await.with_credential().await;
        env.cluster_wide = self.cluster_wide;
        env
    }

    /// As [`Self::new`], without the credential Secret.
    pub async fn without_credential(name: &str) -> Self {
        Self::without_credential_on(Self::shared().await, name, &[]).await
    }

    async fn shared() -> ControlPlaneGuard {
        let cluster = ControlPlane::shared().await.unwrap();
        INSTALLED.get_or_init(|| install(&cluster)).await;
        cluster
    }

    async fn with_credential(self) -> Self {
        let token = self.sandbox.credential("operator").unwrap().token.clone().unwrap();
        self.set_credential(&token).await;
        self
    }

    async fn without_credential_on(cluster: ControlPlaneGuard, name: &str, args: &[&str]) -> Self {
        let run = RunDir::new(name).unwrap();
        let sandbox = Sandbox::start(&run, program(), args).await.unwrap();
        let (namespace, client) =
            (cluster.create_namespace(name).await.unwrap(), cluster.client(User::Admin).await.unwrap());
        let checker = StatusChecker::start(&cluster.kubeconfig(User::Admin), &namespace).unwrap();
        let (checker, values) = (Some(checker), Mutex::default());
        let env = Self { cluster, sandbox, namespace, client, run, checker, cluster_wide: false, values };
        env.apply_organization(env.sandbox.url()).await;
        env
    }

    /// Starts an operator with short timings, and waits until it is ready. The operator watches only this namespace,
    /// unless the environment is cluster-wide.
    pub async fn start_operator(&self) -> Operator {
        self.start_operator_with(&[]).await
    }

    /// As [`Self::start_operator`], with additional arguments.
    pub async fn start_operator_with(&self, args: &[&str]) -> Operator {
        self.start_operator_as(&self.cluster.kubeconfig(User::Operator), args).await
    }

    /// As [`Self::start_operator_with`], with another kubeconfig.
    pub async fn start_operator_as(&self, kubeconfig: &Path, args: &[&str]) -> Operator {
        let operator = self.spawn_operator(kubeconfig, args, &[]).await;
        operator.wait_until_ready().await.unwrap();
        operator
    }

    /// Starts an operator with additional arguments and environment variables. The operator may not be ready yet.
    pub async fn spawn_operator(&self, kubeconfig: &Path, args: &[&str], variables: &[(&str, &str)]) -> Operator {
        let name = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
        let mut all_args = TEST_TIMINGS.to_vec();
        all_args.retain(|timing| args.iter().all(|argument| name(argument) != name(timing)));
        if !self.cluster_wide {
            all_args.extend(["--watch-namespace", &self.namespace]);
        }
        all_args.extend(args);
        // Arguments override these variables. Each operator has its own namespace and needs no Lease.
        let mut environment = vec![
            ("SPICE_OPERATOR_LOG_FILTER", "info,spice_cloud_operator=debug"),
            ("SPICE_OPERATOR_LEADER_ELECT", "false"),
            // Independent of the namespace in the kubeconfig.
            ("SPICE_OPERATOR_LEADER_ELECT_RESOURCE_NAMESPACE", OPERATOR_NAMESPACE),
        ];
        environment.extend(variables);
        Operator::start(&self.run, program(), kubeconfig, &all_args, &environment).await.unwrap()
    }

    /// Applies the SpiceOrganization `default`. No resync occurs during the test.
    pub async fn apply_organization(&self, endpoint: &str) {
        let spec = json!({
            "endpoint": endpoint, "allowInsecureEndpoint": true, "interval": "24h",
            "credentials": { "personalAccessToken": { "secretRef": { "name": CREDENTIAL.0 } } },
        });
        self.apply::<SpiceOrganization>("default", spec).await;
    }

    /// Applies a SpiceApp. Without `interval` in `spec`, no resync occurs during the test.
    pub async fn apply_app(&self, name: &str, mut spec: Value) -> SpiceApp {
        if spec.get("interval").is_none() {
            spec["interval"] = json!("24h");
        }
        self.apply(name, spec).await
    }

    /// As [`Self::apply_app`], and waits until the app is Ready.
    pub async fn apply_app_and_wait(&self, name: &str, spec: Value) -> SpiceApp {
        self.apply_app(name, spec).await;
        self.wait_for_ready(name).await
    }

    /// Applies a SpiceSecret. Without `interval` in `spec`, no resync occurs during the test.
    pub async fn apply_secret(&self, name: &str, mut spec: Value) -> SpiceSecret {
        if spec.get("interval").is_none() {
            spec["interval"] = json!("24h");
        }
        if spec.get("appRef").is_none() {
            spec["appRef"] = json!({ "name": "my-app" });
        }
        self.apply(name, spec).await
    }

    /// As [`Self::apply_secret`], and waits until the secret is Ready.
    pub async fn apply_secret_and_wait(&self, name: &str, spec: Value) -> SpiceSecret {
        self.apply_secret(name, spec).await;
        self.wait_for_ready(name).await
    }

    /// Creates or replaces a Kubernetes Secret with these values.
    pub async fn set_values(&self, name: &str, values: Value) {
        let texts = values.as_object().unwrap().values().filter_map(Value::as_str).map(str::to_owned);
        self.values.lock().unwrap().extend(texts.filter(|text| (MIN_CANARY_LENGTH..1000).contains(&text.len())));
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": values,
        });
        // A replace also removes keys.
        let api = self.kubernetes_secrets();
        let secret: Secret = serde_json::from_value(secret).unwrap();
        match api.get_opt(name).await.unwrap() {
            Some(_) => api.replace(name, &PostParams::default(), &secret).await.unwrap(),
            None => api.create(&PostParams::default(), &secret).await.unwrap(),
        };
    }

    /// Applies an object with server-side apply.
    pub async fn apply<K: Kind>(&self, name: &str, spec: Value) -> K {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec,
        });
        self.api().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap()
    }

    /// Returns the API of one kind in this namespace, with administrator permissions.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the API of the Kubernetes Secrets in this namespace, with administrator permissions.
    pub fn kubernetes_secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a merge patch to an object.
    pub async fn patch<K: Kind>(&self, name: &str, patch: Value) {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Requests the deletion of an object.
    pub async fn delete<K: Kind>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Requests the deletion of this namespace.
    pub async fn delete_namespace(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }

    /// Runs kubectl in this namespace as the administrator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.cluster.kubectl(&[&["-n", &self.namespace], args].concat()).await
    }

    /// Returns the Management API requests of the operator after a journal revision, as `METHOD route`.
    pub async fn calls_since(&self, revision: u64) -> Vec<String> {
        let calls = self.sandbox.calls_by("operator", revision).await.unwrap();
        calls.iter().map(|call| format!("{} {}", call.method, call.route.as_deref().unwrap_or("?"))).collect()
    }

    /// As [`Self::calls_since`], without the reads.
    pub async fn writes_since(&self, revision: u64) -> Vec<String> {
        let mut calls = self.calls_since(revision).await;
        calls.retain(|call| !call.starts_with("GET"));
        calls
    }

    /// Returns the number of POST requests of the operator.
    pub async fn count_posts(&self) -> usize {
        self.calls_since(0).await.iter().filter(|call| call.starts_with("POST")).count()
    }

    /// Skips the status check. For tests that write invalid statuses.
    pub fn skip_status_check(mut self) {
        if let Some(checker) = self.checker.take() {
            checker.end().ok();
        }
    }

    /// Returns the details of all apps in the sandbox, except deleted apps.
    pub async fn remote_apps(&self) -> Vec<Value> {
        let state = self.sandbox.state().await.unwrap();
        let apps = state["apps"].as_array().unwrap();
        apps.iter().filter(|app| app["deleted_at"].is_null()).cloned().collect()
    }
}

/// The drop fails the test if a status violates a condition invariant, or a log or status contains a secret value.
impl Drop for TestEnv {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let statuses = self.checker.take().map(|checker| checker.end().unwrap().join("\n").into_bytes());
        let statuses = statuses.map(|text| ("the statuses".to_owned(), text));
        for (name, text) in self.run.logs_of("operator").unwrap().into_iter().chain(statuses) {
            for secret in self.sandbox.secrets().iter().chain(&*self.values.lock().unwrap()) {
                assert_eq!(leaked_forms(secret, secret, &text), [""; 0], "in {name}");
            }
        }
    }
}

/// A custom resource kind of the operator.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Returns the part of the status that all kinds share. `None` before the first reconcile.
    fn core(&self) -> Option<&StatusCore>;

    /// Returns the conditions of the status.
    fn conditions(&self) -> &[Condition] {
        self.core().map_or(&[], |core| &core.conditions)
    }

    /// Returns the condition of this type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|condition| condition.type_ == type_)
    }

    /// Returns true if Ready has this status and reason for the current generation.
    fn has_ready(&self, status: &str, reason: &str) -> bool {
        self.condition("Ready").is_some_and(|ready| {
            ready.status == status && ready.reason == reason && ready.observed_generation == self.meta().generation
        })
    }

    /// Returns the message of the Ready condition.
    fn ready_message(&self) -> &str {
        &self.condition("Ready").unwrap().message
    }
}

impl Kind for SpiceApp {
    fn core(&self) -> Option<&StatusCore> {
        self.status.as_ref().map(|status| &status.core)
    }
}

impl Kind for SpiceSecret {
    fn core(&self) -> Option<&StatusCore> {
        self.status.as_ref().map(|status| &status.core)
    }
}

impl Kind for SpiceOrganization {
    fn core(&self) -> Option<&StatusCore> {
        self.status.as_ref().map(|status| &status.core)
    }
}

static INSTALLED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();

/// Installs the definitions and the RBAC manifests.
pub async fn install(cluster: &ControlPlane) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    cluster.kubectl_apply(&root.join("config/rbac")).await.unwrap();
    install_definitions(cluster).await.unwrap();
}

/// Returns the app ID in the status.
pub fn id_of(app: &SpiceApp) -> u64 {
    app.status.as_ref().and_then(|status| status.id).unwrap().try_into().unwrap()
}
