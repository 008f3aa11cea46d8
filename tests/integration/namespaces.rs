//! A SpiceOrganization that is used from other namespaces.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        control_plane::{ControlPlane, User, use_existing_cluster},
        eventually::{DEADLINE, poll},
        operator::Operator,
        run_folder::RunFolder,
        sandbox::Sandbox,
        world::install,
    },
};

async fn app_is(client: &Client, namespace: &str, status: &str, reason: &str) -> String {
    let apps: Api<SpiceApp> = Api::namespaced(client.clone(), namespace);
    poll(&format!("my-app is {status} {reason}"), DEADLINE, async || {
        let app = apps.get("my-app").await.map_err(|error| error.to_string())?;
        let conditions = app.status.map(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        match ready {
            Some(ready) if ready.status == status && ready.reason == reason => Ok(ready.message.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap()
}

async fn label(client: &Client, namespace: &str, team: Value) {
    let patch = json!({ "metadata": { "labels": { "team": team } } });
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(namespace, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

#[tokio::test]
async fn an_organization_admits_other_namespaces_by_selector_and_a_change_is_picked_up() {
    if use_existing_cluster() {
        // The operator sees every namespace here, and those of other tests are not its business.
        return;
    }
    let cluster = ControlPlane::start().await.unwrap();
    install(&cluster).await;
    let run = RunFolder::new("namespaces").unwrap();
    let sandbox = Sandbox::start(&run, program(), &[]).await.unwrap();
    let client = cluster.client(User::Admin).await.unwrap();
    let (home, away) = (cluster.namespace("home").await.unwrap(), cluster.namespace("away").await.unwrap());

    let token = json!({ "token": "sandbox-fake-token-operator" });
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "token" }, "stringData": token })).unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &home);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let organizations: Api<SpiceOrganization> = Api::namespaced(client.clone(), &home);
    let spec = json!({
        "endpoint": sandbox.url(), "allowInsecureEndpoint": true, "interval": "24h",
        "credentials": { "personalAccessToken": { "name": "token", "key": "token" } },
    });
    let organization = SpiceOrganization::new("default", serde_json::from_value(spec).unwrap());
    organizations.create(&PostParams::default(), &organization).await.unwrap();
    let apps: Api<SpiceApp> = Api::namespaced(client.clone(), &away);
    let spec = json!({ "organizationRef": { "namespace": home }, "interval": "24h" });
    let app = SpiceApp::new("my-app", serde_json::from_value(spec).unwrap());
    apps.create(&PostParams::default(), &app).await.unwrap();

    let args = ["--min-interval=1s", "--backoff-min=50ms", "--backoff-max=500ms", "--quiet-after-write=0s"];
    let operator = Operator::start(&run, program(), &cluster.kubeconfig(User::Operator), &args, &[]).await.unwrap();
    operator.ready().await.unwrap();

    let message = app_is(&client, &away, "False", "NamespaceNotAllowed").await;
    assert!(message.contains(&away) && message.contains("default"), "{message}");
    let selector = json!({ "from": "Selector", "selector": { "matchLabels": { "team": "data" } } });
    let patch = json!({ "spec": { "allowedNamespaces": selector } });
    organizations.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    app_is(&client, &away, "False", "NamespaceNotAllowed").await;
    let calls = sandbox.calls_by("operator", 0).await.unwrap();
    assert!(!calls.iter().any(|call| call.path.contains("/apps")), "{calls:?}");
    label(&client, &away, json!("data")).await;
    app_is(&client, &away, "True", "Succeeded").await;

    // It holds its organization, wherever it is; and it can go although its namespace is admitted no more.
    organizations.delete("default", &DeleteParams::default()).await.unwrap();
    poll("the organization says who holds it", DEADLINE, async || {
        let organization = organizations.get("default").await.map_err(|error| error.to_string())?;
        let conditions = organization.status.map(|status| status.conditions).unwrap_or_default();
        let named = conditions.iter().any(|it| it.message.contains(&format!("{away}/my-app")));
        if named { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await
    .unwrap();
    label(&client, &away, json!(null)).await;
    apps.delete("my-app", &DeleteParams::default()).await.unwrap();
    poll("both are gone", DEADLINE, async || {
        let app = apps.get_opt("my-app").await.map_err(|error| error.to_string())?;
        let organization = organizations.get_opt("default").await.map_err(|error| error.to_string())?;
        if app.is_none() && organization.is_none() { Ok(()) } else { Err(format!("{app:?} {organization:?}")) }
    })
    .await
    .unwrap();
    let deleted = sandbox.calls_by("operator", 0).await.unwrap().iter().filter(|call| call.method == "DELETE").count();
    assert_eq!(deleted, 1);
}
