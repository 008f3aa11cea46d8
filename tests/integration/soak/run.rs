//! Execution of the actions on a real apiserver, a real sandbox and the operator's binary.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use reqwest::Method;
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};
use tokio::time::{Instant, interval, sleep, timeout};

use super::{
    declared::{APPS, SECRETS, Target, source_key},
    plan::{Action, FOREIGN_FINALIZER, Plan},
};
use crate::support::{
    eventually::{DEADLINE, eventually},
    operator::Operator,
    test_env::{Kind, TestEnv},
};

/// Requests per minute for the operator: half of 600, because of a reserve of 50 %.
pub const SHARE: usize = 300;

/// A correction loop ends by itself, and no deletion meets a create that is still on its way.
const OPERATOR_ARGS: [&str; 3] =
    ["--correction-loop-cooldown=2s", "--create-confirmation-timeout=3s", "--clock-skew=0s"];

/// Time limit of one action in the portal.
const PORTAL_DEADLINE: Duration = Duration::from_secs(10);

/// Number of apps that belong to no SpiceApp.
const FOREIGN_APPS: usize = 3;

/// A soak run.
pub struct Run {
    pub env: TestEnv,
    pub plan: Plan,
    pub started: Instant,
    /// Executed actions with their times.
    pub history: Vec<(Duration, Action)>,
    pub figures: BTreeMap<&'static str, usize>,
    /// The foreign apps in the API, as created.
    pub foreign_apps: Vec<Value>,
    /// Objects whose earlier version is still terminating.
    pending: BTreeSet<Target>,
    operator: Option<Operator>,
}

impl Run {
    pub async fn start(seed: u64) -> Self {
        let env = TestEnv::with_dedicated_control_plane("soak").await;
        let budget = json!({ "spec": { "requestBudget": { "requestsPerMinute": 2 * SHARE, "reservePercent": 50 } } });
        env.patch::<SpiceOrganization>("default", budget).await;
        let portal = env.sandbox.portal().unwrap();
        for number in 0..FOREIGN_APPS {
            let body =
                json!({ "name": format!("foreign-{number}"), "region": "us-west-2", "tags": { "team": "other" } });
            let app = portal.create_app(&body).await.unwrap();
            let secret = json!({ "name": "FOREIGN", "value": format!("fake-foreign-{number}") });
            portal.call(Method::POST, &format!("/apps/{}/secrets", app["id"]), Some(&secret)).await.unwrap();
        }
        let foreign_apps = env.remote_apps().await;
        let operator = Some(env.start_operator_with(&OPERATOR_ARGS).await);
        Self {
            env,
            plan: Plan::new(seed),
            started: Instant::now(),
            history: Vec::new(),
            figures: BTreeMap::new(),
            foreign_apps,
            pending: BTreeSet::new(),
            operator,
        }
    }

    /// Executes actions for this time. The pauses are part of the workload.
    pub async fn execute_for(&mut self, duration: Duration) {
        let mut end = Duration::ZERO;
        while self.started.elapsed() < duration {
            let (pause, action) = self.plan.next();
            end += pause;
            sleep(end.saturating_sub(self.started.elapsed())).await;
            self.history.push((self.started.elapsed(), action.clone()));
            *self.figures.entry(action.label()).or_default() += 1;
            self.apply_pending().await;
            self.execute(action).await;
        }
    }

    /// Ends all faults and foreign finalizers, and creates every declared object and source. Returns the objects whose
    /// earlier version is still terminating at the deadline.
    pub async fn calm(&mut self, deadline: Duration) -> Vec<Target> {
        self.env.sandbox.remove_faults().await.unwrap();
        self.release_finalizers::<SpiceApp>().await;
        self.release_finalizers::<SpiceSecret>().await;
        for index in 0..SECRETS.len() {
            self.set_source(index).await;
        }
        // An object that is still terminating can be created again only after its end.
        let start = Instant::now();
        let mut polls = interval(Duration::from_millis(100));
        while !self.pending.is_empty() && start.elapsed() < deadline {
            polls.tick().await;
            self.apply_pending().await;
        }
        self.pending.iter().copied().collect()
    }

    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().unwrap()
    }

    async fn apply_pending(&mut self) {
        for target in self.pending.clone() {
            match self.plan.declared.exists(target) {
                true => self.apply(target).await,
                false => drop(self.pending.remove(&target)),
            }
        }
    }

    async fn execute(&mut self, action: Action) {
        match action {
            Action::Apply(target) => self.apply(target).await,
            Action::Delete { target, object } => match target {
                Target::App(_) => self.delete::<SpiceApp>(&object).await,
                Target::Secret(_) => self.delete::<SpiceSecret>(&object).await,
            },
            Action::SetSource(index) => self.set_source(index).await,
            Action::DeleteSource(index) => {
                let secrets = self.env.kubernetes_secrets();
                let name = SECRETS[index].name;
                retry("delete a Secret", async || secrets.delete(name, &DeleteParams::default()).await.map(drop)).await;
            }
            Action::SetConfigMap(index) => self.set_config_map(index).await,
            Action::AddFinalizer { target, object } => self.set_finalizer(target, &object, true).await,
            Action::RemoveFinalizer { target, object } => self.set_finalizer(target, &object, false).await,
            Action::AddFault(fault) => self.env.sandbox.add_fault(fault).await.unwrap(),
            Action::ClearFaults => self.env.sandbox.remove_faults().await.unwrap(),
            Action::KillOperator { pause } => self.kill_operator(pause).await,
            Action::KillApiserver { pause } => self.env.cluster.restart_apiserver(sleep(pause)).await.unwrap(),
            portal => match timeout(PORTAL_DEADLINE, self.edit_in_portal(portal)).await {
                Ok(Ok(())) => {}
                // The app or the secret does not exist at this time.
                Ok(Err(_)) => *self.figures.entry("portal edits without effect").or_default() += 1,
                Err(_) => panic!("the sandbox did not respond within {PORTAL_DEADLINE:?}"),
            },
        }
    }

    async fn kill_operator(&mut self, pause: Duration) {
        self.record_status_writes().await;
        self.operator.take().unwrap().kill().unwrap();
        sleep(pause).await;
        self.operator = Some(self.env.start_operator_with(&OPERATOR_ARGS).await);
    }

    /// Adds the status writes of the current process to the figures.
    pub async fn record_status_writes(&mut self) {
        let metrics = self.operator().metrics().await.unwrap();
        let writes = ["SpiceApp", "SpiceSecret", "SpiceOrganization"].map(|kind| {
            let labels = [("kind", kind), ("verb", "update"), ("code", "200")];
            metrics.sum("spice_operator_kubernetes_writes_total", &labels) as usize
        });
        *self.figures.entry("status writes").or_default() += writes.iter().sum::<usize>();
    }

    async fn apply(&mut self, target: Target) {
        let (object, spec) = (self.plan.declared.object(target), self.plan.declared.spec(target));
        let is_applied = match target {
            Target::App(_) => self.apply_object::<SpiceApp>(&object, spec).await,
            Target::Secret(_) => self.apply_object::<SpiceSecret>(&object, spec).await,
        };
        if is_applied {
            self.pending.remove(&target)
        } else {
            self.pending.insert(target)
        };
    }

    /// Returns false if the object is terminating.
    async fn apply_object<K: Kind>(&self, name: &str, spec: Value) -> bool {
        let api = self.env.api::<K>();
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec,
        });
        eventually(&format!("apply {name}"), DEADLINE, async || {
            let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
            if found.is_some_and(|object| object.meta().deletion_timestamp.is_some()) {
                return Ok(false);
            }
            let params = PatchParams::apply("soak").force();
            let applied = api.patch(name, &params, &Patch::Apply(&object)).await;
            applied.map(|_| true).map_err(|error| error.to_string())
        })
        .await
    }

    async fn delete<K: Kind>(&self, name: &str) {
        let api = self.env.api::<K>();
        retry("delete an object", async || api.delete(name, &DeleteParams::default()).await.map(drop)).await;
    }

    async fn set_finalizer(&self, target: Target, name: &str, present: bool) {
        match target {
            Target::App(_) => set_finalizer(&self.env.api::<SpiceApp>(), name, present).await,
            Target::Secret(_) => set_finalizer(&self.env.api::<SpiceSecret>(), name, present).await,
        }
    }

    async fn release_finalizers<K: Kind>(&self) {
        let api = self.env.api::<K>();
        for object in api.list(&Default::default()).await.unwrap() {
            set_finalizer(&api, &object.name_any(), false).await;
        }
    }

    async fn set_source(&self, index: usize) {
        let values = self.plan.declared.secrets[index].values.iter();
        let values: BTreeMap<_, _> = values.map(|(key, value)| (source_key(index, key), value.as_bytes())).collect();
        let data: BTreeMap<_, _> =
            values.into_iter().map(|(key, value)| (key, k8s_openapi::ByteString(value.to_vec()))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": SECRETS[index].name }, "data": data,
        });
        let (api, params): (Api<Secret>, _) = (self.env.kubernetes_secrets(), PatchParams::apply("soak").force());
        let name = SECRETS[index].name;
        retry("set a Secret", async || api.patch(name, &params, &Patch::Apply(&secret)).await.map(drop)).await;
    }

    async fn set_config_map(&self, index: usize) {
        let name = APPS[index].name;
        let text = self.plan.declared.spicepod(index).to_string();
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "spicepod.yaml": text },
        });
        let api: Api<ConfigMap> = Api::namespaced(self.env.client.clone(), &self.env.namespace);
        let params = PatchParams::apply("soak").force();
        retry("set a ConfigMap", async || api.patch(name, &params, &Patch::Apply(&map)).await.map(drop)).await;
    }

    async fn edit_in_portal(&self, action: Action) -> Result<(), String> {
        let portal = self.env.sandbox.portal()?;
        let id = async |app: usize| {
            let found = portal.app_named(APPS[app].name).await?;
            found.and_then(|app| app["id"].as_u64()).ok_or("the app does not exist".to_owned())
        };
        match action {
            Action::PortalEdit { app, number } => {
                let body = match number % 2 {
                    0 => json!({ "description": format!("portal {number}") }),
                    _ => json!({ "visibility": "public", "replicas": 1 + number % 3 }),
                };
                portal.update_app(id(app).await?, &body).await.map(drop)
            }
            Action::PortalTag { app, number } => self.tag_in_portal(app, &format!("portal-{number}")).await,
            Action::PortalDelete(app) => portal.delete_app(id(app).await?).await,
            Action::PortalSetSecret { app, name, value } => {
                let body = json!({ "name": name, "value": value });
                portal.call(Method::POST, &format!("/apps/{}/secrets", id(app).await?), Some(&body)).await.map(drop)
            }
            Action::PortalDeleteSecret { app, name } => {
                let path = format!("/apps/{}/secrets/{name}", id(app).await?);
                portal.call(Method::DELETE, &path, None).await.map(drop)
            }
            other => Err(format!("not an action of the portal: {other:?}")),
        }
    }

    /// Sets the tag `foreign` of an app. A PUT replaces all tags.
    pub async fn tag_in_portal(&self, app: usize, value: &str) -> Result<(), String> {
        let portal = self.env.sandbox.portal()?;
        let found = portal.app_named(APPS[app].name).await?;
        let id = found.and_then(|app| app["id"].as_u64()).ok_or("the app does not exist")?;
        let mut tags = portal.app(id).await?["tags"].take();
        tags["foreign"] = json!(value);
        portal.update_app(id, &json!({ "tags": tags })).await.map(drop)
    }

    /// Edits every declared SpiceApp once more.
    pub async fn edit_all_apps(&mut self) {
        for index in 0..APPS.len() {
            if self.plan.declared.apps[index].exists {
                self.plan.declared.apps[index].revision += 1;
                self.apply(Target::App(index)).await;
            }
        }
    }

    /// Deletes every object in this order.
    pub async fn delete_all(&mut self, targets: Vec<Target>) {
        for target in targets {
            let action = Action::Delete { target, object: self.plan.declared.object(target) };
            self.history.push((self.started.elapsed(), action.clone()));
            self.execute(action).await;
        }
        self.plan.declared.apps.iter_mut().for_each(|app| app.exists = false);
        self.plan.declared.secrets.iter_mut().for_each(|secret| secret.exists = false);
    }
}

/// Repeats a call until its success. The apiserver restarts during the run, and a missing object is no failure.
async fn retry<F>(description: &str, call: impl Fn() -> F)
where
    F: Future<Output = Result<(), kube::Error>>,
{
    eventually(description, DEADLINE, async || match call().await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map_err(|error| error.to_string()),
    })
    .await;
}

async fn set_finalizer<K: Kind>(api: &Api<K>, name: &str, present: bool) {
    retry("set a finalizer", async || {
        let Some(object) = api.get_opt(name).await? else { return Ok(()) };
        let mut finalizers = object.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FOREIGN_FINALIZER);
        // The apiserver rejects a new finalizer on a terminating object.
        if present && object.meta().deletion_timestamp.is_none() {
            finalizers.push(FOREIGN_FINALIZER.to_owned());
        }
        // The resourceVersion protects the finalizer of the operator.
        let metadata = json!({ "finalizers": finalizers, "resourceVersion": object.resource_version() });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        api.patch(name, &PatchParams::default(), &patch).await.map(drop)
    })
    .await;
}
