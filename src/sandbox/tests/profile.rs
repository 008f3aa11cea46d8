//! Profiles, behaviour switches and plans.

use reqwest::Method;
use serde_json::{Value, json};

use super::{BOTH, OPERATOR, READER, TestSandbox, assert_has, credential, named, path, reply};
use crate::sandbox::{ApiSwitches, Profile, Reactivation, ResourceLimits, SandboxConfig, SubscriptionPlan, TagRule};

async fn start_with_plan(plan: SubscriptionPlan) -> TestSandbox {
    let mut config = SandboxConfig::default();
    config.organizations[0].plan = plan;
    TestSandbox::start_with(config).await
}

async fn list_names(sandbox: &TestSandbox, query: &str) -> Vec<String> {
    let (status, body) = sandbox.get(&format!("/v1/apps{query}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    body["apps"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pagination_switches_determine_the_page_size() {
    let legacy = ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() };
    let clamped = ApiSwitches { clamp_pages: true, ..ApiSwitches::default() };
    let ignoring = ApiSwitches { ignore_offset: true, ..ApiSwitches::default() };
    let both = ApiSwitches { clamp_pages: true, ..ignoring };
    let cases = [
        (legacy, "", 0, 20),
        (legacy, "?limit=100", 0, 23),
        (legacy, "?offset=20", 20, 3),
        (clamped, "", 0, 20),
        (clamped, "?limit=100", 0, 20),
        (clamped, "?limit=500", 0, 20),
        (clamped, "?limit=0&offset=20", 20, 3),
        (clamped, "?limit=5", 0, 5),
        (ignoring, "?limit=10&offset=20", 0, 10),
        (ignoring, "?offset=20", 0, 23),
        (both, "?limit=100&offset=20", 0, 20),
    ];
    for (switches, query, first, count) in cases {
        let sandbox = TestSandbox::start_with_switches(switches).await;
        for number in 0..23 {
            sandbox.create_app(named(&format!("app-{number:02}"))).await;
        }
        let names = list_names(&sandbox, query).await;
        assert_eq!((names.len(), &names[0]), (count, &format!("app-{first:02}")), "{switches:?} {query}");
    }
}

#[tokio::test]
async fn every_list_is_paginated_on_request() {
    let legacy = ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() };
    let lists = [
        ("/v1/apps", "apps", true),
        ("/v1/projects", "projects", false),
        ("/v1/regions", "regions", true),
        ("/v1/container-images", "images", true),
        ("/v1/orgs", "orgs", false),
        ("/v1/clusters", "clusters", false),
    ];
    for switches in [ApiSwitches::default(), legacy] {
        let sandbox = TestSandbox::start_with_switches(switches).await;
        sandbox.create_app(named("first")).await;
        sandbox.create_app(named("second")).await;
        let is_current = switches.profile == Profile::Current;
        for (url, key, _) in lists.iter().filter(|(.., is_in_legacy)| is_current || *is_in_legacy) {
            let get = async |query: &str| sandbox.get_as(BOTH, &format!("{url}{query}")).await;
            let (_, all) = get("").await;
            let all = all[key].as_array().unwrap().clone();
            assert!(!all.is_empty(), "{url}");
            for (query, skip, take) in [("?limit=1", 0, 1), ("?limit=1&offset=1", 1, 1), ("?offset=100", 100, 20)] {
                let expected: Vec<_> = all.iter().skip(skip).take(take).cloned().collect();
                assert_eq!(get(query).await.1[key], json!(expected), "{url}{query}");
            }
            for query in ["?limit=0", "?limit=101", "?offset=-1"] {
                assert_eq!(get(query).await.0, 400, "{url}{query}");
            }
        }
    }
}

#[tokio::test]
async fn the_legacy_profile_lacks_newer_endpoints_headers_and_codes_and_requires_a_placement() {
    let sandbox = TestSandbox::start_with_profile(Profile::Legacy).await;
    for url in ["/v1/orgs", "/v1/limits", "/v1/clusters", "/v1/projects", "/v1/projects/1001", "/v1/apps/1001/metrics"]
    {
        assert_eq!(sandbox.get(url).await, (404, json!({ "error": "Not found" })), "{url}");
    }
    for url in ["/v1/regions", "/v1/container-images", "/v1/apps", "/v1/health"] {
        assert_eq!(sandbox.get(url).await.0, 200, "{url}");
    }
    for header in ["", "elsewhere"] {
        let request = sandbox.request(Method::GET, "/v1/apps").bearer_auth(OPERATOR).header("X-Org-Name", header);
        assert_eq!(reply(request).await.0, 200);
    }
    let error = json!({ "error": "Insufficient scope. Required: apps:write" });
    assert_eq!(sandbox.call(Method::POST, "/v1/apps", READER, Some(&named("my-app"))).await, (403, error));
    let (status, body) = sandbox.post("/v1/apps", json!({ "name": "my-app" })).await;
    assert_eq!((status, &body["details"]["fieldErrors"]["cname"][0]), (400, &json!("is required")));
    sandbox.create_app(json!({ "name": "my-app", "cname": "us-east-2.spice.cloud" })).await;
}

#[tokio::test]
async fn tags_are_kept_dropped_or_rejected() {
    let tagged = json!({ "name": "my-app", "tags": { "a": "1" } });
    for (tags, status, stored) in [
        (TagRule::Keep, 201, json!({ "a": "1" })),
        (TagRule::Drop, 201, Value::Null),
        (TagRule::Reject, 403, Value::Null),
    ] {
        let sandbox = TestSandbox::start_with_switches(ApiSwitches { tags, ..ApiSwitches::default() }).await;
        let (created, response) = sandbox.post("/v1/apps", tagged.clone()).await;
        assert_eq!((created, &response["tags"]), (status, &stored), "{tags:?}");
        if tags == TagRule::Reject {
            assert_eq!(response["code"], "plan_limit");
        }
        let url = path(&sandbox.create_app(named("other")).await);
        for body in [json!({ "tags": {} }), json!({ "tags": null }), json!({ "replicas": 2 })] {
            assert_eq!(sandbox.put(&url, body.clone()).await.0, 200, "{tags:?} {body}");
        }
        let (updated, response) = sandbox.put(&url, json!({ "tags": { "a": "1" }, "replicas": 3 })).await;
        assert_eq!((updated == 200, &response["tags"]), (status == 201, &stored), "{tags:?}");
        let replicas = if status == 201 { 3 } else { 2 };
        assert_eq!(sandbox.get(&url).await.1["config"]["replicas"], replicas, "a rejected update changes nothing");
    }
}

#[tokio::test]
async fn a_reactivation_applies_or_ignores_the_fields_of_the_request() {
    for (reactivation, description) in [(Reactivation::Apply, "new"), (Reactivation::Keep, "old")] {
        let sandbox = TestSandbox::start_with_switches(ApiSwitches { reactivation, ..ApiSwitches::default() }).await;
        let app = sandbox.create_app(json!({ "name": "my-app", "description": "old" })).await;
        sandbox.delete(&path(&app)).await;
        let reactivated = sandbox.create_app(json!({ "name": "my-app", "description": "new" })).await;
        assert_has(&reactivated, &json!({ "id": app["id"], "description": description }));
    }
}

#[tokio::test]
async fn a_spicepod_is_normalised_on_request() {
    let text = "name: pod\nviews: []\nruntime: {caching: {}}\ndatasets: [{from: 'a:b', name: c, params: null}, {}]";
    let normal = json!({
        "version": "v2", "kind": "Spicepod", "name": "pod", "datasets": [{ "from": "a:b", "name": "c" }, {}],
    });
    for normalise_spicepod in [true, false] {
        let sandbox =
            TestSandbox::start_with_switches(ApiSwitches { normalise_spicepod, ..ApiSwitches::default() }).await;
        let url = path(&sandbox.create_app(named("my-app")).await);
        let (_, app) = sandbox.put(&url, json!({ "spicepod": text })).await;
        assert_eq!(app["config"]["spicepod"] == normal, normalise_spicepod, "{app}");
    }
}

#[tokio::test]
async fn the_configuration_can_require_its_own_scopes() {
    let credentials = vec![
        credential("operator", &["*"]),
        credential("bare", &["apps:write"]),
        credential("looks", &["apps:write", "config:read"]),
        credential("full", &["apps:write", "config:write"]),
    ];
    for config_scopes in [true, false] {
        let switches = ApiSwitches { config_scopes, ..ApiSwitches::default() };
        let sandbox = TestSandbox::start_with(SandboxConfig {
            credentials: credentials.clone(),
            switches,
            ..SandboxConfig::default()
        })
        .await;
        let url = path(&sandbox.create_app(named("my-app")).await);
        let own = (json!({ "description": "text" }), [200, 200, 200], "description");
        let config = (json!({ "replicas": 2 }), if config_scopes { [403, 403, 200] } else { [200; 3] }, "replicas");
        for (body, expected, what) in [own, config] {
            for (name, expected) in ["bare", "looks", "full"].iter().zip(expected) {
                let token = format!("sandbox-fake-token-{name}");
                let (status, response) = sandbox.call(Method::PUT, &url, &token, Some(&body)).await;
                assert_eq!(status, expected, "{name} {what} {response}");
                let (_, response) = sandbox.get_as(&token, &url).await;
                assert_eq!(response.get("config").is_some(), !config_scopes || *name != "bare", "{name}");
            }
        }
        // The scope is checked before the path ID.
        let (status, response) =
            sandbox.call(Method::PUT, "/v1/apps/x", "sandbox-fake-token-bare", Some(&json!({ "image": "a" }))).await;
        assert_eq!(status, if config_scopes { 403 } else { 400 }, "{response}");
    }
}

#[tokio::test]
async fn an_unpublished_tag_can_be_rejected_for_the_stable_channel() {
    let sandbox =
        TestSandbox::start_with_switches(ApiSwitches { reject_unpublished_tags: true, ..ApiSwitches::default() }).await;
    let mut listed = Vec::new();
    for channel in ["stable", "enterprise"] {
        let (_, body) = sandbox.get(&format!("/v1/container-images?channel={channel}")).await;
        listed.extend(body["images"].as_array().unwrap().iter().map(|image| image["tag"].clone()));
    }
    let url = path(&sandbox.create_app(named("my-app")).await);
    let rejected = [
        json!({ "image_tag": "0.1" }),
        json!({ "image_tag": "" }),
        json!({ "image_tag": "0.1", "update_channel": "stable" }),
    ];
    let leave_stable = json!({ "image_tag": "0.1", "update_channel": "nightly" });
    let return_to_stable = [json!({ "update_channel": "stable" }), json!({ "update_channel": null })];
    let steps = rejected.iter().map(|body| (body.clone(), 400));
    let steps = steps.chain(listed.into_iter().map(|tag| (json!({ "image_tag": tag }), 200)));
    let steps = steps.chain([(leave_stable, 200)]).chain(return_to_stable.into_iter().map(|body| (body, 400)));
    let steps = steps.chain([(json!({ "replicas": 2 }), 200), (json!({ "image_tag": "0.2" }), 200)]);
    for (body, expected) in steps.chain([(json!({ "image_tag": null, "update_channel": "stable" }), 200)]) {
        let (status, response) = sandbox.put(&url, body.clone()).await;
        let code = if expected == 400 { json!("invalid_stable_image_tag") } else { Value::Null };
        assert_eq!((status, &response["code"]), (expected, &code), "{body}");
    }
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("my-app")).await);
    assert_eq!(sandbox.put(&url, rejected[0].clone()).await.0, 200, "unpublished tags are accepted by default");
}

#[tokio::test]
async fn a_plan_limits_the_number_of_live_apps() {
    let sandbox = start_with_plan(SubscriptionPlan { max_apps: Some(1), ..SubscriptionPlan::default() }).await;
    let first = sandbox.create_app(named("first")).await;
    let error = json!({ "error": "Organization has reached the maximum app limit", "code": "plan_limit" });
    for name in ["second", "first"] {
        assert_eq!(sandbox.post("/v1/apps", named(name)).await, (403, error.clone()), "{name}");
    }
    assert_eq!(sandbox.post("/v1/apps", json!({ "name": "x" })).await.0, 400, "the body is checked before the plan");
    sandbox.delete(&path(&first)).await;
    sandbox.create_app(named("second")).await;
    assert_eq!(sandbox.post("/v1/apps", named("first")).await.0, 403, "a reactivation counts against the limit");
    assert_eq!(sandbox.get("/v1/limits").await.1["apps"], 1);
}

#[tokio::test]
async fn a_plan_limits_replicas_and_image_tags() {
    let sandbox =
        start_with_plan(SubscriptionPlan { max_replicas: 2, image_tags: false, ..SubscriptionPlan::default() }).await;
    let url = path(&sandbox.create_app(json!({ "name": "my-app", "replicas": 2 })).await);
    let cases = [
        (json!({ "replicas": 3 }), 403, json!("plan_limit")),
        (json!({ "replicas": 11 }), 400, Value::Null),
        (json!({ "image_tag": "1.0" }), 403, json!("image_tag_requires_enterprise")),
        (json!({ "image_tag": null }), 200, Value::Null),
    ];
    for (body, expected, code) in cases {
        let (status, response) = sandbox.put(&url, body.clone()).await;
        assert_eq!((status, &response["code"]), (expected, &code), "{body}");
    }
    assert_eq!(sandbox.post("/v1/apps", json!({ "name": "other", "replicas": 3 })).await.0, 403);
    assert_has(&sandbox.get("/v1/limits").await.1, &json!({ "apps": -1, "replicas": 2 }));
}

#[tokio::test]
async fn a_plan_limits_the_resources_of_replicas_and_executors() {
    let limits = ResourceLimits { max_cpu: 4, max_memory_gi: 16 };
    let sandbox = start_with_plan(SubscriptionPlan { resources: Some(limits), ..SubscriptionPlan::default() }).await;
    let url = path(&sandbox.create_app(named("my-app")).await);
    let cases = [
        (json!({ "limits": { "cpu": "4", "memory": "16Gi", "ephemeral-storage": "9Ti" } }), true),
        (json!({ "limits": { "memory": "17G" }, "requests": { "cpu": "1", "memory": "16384Mi" } }), true),
        (json!({ "limits": { "cpu": "5" } }), false),
        (json!({ "limits": { "cpu": "-" } }), false),
        (json!({ "requests": { "cpu": "5" } }), false),
        (json!({ "limits": { "cpu": "4", "memory": "17Gi" } }), false),
        (json!({ "limits": { "memory": "17179869185" } }), false),
        (json!({ "requests": { "memory": "1Ti" } }), false),
        (json!({ "limits": { "cpu": "9".repeat(50) } }), false),
        (json!({ "limits": { "memory": format!("{}Ti", "9".repeat(50)) } }), false),
    ];
    for (number, (resources, fits)) in cases.into_iter().enumerate() {
        let bodies = [json!({ "resources": resources }), json!({ "executor": { "resources": resources } })];
        for (part, body) in bodies.into_iter().enumerate() {
            let mut create = body.clone();
            create["name"] = format!("app-{number}-{part}").into();
            for (status, response) in [sandbox.post("/v1/apps", create).await, sandbox.put(&url, body.clone()).await] {
                assert_eq!(status < 300, fits, "{body}: {response}");
                if !fits {
                    assert_eq!((status, &response["code"]), (403, &json!("plan_limit")), "{body}: {response}");
                }
            }
        }
    }
    assert_eq!(sandbox.get("/v1/limits").await.1["resources"], json!({ "max_cpu": 4, "max_memory_gi": 16 }));
}

#[tokio::test]
async fn images_belong_to_a_channel_and_include_the_default() {
    let sandbox = start_with_plan(SubscriptionPlan { enterprise_images: false, ..SubscriptionPlan::default() }).await;
    for (query, expected) in [("", 200), ("?channel=stable", 200), ("?channel=enterprise", 403), ("?channel=", 400)] {
        let (status, body) = sandbox.get(&format!("/v1/container-images{query}")).await;
        assert_eq!(status, expected, "{query}: {body}");
    }
    let sandbox = TestSandbox::start().await;
    for channel in ["stable", "enterprise"] {
        let (_, body) = sandbox.get(&format!("/v1/container-images?channel={channel}")).await;
        let images = body["images"].as_array().unwrap();
        assert!(images.iter().all(|image| image["channel"] == channel), "{body}");
        assert!(images.iter().any(|image| image["tag"] == body["default"]), "{body}");
    }
}

#[tokio::test]
async fn clusters_have_every_documented_field() {
    let (_, body) = TestSandbox::start().await.get("/v1/clusters").await;
    for field in ["infra_cluster_name", "region", "cloud_provider", "endpoint", "created_at", "updated_at"] {
        assert!(body["clusters"][0][field].is_string(), "{field}");
    }
    assert_eq!(body["clusters"][0]["cluster_name"], "team-cluster");
}
