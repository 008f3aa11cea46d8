//! SpiceOrganizations that objects in other namespaces use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::{
    program,
    support::{
        control_plane::{ControlPlane, User, use_existing_cluster},
        eventually::{DEADLINE, eventually},
        operator::Operator,
        run_dir::RunDir,
        sandbox::Sandbox,
        test_env::{
            Kind, install,
            waits::{wait_for, wait_for_deletion, wait_for_reason},
        },
    },
};

/// A separate control plane with the namespaces `home`, for a SpiceOrganization, and `tenant`, for its apps and
/// secrets.
struct TwoNamespaces {
    run: Arc<RunDir>,
    cluster: ControlPlane,
    sandbox: Sandbox,
    client: Client,
    home: String,
    tenant: String,
}

impl TwoNamespaces {
    async fn new(name: &str) -> Self {
        let cluster = ControlPlane::start().await.unwrap();
        install(&cluster).await;
        let run = RunDir::new(name).unwrap();
        let sandbox = Sandbox::start(&run, program(), &[]).await.unwrap();
        let client = cluster.client(User::Admin).await.unwrap();
        let (home, tenant) =
            (cluster.create_namespace("home").await.unwrap(), cluster.create_namespace("tenant").await.unwrap());
        Self { run, cluster, sandbox, client, home, tenant }
    }

    /// Starts an operator that watches every namespace.
    async fn start_operator(&self, flags: &[&str]) -> Operator {
        let timings =
            ["--min-interval=1s", "--min-retry-delay=50ms", "--max-retry-delay=500ms", "--write-settle-period=0s"];
        let (kubeconfig, flags) = (self.cluster.kubeconfig(User::Operator), [&timings, flags].concat());
        let operator = Operator::start(&self.run, program(), &kubeconfig, &flags, &[]).await.unwrap();
        operator.wait_until_ready().await.unwrap();
        operator
    }

    fn apps(&self) -> Api<SpiceApp> {
        Api::namespaced(self.client.clone(), &self.tenant)
    }

    fn secrets(&self) -> Api<SpiceSecret> {
        Api::namespaced(self.client.clone(), &self.tenant)
    }

    fn organizations(&self, namespace: &str) -> Api<SpiceOrganization> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates a SpiceOrganization and its credential Secret.
    async fn create_organization(&self, namespace: &str, name: &str, allowed_namespaces: Value) {
        let token = json!({ "token": "sandbox-fake-token-operator" });
        let secret = json!({ "metadata": { "name": "token" }, "stringData": token });
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        let spec = json!({
            "endpoint": self.sandbox.url(), "allowInsecureEndpoint": true, "interval": "24h",
            "credentials": { "personalAccessToken": { "secretRef": { "name": "token" } } },
            "allowedNamespaces": allowed_namespaces,
        });
        let object = SpiceOrganization::new(name, serde_json::from_value(spec).unwrap());
        self.organizations(namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    async fn create_app(&self, name: &str, spec: Value) {
        let app = SpiceApp::new(name, serde_json::from_value(spec).unwrap());
        self.apps().create(&PostParams::default(), &app).await.unwrap();
    }

    async fn patch_app(&self, name: &str, patch: Value) {
        self.apps().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Sets the label `team` of the tenant namespace, or removes it with null.
    async fn label_tenant(&self, team: Value) {
        let patch = json!({ "metadata": { "labels": { "team": team } } });
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.patch(&self.tenant, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Sets the value of the Kubernetes Secret that is the source of `my-secret`.
    async fn set_value(&self, value: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "values" }, "stringData": { "TOKEN": value },
        });
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.tenant);
        secrets.patch("values", &PatchParams::apply("test"), &Patch::Apply(secret)).await.unwrap();
    }

    /// Number of requests of the operator with this method and the end of the path.
    async fn count_calls(&self, method: &str, path_end: &str) -> usize {
        let calls = self.sandbox.calls_by("operator", 0).await.unwrap();
        calls.iter().filter(|call| call.method == method && call.path.ends_with(path_end)).count()
    }

    /// Waits for this status and reason of Ready of `my-app`.
    async fn wait_for_app(&self, status: &str, reason: &str) -> SpiceApp {
        wait_for_reason(self.apps(), "my-app", status, reason).await
    }

    /// Waits for this status and reason of Ready of `my-secret`.
    async fn wait_for_secret(&self, status: &str, reason: &str) {
        wait_for_reason(self.secrets(), "my-secret", status, reason).await;
    }

    /// Removes the label of the tenant namespace, and waits until the operator has observed the change. A Ready
    /// condition keeps its value, so only a spec edit shows the change.
    async fn remove_label_and_wait(&self) {
        self.label_tenant(json!(null)).await;
        let hours = AtomicU64::new(24);
        eventually("the namespace is no longer allowed", DEADLINE, async || {
            let interval = format!("{}h", hours.fetch_add(1, Ordering::Relaxed) + 1);
            let edit = Patch::Merge(json!({ "spec": { "interval": interval } }));
            let result = self.secrets().patch("my-secret", &PatchParams::default(), &edit).await;
            result.map_err(|error| error.to_string())?;
            tokio::select! {
                () = self.wait_for_secret("False", "NamespaceNotAllowed") => Ok(()),
                () = self.wait_for_secret("True", "Succeeded") => Err("the namespace is still allowed".to_owned()),
            }
        })
        .await;
    }

    /// Waits until a SpiceOrganization is Ready and counts this number of apps.
    async fn wait_for_app_count(&self, namespace: &str, name: &str, apps: i64) {
        let description = format!("Ready with {apps} apps");
        wait_for(self.organizations(namespace), name, &description, |organization: &SpiceOrganization| {
            let count = organization.status.as_ref().and_then(|status| status.apps);
            organization.condition("Ready").is_some_and(|ready| ready.status == "True") && count == Some(apps)
        })
        .await;
    }

    /// Waits until a SpiceApp is Ready, and returns namespace and name of its organization.
    async fn wait_for_organization_of(&self, name: &str) -> (String, String) {
        let app = wait_for(self.apps(), name, "Ready with an organization", |app: &SpiceApp| {
            app.has_ready("True", "Succeeded")
                && app.status.as_ref().is_some_and(|status| status.organization_ref.is_some())
        });
        let reference = app.await.status.unwrap().organization_ref.unwrap();
        (reference.namespace, reference.name)
    }

    /// Waits until the organization `default` of `home` lists `my-app` as a dependent.
    async fn wait_for_dependent_app(&self) {
        let app = format!("{}/my-app", self.tenant);
        let organizations = self.organizations(&self.home);
        wait_for(organizations, "default", "a message with the app", |organization: &SpiceOrganization| {
            organization.conditions().iter().any(|condition| condition.message.contains(&app))
        })
        .await;
    }
}

#[tokio::test]
async fn organization_allows_other_namespaces_by_label_selector() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let env = TwoNamespaces::new("namespaces").await;
    env.create_organization(&env.home, "default", json!(null)).await;
    let reference = json!({ "name": "default", "namespace": env.home });
    env.create_app("my-app", json!({ "organizationRef": reference, "interval": "24h" })).await;
    let operator = env.start_operator(&[]).await;

    let app = env.wait_for_app("False", "NamespaceNotAllowed").await;
    let message = app.ready_message();
    assert!(message.contains(&env.tenant) && message.contains("default"), "{message}");
    let selector = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "data" } } });
    let patch = Patch::Merge(json!({ "spec": { "allowedNamespaces": selector } }));
    let organizations = env.organizations(&env.home);
    organizations.patch("default", &PatchParams::default(), &patch).await.unwrap();
    env.wait_for_app("False", "NamespaceNotAllowed").await;
    let calls = env.sandbox.calls_by("operator", 0).await.unwrap();
    assert!(!calls.iter().any(|call| call.path.contains("/apps")), "{calls:?}");
    env.label_tenant(json!("data")).await;
    env.wait_for_app("True", "Succeeded").await;

    // The operator sends no value from a namespace that is no longer allowed.
    env.set_value("fake-value-1").await;
    let spec = json!({ "appRef": { "name": "my-app" }, "secretRef": { "name": "values" }, "interval": "24h" });
    let object = SpiceSecret::new("my-secret", serde_json::from_value(spec).unwrap());
    env.secrets().create(&PostParams::default(), &object).await.unwrap();
    env.wait_for_secret("True", "Succeeded").await;
    env.remove_label_and_wait().await;
    let before = operator.reconciles("SpiceSecret").await.unwrap();
    env.set_value("fake-value-2").await;
    operator.wait_for_reconciles("SpiceSecret", before + 1).await.unwrap();
    env.wait_for_secret("False", "NamespaceNotAllowed").await;
    assert_eq!(env.count_calls("POST", "/secrets").await, 1);
    env.label_tenant(json!("data")).await;
    env.wait_for_secret("True", "Succeeded").await;
    assert_eq!(env.count_calls("POST", "/secrets").await, 2);

    // The app blocks the deletion of its organization from another namespace. The operator deletes the app although the
    // namespace is no longer allowed.
    organizations.delete("default", &DeleteParams::default()).await.unwrap();
    env.wait_for_dependent_app().await;
    env.label_tenant(json!(null)).await;
    env.secrets().delete("my-secret", &DeleteParams::default()).await.unwrap();
    env.apps().delete("my-app", &DeleteParams::default()).await.unwrap();
    wait_for_deletion(env.apps(), "my-app").await;
    wait_for_deletion(env.organizations(&env.home), "default").await;
    assert_eq!(env.count_calls("DELETE", "").await, 2, "the app and its secret");
}

#[tokio::test]
async fn app_without_reference_keeps_the_default_organization_of_its_create() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let env = TwoNamespaces::new("default-organization").await;
    let all = json!({ "from": "All" });
    env.create_organization(&env.home, "acme", all.clone()).await;
    env.create_app("my-app", json!({ "interval": "24h" })).await;
    let _operator = env.start_operator(&[&format!("--default-organization={}/acme", env.home)]).await;
    let acme = (env.home.clone(), "acme".to_owned());
    assert_eq!(env.wait_for_organization_of("my-app").await, acme);
    env.wait_for_app_count(&env.home, "acme", 1).await;

    // The organization `default` of the namespace takes precedence over the flag. Existing apps keep their
    // organization.
    env.create_organization(&env.tenant, "default", all).await;
    env.wait_for_app_count(&env.tenant, "default", 0).await;
    env.create_app("other-app", json!({ "interval": "24h" })).await;
    assert_eq!(env.wait_for_organization_of("other-app").await, (env.tenant.clone(), "default".to_owned()));
    env.wait_for_app_count(&env.tenant, "default", 1).await;
    env.patch_app("my-app", json!({ "spec": { "description": "edited" } })).await;
    assert_eq!(env.wait_for_organization_of("my-app").await, acme);
    env.wait_for_app_count(&env.home, "acme", 1).await;

    // The operator rejects a reference to another organization than the organization of the create.
    for (reference, status, reason) in
        [(json!({ "name": "default" }), "False", "OrganizationMismatch"), (json!(null), "True", "Succeeded")]
    {
        env.patch_app("my-app", json!({ "spec": { "organizationRef": reference } })).await;
        env.wait_for_app(status, reason).await;
    }
    assert_eq!(env.count_calls("POST", "/apps").await, 2, "one create for each app");
}
