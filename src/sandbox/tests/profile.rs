//! What differs between one cloud and another: profiles, switches and plans.

use reqwest::Method;
use serde_json::{Value, json};

use super::{BOTH, OPERATOR, READER, TestSandbox, assert_has, named, path, reply};
use crate::sandbox::{
    ApiSwitches, CredentialConfig, CredentialKind, Profile, Reactivation, ResourceLimits, SandboxConfig,
    SubscriptionPlan, TagRule,
};

async fn switched(switches: ApiSwitches) -> TestSandbox {
    TestSandbox::with(SandboxConfig { switches, ..SandboxConfig::default() }).await
}

async fn on_plan(plan: SubscriptionPlan) -> TestSandbox {
    let mut config = SandboxConfig::default();
    config.organizations[0].plan = plan;
    TestSandbox::with(config).await
}

async fn names(world: &TestSandbox, query: &str) -> Vec<String> {
    let (status, body) = world.get(&format!("/v1/apps{query}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    body["apps"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_switches_of_pages_decide_how_many_items_come() {
    let seed = ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() };
    let clamped = ApiSwitches { clamp_pages: true, ..ApiSwitches::default() };
    let ignoring = ApiSwitches { ignore_offset: true, ..ApiSwitches::default() };
    let both = ApiSwitches { clamp_pages: true, ..ignoring };
    let cases = [
        (seed, "", 0, 20),
        (seed, "?limit=100", 0, 23),
        (seed, "?offset=20", 20, 3),
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
        let world = switched(switches).await;
        for number in 0..23 {
            world.app(named(&format!("app-{number:02}"))).await;
        }
        let names = names(&world, query).await;
        assert_eq!((names.len(), &names[0]), (count, &format!("app-{first:02}")), "{switches:?} {query}");
    }
}

#[tokio::test]
async fn every_list_has_pages_when_the_caller_asks() {
    let seed = ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() };
    let lists = [
        ("/v1/apps", "apps", Some("apps")),
        ("/v1/projects", "projects", None),
        ("/v1/regions", "regions", Some("regions")),
        ("/v1/container-images", "images", Some("images")),
        ("/v1/orgs", "orgs", None),
        ("/v1/clusters", "clusters", None),
    ];
    for switches in [ApiSwitches::default(), seed] {
        let world = switched(switches).await;
        world.app(named("first")).await;
        world.app(named("second")).await;
        let is_old = switches.profile == Profile::Legacy;
        for (url, key, _) in lists.iter().filter(|(.., in_seed)| !is_old || in_seed.is_some()) {
            let get = async |query: &str| world.call(Method::GET, &format!("{url}{query}"), BOTH, None).await;
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
async fn the_seed_knows_no_newer_endpoint_header_or_code_and_wants_a_place() {
    let world = switched(ApiSwitches { profile: Profile::Legacy, ..ApiSwitches::default() }).await;
    for url in ["/v1/orgs", "/v1/limits", "/v1/clusters", "/v1/projects", "/v1/projects/1001", "/v1/apps/1001/metrics"]
    {
        assert_eq!(world.get(url).await, (404, json!({ "error": "Not found" })), "{url}");
    }
    for url in ["/v1/regions", "/v1/container-images", "/v1/apps", "/v1/health"] {
        assert_eq!(world.get(url).await.0, 200, "{url}");
    }
    for header in ["", "elsewhere"] {
        let request = world.request(Method::GET, "/v1/apps").bearer_auth(OPERATOR).header("X-Org-Name", header);
        assert_eq!(reply(request).await.0, 200);
    }
    let refusal = json!({ "error": "Insufficient scope. Required: apps:write" });
    assert_eq!(world.call(Method::POST, "/v1/apps", READER, Some(&named("my-app"))).await, (403, refusal));
    let (status, body) = world.post("/v1/apps", json!({ "name": "my-app" })).await;
    assert_eq!((status, &body["details"]["fieldErrors"]["cname"][0]), (400, &json!("is required")));
    world.app(json!({ "name": "my-app", "cname": "us-east-2.spice.cloud" })).await;
}

#[tokio::test]
async fn tags_are_kept_dropped_or_rejected() {
    let tagged = json!({ "name": "my-app", "tags": { "a": "1" } });
    for (tags, status, kept) in [
        (TagRule::Keep, 201, json!({ "a": "1" })),
        (TagRule::Drop, 201, Value::Null),
        (TagRule::Reject, 403, Value::Null),
    ] {
        let world = switched(ApiSwitches { tags, ..ApiSwitches::default() }).await;
        let (created, answer) = world.post("/v1/apps", tagged.clone()).await;
        assert_eq!((created, &answer["tags"]), (status, &kept), "{tags:?}");
        if tags == TagRule::Reject {
            assert_eq!(answer["code"], "plan_limit");
        }
        let url = path(&world.app(named("other")).await);
        for body in [json!({ "tags": {} }), json!({ "tags": null }), json!({ "replicas": 2 })] {
            assert_eq!(world.put(&url, body.clone()).await.0, 200, "{tags:?} {body}");
        }
        let (updated, answer) = world.put(&url, json!({ "tags": { "a": "1" }, "replicas": 3 })).await;
        assert_eq!((updated == 200, &answer["tags"]), (status == 201, &kept), "{tags:?}");
        let replicas = if status == 201 { 3 } else { 2 };
        assert_eq!(world.get(&url).await.1["config"]["replicas"], replicas, "a refused update changes nothing");
    }
}

#[tokio::test]
async fn a_reactivation_applies_the_fields_or_keeps_what_was() {
    for (reactivation, description) in [(Reactivation::Apply, "new"), (Reactivation::Keep, "old")] {
        let world = switched(ApiSwitches { reactivation, ..ApiSwitches::default() }).await;
        let app = world.app(json!({ "name": "my-app", "description": "old" })).await;
        world.delete(&path(&app)).await;
        let back = world.app(json!({ "name": "my-app", "description": "new" })).await;
        assert_has(&back, &json!({ "id": app["id"], "description": description }));
    }
}

#[tokio::test]
async fn a_spicepod_is_normalised_on_request() {
    let text = "name: pod\nviews: []\nruntime: {caching: {}}\ndatasets: [{from: 'a:b', name: c, params: null}, {}]";
    let normal = json!({
        "version": "v2", "kind": "Spicepod", "name": "pod", "datasets": [{ "from": "a:b", "name": "c" }, {}],
    });
    for normalise_spicepod in [true, false] {
        let world = switched(ApiSwitches { normalise_spicepod, ..ApiSwitches::default() }).await;
        let url = path(&world.app(named("my-app")).await);
        let (_, app) = world.put(&url, json!({ "spicepod": text })).await;
        assert_eq!(app["config"]["spicepod"] == normal, normalise_spicepod, "{app}");
    }
}

#[tokio::test]
async fn configuration_may_ask_for_scopes_of_its_own() {
    let credential = |name: &str, scopes: &[&str]| CredentialConfig {
        kind: CredentialKind::PersonalAccessToken { token: format!("sandbox-fake-token-{name}") },
        name: name.into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        organization: "sandbox".into(),
        user: None,
        narrowed: false,
        is_limited: true,
    };
    let credentials = vec![
        credential("operator", &["*"]),
        credential("bare", &["apps:write"]),
        credential("looks", &["apps:write", "config:read"]),
        credential("full", &["apps:write", "config:write"]),
    ];
    for config_scopes in [true, false] {
        let switches = ApiSwitches { config_scopes, ..ApiSwitches::default() };
        let world =
            TestSandbox::with(SandboxConfig { credentials: credentials.clone(), switches, ..SandboxConfig::default() })
                .await;
        let url = path(&world.app(named("my-app")).await);
        let own = (json!({ "description": "text" }), [200, 200, 200], "description");
        let config = (json!({ "replicas": 2 }), if config_scopes { [403, 403, 200] } else { [200; 3] }, "replicas");
        for (body, expected, what) in [own, config] {
            for (name, expected) in ["bare", "looks", "full"].iter().zip(expected) {
                let token = format!("sandbox-fake-token-{name}");
                let (status, answer) = world.call(Method::PUT, &url, &token, Some(&body)).await;
                assert_eq!(status, expected, "{name} {what} {answer}");
                let (_, seen) = world.call(Method::GET, &url, &token, None).await;
                assert_eq!(seen.get("config").is_some(), !config_scopes || *name != "bare", "{name}");
            }
        }
        // The scope comes before the path id.
        let (status, answer) =
            world.call(Method::PUT, "/v1/apps/x", "sandbox-fake-token-bare", Some(&json!({ "image": "a" }))).await;
        assert_eq!(status, if config_scopes { 403 } else { 400 }, "{answer}");
    }
}

#[tokio::test]
async fn an_app_on_the_stable_channel_may_be_held_to_the_tags_that_are_listed() {
    let world = switched(ApiSwitches { reject_unpublished_tags: true, ..ApiSwitches::default() }).await;
    let mut listed = Vec::new();
    for channel in ["stable", "enterprise"] {
        let (_, body) = world.get(&format!("/v1/container-images?channel={channel}")).await;
        listed.extend(body["images"].as_array().unwrap().iter().map(|image| image["tag"].clone()));
    }
    let url = path(&world.app(named("my-app")).await);
    let refused = [
        json!({ "image_tag": "0.1" }),
        json!({ "image_tag": "" }),
        json!({ "image_tag": "0.1", "update_channel": "stable" }),
    ];
    let leave = json!({ "image_tag": "0.1", "update_channel": "nightly" });
    let back = [json!({ "update_channel": "stable" }), json!({ "update_channel": null })];
    let steps = refused.iter().map(|body| (body.clone(), 400));
    let steps = steps.chain(listed.into_iter().map(|tag| (json!({ "image_tag": tag }), 200)));
    let steps = steps.chain([(leave, 200)]).chain(back.into_iter().map(|body| (body, 400)));
    let steps = steps.chain([(json!({ "replicas": 2 }), 200), (json!({ "image_tag": "0.2" }), 200)]);
    for (body, expected) in steps.chain([(json!({ "image_tag": null, "update_channel": "stable" }), 200)]) {
        let (status, answer) = world.put(&url, body.clone()).await;
        let code = if expected == 400 { json!("invalid_stable_image_tag") } else { Value::Null };
        assert_eq!((status, &answer["code"]), (expected, &code), "{body}");
    }
    let world = TestSandbox::start().await;
    let url = path(&world.app(named("my-app")).await);
    assert_eq!(world.put(&url, refused[0].clone()).await.0, 200, "nobody asks for it unless told to");
}

#[tokio::test]
async fn a_plan_has_room_for_so_many_live_apps() {
    let world = on_plan(SubscriptionPlan { max_apps: Some(1), ..SubscriptionPlan::default() }).await;
    let first = world.app(named("first")).await;
    let refusal = json!({ "error": "Organization has reached the maximum app limit", "code": "plan_limit" });
    for name in ["second", "first"] {
        assert_eq!(world.post("/v1/apps", named(name)).await, (403, refusal.clone()), "{name}");
    }
    assert_eq!(world.post("/v1/apps", json!({ "name": "x" })).await.0, 400, "the body comes before the plan");
    world.delete(&path(&first)).await;
    world.app(named("second")).await;
    assert_eq!(world.post("/v1/apps", named("first")).await.0, 403, "bringing one back needs room too");
    assert_eq!(world.get("/v1/limits").await.1["apps"], 1);
}

#[tokio::test]
async fn a_plan_bounds_replicas_and_image_tags() {
    let world = on_plan(SubscriptionPlan { max_replicas: 2, image_tags: false, ..SubscriptionPlan::default() }).await;
    let url = path(&world.app(json!({ "name": "my-app", "replicas": 2 })).await);
    let cases = [
        (json!({ "replicas": 3 }), 403, json!("plan_limit")),
        (json!({ "replicas": 11 }), 400, Value::Null),
        (json!({ "image_tag": "1.0" }), 403, json!("image_tag_requires_enterprise")),
        (json!({ "image_tag": null }), 200, Value::Null),
    ];
    for (body, expected, code) in cases {
        let (status, answer) = world.put(&url, body.clone()).await;
        assert_eq!((status, &answer["code"]), (expected, &code), "{body}");
    }
    assert_eq!(world.post("/v1/apps", json!({ "name": "other", "replicas": 3 })).await.0, 403);
    assert_has(&world.get("/v1/limits").await.1, &json!({ "apps": -1, "replicas": 2 }));
}

#[tokio::test]
async fn a_plan_bounds_what_each_replica_and_executor_has() {
    let limits = ResourceLimits { max_cpu: 4, max_memory_gi: 16 };
    let world = on_plan(SubscriptionPlan { resources: Some(limits), ..SubscriptionPlan::default() }).await;
    let url = path(&world.app(named("my-app")).await);
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
            for (status, answer) in [world.post("/v1/apps", create).await, world.put(&url, body.clone()).await] {
                assert_eq!(status < 300, fits, "{body}: {answer}");
                if !fits {
                    assert_eq!((status, &answer["code"]), (403, &json!("plan_limit")), "{body}: {answer}");
                }
            }
        }
    }
    assert_eq!(world.get("/v1/limits").await.1["resources"], json!({ "max_cpu": 4, "max_memory_gi": 16 }));
}

#[tokio::test]
async fn images_belong_to_a_channel_and_the_default_is_one_of_them() {
    let world = on_plan(SubscriptionPlan { enterprise_images: false, ..SubscriptionPlan::default() }).await;
    for (query, expected) in [("", 200), ("?channel=stable", 200), ("?channel=enterprise", 403), ("?channel=", 400)] {
        let (status, body) = world.get(&format!("/v1/container-images{query}")).await;
        assert_eq!(status, expected, "{query}: {body}");
    }
    let world = TestSandbox::start().await;
    for channel in ["stable", "enterprise"] {
        let (_, body) = world.get(&format!("/v1/container-images?channel={channel}")).await;
        let images = body["images"].as_array().unwrap();
        assert!(images.iter().all(|image| image["channel"] == channel), "{body}");
        assert!(images.iter().any(|image| image["tag"] == body["default"]), "{body}");
    }
}

#[tokio::test]
async fn clusters_show_what_the_contract_names() {
    let (_, body) = TestSandbox::start().await.get("/v1/clusters").await;
    for field in ["infra_cluster_name", "region", "cloud_provider", "endpoint", "created_at", "updated_at"] {
        assert!(body["clusters"][0][field].is_string(), "{field}");
    }
    assert_eq!(body["clusters"][0]["cluster_name"], "team-cluster");
}
