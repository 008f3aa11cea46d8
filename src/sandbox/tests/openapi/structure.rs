//! The document is complete and covers all routes.

use std::collections::BTreeSet;

use reqwest::{Method, header};
use serde_json::{Map, Value, json};

use super::super::{OPERATOR, TestSandbox};
use super::{Document, Operation, fill_parameters};
use crate::sandbox::{Profile, api};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[tokio::test]
async fn the_document_is_public_at_three_paths_and_not_rate_limited() {
    let sandbox = TestSandbox::start().await;
    let document = Document::fetch(&sandbox).await;
    assert!(document.0["openapi"].as_str().unwrap().starts_with("3.1."));
    for url in ["/v1/docs", "/v1/docs/openapi.json", "/openapi.json"] {
        let response = sandbox.request(Method::GET, url).bearer_auth(OPERATOR).send().await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{url}");
        assert!(!response.headers().contains_key("x-ratelimit-limit"), "{url}");
        assert_eq!(response.json::<Value>().await.unwrap(), document.0, "{url}");
    }
}

/// A router has no list of routes, but its debug output contains every path in quotes, including the internal paths of
/// axum.
fn paths_of(router: &impl std::fmt::Debug) -> BTreeSet<String> {
    let debug_output = format!("{router:?}");
    debug_output.split('"').filter(|text| text.starts_with('/')).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_and_the_router_have_the_same_paths_and_methods() {
    for profile in [Profile::Current, Profile::Legacy] {
        let sandbox = TestSandbox::start_with_profile(profile).await;
        let document = Document::fetch(&sandbox).await;
        let described = document.0["paths"].as_object().unwrap();
        let (router, _) = api::routes(profile).split_for_parts();
        let served = &paths_of(&router) - &paths_of(&axum::Router::<()>::new());
        assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), served, "{profile:?}");
        for (path, item) in described {
            for method in METHODS {
                let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let (status, body) = sandbox.call(verb, &fill_parameters(path), OPERATOR, None).await;
                let is_served = status != 405 && body["error"] != "Not found";
                assert_eq!(item.get(method).is_some(), is_served, "{profile:?} {method} {path}: {status} {body}");
            }
        }
    }
}

#[tokio::test]
async fn the_legacy_document_lacks_newer_endpoints() {
    let old = Document::fetch(&TestSandbox::start_with_profile(Profile::Legacy).await).await;
    let new = Document::fetch(&TestSandbox::start().await).await;
    for newer in [
        "/v1/projects",
        "/v1/projects/{appId}",
        "/v1/projects/{appId}/secrets",
        "/v1/projects/{appId}/secrets/{secretName}",
        "/v1/orgs",
        "/v1/limits",
        "/v1/clusters",
        "/v1/apps/{appId}/metrics",
    ] {
        assert!(old.0["paths"].get(newer).is_none(), "{newer}");
        assert!(new.0["paths"].get(newer).is_some(), "{newer}");
    }
    for both in ["/v1/apps/{appId}/secrets", "/v1/apps/{appId}/secrets/{secretName}"] {
        assert_eq!(old.0["paths"][both].as_object().unwrap().len(), 2, "{both}");
    }
    assert!(new.0.to_string().contains("X-Org-Name"));
    assert!(!old.0.to_string().contains("X-Org-Name"));
    let fields = |document: &Document| document.properties(&json!({ "$ref": "#/components/schemas/Error" }));
    assert_eq!(fields(&old).keys().collect::<Vec<_>>(), ["details", "error"]);
    assert_eq!(fields(&new).keys().collect::<Vec<_>>(), ["code", "details", "error"]);
}

/// Calls `inspect` for every object in a value.
fn for_each_object<'a>(value: &'a Value, inspect: &mut impl FnMut(&'a Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            inspect(fields);
            fields.values().for_each(|field| for_each_object(field, inspect));
        }
        Value::Array(items) => items.iter().for_each(|item| for_each_object(item, inspect)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_resolves_and_every_component_is_used() {
    for profile in [Profile::Current, Profile::Legacy] {
        let document = Document::fetch(&TestSandbox::start_with_profile(profile).await).await;
        let mut used = BTreeSet::new();
        for_each_object(&document.0, &mut |fields| {
            if let Some(reference) = fields.get("$ref") {
                document.resolve(&json!({ "$ref": reference }));
                used.insert(reference.as_str().unwrap());
            }
        });
        for (section, parts) in document.0["components"].as_object().unwrap() {
            for name in parts.as_object().unwrap().keys().filter(|_| section != "securitySchemes") {
                let reference = format!("#/components/{section}/{name}");
                assert!(used.contains(reference.as_str()), "{profile:?}: nothing refers to {reference}");
            }
        }
    }
}

#[tokio::test]
async fn every_operation_is_fully_documented() {
    for profile in [Profile::Current, Profile::Legacy] {
        let document = Document::fetch(&TestSandbox::start_with_profile(profile).await).await;
        let mut ids = BTreeSet::new();
        for Operation { path, method, body } in document.operations() {
            let at = format!("{method} {path}");
            assert!(METHODS.contains(&method), "{at}");
            assert!(ids.insert(body["operationId"].as_str().unwrap()), "{at}");
            assert!(body["summary"].is_string(), "{at}");

            let parameters = body["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().map(|parameter| document.resolve(parameter));
            let in_path = in_path.filter(|parameter| parameter["in"] == "path" && parameter["required"] == true);
            let in_path: Vec<_> = in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            let placeholders: Vec<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(in_path, placeholders, "{at}");

            let responses = body["responses"].as_object().unwrap();
            // 202 in addition to 200 means that the result is pending.
            let success = responses.keys().filter(|status| status.starts_with('2'));
            let success: Vec<_> = success.filter(|status| *status != "202" || !responses.contains_key("200")).collect();
            assert_eq!(success.len(), 1, "{at}");
            for (status, response) in responses {
                let response = document.resolve(response);
                assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{at} {status}");
                assert_eq!(response.get("content").is_none(), status == "204", "{at} {status}");
            }
            let mut expected = Vec::new();
            if let Some(alternatives) = body["security"].as_array() {
                expected.extend(["401", "403", "429", "500"]);
                for scheme in alternatives.iter().flat_map(|scheme| scheme.as_object().unwrap().keys()) {
                    assert!(document.0["components"]["securitySchemes"].get(scheme).is_some(), "{at} {scheme}");
                }
            }
            if body.get("requestBody").is_some() {
                expected.extend(["400", "413"]);
            }
            if !placeholders.is_empty() {
                expected.extend(["400", "404"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{at} {status}");
            }
        }
    }
}
