//! SpiceOrganizations that objects in other namespaces use.

use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
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
        eventually::{DEADLINE, poll},
        operator::Operator,
        run_dir::RunDir,
        sandbox::Sandbox,
        test_env::install,
    },
};

/// Waits for this status and reason of Ready of `my-app`, and returns the message.
async fn app_is(client: &Client, namespace: &str, status: &str, reason: &str) -> String {
    let apps: Api<SpiceApp> = Api::namespaced(client.clone(), namespace);
    poll(&format!("my-app is {status} {reason}"), DEADLINE, async || {
        let app = apps.get("my-app").await.map_err(|error| error.to_string())?;
        let conditions = app.status.map(|status| status.core.conditions).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        match ready {
            Some(ready) if ready.status == status && ready.reason == reason => Ok(ready.message.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap()
}

/// Waits for this status and reason of Ready of `my-secret` for the current generation.
async fn secret_is(objects: &Api<SpiceSecret>, status: &str, reason: &str) -> Result<(), String> {
    poll(&format!("my-secret is {status} {reason}"), DEADLINE, async || {
        let object = objects.get("my-secret").await.map_err(|error| error.to_string())?;
        let conditions = object.status.map(|status| status.core.conditions).unwrap_or_default();
        let is_expected = |condition: &Condition| {
            condition.observed_generation == object.metadata.generation
                && (&*condition.status, &*condition.reason) == (status, reason)
        };
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        if ready.is_some_and(is_expected) { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await
}

/// Sets the label `team` of a namespace, or removes it with null.
async fn label(client: &Client, namespace: &str, team: Value) {
    let patch = json!({ "metadata": { "labels": { "team": team } } });
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn organization_allows_other_namespaces_by_label_selector() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let cluster = ControlPlane::start().await.unwrap();
    install(&cluster).await;
    let run = RunDir::new("namespaces").unwrap();
    let sandbox = Sandbox::start(&run, program(), &[]).await.unwrap();
    let client = cluster.client(User::Admin).await.unwrap();
    let (home, tenant) = (cluster.namespace("home").await.unwrap(), cluster.namespace("tenant").await.unwrap());

    let token = json!({ "token": "sandbox-fake-token-operator" });
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "token" }, "stringData": token })).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &home);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let organizations: Api<SpiceOrganization> = Api::namespaced(client.clone(), &home);
    let spec = json!({
        "endpoint": sandbox.url(), "allowInsecureEndpoint": true, "interval": "24h",
        "credentials": { "personalAccessToken": { "secretRef": { "name": "token" } } },
    });
    let organization = SpiceOrganization::new("default", serde_json::from_value(spec).unwrap());
    organizations.create(&PostParams::default(), &organization).await.unwrap();
    let apps: Api<SpiceApp> = Api::namespaced(client.clone(), &tenant);
    let spec = json!({ "organizationRef": { "name": "default", "namespace": home }, "interval": "24h" });
    let app = SpiceApp::new("my-app", serde_json::from_value(spec).unwrap());
    apps.create(&PostParams::default(), &app).await.unwrap();

    let args = ["--min-interval=1s", "--min-retry-delay=50ms", "--max-retry-delay=500ms", "--write-settle-period=0s"];
    let operator = Operator::start(&run, program(), &cluster.kubeconfig(User::Operator), &args, &[]).await.unwrap();
    operator.ready().await.unwrap();

    let message = app_is(&client, &tenant, "False", "NamespaceNotAllowed").await;
    assert!(message.contains(&tenant) && message.contains("default"), "{message}");
    let selector = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "data" } } });
    let patch = json!({ "spec": { "allowedNamespaces": selector } });
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    app_is(&client, &tenant, "False", "NamespaceNotAllowed").await;
    let calls = sandbox.calls_by("operator", 0).await.unwrap();
    assert!(!calls.iter().any(|call| call.path.contains("/apps")), "{calls:?}");
    label(&client, &tenant, json!("data")).await;
    app_is(&client, &tenant, "True", "Succeeded").await;

    // The operator sends no value from a namespace that is no longer allowed.
    let set_value = async |value: &str| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "values" }, "stringData": { "TOKEN": value },
        });
        let (secrets, params) = (Api::<Secret>::namespaced(client.clone(), &tenant), PatchParams::apply("test"));
        secrets.patch("values", &params, &Patch::Apply(secret)).await.unwrap();
    };
    let count_posts = async || {
        let calls = sandbox.calls_by("operator", 0).await.unwrap();
        calls.iter().filter(|call| call.method == "POST" && call.path.ends_with("/secrets")).count()
    };
    let spec = json!({ "appRef": { "name": "my-app" }, "secretRef": { "name": "values" }, "interval": "24h" });
    let object = SpiceSecret::new("my-secret", serde_json::from_value(spec).unwrap());
    let objects: Api<SpiceSecret> = Api::namespaced(client.clone(), &tenant);
    set_value("fake-value-1").await;
    objects.create(&PostParams::default(), &object).await.unwrap();
    secret_is(&objects, "True", "Succeeded").await.unwrap();
    label(&client, &tenant, json!(null)).await;
    // A Ready condition keeps its value. Only a spec edit shows that the operator has observed the removed label.
    let hours = std::sync::atomic::AtomicU64::new(24);
    poll("the namespace is no longer allowed", DEADLINE, async || {
        let interval = format!("{}h", hours.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
        let edit = Patch::Merge(json!({ "spec": { "interval": interval } }));
        objects.patch("my-secret", &PatchParams::default(), &edit).await.map_err(|error| error.to_string())?;
        tokio::select! {
            result = secret_is(&objects, "False", "NamespaceNotAllowed") => result,
            result = secret_is(&objects, "True", "Succeeded") => result.and(Err("the namespace is still allowed".to_owned())),
        }
    })
    .await
    .unwrap();
    let reconciles = async || operator.metrics().await.map(|metrics| metrics.reconciles("SpiceSecret"));
    let before = reconciles().await.unwrap();
    set_value("fake-value-2").await;
    poll("a reconcile after the rotation", DEADLINE, async || {
        if reconciles().await? > before { Ok(()) } else { Err("no reconcile yet".to_owned()) }
    })
    .await
    .unwrap();
    secret_is(&objects, "False", "NamespaceNotAllowed").await.unwrap();
    assert_eq!(count_posts().await, 1);
    label(&client, &tenant, json!("data")).await;
    secret_is(&objects, "True", "Succeeded").await.unwrap();
    assert_eq!(count_posts().await, 2);

    // The app blocks the deletion of its organization from another namespace. The operator deletes the app although the
    // namespace is no longer allowed.
    organizations.delete("default", &DeleteParams::default()).await.unwrap();
    poll("the organization lists the app", DEADLINE, async || {
        let organization = organizations.get("default").await.map_err(|error| error.to_string())?;
        let conditions = organization.status.map(|status| status.core.conditions).unwrap_or_default();
        let is_listed = conditions.iter().any(|condition| condition.message.contains(&format!("{tenant}/my-app")));
        if is_listed { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await
    .unwrap();
    label(&client, &tenant, json!(null)).await;
    objects.delete("my-secret", &DeleteParams::default()).await.unwrap();
    apps.delete("my-app", &DeleteParams::default()).await.unwrap();
    poll("the app and the organization are deleted", DEADLINE, async || {
        let app = apps.get_opt("my-app").await.map_err(|error| error.to_string())?;
        let organization = organizations.get_opt("default").await.map_err(|error| error.to_string())?;
        if app.is_none() && organization.is_none() { Ok(()) } else { Err(format!("{app:?} {organization:?}")) }
    })
    .await
    .unwrap();
    let deleted = sandbox.calls_by("operator", 0).await.unwrap().iter().filter(|call| call.method == "DELETE").count();
    assert_eq!(deleted, 2, "the app and its secret");
}

/// Creates a SpiceOrganization that every namespace can use, and the Secret of its credential.
async fn organization(client: &Client, sandbox: &Sandbox, namespace: &str, name: &str) {
    let token = json!({ "token": "sandbox-fake-token-operator" });
    let secret = json!({ "metadata": { "name": "token" }, "stringData": token });
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let spec = json!({
        "endpoint": sandbox.url(), "allowInsecureEndpoint": true, "interval": "24h",
        "credentials": { "personalAccessToken": { "secretRef": { "name": "token" } } },
        "allowedNamespaces": { "from": "All" },
    });
    let organizations: Api<SpiceOrganization> = Api::namespaced(client.clone(), namespace);
    let object = SpiceOrganization::new(name, serde_json::from_value(spec).unwrap());
    organizations.create(&PostParams::default(), &object).await.unwrap();
}

/// Waits until a SpiceOrganization is Ready and counts this number of apps.
async fn has_apps(client: &Client, namespace: &str, name: &str, apps: i64) {
    let organizations: Api<SpiceOrganization> = Api::namespaced(client.clone(), namespace);
    poll(&format!("{name} has {apps} apps"), DEADLINE, async || {
        let status = organizations.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let ready =
            status.core.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if ready && status.apps == Some(apps) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await
    .unwrap();
}

/// Waits until the current generation of a SpiceApp is Ready, and returns namespace and name of its organization.
async fn organization_of(apps: &Api<SpiceApp>, name: &str) -> (String, String) {
    poll(&format!("{name} is Ready"), DEADLINE, async || {
        let app = apps.get(name).await.map_err(|error| error.to_string())?;
        let status = app.status.unwrap_or_default();
        let ready = status.core.conditions.iter().any(|condition| {
            condition.type_ == "Ready"
                && condition.status == "True"
                && condition.observed_generation == app.metadata.generation
        });
        match status.organization_ref.clone().filter(|_| ready) {
            Some(reference) => Ok((reference.namespace, reference.name)),
            None => Err(format!("{status:?}")),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn app_without_reference_keeps_the_default_organization_of_its_create() {
    if use_existing_cluster() {
        // This operator watches every namespace, including the namespaces of other tests.
        return;
    }
    let cluster = ControlPlane::start().await.unwrap();
    install(&cluster).await;
    let run = RunDir::new("default-organization").unwrap();
    let sandbox = Sandbox::start(&run, program(), &[]).await.unwrap();
    let client = cluster.client(User::Admin).await.unwrap();
    let (home, tenant) = (cluster.namespace("home").await.unwrap(), cluster.namespace("tenant").await.unwrap());
    organization(&client, &sandbox, &home, "acme").await;
    let apps: Api<SpiceApp> = Api::namespaced(client.clone(), &tenant);
    let create = async |name: &str| {
        let app = SpiceApp::new(name, serde_json::from_value(json!({ "interval": "24h" })).unwrap());
        apps.create(&PostParams::default(), &app).await.unwrap();
    };
    create("my-app").await;

    let default = format!("--default-organization={home}/acme");
    let args = [
        &*default,
        "--min-interval=1s",
        "--min-retry-delay=50ms",
        "--max-retry-delay=500ms",
        "--write-settle-period=0s",
    ];
    let operator = Operator::start(&run, program(), &cluster.kubeconfig(User::Operator), &args, &[]).await.unwrap();
    operator.ready().await.unwrap();
    let acme = (home.clone(), "acme".to_owned());
    assert_eq!(organization_of(&apps, "my-app").await, acme);
    has_apps(&client, &home, "acme", 1).await;

    // The organization `default` of the namespace takes precedence over the flag. Existing apps keep their organization.
    organization(&client, &sandbox, &tenant, "default").await;
    has_apps(&client, &tenant, "default", 0).await;
    create("other-app").await;
    assert_eq!(organization_of(&apps, "other-app").await, (tenant.clone(), "default".to_owned()));
    has_apps(&client, &tenant, "default", 1).await;
    let patch = json!({ "spec": { "description": "edited" } });
    apps.patch("my-app", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(organization_of(&apps, "my-app").await, acme);
    has_apps(&client, &home, "acme", 1).await;

    // The operator rejects a reference to another organization than the organization of the create.
    for (reference, reason) in [(json!({ "name": "default" }), "OrganizationMismatch"), (json!(null), "Succeeded")] {
        let patch = json!({ "spec": { "organizationRef": reference } });
        apps.patch("my-app", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        app_is(&client, &tenant, if reason == "Succeeded" { "True" } else { "False" }, reason).await;
    }
    let creates = sandbox.calls_by("operator", 0).await.unwrap();
    let creates = creates.iter().filter(|call| call.method == "POST" && call.path.ends_with("/apps")).count();
    assert_eq!(creates, 2, "one create for each app");
}
