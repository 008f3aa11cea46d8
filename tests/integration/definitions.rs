//! What the API server takes and what it refuses, by the schemas and rules of our definitions.

use std::{collections::BTreeMap, fs, path::Path};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret, custom_resource_definitions};

use crate::support::{
    control_plane::{ControlPlane, User},
    definitions::install_definitions,
};

async fn objects(kind: &ApiResource, hint: &str) -> Api<DynamicObject> {
    let cluster = ControlPlane::shared().await.unwrap();
    install_definitions(&cluster).await.unwrap();
    let namespace = cluster.namespace(hint).await.unwrap();
    Api::namespaced_with(cluster.client(User::Admin).await.unwrap(), &namespace, kind)
}

fn object(kind: &ApiResource, name: &str, spec: &Value) -> DynamicObject {
    let value = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(value).unwrap()
}

/// Compares an answer with what is expected: nothing, or words of the refusal, of which the first is the field.
fn judge<T>(case: &str, answer: Result<T, kube::Error>, refusal: &[&str]) -> Option<T> {
    match answer {
        Ok(value) => {
            assert!(refusal.is_empty(), "{case}: accepted");
            Some(value)
        }
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 422, "{case}: {}", status.message);
            assert!(!refusal.is_empty(), "{case}: {}", status.message);
            for word in refusal {
                assert!(status.message.contains(word), "{case}: {word} in {}", status.message);
            }
            None
        }
        Err(error) => panic!("{case}: {error}"),
    }
}

async fn create(api: &Api<DynamicObject>, kind: &ApiResource, cases: &[(&str, Value, &[&str])]) {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    for (name, spec, refusal) in cases {
        let case = format!("{} {name} {spec}", kind.kind);
        let answer = api.create(&params, &object(kind, name, spec)).await;
        if let Some(created) = judge(&case, answer, refusal) {
            assert_eq!(created.data["status"], json!({"observedGeneration": -1}), "{case}");
        }
    }
}

async fn edit(api: &Api<DynamicObject>, kind: &ApiResource, cases: &[(Value, Value, &[&str])]) {
    for (index, (spec, patch, refusal)) in cases.iter().enumerate() {
        let name = format!("edited-{index}");
        api.create(&PostParams::default(), &object(kind, &name, spec)).await.unwrap();
        let patch = json!({"spec": patch});
        let answer = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        judge(&format!("{} {spec} then {patch}", kind.kind), answer, refusal);
    }
}

#[tokio::test]
async fn a_spice_app_is_checked_when_it_is_made() {
    let kind = ApiResource::erase::<SpiceApp>(&());
    let api = objects(&kind, "apps").await;
    let tags = |count: usize| (0..count).map(|n| (format!("t{n}"), "x".to_owned())).collect::<BTreeMap<_, _>>();
    let name = |name: &str| json!({ "name": name });
    let runtime = |runtime: Value| json!({ "runtime": runtime });
    create(
        &api,
        &kind,
        &[
            ("my-app", json!({}), &[]),
            ("my-app", name("Other-1"), &[]),
            ("my-app", name(&"x".repeat(38)), &[]),
            ("my-app", name("abc"), &["spec.name", "4"]),
            ("my-app", name(&"x".repeat(39)), &["spec.name", "38"]),
            ("my-app", name("my_app"), &["spec.name"]),
            ("my-app", name("app.one"), &["spec.name"]),
            // A name that the app cannot have needs one in the spec.
            ("app.one", json!({}), &["metadata.name", "set spec.name"]),
            ("abc", json!({}), &["metadata.name", "set spec.name"]),
            ("app.one", name("app-one"), &[]),
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
            ("my-app", json!({"visibility": "public"}), &[]),
            ("my-app", json!({"visibility": "secret"}), &["spec.visibility", "public"]),
            ("my-app", json!({"description": "x".repeat(1025)}), &["spec.description", "1024"]),
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
            ("my-app", runtime(json!({"executor": {"replicas": 1001}})), &["spec.runtime.executor.replicas", "1000"]),
            ("my-app", runtime(json!({"executor": {"storageSizeGb": 0}})), &["spec.runtime.executor.storageSizeGb"]),
            ("my-app", json!({"interval": "1s"}), &[]),
            ("my-app", json!({"interval": "1h30m"}), &[]),
            ("my-app", json!({"interval": "0s"}), &["spec.interval", "1s or more"]),
            ("my-app", json!({"interval": "-5m"}), &["spec.interval", "1s or more"]),
            ("my-app", json!({"interval": "soon"}), &["spec.interval"]),
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
            ("my-app", json!({"managementPolicy": "Observe", "adoptionPolicy": "Adopt", "driftPolicy": "Report"}), &[]),
            ("my-app", json!({"managementPolicy": "Watch"}), &["spec.managementPolicy", "Observe"]),
            ("my-app", json!({"adoptionPolicy": "Always"}), &["spec.adoptionPolicy", "Adopt"]),
            ("my-app", json!({"driftPolicy": "Ignore"}), &["spec.driftPolicy", "Report"]),
            ("my-app", json!({"deletionPolicy": "Retain"}), &[]),
            ("my-app", json!({"deletionPolicy": "Keep"}), &["spec.deletionPolicy", "Retain"]),
            ("my-app", json!({"organizationRef": {"name": ""}}), &["spec.organizationRef.name"]),
            ("my-app", json!({"organizationRef": {"name": "default", "namespace": "other"}}), &[]),
            ("my-app", json!({"organizationRef": {"namespace": "other"}}), &["spec.organizationRef.name", "Required"]),
            (
                "my-app",
                json!({"organizationRef": {"name": "default", "namespace": ""}}),
                &["spec.organizationRef.namespace"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_spicepod_keeps_every_field_and_an_unset_organization_stays_unset() {
    let kind = ApiResource::erase::<SpiceApp>(&());
    let api = objects(&kind, "apps").await;
    let spicepod = json!({"version": "v1", "datasets": [{"from": "s3://x", "params": {"unheard_of": [1, null, 1.5]}}]});
    let spec = json!({"spicepod": spicepod});
    let made = api.create(&PostParams::default(), &object(&kind, "my-app", &spec)).await.unwrap();
    assert_eq!(made.data["spec"], json!({"spicepod": spicepod}));
    assert_eq!(made.data["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
async fn what_an_app_is_called_and_belongs_to_cannot_change() {
    let kind = ApiResource::erase::<SpiceApp>(&());
    let api = objects(&kind, "apps").await;
    edit(
        &api,
        &kind,
        &[
            (json!({"name": "name-1"}), json!({"name": "name-2"}), &["spec.name", "cannot change"]),
            (json!({"name": "name-1"}), json!({"name": null}), &["spec.name", "cannot change"]),
            (json!({}), json!({"name": "name-2"}), &["spec.name", "cannot change"]),
            // What it comes to stays the same: this one is called edited-3.
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
            // The operator judges a reference or a namespace that is set or removed: it knows what the default is.
            (json!({"organizationRef": {"name": "other"}}), json!({"organizationRef": null}), &[]),
            (json!({}), json!({"organizationRef": {"name": "default"}}), &[]),
            (json!({"organizationRef": {"name": "default"}}), json!({"organizationRef": {"namespace": "x"}}), &[]),
            (
                json!({"organizationRef": {"name": "default", "namespace": "x"}}),
                json!({"organizationRef": {"namespace": null}}),
                &[],
            ),
            (json!({"name": "name-1", "cname": "a"}), json!({"name": "name-1", "description": "x"}), &[]),
            (json!({"region": "a"}), json!({"region": "b"}), &[]),
            (json!({"region": "a"}), json!({"region": null, "clusterName": "b"}), &[]),
            (json!({"deletionPolicy": "Delete"}), json!({"deletionPolicy": "Retain"}), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_spice_organization_is_checked_when_it_is_made() {
    let kind = ApiResource::erase::<SpiceOrganization>(&());
    let api = objects(&kind, "organizations").await;
    let key = |name: &str, key: &str| json!({"personalAccessToken": {"secretRef": {"name": name, "key": key}}});
    let with = |more: Value| {
        let mut spec = json!({ "credentials": key("token", "token") });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let endpoint = |url: &str| with(json!({ "endpoint": url }));
    let labels = json!({"matchLabels": {"team": "data"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]});
    let session = json!({"sessionToken": {"secretRef": {"name": "token"}}});
    let mut both = session.clone();
    both["personalAccessToken"] = session["sessionToken"].clone();
    let oauth = |mut reference: Value| {
        reference["name"] = json!("client");
        json!({ "oauthClient": { "secretRef": reference } })
    };
    let token_endpoint = |url: &str| {
        let credentials = oauth(json!({}));
        json!({ "credentials": credentials, "tokenEndpoint": url })
    };
    let budget = |name: &str, value: i64| with(json!({"requestBudget": {name: value}}));
    create(
        &api,
        &kind,
        &[
            ("default", with(json!({})), &[]),
            ("default", endpoint("https://api.example/base"), &[]),
            ("default", endpoint("http://127.0.0.1:9"), &["spec.endpoint", "allowInsecureEndpoint"]),
            (
                "default",
                with(json!({"endpoint": "http://127.0.0.1:9", "allowInsecureEndpoint": false})),
                &["spec.endpoint", "allowInsecureEndpoint"],
            ),
            ("default", with(json!({"endpoint": "http://127.0.0.1:9", "allowInsecureEndpoint": true})), &[]),
            ("default", endpoint("api.spice.ai"), &["spec.endpoint", "absolute"]),
            ("default", endpoint("ftp://api.spice.ai"), &["spec.endpoint", "absolute"]),
            ("default", endpoint("https://user@api.spice.ai"), &["spec.endpoint", "absolute"]),
            ("default", endpoint("https://api.spice.ai?a=b"), &["spec.endpoint", "absolute"]),
            ("default", endpoint("https://api.spice.ai#a"), &["spec.endpoint", "absolute"]),
            ("default", json!({}), &["spec.credentials", "Required"]),
            ("default", json!({"credentials": {}}), &["spec.credentials", "exactly one of"]),
            (
                "default",
                json!({"credentials": key("token", "")}),
                &["spec.credentials.personalAccessToken.secretRef.key"],
            ),
            (
                "default",
                json!({"credentials": key("token", "a b")}),
                &["spec.credentials.personalAccessToken.secretRef.key"],
            ),
            (
                "default",
                json!({"credentials": key("", "token")}),
                &["spec.credentials.personalAccessToken.secretRef.name"],
            ),
            ("default", with(json!({"allowedNamespaces": {"from": "Same"}})), &[]),
            ("default", with(json!({"allowedNamespaces": {"from": "All"}})), &[]),
            ("default", with(json!({"allowedNamespaces": {"from": "Some"}})), &["spec.allowedNamespaces.from", "All"]),
            ("default", with(json!({"allowedNamespaces": {"from": "Selector", "selector": labels}})), &[]),
            ("default", with(json!({"allowedNamespaces": {"from": "Selector"}})), &["selector must be set"]),
            (
                "default",
                with(json!({"allowedNamespaces": {"from": "All", "selector": labels}})),
                &["selector must be set"],
            ),
            ("default", with(json!({"adoption": "Never"})), &[]),
            ("default", with(json!({"adoption": "Some"})), &["spec.adoption", "SameNamespace"]),
            ("default", json!({"credentials": session}), &[]),
            ("default", json!({"credentials": {"personalAccessToken": {"secretRef": {"name": "token"}}}}), &[]),
            (
                "default",
                json!({"credentials": {"personalAccessToken": {}}}),
                &["spec.credentials.personalAccessToken.secretRef", "Required"],
            ),
            ("default", json!({"credentials": oauth(json!({}))}), &[]),
            ("default", json!({"credentials": oauth(json!({"clientIdKey": "id", "clientSecretKey": "s"}))}), &[]),
            (
                "default",
                json!({"credentials": oauth(json!({"clientIdKey": ""}))}),
                &["spec.credentials.oauthClient.secretRef.clientIdKey"],
            ),
            (
                "default",
                json!({"credentials": oauth(json!({"clientSecretKey": "a b"}))}),
                &["spec.credentials.oauthClient.secretRef.clientSecretKey"],
            ),
            (
                "default",
                json!({"credentials": {"oauthClient": {"secretRef": {}}}}),
                &["spec.credentials.oauthClient.secretRef.name", "Required"],
            ),
            ("default", with(json!({"credentials": both})), &["spec.credentials", "exactly one of"]),
            ("default", token_endpoint("https://spice.example/api/oauth/token?a=b"), &[]),
            ("default", token_endpoint("spice.example"), &["spec.tokenEndpoint", "absolute"]),
            ("default", token_endpoint("https://user@spice.example"), &["spec.tokenEndpoint", "absolute"]),
            ("default", token_endpoint("http://127.0.0.1:9"), &["spec.tokenEndpoint", "allowInsecureEndpoint"]),
            (
                "default",
                with(json!({"tokenEndpoint": "https://spice.example"})),
                &["spec.tokenEndpoint", "for credentials.oauthClient only"],
            ),
            ("default", with(json!({"organization": "My.org_1-x"})), &[]),
            ("default", with(json!({"organization": ""})), &["spec.organization"]),
            ("default", with(json!({"organization": "my org"})), &["spec.organization"]),
            ("default", with(json!({"caBundle": "-----BEGIN CERTIFICATE-----"})), &[]),
            ("default", with(json!({"caBundle": "none"})), &["spec.caBundle", "PEM"]),
            (
                "default",
                with(json!({"credentials": {"personalAccessToken": {"secretRef": {"name": "../other/secrets/x"}}}})),
                &["spec.credentials.personalAccessToken.secretRef.name"],
            ),
            ("default", with(json!({"requestBudget": {"account": "mine"}})), &[]),
            ("default", with(json!({"requestBudget": {"account": ""}})), &["spec.requestBudget.account"]),
            ("default", budget("requestsPerMinute", 38), &[]),
            ("default", budget("requestsPerMinute", 37), &["spec.requestBudget", "fewer than 30 requests a minute"]),
            ("default", budget("requestsPerMinute", 9), &["spec.requestBudget.requestsPerMinute", "10"]),
            ("default", budget("requestsPerMinute", 1_000_001), &["spec.requestBudget.requestsPerMinute", "1000000"]),
            ("default", budget("reservePercent", 0), &[]),
            ("default", budget("reservePercent", 90), &[]),
            ("default", budget("reservePercent", 91), &["spec.requestBudget.reservePercent", "90"]),
            ("default", budget("reservePercent", -1), &["spec.requestBudget.reservePercent", "0"]),
            ("default", with(json!({"interval": "1s"})), &[]),
            ("default", with(json!({"interval": "999ms"})), &["spec.interval", "1s or more"]),
            ("default", with(json!({"interval": "1 day"})), &["spec.interval"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_spice_secret_is_checked_when_it_is_made_and_edited() {
    let kind = ApiResource::erase::<SpiceSecret>(&());
    let api = objects(&kind, "secrets").await;
    let with = |more: Value| {
        let mut spec = json!({ "appRef": { "name": "my-app" } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let items = |items: Value| with(json!({ "secretRef": { "name": "src", "items": items } }));
    let one = |key: &str, name: &str| items(json!([{ "key": key, "name": name }]));
    let all = |more: Value| {
        let mut spec = with(json!({ "secretRef": { "name": "src" } }));
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let many = |count: usize| (0..count).map(|n| json!({ "key": format!("K{n}") })).collect::<Value>();
    let item_name = "spec.secretRef.items[0].name";
    let item_needs_name: &[&str] = &[item_name, "not a name that a secret of an app can have"];
    create(
        &api,
        &kind,
        &[
            ("db", json!({}), &[]),
            ("db", with(json!({})), &[]),
            ("db", json!({ "secretRef": {} }), &[]),
            ("db", json!({ "secretRef": { "name": "src" } }), &[]),
            ("db", json!({ "secretRef": { "items": [{ "key": "A" }] } }), &[]),
            ("db", all(json!({})), &[]),
            ("db", all(json!({ "appRef": {} })), &["spec.appRef.name", "Required"]),
            ("db", all(json!({ "appRef": { "name": "" } })), &["spec.appRef.name"]),
            ("db", with(json!({ "secretRef": { "name": "" } })), &["spec.secretRef.name"]),
            ("db", one("url", "DATABASE_URL"), &[]),
            ("db", items(json!([{ "key": "url" }])), &[]),
            ("db", items(json!([{ "key": "tls.crt" }])), item_needs_name),
            ("db", items(json!([{ "key": "1st" }])), item_needs_name),
            ("db", one("tls.crt", "_tls_1"), &[]),
            ("db", one("url", "DATABASE-URL"), &[item_name]),
            ("db", one("url", "1st"), &[item_name]),
            ("db", one("url", ""), &[item_name]),
            ("db", one("url", &"x".repeat(253)), &[]),
            ("db", one("url", &"x".repeat(254)), &[item_name, "253"]),
            ("db", items(json!([{ "key": "a.b", "name": "A_B" }, { "key": "C" }])), &[]),
            ("db", items(json!([{ "key": "a.b" }])), item_needs_name),
            ("db", one("a/b", "A_B"), &["spec.secretRef.items[0].key"]),
            ("db", one("A", "a b"), &[item_name]),
            ("db", items(json!([{ "name": "A" }])), &["spec.secretRef.items[0].key", "Required"]),
            ("db", items(many(256)), &[]),
            ("db", items(many(257)), &["spec.secretRef.items", "256"]),
            ("db", all(json!({ "adoptionPolicy": "Adopt", "driftPolicy": "Report", "deletionPolicy": "Retain" })), &[]),
            ("db", all(json!({ "adoptionPolicy": "Take" })), &["spec.adoptionPolicy", "Adopt"]),
            ("db", all(json!({ "driftPolicy": "Ignore" })), &["spec.driftPolicy", "Report"]),
            ("db", all(json!({ "deletionPolicy": "Keep" })), &["spec.deletionPolicy", "Retain"]),
            ("db", all(json!({ "interval": "1s", "suspend": true })), &[]),
            ("db", all(json!({ "interval": "999ms" })), &["spec.interval", "1s or more"]),
            ("db", all(json!({ "interval": "soon" })), &["spec.interval"]),
        ],
    )
    .await;
    edit(
        &api,
        &kind,
        &[
            (all(json!({})), json!({ "appRef": { "name": "other" } }), &["spec.appRef", "appRef cannot change"]),
            (all(json!({})), json!({ "secretRef": { "name": "other" } }), &[]),
            (all(json!({})), json!({ "secretRef": null }), &[]),
            (one("url", "OLD"), json!({ "secretRef": { "items": [{ "key": "url", "name": "NEW" }] } }), &[]),
            // The reference stays the same when its default is written down or removed: this one is called edited-4.
            (json!({}), json!({ "appRef": { "name": "edited-4" } }), &[]),
            (json!({ "appRef": { "name": "edited-5" } }), json!({ "appRef": null }), &[]),
            (json!({}), json!({ "appRef": { "name": "other" } }), &["spec.appRef", "appRef cannot change"]),
            (with(json!({})), json!({ "appRef": null }), &["spec.appRef", "appRef cannot change"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_spice_secret_needs_no_spec_and_is_found_by_its_app_either_way() {
    let kind = ApiResource::erase::<SpiceSecret>(&());
    let api = objects(&kind, "no-spec").await;
    let params = PatchParams::apply("test").force();
    let object = json!({ "apiVersion": kind.api_version, "kind": kind.kind, "metadata": { "name": "my-app" } });
    let made = api.patch("my-app", &params, &Patch::Apply(&object)).await.unwrap();
    assert_eq!((&made.data["spec"], &made.data["status"]), (&json!({}), &json!({ "observedGeneration": -1 })));
    let spec = json!({ "appRef": { "name": "my-app" } });
    for (name, spec) in [("named", &spec), ("other", &json!({}))] {
        api.create(&PostParams::default(), &self::object(&kind, name, spec)).await.unwrap();
    }
    // As the operator stores it.
    for (name, app) in [("my-app", "my-app"), ("named", "my-app"), ("other", "other")] {
        let patch = json!({ "status": { "observedGeneration": 1, "appRef": { "name": app } } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    for (selector, expected) in
        [("spec.appRef.name=my-app", &["named"][..]), ("status.appRef.name=my-app", &["my-app", "named"])]
    {
        let found = api.list(&kube::api::ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<_> = found.items.into_iter().filter_map(|found| found.metadata.name).collect();
        assert_eq!(names, expected, "{selector}");
    }
}

/// The paths of all fields below a schema that say nothing of themselves.
fn silent(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        silent(property, &path, found);
        silent(&property["items"], &path, found);
    }
}

#[tokio::test]
async fn kubectl_explains_every_field_and_selects_apps_by_their_organization() {
    for file in custom_resource_definitions() {
        let definition = serde_json::to_value(&file.definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            silent(&schema["properties"][part], part, &mut found);
        }
        assert_eq!(found, [""; 0], "{}", file.name);
    }
    let kind = ApiResource::erase::<SpiceApp>(&());
    let api = objects(&kind, "explained").await;
    let cluster = ControlPlane::shared().await.unwrap();
    let explained = cluster.kubectl(&["explain", "sapp.spec.deletionPolicy"]).await.unwrap();
    assert!(explained.contains("Handling of the app when this object is deleted"), "{explained}");
    for (name, organization) in [("first", Some("one")), ("second", Some("two")), ("third", None)] {
        let mut spec = json!({ "name": "some-app" });
        if let Some(organization) = organization {
            spec["organizationRef"] = json!({ "name": organization });
        }
        api.create(&PostParams::default(), &object(&kind, name, &spec)).await.unwrap();
    }
    // As the operator stores it of an app that was created.
    for name in ["second", "third"] {
        let reference = json!({ "namespace": "shared", "name": "two" });
        let patch = json!({ "status": { "observedGeneration": 1, "id": 7, "organizationRef": reference } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    for (selector, expected) in
        [("spec.organizationRef.name=two", &["second"][..]), ("status.organizationRef.name=two", &["second", "third"])]
    {
        let found = api.list(&kube::api::ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<_> = found.items.into_iter().filter_map(|found| found.metadata.name).collect();
        assert_eq!(names, expected, "{selector}");
    }
}

#[test]
fn the_files_in_crds_are_not_stale() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().to_string_lossy().into_owned(), serde_saphyr::from_str::<Value>(&text).unwrap())
    };
    let there: BTreeMap<_, _> = fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect();
    let generated: BTreeMap<_, _> = custom_resource_definitions()
        .into_iter()
        .map(|file| (file.name, serde_json::to_value(&file.definition).unwrap()))
        .collect();
    let names = |files: &BTreeMap<String, Value>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&there), names(&generated), "crds/ has other files than are generated: run `make crds`");
    for (name, definition) in &generated {
        assert!(there[name] == *definition, "crds/{name} is not what src/api says: run `make crds`");
    }
}
