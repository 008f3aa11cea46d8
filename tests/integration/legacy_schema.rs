//! Objects that an older CustomResourceDefinition without validation accepted. The operator reports them, sends nothing
//! for them, and can delete them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret, custom_resource_definitions};

use crate::support::{
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, eventually},
    test_env::{Kind, TestEnv},
};

/// Removes every rule and limit from a schema, and keeps the types.
fn remove_validation(schema: &mut Value) {
    const LIMITS: [&str; 11] = [
        "x-kubernetes-validations",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "format",
    ];
    match schema {
        Value::Object(fields) => {
            // A property can have the name of a limit. Its schema is an object, and the value of a limit is not.
            fields.retain(|name, value| !LIMITS.contains(&name.as_str()) || value.is_object());
            fields.values_mut().for_each(remove_validation);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_validation),
        _ => {}
    }
}

/// Installs the CustomResourceDefinitions without validation.
async fn install_without_validation(env: &TestEnv) {
    let api: Api<CustomResourceDefinition> = Api::all(env.client.clone());
    for definition in custom_resource_definitions() {
        let mut definition = serde_json::to_value(&definition).unwrap();
        remove_validation(&mut definition["spec"]);
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        let mut current = serde_json::to_value(api.get(&name).await.unwrap()).unwrap();
        current["spec"] = definition["spec"].take();
        api.replace(&name, &Default::default(), &serde_json::from_value(current).unwrap()).await.unwrap();
    }
}

/// Name and spec of an object, and the field that the operator reports as invalid.
type InvalidObject = (&'static str, Value, &'static str);

async fn apply_all<K: Kind>(env: &TestEnv, objects: &[InvalidObject]) {
    let (api, params) = (env.api::<K>(), PatchParams::apply("test").force());
    for (name, spec, _) in objects {
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": name }, "spec": spec,
        });
        eventually(&format!("the API server accepts {name}"), DEADLINE, async || {
            api.patch(name, &params, &Patch::Apply(&object)).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}

/// Waits until the operator reports the invalid field of each object.
async fn wait_for_reports<K: Kind>(env: &TestEnv, objects: &[InvalidObject]) -> Vec<K> {
    let mut reported = Vec::new();
    for (name, _, field) in objects {
        reported.push(env.wait_for_message(name, "InvalidSpec", field).await);
    }
    reported
}

async fn delete_all<K: Kind>(env: &TestEnv, objects: &[InvalidObject]) {
    for (name, ..) in objects {
        env.delete_and_wait::<K>(name).await;
    }
}

/// SpiceApps that the installed definition rejects.
fn invalid_apps() -> Vec<InvalidObject> {
    let source = json!({ "configMapKeyRef": { "name": "pods", "key": "a" } });
    vec![
        ("abc", json!({}), "spec.name"),
        ("both-sources", json!({ "spicepod": {}, "spicepodFrom": source }), "spec.spicepodFrom"),
        ("two-places", json!({ "region": "a", "cname": "b" }), "spec.region"),
        ("wrong-name", json!({ "name": "my app!" }), "spec.name"),
        ("empty-resources", json!({ "runtime": { "resources": { "limits": {} } } }), "spec.runtime.resources"),
        ("wrong-tag", json!({ "tags": { "a": "x".repeat(300) } }), "spec.tags"),
        (
            "all-at-once",
            json!({ "name": "a", "region": "a", "cname": "b", "spicepod": {}, "spicepodFrom": source }),
            "spec.name",
        ),
    ]
}

/// SpiceOrganizations that the installed definition rejects. `url` is the address of the sandbox.
fn invalid_organizations(url: &str) -> Vec<InvalidObject> {
    let token = json!({ "secretRef": { "name": "spice-credentials" } });
    let pat = json!({ "personalAccessToken": token });
    vec![
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
    ]
}

/// SpiceSecrets that the installed definition rejects.
fn invalid_secrets() -> Vec<InvalidObject> {
    let app = json!({ "name": "my-app" });
    vec![
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
        ("null-items", json!({ "appRef": app, "secretRef": { "name": "a", "items": null } }), "spec.secretRef.items"),
        ("no-items", json!({ "appRef": app, "secretRef": { "name": "a", "items": [] } }), "spec.secretRef.items"),
    ]
}

/// Installs the CustomResourceDefinitions of the project, and waits until the API server validates with them.
async fn install_strict(env: &TestEnv) {
    apply_definitions(&env.cluster).await.unwrap();
    eventually("the API server rejects invalid objects again", DEADLINE, async || {
        let spec = json!({ "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceApp", "metadata": { "name": "abc-2" },
            "spec": { "name": "a" } });
        let params = PatchParams { dry_run: true, ..PatchParams::apply("test") };
        match env.api::<SpiceApp>().patch("abc-2", &params, &Patch::Apply(&spec)).await {
            Err(_) => Ok(()),
            Ok(_) => Err("an invalid object was accepted".to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn objects_of_a_schema_without_validation_are_reported_and_deletable() {
    if use_existing_cluster() {
        // A test must not change the definitions of an existing cluster.
        return;
    }
    let env = TestEnv::with_dedicated_control_plane("legacy-schema").await;
    install_without_validation(&env).await;
    let (apps, organizations, secrets) = (invalid_apps(), invalid_organizations(env.sandbox.url()), invalid_secrets());
    apply_all::<SpiceSecret>(&env, &secrets).await;
    apply_all::<SpiceApp>(&env, &apps).await;
    apply_all::<SpiceOrganization>(&env, &organizations).await;
    install_strict(&env).await;

    // The operator writes the finalizer and the status with the strict definition installed.
    let _operator = env.start_operator().await;
    for app in wait_for_reports::<SpiceApp>(&env, &apps).await {
        assert_eq!(app.status.unwrap().id, None);
    }
    wait_for_reports::<SpiceOrganization>(&env, &organizations).await;
    wait_for_reports::<SpiceSecret>(&env, &secrets).await;
    delete_all::<SpiceSecret>(&env, &secrets).await;
    delete_all::<SpiceApp>(&env, &apps).await;
    delete_all::<SpiceOrganization>(&env, &organizations).await;
    assert_eq!(env.count_posts().await, 0);
}
