//! Life cycle of an app: list, create, read, update, delete, reactivate.

use reqwest::Method;
use serde_json::{Value, json};

use super::{OPERATOR, TestSandbox, assert_has, named, path, reply};

#[tokio::test]
async fn a_new_app_has_every_documented_field() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(json!({ "name": "My-App", "region": "us-east-1" })).await;
    assert_has(
        &app,
        &json!({
            "name": "My-App", "description": null, "visibility": "private", "created_by": 1,
            "region": "us-east-1", "cname": "us-east-1-prod-aws-data", "cluster_id": null, "cluster_name": null,
            "endpoint": "https://us-east-1-prod-aws-data.spiceai.io", "production_branch": null, "tags": null,
            "warning": null, "forked_from": null, "org": "sandbox",
            "config": {
                "spicepod": null, "registry": null, "image": null, "image_tag": null, "update_channel": null,
                "version": null, "replicas": 1, "resources": null, "executor": null, "region": "us-east-1",
                "node_group": null, "storage_size_gb": null, "storage_claim_size_gb": null,
            },
        }),
    );
    assert!(app["api_key"].as_str().unwrap().contains("fake"));
    assert_milliseconds(&app["created_at"]);
    assert_eq!(sandbox.get(&path(&app)).await, (200, app));
}

fn assert_milliseconds(time: &Value) {
    let time = time.as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24 && time.ends_with('Z'), "{time}");
}

#[tokio::test]
async fn an_app_list_is_ascending_and_has_only_list_fields() {
    let sandbox = TestSandbox::start().await;
    for name in ["app-c", "app-a", "app-b"] {
        sandbox.create_app(named(name)).await;
    }
    let (_, body) = sandbox.get("/v1/apps").await;
    let apps = body["apps"].as_array().unwrap();
    assert!(apps.is_sorted_by_key(|app| app["id"].as_u64()));
    assert_eq!(apps.iter().map(|app| app["name"].clone()).collect::<Vec<_>>(), ["app-c", "app-a", "app-b"]);
    for hidden in ["api_key", "config", "endpoint", "production_branch"] {
        assert!(apps.iter().all(|app| app.get(hidden).is_none()), "{hidden}");
    }
}

#[tokio::test]
async fn a_list_is_paginated_only_on_request() {
    let sandbox = TestSandbox::start().await;
    for number in 0..23 {
        sandbox.create_app(named(&format!("app-{number:02}"))).await;
    }
    let cases = [
        ("", 23),
        ("?limit=5", 5),
        ("?limit=100", 23),
        ("?offset=0", 20),
        ("?offset=22", 1),
        ("?limit=5&offset=30", 0),
    ];
    for (query, expected) in cases {
        let (_, body) = sandbox.get(&format!("/v1/apps{query}")).await;
        assert_eq!(body["apps"].as_array().unwrap().len(), expected, "{query}");
    }
    let (_, body) = sandbox.get("/v1/apps?limit=2&offset=3").await;
    assert_eq!(body["apps"][0]["name"], "app-03");
    for query in ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "offset=-1", "offset=1.5", "limit=%2B5"] {
        let (status, body) = sandbox.get(&format!("/v1/apps?{query}")).await;
        assert_eq!(status, 400, "{query}: {body}");
    }
}

#[tokio::test]
async fn projects_are_apps_under_another_path() {
    let sandbox = TestSandbox::start().await;
    let (status, app) = sandbox.post("/v1/projects", named("project-one")).await;
    assert_eq!(status, 201);
    let project = format!("/v1/projects/{}", app["id"]);
    assert_eq!(sandbox.get(&project).await, (200, app.clone()));
    assert_eq!(sandbox.get(&path(&app)).await, (200, app));
    assert_eq!(sandbox.put(&project, json!({ "description": "here" })).await.1["description"], "here");
    let (_, projects) = sandbox.get("/v1/projects").await;
    let (_, apps) = sandbox.get("/v1/apps").await;
    assert_eq!(projects, json!({ "projects": apps["apps"] }));
    assert_eq!(sandbox.delete(&project).await, (204, Value::Null));
    assert_eq!(sandbox.get("/v1/apps").await.1, json!({ "apps": [] }));
}

#[tokio::test]
async fn a_live_app_name_is_unique_regardless_of_case() {
    let sandbox = TestSandbox::start().await;
    sandbox.create_app(named("My-App")).await;
    for name in ["My-App", "my-app", "MY-APP"] {
        let (status, body) = sandbox.post("/v1/apps", named(name)).await;
        assert_eq!(status, 409, "{name}");
        assert_eq!(body, json!({ "error": format!("App {name:?} already exists in this organization") }));
    }
}

#[tokio::test]
async fn an_update_keeps_absent_fields() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(json!({ "name": "app-one", "region": "us-west-2", "tags": { "a": "1" } })).await;
    let url = path(&app);
    let body = json!({
        "description": "text", "visibility": "public", "production_branch": "main", "spicepod": { "kind": "Spicepod" },
        "registry": "registry.example", "image": "runtime", "image_tag": "1.2.3", "update_channel": "nightly",
        "version": "2.x", "replicas": 3, "resources": { "limits": { "cpu": "2" } }, "executor": { "replicas": 2 },
        "node_group": "large", "storage_size_gb": 10,
    });
    let (_, full) = sandbox.put(&url, body).await;
    assert_eq!(sandbox.put(&url, json!({})).await, (200, full.clone()));
    assert_eq!(sandbox.put(&url, json!({ "replicas": 4 })).await.0, 200);
    assert_eq!(sandbox.put(&url, json!({ "replicas": 3 })).await, (200, full.clone()));
    assert_eq!(full["tags"], json!({ "a": "1" }));

    let nullable = [
        "spicepod",
        "registry",
        "image",
        "image_tag",
        "update_channel",
        "version",
        "resources",
        "executor",
        "node_group",
    ];
    for field in nullable {
        assert_ne!(full["config"][field], Value::Null, "{field}");
        let (status, after) = sandbox.put(&url, json!({ field: null })).await;
        assert_eq!((status, &after["config"][field]), (200, &Value::Null), "{field}");
    }
    for field in ["description", "production_branch", "tags"] {
        assert_ne!(full[field], Value::Null, "{field}");
        let (status, after) = sandbox.put(&url, json!({ field: null })).await;
        assert_eq!((status, &after[field]), (200, &Value::Null), "{field}");
    }
    let (_, after) = sandbox.get(&url).await;
    assert_has(&after, &json!({ "visibility": "public", "region": "us-west-2" }));
    assert_has(&after["config"], &json!({ "replicas": 3, "storage_size_gb": 10 }));
}

#[tokio::test]
async fn an_update_replaces_all_tags() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(json!({ "name": "app-one", "tags": { "a": "1", "b": "2" } })).await;
    assert_eq!(sandbox.put(&path(&app), json!({ "tags": { "b": "3" } })).await.1["tags"], json!({ "b": "3" }));
    assert_eq!(sandbox.put(&path(&app), json!({ "tags": {} })).await.1["tags"], json!({}));
}

#[tokio::test]
async fn the_name_and_unknown_fields_of_an_update_are_ignored() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    let body = json!({ "name": "x", "id": 5, "cname": "elsewhere", "unheard_of": [1] });
    assert_eq!(sandbox.put(&path(&app), body).await, (200, app));
}

#[tokio::test]
async fn both_names_of_the_storage_size_are_one_value() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("app-one")).await);
    let cases = [
        (json!({ "storage_size_gb": 10 }), json!(10)),
        (json!({ "storage_claim_size_gb": 20 }), json!(20)),
        (json!({ "storage_size_gb": 2.5, "storage_claim_size_gb": 2.5 }), json!(2.5)),
        (json!({ "storage_claim_size_gb": null }), Value::Null),
    ];
    for (body, size) in cases {
        let (_, app) = sandbox.put(&url, body.clone()).await;
        assert_has(&app["config"], &json!({ "storage_size_gb": size, "storage_claim_size_gb": size }));
    }
    assert_eq!(sandbox.put(&url, json!({ "storage_size_gb": 1, "storage_claim_size_gb": 2 })).await.0, 400);
}

#[tokio::test]
async fn a_placement_change_updates_region_and_endpoint() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("app-one")).await);
    let east = json!({ "region": "us-east-1", "cname": "us-east-1-prod-aws-data", "cluster_name": null });
    let dedicated = json!({ "region": "us-east-1", "cname": null, "cluster_name": "east-cluster" });
    let nowhere = json!({ "region": null, "cname": null, "cluster_name": null, "endpoint": null });
    let steps = [
        (json!({ "region": "us-east-1" }), &east),
        (json!({ "cluster_name": "east-cluster" }), &dedicated),
        (json!({ "cluster_name": null }), &east),
        (json!({ "region": null }), &nowhere),
        (json!({ "region": "us-east-1" }), &east),
    ];
    for (body, expected) in steps {
        let (status, app) = sandbox.put(&url, body.clone()).await;
        assert_eq!(status, 200, "{body}");
        assert_has(&app, expected);
        assert_eq!(app["config"]["region"], app["region"]);
    }
}

#[tokio::test]
async fn a_deleted_app_is_hidden_but_stored() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    let not_found = (404, json!({ "error": format!("App with ID {} not found", app["id"]) }));
    assert_eq!(sandbox.delete(&path(&app)).await, (204, Value::Null));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(sandbox.call(method, &path(&app), OPERATOR, None).await, not_found);
    }
    assert_eq!(sandbox.put(&path(&app), json!({})).await, not_found);
    assert_eq!(sandbox.get("/v1/apps").await.1, json!({ "apps": [] }));
    let (_, state) = sandbox.get("/sandbox/state").await;
    assert_has(&state["apps"][0], &json!({ "id": app["id"], "name": "app-one" }));
    assert_milliseconds(&state["apps"][0]["deleted_at"]);
}

#[tokio::test]
async fn creating_a_deleted_name_reactivates_the_app() {
    let sandbox = TestSandbox::start().await;
    let first = sandbox
        .create_app(json!({ "name": "app-one", "region": "us-west-2", "visibility": "public", "tags": { "a": "1" }, "replicas": 2 }))
        .await;
    let spicepod = json!({ "version": "v2", "kind": "Spicepod", "name": "pod" });
    sandbox.put(&path(&first), json!({ "spicepod": spicepod, "image_tag": "1.0" })).await;
    sandbox.delete(&path(&first)).await;

    let reactivated = sandbox
        .create_app(json!({ "name": "APP-one", "region": "us-east-1", "description": "again", "replicas": 5 }))
        .await;
    assert_has(
        &reactivated,
        &json!({
            "id": first["id"], "name": "APP-one", "created_at": first["created_at"], "visibility": "public",
            "tags": { "a": "1" }, "description": "again", "region": "us-east-1", "cname": "us-east-1-prod-aws-data",
        }),
    );
    assert_has(&reactivated["config"], &json!({ "spicepod": spicepod, "image_tag": "1.0", "replicas": 5 }));
    assert_ne!(reactivated["api_key"], first["api_key"]);
    assert_eq!(sandbox.get(&path(&reactivated)).await, (200, reactivated.clone()));
    assert_eq!(sandbox.get("/sandbox/state").await.1["apps"][0]["deleted_at"], Value::Null);

    sandbox.delete(&path(&reactivated)).await;
    let bare = sandbox.create_app(json!({ "name": "app-one" })).await;
    assert_eq!(bare["region"], "us-east-1", "a create without placement keeps the placement");
    assert_ne!(sandbox.create_app(named("app-two")).await["id"], first["id"]);
}

#[tokio::test]
async fn a_rejected_create_neither_creates_nor_reactivates_an_app() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    sandbox.delete(&path(&app)).await;
    assert_eq!(sandbox.post("/v1/apps", json!({ "name": "app-one", "replicas": 0 })).await.0, 400);
    assert_eq!(sandbox.post("/v1/apps", json!({ "name": "app-two", "replicas": 0 })).await.0, 400);
    assert_eq!(sandbox.get("/v1/apps").await.1, json!({ "apps": [] }));
    assert_eq!(sandbox.stored_app_names().await, ["app-one"]);
}

#[tokio::test]
async fn app_metrics_are_empty() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    let empty = json!({
        "metrics": {}, "ingestion": { "rows_ingested": 0.0, "bytes_ingested": 0.0 },
        "cluster": { "active_executors_count": 0.0 },
    });
    for prefix in ["/v1/apps", "/v1/projects"] {
        let url = format!("{prefix}/{}/metrics", app["id"]);
        for window in ["", "?window=5m", "?window=1h30m", "?window=90s", "?window=1y2w3d4h5m6s7ms", "?window=100ms"] {
            assert_eq!(sandbox.get(&format!("{url}{window}")).await, (200, empty.clone()), "{window}");
        }
        for window in ["", "5", "m", "5x", "0s", "-5m", "5m1h", "5m5m", "1.5h", "5 m", "hm", "5mm"] {
            assert_eq!(sandbox.get(&format!("{url}?window={window}")).await.0, 400, "{window}");
        }
        assert_eq!(sandbox.get(&format!("{prefix}/999999/metrics?window=x")).await.0, 404);
    }
    sandbox.delete(&path(&app)).await;
    assert_eq!(sandbox.get(&format!("{}/metrics", path(&app))).await.0, 404);
}

#[tokio::test]
async fn the_spicepod_of_a_repository_connected_app_cannot_be_changed() {
    let sandbox = TestSandbox::start().await;
    let app = sandbox.create_app(named("app-one")).await;
    let url = path(&app);
    let spicepod = json!({ "kind": "Spicepod" });
    let (_, app) = sandbox.put(&url, json!({ "spicepod": spicepod })).await;
    let verb = async |verb: &str| sandbox.post(&format!("/sandbox/apps/{}/{verb}", app["id"]), json!({})).await.0;
    assert_eq!(verb("connect").await, 204);
    assert_eq!(sandbox.get("/sandbox/state").await.1["apps"][0]["repository_connected"], true);
    for value in [json!({ "name": "other" }), spicepod, Value::Null] {
        let (status, response) = sandbox.put(&url, json!({ "spicepod": value, "description": "new" })).await;
        assert_eq!((status, &response["code"]), (409, &json!("github_connected")), "{value}");
    }
    assert_eq!(sandbox.put(&url, json!({ "spicepod": 1 })).await.0, 400, "the body is checked before the conflict");
    assert_eq!(sandbox.get(&url).await.1, app, "a rejected update changes nothing");
    assert_eq!(sandbox.put(&url, json!({ "replicas": 2 })).await.0, 200);
    sandbox.delete(&url).await;
    sandbox.create_app(named("app-one")).await;
    assert_eq!(sandbox.put(&url, json!({ "spicepod": {} })).await.0, 409, "a reactivated app is still connected");
    assert_eq!(verb("disconnect").await, 204);
    assert_eq!(sandbox.put(&url, json!({ "spicepod": {} })).await.0, 200);
    for id in ["x", "999999"] {
        assert_eq!(sandbox.post(&format!("/sandbox/apps/{id}/connect"), json!({})).await.0, 404);
    }
}

#[tokio::test]
async fn an_id_that_is_not_a_positive_integer_gives_400() {
    let sandbox = TestSandbox::start().await;
    for id in ["x", "0", "-1", "1.5", "+1", "%20", "%ff", "9223372036854775808", "99999999999999999999"] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let (status, body) = sandbox.call(method.clone(), &format!("/v1/apps/{id}"), OPERATOR, None).await;
            assert_eq!(status, 400, "{method} {id}: {body}");
        }
    }
    assert_eq!(sandbox.get("/v1/apps/9223372036854775807").await.0, 404);
}

#[tokio::test]
async fn regions_use_camel_case_keys_and_have_one_default() {
    let sandbox = TestSandbox::start().await;
    let (_, body) = sandbox.get("/v1/regions").await;
    assert_eq!(body["default"], "us-west-2");
    assert_eq!(
        body["regions"][0],
        json!({
            "name": "US West (Oregon)", "region": "us-west-2", "provider": "aws", "providerName": "AWS",
            "isDefault": true, "disabled": false, "cname": "us-west-2-prod-aws-data",
        })
    );
    assert_has(&body["regions"][1], &json!({ "region": "us-east-1", "isDefault": false }));
    for (query, status) in [("?env=prod", 200), ("?env=dev", 200), ("?env=", 400), ("?env=test", 400)] {
        assert_eq!(sandbox.get(&format!("/v1/regions{query}")).await.0, status, "{query}");
    }
}

#[tokio::test]
async fn an_unknown_route_gives_404_and_an_unknown_method_405() {
    let sandbox = TestSandbox::start().await;
    for url in ["/", "/v1", "/v1/apps/", "/v1/apps/1/nothing", "/v2/apps", "/sandbox/nothing", "/sandbox"] {
        assert_eq!(reply(sandbox.request(Method::GET, url)).await, (404, json!({ "error": "Not found" })), "{url}");
    }
    assert_eq!(sandbox.call(Method::PATCH, "/v1/apps", OPERATOR, None).await.0, 405);
    assert_eq!(sandbox.call(Method::PUT, "/sandbox/state", OPERATOR, None).await.0, 405);
}
