//! Validation of SpiceSecrets.

use kube::{
    Resource,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceSecret;

use super::{api_in_new_namespace, check_creates, check_edits, object};

/// A spec for the app `my-app` with additional fields.
fn spec_with(fields: Value) -> Value {
    let mut spec = json!({ "appRef": { "name": "my-app" } });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

/// A spec for all keys of the Secret `src` with additional fields.
fn all_keys(fields: Value) -> Value {
    let mut spec = spec_with(json!({ "secretRef": { "name": "src" } }));
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

fn items(items: Value) -> Value {
    spec_with(json!({ "secretRef": { "name": "src", "items": items } }))
}

fn item(key: &str, name: &str) -> Value {
    items(json!([{ "key": key, "name": name }]))
}

#[tokio::test]
async fn secret_references_and_policies_are_validated() {
    check_creates::<SpiceSecret>(&[
        ("db", json!({}), &[]),
        ("db", spec_with(json!({})), &[]),
        ("db", json!({ "secretRef": {} }), &[]),
        ("db", json!({ "secretRef": { "name": "src" } }), &[]),
        ("db", all_keys(json!({})), &[]),
        ("db", all_keys(json!({ "appRef": {} })), &["spec.appRef.name", "Required"]),
        ("db", all_keys(json!({ "appRef": { "name": "" } })), &["spec.appRef.name"]),
        ("db", all_keys(json!({ "appRef": { "name": "A B" } })), &["spec.appRef.name"]),
        ("db", spec_with(json!({ "secretRef": { "name": "" } })), &["spec.secretRef.name"]),
        (
            "db",
            all_keys(json!({ "adoptionPolicy": "Adopt", "driftPolicy": "Report", "deletionPolicy": "Retain" })),
            &[],
        ),
        ("db", all_keys(json!({ "adoptionPolicy": "Take" })), &["spec.adoptionPolicy", "Adopt"]),
        ("db", all_keys(json!({ "driftPolicy": "Ignore" })), &["spec.driftPolicy", "Report"]),
        ("db", all_keys(json!({ "deletionPolicy": "Keep" })), &["spec.deletionPolicy", "Retain"]),
        ("db", all_keys(json!({ "interval": "1s", "suspend": true })), &[]),
        ("db", all_keys(json!({ "interval": "999ms" })), &["spec.interval", "1s or more"]),
        ("db", all_keys(json!({ "interval": "soon" })), &["spec.interval", "such as 90s"]),
        ("db", all_keys(json!({ "interval": "1h-1m" })), &["spec.interval", "such as 90s"]),
        ("db", all_keys(json!({ "interval": "" })), &["spec.interval", "such as 90s"]),
    ])
    .await;
}

#[tokio::test]
async fn secret_items_are_validated() {
    let keys = |count: usize| (0..count).map(|n| json!({ "key": format!("K{n}") })).collect::<Value>();
    let item_name = "spec.secretRef.items[0].name";
    let item_needs_name: &[&str] = &[item_name, "not a valid secret name"];
    check_creates::<SpiceSecret>(&[
        ("db", json!({ "secretRef": { "items": [{ "key": "A" }] } }), &[]),
        ("db", item("url", "DATABASE_URL"), &[]),
        ("db", items(json!([{ "key": "url" }])), &[]),
        ("db", items(json!([{ "key": "tls.crt" }])), item_needs_name),
        ("db", items(json!([{ "key": "1st" }])), item_needs_name),
        ("db", item("tls.crt", "_tls_1"), &[]),
        ("db", item("url", "DATABASE-URL"), &[item_name]),
        ("db", item("url", "1st"), &[item_name]),
        ("db", item("url", ""), &[item_name]),
        ("db", item("url", &"x".repeat(253)), &[]),
        ("db", item("url", &"x".repeat(254)), &[item_name, "253"]),
        ("db", items(json!([{ "key": "a.b", "name": "A_B" }, { "key": "C" }])), &[]),
        ("db", items(json!([{ "key": "a.b" }])), item_needs_name),
        ("db", item("a/b", "A_B"), &["spec.secretRef.items[0].key"]),
        ("db", item("A", "a b"), &[item_name]),
        ("db", items(json!([{ "name": "A" }])), &["spec.secretRef.items[0].key", "Required"]),
        // Only a missing field selects every key.
        ("db", items(json!([])), &["spec.secretRef.items", "at least 1"]),
        // The schema cannot reject null. The operator reads null as an empty list, and reports InvalidSpec.
        ("db", items(Value::Null), &[]),
        ("db", items(keys(256)), &[]),
        ("db", items(keys(257)), &["spec.secretRef.items", "256"]),
    ])
    .await;
}

#[tokio::test]
async fn secret_app_ref_is_immutable() {
    check_edits::<SpiceSecret>(&[
        (all_keys(json!({})), json!({ "appRef": { "name": "other" } }), &["spec.appRef", "appRef cannot change"]),
        (all_keys(json!({})), json!({ "secretRef": { "name": "other" } }), &[]),
        (all_keys(json!({})), json!({ "secretRef": null }), &[]),
        (item("url", "OLD"), json!({ "secretRef": { "items": [{ "key": "url", "name": "NEW" }] } }), &[]),
        // The default of spec.appRef.name is metadata.name, here edited-4 and edited-5, so the app does not change.
        (json!({}), json!({ "appRef": { "name": "edited-4" } }), &[]),
        (json!({ "appRef": { "name": "edited-5" } }), json!({ "appRef": null }), &[]),
        (json!({}), json!({ "appRef": { "name": "other" } }), &["spec.appRef", "appRef cannot change"]),
        (spec_with(json!({})), json!({ "appRef": null }), &["spec.appRef", "appRef cannot change"]),
    ])
    .await;
}

#[tokio::test]
async fn secret_without_spec_is_selectable_by_app() {
    let api = api_in_new_namespace::<SpiceSecret>("no-spec").await;
    let params = PatchParams::apply("test").force();
    let manifest = json!({ "apiVersion": SpiceSecret::api_version(&()), "kind": SpiceSecret::kind(&()), "metadata": { "name": "my-app" } });
    let created = api.patch("my-app", &params, &Patch::Apply(&manifest)).await.unwrap();
    assert_eq!((&created.data["spec"], &created.data["status"]), (&json!({}), &json!({ "observedGeneration": -1 })));
    let spec = json!({ "appRef": { "name": "my-app" } });
    for (name, spec) in [("named", &spec), ("other", &json!({}))] {
        api.create(&PostParams::default(), &object::<SpiceSecret>(name, spec)).await.unwrap();
    }
    // The operator stores the resolved reference in the status.
    for (name, app) in [("my-app", "my-app"), ("named", "my-app"), ("other", "other")] {
        let patch = json!({ "status": { "observedGeneration": 1, "appRef": { "name": app } } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    for (selector, expected) in
        [("spec.appRef.name=my-app", &["named"][..]), ("status.appRef.name=my-app", &["my-app", "named"])]
    {
        let found = api.list(&ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<_> = found.items.into_iter().filter_map(|secret| secret.metadata.name).collect();
        assert_eq!(names, expected, "{selector}");
    }
}
