//! Objects that an older, looser definition let in: they are told, nothing is sent for them, and they can be deleted.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret, custom_resource_definitions};

use crate::program;
use crate::support::{
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, poll},
    test_env::{Kind, TestEnv},
};

/// Takes every rule and bound off a schema, and leaves the types.
fn loosen(schema: &mut Value) {
    const BOUNDS: [&str; 9] = [
        "x-kubernetes-validations",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "maxItems",
        "maxProperties",
        "format",
    ];
    match schema {
        Value::Object(fields) => {
            // A field may have the name of a bound; a bound is no object.
            fields.retain(|name, value| !BOUNDS.contains(&name.as_str()) || value.is_object());
            fields.values_mut().for_each(loosen);
        }
        Value::Array(items) => items.iter_mut().for_each(loosen),
        _ => {}
    }
}

/// Puts our definitions in place without their rules.
async fn install_loose(env: &TestEnv) {
    let api: Api<CustomResourceDefinition> = Api::all(env.client.clone());
    for file in custom_resource_definitions() {
        let mut definition = serde_json::to_value(&file.definition).unwrap();
        loosen(&mut definition["spec"]);
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let mut current = serde_json::to_value(api.get(&name).await.unwrap()).unwrap();
        current["spec"] = definition["spec"].take();
        api.replace(&name, &Default::default(), &serde_json::from_value(current).unwrap()).await.unwrap();
    }
}

async fn made<K: Kind>(env: &TestEnv, name: &str, spec: &Value) {
    let api = env.api::<K>();
    let object = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec,
    });
    poll(&format!("the definition takes {name}"), DEADLINE, async || {
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(&object)).await.map(drop).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_a_looser_definition_let_in_is_told_sends_nothing_and_can_be_deleted() {
    if use_existing_cluster() {
        // Its definitions are not for tests to change.
        return;
    }
    let env = TestEnv::alone("looser", program()).await;
    install_loose(&env).await;
    let source = json!({ "configMapKeyRef": { "name": "pods", "key": "a" } });
    let apps = [
        ("abc", json!({}), "spec.name"),
        ("both-sources", json!({ "spicepod": {}, "spicepodFrom": source }), "spec.spicepodFrom"),
        ("two-places", json!({ "region": "a", "cname": "b" }), "spec.region"),
        ("wrong-name", json!({ "name": "my app!" }), "spec.name"),
        ("wrong-tag", json!({ "tags": { "a": "x".repeat(300) } }), "spec.tags"),
        (
            "all-at-once",
            json!({ "name": "a", "region": "a", "cname": "b", "spicepod": {}, "spicepodFrom": source }),
            "spec.name",
        ),
    ];
    let token = json!({ "secretRef": { "name": "spice-credentials" } });
    let pat = json!({ "personalAccessToken": token });
    let url = env.sandbox.url();
    let organizations = [
        ("plain-http", json!({ "endpoint": url, "credentials": pat }), "spec.endpoint"),
        ("none", json!({ "endpoint": url, "allowInsecureEndpoint": true, "credentials": {} }), "spec.credentials"),
        (
            "two",
            json!({ "endpoint": url, "allowInsecureEndpoint": true, "credentials": { "personalAccessToken": token, "sessionToken": token } }),
            "spec.credentials",
        ),
        (
            "two-lines",
            json!({ "endpoint": url, "allowInsecureEndpoint": true, "credentials": pat, "organization": "a\r\nb: c" }),
            "spec.organization",
        ),
        (
            "small-budget",
            json!({ "endpoint": url, "allowInsecureEndpoint": true, "credentials": pat, "requestBudget": { "requestsPerMinute": 1 } }),
            "spec.requestBudget",
        ),
        (
            "all-wrong",
            json!({ "endpoint": "ftp://x", "tokenEndpoint": "http://y", "credentials": {} }),
            "spec.endpoint",
        ),
    ];
    let app = json!({ "name": "my-app" });
    let secrets = [
        (
            "wrong-secret-name",
            json!({ "appRef": app, "secretRef": { "name": "a", "items": [{ "key": "A", "name": "a b" }] } }),
            "spec.secretRef.items[0].name",
        ),
        (
            "wrong-item",
            json!({ "appRef": app, "secretRef": { "name": "a", "items": [{ "key": "a.b" }] } }),
            "spec.secretRef.items[0].name",
        ),
        (
            "one-name-twice",
            json!({ "appRef": app, "secretRef": { "name": "a", "items": [{ "key": "A" }, { "key": "b", "name": "A" }] } }),
            "spec.secretRef.items[1].name",
        ),
    ];
    for (name, spec, _) in &secrets {
        made::<SpiceSecret>(&env, name, spec).await;
    }
    for (name, spec, _) in &apps {
        made::<SpiceApp>(&env, name, spec).await;
    }
    for (name, spec, _) in &organizations {
        made::<SpiceOrganization>(&env, name, spec).await;
    }
    apply_definitions(&env.cluster).await.unwrap();
    poll("the definitions are strict again", DEADLINE, async || {
        let spec = json!({ "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceApp", "metadata": { "name": "abc-2" },
            "spec": { "name": "a" } });
        let params = PatchParams { dry_run: true, ..PatchParams::apply("test") };
        match env.api::<SpiceApp>().patch("abc-2", &params, &Patch::Apply(&spec)).await {
            Err(_) => Ok(()),
            Ok(_) => Err("not yet".to_owned()),
        }
    })
    .await
    .unwrap();

    // The finalizer and the status are written under the strict definition.
    let _operator = env.operator().await;
    for (name, _, field) in &apps {
        let said = env.says::<SpiceApp>(name, "InvalidSpec", field).await;
        assert!(said.status.unwrap().id.is_none());
    }
    for (name, _, field) in &organizations {
        env.says::<SpiceOrganization>(name, "InvalidSpec", field).await;
    }
    for (name, _, field) in &secrets {
        env.says::<SpiceSecret>(name, "InvalidSpec", field).await;
        env.api::<SpiceSecret>().delete(name, &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceSecret>(name).await;
    }
    for (name, ..) in &apps {
        env.api::<SpiceApp>().delete(name, &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceApp>(name).await;
    }
    for (name, ..) in &organizations {
        env.api::<SpiceOrganization>().delete(name, &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceOrganization>(name).await;
    }
    let posts = env.calls(0).await.into_iter().filter(|call| call.starts_with("POST"));
    assert_eq!(posts.collect::<Vec<_>>(), [""; 0]);
}
