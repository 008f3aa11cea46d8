//! Validation by the schemas and CEL rules of the CustomResourceDefinitions.

use std::{collections::BTreeMap, fs, path::Path};

use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, custom_resource_definitions};

use crate::support::{
    control_plane::{ControlPlane, User},
    definitions::install_definitions,
    eventually::{DEADLINE, eventually},
};

mod organization;
mod secret;

/// Returns the API of a kind in a new namespace.
async fn api_in_new_namespace<K: Resource<DynamicType = ()>>(prefix: &str) -> Api<DynamicObject> {
    let cluster = ControlPlane::shared().await.unwrap();
    install_definitions(&cluster).await.unwrap();
    let namespace = cluster.create_namespace(prefix).await.unwrap();
    Api::namespaced_with(cluster.client(User::Admin).await.unwrap(), &namespace, &ApiResource::erase::<K>(&()))
}

fn object<K: Resource<DynamicType = ()>>(name: &str, spec: &Value) -> DynamicObject {
    let (version, kind) = (K::api_version(&()), K::kind(&()));
    let value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(value).unwrap()
}

/// Compares a response with the expected parts of the rejection: the field, then the message. No parts: no rejection.
fn check_response<T>(case: &str, response: Result<T, kube::Error>, rejection: &[&str]) -> Option<T> {
    match response {
        Ok(value) => {
            assert!(rejection.is_empty(), "{case}: accepted");
            Some(value)
        }
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 422, "{case}: {}", status.message);
            assert!(!rejection.is_empty(), "{case}: {}", status.message);
            for part in rejection {
                assert!(status.message.contains(part), "{case}: {part} in {}", status.message);
            }
            None
        }
        Err(error) => panic!("{case}: {error}"),
    }
}

/// Creates an object per case, as a dry run: name, spec, and parts of the rejection.
async fn check_creates<K: Resource<DynamicType = ()>>(cases: &[(&str, Value, &[&str])]) {
    let api = api_in_new_namespace::<K>("creates").await;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    for (name, spec, rejection) in cases {
        let case = format!("{} {name} {spec}", K::kind(&()));
        let response = api.create(&params, &object::<K>(name, spec)).await;
        if let Some(created) = check_response(&case, response, rejection) {
            assert_eq!(created.data["status"], json!({"observedGeneration": -1}), "{case}");
        }
    }
}

/// Creates and patches an object per case: spec, patch of the spec, and parts of the rejection.
async fn check_edits<K: Resource<DynamicType = ()>>(cases: &[(Value, Value, &[&str])]) {
    let api = api_in_new_namespace::<K>("edits").await;
    for (index, (spec, patch, rejection)) in cases.iter().enumerate() {
        let name = format!("edited-{index}");
        api.create(&PostParams::default(), &object::<K>(&name, spec)).await.unwrap();
        let patch = json!({"spec": patch});
        let response = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        check_response(&format!("{} {spec} then {patch}", K::kind(&())), response, rejection);
    }
}

#[tokio::test]
async fn app_name_is_validated() {
    let name = |name: &str| json!({ "name": name });
    check_creates::<SpiceApp>(&[
        ("my-app", json!({}), &[]),
        ("my-app", name("Other-1"), &[]),
        ("my-app", name(&"x".repeat(38)), &[]),
        ("my-app", name("abc"), &["spec.name", "4"]),
        ("my-app", name(&"x".repeat(39)), &["spec.name", "38"]),
        ("my-app", name("my_app"), &["spec.name"]),
        ("my-app", name("app.one"), &["spec.name"]),
        // If metadata.name is not a valid app name, spec.name is required.
        ("app.one", json!({}), &["metadata.name", "set spec.name"]),
        ("abc", json!({}), &["metadata.name", "set spec.name"]),
        ("app.one", name("app-one"), &[]),
    ])
    .await;
}

#[tokio::test]
async fn app_region_tags_and_visibility_are_validated() {
    let tags = |count: usize| (0..count).map(|n| (format!("t{n}"), "x".to_owned())).collect::<BTreeMap<_, _>>();
    check_creates::<SpiceApp>(&[
        ("my-app", json!({"region": "us-west-2"}), &[]),
        ("my-app", json!({"cname": "us-west-2-prod"}), &[]),
        ("my-app", json!({"clusterName": "mine"}), &[]),
        ("my-app", json!({"region": "a", "cname": "b"}), &["spec", "at most one of region, cname and clusterName"]),
        ("my-app", json!({"region": "a", "clusterName": "b"}), &["spec", "at most one of region"]),
        ("my-app", json!({"cname": "a", "clusterName": "b"}), &["spec", "at most one of region"]),
        ("my-app", json!({"tags": tags(48)}), &[]),
        ("my-app", json!({"tags": tags(49)}), &["spec.tags", "48"]),
        ("my-app", json!({"tags": {"a": "x".repeat(256)}}), &[]),
        ("my-app", json!({"tags": {"a": "x".repeat(257)}}), &["spec.tags", "256"]),
        ("my-app", json!({"tags": {"a_./-9": "_@-"}}), &[]),
        ("my-app", json!({"tags": {"x".repeat(63): ""}}), &[]),
        ("my-app", json!({"tags": {"x".repeat(64): "x"}}), &["spec.tags", "a key must be a letter"]),
        ("my-app", json!({"tags": {"": "x"}}), &["spec.tags", "a key must be a letter"]),
        ("my-app", json!({"tags": {"1a": "x"}}), &["spec.tags", "a key must be a letter"]),
        ("my-app", json!({"tags": {"a b": "x"}}), &["spec.tags", "a key must be a letter"]),
        (
            "my-app",
            json!({"tags": {"spice-operator-owner": "x"}}),
            &["spec.tags", "must not start with spice-operator-"],
        ),
        ("my-app", json!({"tags": {"a": "x y"}}), &["spec.tags.a"]),
        ("my-app", json!({"visibility": "public"}), &[]),
        ("my-app", json!({"visibility": "secret"}), &["spec.visibility", "public"]),
        ("my-app", json!({"description": "x".repeat(1025)}), &["spec.description", "1024"]),
    ])
    .await;
}

#[tokio::test]
async fn app_runtime_is_validated() {
    let runtime = |runtime: Value| json!({ "runtime": runtime });
    check_creates::<SpiceApp>(&[
        ("my-app", runtime(json!({"replicas": 1})), &[]),
        ("my-app", runtime(json!({"replicas": 10})), &[]),
        ("my-app", runtime(json!({"replicas": 0})), &["spec.runtime.replicas", "1"]),
        ("my-app", runtime(json!({"replicas": 11})), &["spec.runtime.replicas", "10"]),
        (
            "my-app",
            runtime(json!({
                "resources": {
                    "limits": {"cpu": "4", "memory": "16Gi", "ephemeralStorage": "50Gi"},
                    "requests": {"cpu": "2", "memory": "8Gi"},
                },
                "executor": {"replicas": 2, "resources": {"limits": {"cpu": "-"}}, "storageSizeGb": 50},
            })),
            &[],
        ),
        ("my-app", runtime(json!({"resources": {"limits": {"cpu": 4}}})), &["resources.limits.cpu", "string"]),
        ("my-app", runtime(json!({"resources": {"limits": {"cpu": ""}}})), &["resources.limits.cpu"]),
        ("my-app", runtime(json!({"resources": {}})), &["spec.runtime.resources", "at least 1"]),
        ("my-app", runtime(json!({"resources": {"limits": {}}})), &["spec.runtime.resources.limits", "at least 1"]),
        ("my-app", runtime(json!({"resources": {"requests": {}}})), &["spec.runtime.resources.requests", "at least 1"]),
        ("my-app", runtime(json!({"executor": {}})), &["spec.runtime.executor", "at least 1"]),
        ("my-app", runtime(json!({"executor": {"replicas": 1001}})), &["spec.runtime.executor.replicas", "1000"]),
        ("my-app", runtime(json!({"executor": {"storageSizeGb": 0}})), &["spec.runtime.executor.storageSizeGb"]),
    ])
    .await;
}

#[tokio::test]
async fn app_interval_and_spicepod_are_validated() {
    check_creates::<SpiceApp>(&[
        ("my-app", json!({"interval": "1s"}), &[]),
        ("my-app", json!({"interval": "1h30m"}), &[]),
        ("my-app", json!({"interval": "1.5h"}), &[]),
        ("my-app", json!({"interval": "999999h999999m999999999s"}), &[]),
        ("my-app", json!({"interval": "1d"}), &["spec.interval", "such as 90s"]),
        ("my-app", json!({"interval": "1h-1m"}), &["spec.interval", "such as 90s"]),
        ("my-app", json!({"interval": "1m1h"}), &["spec.interval", "such as 90s"]),
        ("my-app", json!({"interval": ""}), &["spec.interval", "such as 90s"]),
        ("my-app", json!({"interval": "0.9s"}), &["spec.interval", "1s or more"]),
        ("my-app", json!({"interval": "1s".repeat(17)}), &["spec.interval", "32"]),
        ("my-app", json!({"interval": "0s"}), &["spec.interval", "1s or more"]),
        ("my-app", json!({"interval": "-5m"}), &["spec.interval", "1s or more"]),
        ("my-app", json!({"interval": "soon"}), &["spec.interval", "such as 90s"]),
        ("my-app", json!({"spicepod": "version: v1"}), &["spec.spicepod", "object"]),
        ("my-app", json!({"spicepod": ["v1"]}), &["spec.spicepod", "object"]),
        ("my-app", json!({"spicepodFrom": {"configMapKeyRef": {"name": "pods"}}}), &[]),
        ("my-app", json!({"spicepodFrom": {}}), &["spec.spicepodFrom.configMapKeyRef"]),
        (
            "my-app",
            json!({"spicepodFrom": {"configMapKeyRef": {"name": "pods", "key": "a/b"}}}),
            &["spec.spicepodFrom.configMapKeyRef.key"],
        ),
        (
            "my-app",
            json!({"spicepod": {}, "spicepodFrom": {"configMapKeyRef": {"name": "pods", "key": "a"}}}),
            &["spec.spicepodFrom", "only one of spicepod and spicepodFrom"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn app_policies_and_organization_ref_are_validated() {
    check_creates::<SpiceApp>(&[
        ("my-app", json!({"managementPolicy": "Observe", "adoptionPolicy": "Adopt", "driftPolicy": "Report"}), &[]),
        ("my-app", json!({"managementPolicy": "Watch"}), &["spec.managementPolicy", "Observe"]),
        ("my-app", json!({"adoptionPolicy": "Always"}), &["spec.adoptionPolicy", "Adopt"]),
        ("my-app", json!({"driftPolicy": "Ignore"}), &["spec.driftPolicy", "Report"]),
        ("my-app", json!({"deletionPolicy": "Retain"}), &[]),
        ("my-app", json!({"deletionPolicy": "Keep"}), &["spec.deletionPolicy", "Retain"]),
        ("my-app", json!({"organizationRef": {"name": ""}}), &["spec.organizationRef.name"]),
        ("my-app", json!({"organizationRef": {"name": "A\nB"}}), &["spec.organizationRef.name"]),
        (
            "my-app",
            json!({"organizationRef": {"name": "default", "namespace": "a.b"}}),
            &["spec.organizationRef.namespace"],
        ),
        ("my-app", json!({"organizationRef": {"name": "default", "namespace": "other"}}), &[]),
        ("my-app", json!({"organizationRef": {"namespace": "other"}}), &["spec.organizationRef.name", "Required"]),
        (
            "my-app",
            json!({"organizationRef": {"name": "default", "namespace": ""}}),
            &["spec.organizationRef.namespace"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn spicepod_keeps_unknown_fields_and_spec_gets_no_defaults() {
    let api = api_in_new_namespace::<SpiceApp>("apps").await;
    let spicepod = json!({"version": "v1", "datasets": [{"from": "s3://x", "params": {"unknown": [1, null, 1.5]}}]});
    let spec = json!({"spicepod": spicepod});
    let created = api.create(&PostParams::default(), &object::<SpiceApp>("my-app", &spec)).await.unwrap();
    assert_eq!(created.data["spec"], json!({"spicepod": spicepod}));
    assert_eq!(created.data["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
async fn app_name_cname_and_organization_are_immutable() {
    check_edits::<SpiceApp>(&[
        (json!({"name": "name-1"}), json!({"name": "name-2"}), &["spec.name", "cannot change"]),
        (json!({"name": "name-1"}), json!({"name": null}), &["spec.name", "cannot change"]),
        (json!({}), json!({"name": "name-2"}), &["spec.name", "cannot change"]),
        // The default of spec.name is metadata.name, here edited-3, so the name does not change.
        (json!({}), json!({"name": "edited-3"}), &[]),
        (json!({"cname": "a"}), json!({"cname": "b"}), &["spec.cname", "cannot change"]),
        (json!({"cname": "a"}), json!({"cname": null}), &["spec.cname", "cannot change"]),
        (json!({}), json!({"cname": "b"}), &["spec.cname", "cannot change"]),
        (
            json!({"organizationRef": {"name": "default"}}),
            json!({"organizationRef": {"name": "other"}}),
            &["spec.organizationRef", "cannot change"],
        ),
        (
            json!({"organizationRef": {"name": "default", "namespace": "x"}}),
            json!({"organizationRef": {"namespace": "y"}}),
            &["spec.organizationRef", "cannot change"],
        ),
        // The schema cannot resolve the default, so the operator checks an added or removed reference or namespace.
        (json!({"organizationRef": {"name": "other"}}), json!({"organizationRef": null}), &[]),
        (json!({}), json!({"organizationRef": {"name": "default"}}), &[]),
        (json!({"organizationRef": {"name": "default"}}), json!({"organizationRef": {"namespace": "x"}}), &[]),
        (
            json!({"organizationRef": {"name": "default", "namespace": "x"}}),
            json!({"organizationRef": {"namespace": null}}),
            &[],
        ),
        // Another name is a move, whatever happens to the namespace.
        (
            json!({"organizationRef": {"name": "default"}}),
            json!({"organizationRef": {"name": "other", "namespace": "x"}}),
            &["spec.organizationRef", "cannot change"],
        ),
        (
            json!({"organizationRef": {"name": "default", "namespace": "x"}}),
            json!({"organizationRef": {"name": "other", "namespace": null}}),
            &["spec.organizationRef", "cannot change"],
        ),
        (json!({"name": "name-1", "cname": "a"}), json!({"name": "name-1", "description": "x"}), &[]),
        (json!({"region": "a"}), json!({"region": "b"}), &[]),
        (json!({"region": "a"}), json!({"region": null, "clusterName": "b"}), &[]),
        (json!({"deletionPolicy": "Delete"}), json!({"deletionPolicy": "Retain"}), &[]),
    ])
    .await;
}

/// Collects the paths of all fields below a schema that have no description.
fn collect_undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        collect_undescribed(property, &path, found);
        collect_undescribed(&property["items"], &path, found);
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    for definition in custom_resource_definitions() {
        let definition = serde_json::to_value(&definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            collect_undescribed(&schema["properties"][part], part, &mut found);
        }
        assert_eq!(found, [""; 0], "{}", definition["metadata"]["name"]);
    }
    let cluster = ControlPlane::shared().await.unwrap();
    install_definitions(&cluster).await.unwrap();
    // The apiserver publishes the OpenAPI schema of a definition after the definition is established.
    eventually("kubectl explains a field", DEADLINE, async || {
        let explained = cluster.kubectl(&["explain", "sapp.spec.deletionPolicy"]).await?;
        let is_explained = explained.contains("Handling of the app when this object is deleted");
        if is_explained { Ok(()) } else { Err(explained) }
    })
    .await;
}

#[tokio::test]
async fn apps_are_selectable_by_organization() {
    let api = api_in_new_namespace::<SpiceApp>("selected").await;
    for (name, organization) in [("first", Some("one")), ("second", Some("two")), ("third", None)] {
        let mut spec = json!({ "name": "some-app" });
        if let Some(organization) = organization {
            spec["organizationRef"] = json!({ "name": organization });
        }
        api.create(&PostParams::default(), &object::<SpiceApp>(name, &spec)).await.unwrap();
    }
    // The operator stores the resolved reference in the status of a created app.
    for name in ["second", "third"] {
        let reference = json!({ "namespace": "shared", "name": "two" });
        let patch = json!({ "status": { "observedGeneration": 1, "id": 7, "organizationRef": reference } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    for (selector, expected) in
        [("spec.organizationRef.name=two", &["second"][..]), ("status.organizationRef.name=two", &["second", "third"])]
    {
        let found = api.list(&ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<_> = found.items.into_iter().filter_map(|app| app.metadata.name).collect();
        assert_eq!(names, expected, "{selector}");
    }
}

#[test]
fn crd_files_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().to_string_lossy().into_owned(), serde_saphyr::from_str::<Value>(&text).unwrap())
    };
    let existing: BTreeMap<_, _> = fs::read_dir(directory).unwrap().map(|entry| read(entry.unwrap())).collect();
    let generated: BTreeMap<_, _> = custom_resource_definitions()
        .into_iter()
        .map(|definition| (format!("{}.yaml", definition.name_any()), serde_json::to_value(&definition).unwrap()))
        .collect();
    let names = |files: &BTreeMap<String, Value>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&existing),
        names(&generated),
        "the files in crds/ differ from the generated files: run `make crds`"
    );
    for (name, definition) in &generated {
        assert!(existing[name] == *definition, "crds/{name} differs from src/api: run `make crds`");
    }
}
