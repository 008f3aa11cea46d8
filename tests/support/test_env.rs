//! All that a test of the operator needs, around a namespace of its own: the Kubernetes API with our definitions and
//! exactly the permissions that we ship, a sandbox with a credential to it, operators that see this namespace only, and
//! a checker who holds every status of theirs against the rulebook.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use spice_cloud_operator::api::{Condition, SpiceApp, SpiceOrganization, SpiceSecret};

use super::{
    canary::given_away,
    control_plane::{ControlPlane, Held, OPERATOR_NAMESPACE, User},
    definitions::install_definitions,
    eventually::{DEADLINE, poll},
    operator::Operator,
    run_dir::RunDir,
    sandbox::Sandbox,
    status_checker::StatusChecker,
};

/// Key and name of the Secret that holds the credential.
pub const CREDENTIAL: (&str, &str) = ("spice-credentials", "token");

/// Waits that a test need not sit out. Everything else is as shipped.
const QUICK: [&str; 12] = [
    "--min-interval=1s",
    "--stalled-resync-interval=1s",
    "--rejected-write-retry-interval=1s",
    "--min-retry-delay=50ms",
    "--max-retry-delay=500ms",
    "--write-settle-period=0s",
    "--create-confirmation-timeout=1s",
    "--startup-poll-interval=100ms",
    "--request-timeout=10s",
    "--min-list-interval=0s",
    "--max-rate-limit-pause=500ms",
    "--read-retry-timeout=300ms",
];

/// See the module.
pub struct TestEnv {
    pub cluster: Held,
    pub sandbox: Sandbox,
    pub namespace: String,
    pub client: Client,
    pub run: Arc<RunDir>,
    program: PathBuf,
    checker: Option<StatusChecker>,
    /// What the Secrets of this env held that is long enough to be told from other words.
    values: Mutex<Vec<String>>,
}

/// As long as this, a value is in no text by chance.
const TELLING: usize = 12;

impl TestEnv {
    /// A env with an organization `default` whose credential is the sandbox's `operator`.
    pub async fn new(name: &str, program: &Path) -> Self {
        Self::with_sandbox(name, program, &[]).await
    }

    /// The same, with a sandbox that is started with these arguments.
    pub async fn with_sandbox(name: &str, program: &Path, args: &[&str]) -> Self {
        let env = Self::bare(Self::shared().await, name, program, args).await;
        env.with_credential().await
    }

    /// The same as `new`, on a control plane of its own.
    pub async fn alone(name: &str, program: &Path) -> Self {
        let cluster = ControlPlane::alone().await.unwrap();
        install(&cluster).await;
        Self::bare(cluster, name, program, &[]).await.with_credential().await
    }

    /// The same as `new`, with the Secret still to be made.
    pub async fn without_credential(name: &str, program: &Path) -> Self {
        Self::bare(Self::shared().await, name, program, &[]).await
    }

    async fn shared() -> Held {
        let cluster = ControlPlane::shared().await.unwrap();
        INSTALLED.get_or_init(|| install(&cluster)).await;
        cluster
    }

    async fn with_credential(self) -> Self {
        let token = self.sandbox.credential("operator").unwrap().token.clone().unwrap();
        self.give_credential(&token).await;
        self
    }

    async fn bare(cluster: Held, name: &str, program: &Path, args: &[&str]) -> Self {
        let run = RunDir::new(name).unwrap();
        let sandbox = Sandbox::start(&run, program, args).await.unwrap();
        let (namespace, client) = (cluster.namespace(name).await.unwrap(), cluster.client(User::Admin).await.unwrap());
        let checker = StatusChecker::start(&cluster.kubeconfig(User::Admin), &namespace).unwrap();
        let (program, checker) = (program.to_owned(), Some(checker));
        let values = Mutex::default();
        let env = Self { cluster, sandbox, namespace, client, run, program, checker, values };
        env.organization(env.sandbox.url()).await;
        env
    }

    /// An operator that sees this namespace only, with settings that spare a test long waits.
    pub async fn operator(&self) -> Operator {
        self.operator_with(&[]).await
    }

    /// The same with more arguments.
    pub async fn operator_with(&self, more: &[&str]) -> Operator {
        self.operator_by(&self.cluster.kubeconfig(User::Operator), more).await
    }

    /// The same, with another way to the Kubernetes API.
    pub async fn operator_by(&self, kubeconfig: &Path, more: &[&str]) -> Operator {
        self.operator_in(kubeconfig, more, &[]).await
    }

    /// The same, with more environment variables.
    pub async fn operator_in(&self, kubeconfig: &Path, more: &[&str], variables: &[(&str, &str)]) -> Operator {
        let operator = self.operator_begun(kubeconfig, more, variables).await;
        operator.ready().await.unwrap();
        operator
    }

    /// The same, not waited for until it is ready.
    pub async fn operator_begun(&self, kubeconfig: &Path, more: &[&str], variables: &[(&str, &str)]) -> Operator {
        let name = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
        let mut args = QUICK.to_vec();
        args.retain(|quick| more.iter().all(|argument| name(argument) != name(quick)));
        args.extend(["--watch-namespace", &self.namespace]);
        args.extend(more);
        // Defaults that an argument overrules. Each operator has a namespace of its own: it needs no lease.
        let mut environment = vec![
            ("SPICE_OPERATOR_LOG_FILTER", "info,spice_cloud_operator=debug"),
            ("SPICE_OPERATOR_LEADER_ELECT", "false"),
            // Whoever it is, and whatever namespace its kubeconfig names.
            ("SPICE_OPERATOR_LEADER_ELECT_RESOURCE_NAMESPACE", OPERATOR_NAMESPACE),
        ];
        environment.extend(variables);
        Operator::start(&self.run, &self.program, kubeconfig, &args, &environment).await.unwrap()
    }

    /// Changes the Secret of the credential, and nothing in its value.
    pub async fn touch_credential(&self) {
        let stamp = format!("{:?}", std::time::SystemTime::now());
        let patch = json!({ "metadata": { "annotations": { "somebody/else": stamp } } });
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(CREDENTIAL.0, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Makes or replaces the Secret of the credential.
    pub async fn give_credential(&self, token: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": CREDENTIAL.0, "namespace": self.namespace },
            "stringData": { CREDENTIAL.1: token },
        });
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(CREDENTIAL.0, &PatchParams::apply("test"), &Patch::Apply(&secret)).await.unwrap();
    }

    /// Makes or changes the organization `default`. It is checked when something asks for it, not by the clock.
    pub async fn organization(&self, endpoint: &str) {
        let spec = json!({
            "endpoint": endpoint, "allowInsecureEndpoint": true, "interval": "24h",
            "credentials": { "personalAccessToken": { "secretRef": { "name": CREDENTIAL.0 } } },
        });
        self.apply::<SpiceOrganization>("default", spec).await;
    }

    /// Makes or changes an app as `kubectl apply` does. Checked on request, unless the spec says otherwise.
    pub async fn app(&self, name: &str, mut spec: Value) -> SpiceApp {
        if spec.get("interval").is_none() {
            spec["interval"] = json!("24h");
        }
        self.apply(name, spec).await
    }

    /// Makes or changes a SpiceSecret as `kubectl apply` does. Checked on request, unless the spec says otherwise.
    pub async fn secret(&self, name: &str, mut spec: Value) -> SpiceSecret {
        if spec.get("interval").is_none() {
            spec["interval"] = json!("24h");
        }
        if spec.get("appRef").is_none() {
            spec["appRef"] = json!({ "name": "my-app" });
        }
        self.apply(name, spec).await
    }

    /// Makes or replaces a Kubernetes Secret that holds this.
    pub async fn values(&self, name: &str, values: Value) {
        let texts = values.as_object().unwrap().values().filter_map(Value::as_str).map(str::to_owned);
        self.values.lock().unwrap().extend(texts.filter(|text| (TELLING..1000).contains(&text.len())));
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": values,
        });
        // Replaced as a whole: keys that are not named go.
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret: Secret = serde_json::from_value(secret).unwrap();
        match api.get_opt(name).await.unwrap() {
            Some(_) => api.replace(name, &PostParams::default(), &secret).await.unwrap(),
            None => api.create(&PostParams::default(), &secret).await.unwrap(),
        };
    }

    /// Makes or changes an object as `kubectl apply` does.
    pub async fn apply<K: Kind>(&self, name: &str, spec: Value) -> K {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec,
        });
        self.api().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap()
    }

    /// Objects of one kind in this namespace, as an administrator.
    pub fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object; the apiserver's words if it will not have it.
    pub async fn create<K: Kind>(&self, object: &K) -> Result<K, String> {
        self.api().create(&PostParams::default(), object).await.map_err(|error| error.to_string())
    }

    /// Watches an object until it is as wanted.
    pub async fn until<K: Kind>(&self, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = watcher(self.api::<K>(), config).default_backoff().applied_objects().boxed();
        let mut last = None;
        let found = tokio::time::timeout(DEADLINE, async {
            while let Some(object) = changes.try_next().await.unwrap_or_default() {
                if wanted(&object) {
                    return Some(object);
                }
                last = Some(object);
            }
            None
        });
        match found.await {
            Ok(Some(object)) => object,
            _ => panic!("{name}: never {what}; last seen: {last:#?}"),
        }
    }

    /// Watches an object until Ready gives this reason, in a message with these words.
    pub async fn says<K: Kind>(&self, name: &str, reason: &str, words: &str) -> K {
        self.until(name, &format!("{reason}, saying {words:?}"), |object: &K| {
            let mut conditions = object.conditions().iter();
            conditions.any(|one| one.type_ == "Ready" && one.reason == reason && one.message.contains(words))
        })
        .await
    }

    /// Watches an app until its current generation has this Ready status and reason.
    pub async fn app_is(&self, name: &str, status: &str, reason: &str) -> SpiceApp {
        self.until(name, &format!("Ready={status} {reason}"), |app: &SpiceApp| {
            let status_of = app.status.as_ref();
            status_of.is_some_and(|it| is(&it.core.conditions, app.metadata.generation, status, reason))
        })
        .await
    }

    /// Watches a SpiceSecret until its current generation has this Ready status and reason.
    pub async fn secret_is(&self, name: &str, status: &str, reason: &str) -> SpiceSecret {
        self.until(name, &format!("Ready={status} {reason}"), |secret: &SpiceSecret| {
            let status_of = secret.status.as_ref();
            status_of.is_some_and(|it| is(&it.core.conditions, secret.metadata.generation, status, reason))
        })
        .await
    }

    /// Watches the organization `default` until its current generation has this Ready status and reason.
    pub async fn organization_is(&self, status: &str, reason: &str) -> SpiceOrganization {
        self.until("default", &format!("Ready={status} {reason}"), |organization: &SpiceOrganization| {
            let status_of = organization.status.as_ref();
            status_of.is_some_and(|it| is(&it.core.conditions, organization.metadata.generation, status, reason))
        })
        .await
    }

    /// Waits until an object is gone.
    pub async fn gone<K: Kind>(&self, name: &str) {
        let api = self.api::<K>();
        poll(&format!("{name} is gone"), DEADLINE, async || match api.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("finalizers {:?}", object.finalizers())),
            Err(error) => Err(error.to_string()),
        })
        .await
        .unwrap();
    }

    /// Waits until the namespace, with all that is in it, is gone.
    pub async fn namespace_is_gone(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        poll("the namespace is gone", DEADLINE, async || {
            match namespaces.get_opt(&self.namespace).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(namespace) => Err(format!("{:?}", namespace.status)),
            }
        })
        .await
        .unwrap();
    }

    /// Asks for a reconcile of an app that reads, and returns when it is over.
    pub async fn reconcile_app(&self, name: &str) -> SpiceApp {
        let stamp = self.request_reconcile(name).await;
        self.until(name, "reconciled on request", |app: &SpiceApp| {
            app.status.as_ref().and_then(|status| status.core.last_handled_reconcile_at.as_ref()) == Some(&stamp)
        })
        .await
    }

    /// Asks for a reconcile of an app; returns the request's value.
    pub async fn request_reconcile(&self, name: &str) -> String {
        self.request_reconcile_of::<SpiceApp>(name).await
    }

    /// Asks for a reconcile of an object; returns the request's value.
    pub async fn request_reconcile_of<K: Kind>(&self, name: &str) -> String {
        let stamp = format!("{:?}", std::time::SystemTime::now());
        let patch = json!({ "metadata": { "annotations": { "cloud.spice.ai/reconcile-requested-at": stamp } } });
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        stamp
    }

    /// Asks for a reconcile of a SpiceSecret that reads, and returns when it is over.
    pub async fn reconcile_secret(&self, name: &str) -> SpiceSecret {
        let stamp = self.request_reconcile_of::<SpiceSecret>(name).await;
        self.until(name, "reconciled on request", |secret: &SpiceSecret| {
            secret.status.as_ref().and_then(|status| status.core.last_handled_reconcile_at.as_ref()) == Some(&stamp)
        })
        .await
    }

    /// Waits until an operator has finished so many reconciles of a kind.
    pub async fn reconciles(&self, operator: &Operator, kind: &str, at_least: u64) {
        poll(&format!("{at_least} reconciles of {kind}"), DEADLINE, async || {
            let reconciles = operator.metrics().await?.reconciles(kind);
            if reconciles >= at_least as f64 { Ok(()) } else { Err(format!("{reconciles} so far")) }
        })
        .await
        .unwrap();
    }

    /// All calls of the operator after a revision, as `METHOD route`.
    pub async fn calls(&self, after: u64) -> Vec<String> {
        let calls = self.sandbox.calls_by("operator", after).await.unwrap();
        calls.iter().map(|call| format!("{} {}", call.method, call.route.as_deref().unwrap_or("?"))).collect()
    }

    /// Judges no status of this env: for a test that breaks the rules itself.
    pub fn forget_statuses(mut self) {
        if let Some(checker) = self.checker.take() {
            checker.end().ok();
        }
    }

    /// Live apps that the sandbox holds, in detail.
    pub async fn remote_apps(&self) -> Vec<Value> {
        let state = self.sandbox.state().await.unwrap();
        let apps = state["apps"].as_array().unwrap();
        apps.iter().filter(|app| app["deleted_at"].is_null()).cloned().collect()
    }
}

/// A status that broke a rule, or a secret in a status or a log, fails the test, whatever the test was about.
impl Drop for TestEnv {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let statuses = self.checker.take().map(|checker| checker.end().unwrap().join("\n").into_bytes());
        let statuses = statuses.map(|text| ("the statuses".to_owned(), text));
        for (name, text) in self.run.logs_of("operator").unwrap().into_iter().chain(statuses) {
            for secret in self.sandbox.secrets().iter().chain(&*self.values.lock().unwrap()) {
                assert_eq!(given_away(secret, secret, &text), [""; 0], "in {name}");
            }
        }
    }
}

/// What `TestEnv` asks of a kind.
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
    /// The conditions of its status.
    fn conditions(&self) -> &[Condition];
}

impl Kind for SpiceApp {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.core.conditions)
    }
}

impl Kind for SpiceSecret {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.core.conditions)
    }
}

impl Kind for SpiceOrganization {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.core.conditions)
    }
}

static INSTALLED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();

/// Installs our definitions and permissions.
pub async fn install(cluster: &ControlPlane) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    cluster.kubectl_apply(&root.join("config/rbac")).await.unwrap();
    install_definitions(cluster).await.unwrap();
}

/// The id of the app that an object stands for.
pub fn id_of(app: &SpiceApp) -> u64 {
    app.status.as_ref().and_then(|status| status.id).unwrap().try_into().unwrap()
}

/// Whether Ready is so for this generation.
fn is(conditions: &[Condition], generation: Option<i64>, status: &str, reason: &str) -> bool {
    conditions.iter().any(|condition| {
        condition.type_ == "Ready"
            && condition.status == status
            && condition.reason == reason
            && condition.observed_generation == generation
    })
}
