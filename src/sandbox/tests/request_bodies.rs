//! Validation of request bodies of apps.

use serde_json::{Value, json};

use super::{OPERATOR, TestSandbox, assert_has, named, path, reply};

/// Returns a valid create body with the given members added.
fn create(body: Value) -> Value {
    let mut all = json!({ "name": "app-name" });
    all.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    all
}

#[tokio::test]
async fn a_name_has_4_to_38_letters_digits_and_dashes() {
    let sandbox = TestSandbox::start().await;
    for name in ["abcd", "A-1-", "----", &"x".repeat(38)] {
        assert_eq!(sandbox.post("/v1/apps", json!({ "name": name })).await.0, 201, "{name}");
    }
    for name in
        [json!("abc"), json!("x".repeat(39)), json!("a_bc"), json!("a bc"), json!("äbcd"), json!(1234), json!(null)]
    {
        let (status, body) = sandbox.post("/v1/apps", json!({ "name": name })).await;
        assert_eq!(status, 400, "{name}");
        assert!(body["details"]["fieldErrors"]["name"][0].is_string(), "{body}");
    }
    let (_, body) = sandbox.post("/v1/apps", json!({})).await;
    let details = json!({ "fieldErrors": { "name": ["is required"] }, "formErrors": [] });
    assert_eq!(body, json!({ "error": "Validation failed", "details": details }));
}

#[tokio::test]
async fn an_invalid_field_is_reported_by_name() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("for-updates")).await);
    let long = "x".repeat(257);
    let common = [
        ("description", json!(1)),
        ("visibility", json!("secret")),
        ("visibility", json!(null)),
        ("tags", json!("a")),
        ("tags", json!({ "a": 1 })),
        ("tags", json!({ "a": "b c" })),
        ("tags", json!({ "a": "b.c" })),
        ("tags", json!({ "a": long })),
        ("tags", json!({ "1a": "b" })),
        ("tags", json!({ "": "b" })),
        ("tags", json!({ "a b": "b" })),
        ("tags", json!({ "a".repeat(64): "b" })),
        ("update_channel", json!("canary")),
        ("replicas", json!(0)),
        ("replicas", json!(11)),
        ("replicas", json!(1.5)),
        ("replicas", json!("1")),
        ("replicas", json!(null)),
        ("resources", json!("2")),
        ("resources", json!({ "limits": { "cpu": 2 } })),
        ("resources", json!({ "limits": { "cpu": "500m" } })),
        ("resources", json!({ "limits": { "memory": "16 Gi" } })),
        ("resources", json!({ "limits": { "ephemeral-storage": "Gi" } })),
        ("executor", json!([])),
        ("executor", json!({ "replicas": -1 })),
        ("executor", json!({ "resources": { "requests": { "cpu": "" } } })),
        ("storage_size_gb", json!(0)),
        ("storage_size_gb", json!("10")),
        ("storage_claim_size_gb", json!(-1)),
        ("region", json!("eu-west-1")),
        ("cluster_name", json!("")),
    ];
    let create_only = [("default_alerts", json!("yes")), ("default_alerts", json!(null))];
    let update_only = [
        ("spicepod", json!(1)),
        ("spicepod", json!([])),
        ("spicepod", json!("")),
        ("spicepod", json!("just text")),
        ("spicepod", json!("- a\n- b\n")),
        ("spicepod", json!("a: [1")),
        ("spicepod", json!("a: 1\n---\nb: 2\n")),
        ("image_tag", json!(1)),
        ("version", json!({})),
        ("registry", json!(true)),
        ("image", json!([])),
        ("node_group", json!(1)),
        ("production_branch", json!(1)),
    ];
    for (field, value) in common.iter().chain(&create_only) {
        let (status, body) = sandbox.post("/v1/apps", create(json!({ *field: value }))).await;
        assert_eq!(status, 400, "POST {field} {value}");
        assert!(body["details"]["fieldErrors"][field][0].is_string(), "{body}");
    }
    for (field, value) in common.iter().chain(&update_only) {
        let (status, body) = sandbox.put(&url, json!({ *field: value })).await;
        assert_eq!(status, 400, "PUT {field} {value}");
        assert!(body["details"]["fieldErrors"][field][0].is_string(), "{body}");
    }
    assert_eq!(sandbox.stored_app_names().await, ["for-updates"]);
}

#[tokio::test]
async fn one_response_reports_all_invalid_fields() {
    let sandbox = TestSandbox::start().await;
    let (_, body) = sandbox.post("/v1/apps", json!({ "name": "x", "replicas": 0, "tags": 1 })).await;
    let errors = body["details"]["fieldErrors"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["name", "replicas", "tags"]);
}

#[tokio::test]
async fn a_create_stores_all_its_fields() {
    let sandbox = TestSandbox::start().await;
    let resources = json!({
        "limits": { "cpu": "-", "memory": "16Gi", "ephemeral-storage": "100Gi" }, "requests": { "cpu": "2", "memory": "8Gi" },
    });
    let executor = json!({ "replicas": 2, "resources": resources, "storage_size_gb": 50 });
    let tags = json!({ "a": "", "Long_key./-9": "v_@-9", "b": "x".repeat(256) });
    let app = sandbox
        .create_app(create(json!({
            "description": "", "visibility": "public", "tags": tags, "update_channel": "preview", "replicas": 10,
            "resources": resources, "executor": executor, "storage_size_gb": 20, "default_alerts": false,
            // Not accepted in a create body.
            "spicepod": "no: [yaml", "image_tag": 1,
        })))
        .await;
    assert_has(&app, &json!({ "description": "", "visibility": "public", "tags": tags }));
    assert_has(
        &app["config"],
        &json!({
            "update_channel": "preview", "replicas": 10, "resources": resources, "executor": executor,
            "storage_size_gb": 20, "spicepod": null, "image_tag": null,
        }),
    );
}

#[tokio::test]
async fn an_app_is_placed_by_region_cname_or_cluster_or_has_no_placement() {
    let sandbox = TestSandbox::start().await;
    let cases = [
        (json!({}), json!({ "region": null, "cname": null, "cluster_name": null, "endpoint": null })),
        (json!({ "region": null, "cname": null, "cluster_name": null }), json!({ "region": null, "endpoint": null })),
        (
            json!({ "region": "us-west-2", "cluster_name": null }),
            json!({ "region": "us-west-2", "cname": "us-west-2-prod-aws-data" }),
        ),
        (
            json!({ "cname": "us-east-1-prod-aws-data" }),
            json!({ "region": "us-east-1", "endpoint": "https://us-east-1-prod-aws-data.spiceai.io" }),
        ),
        (
            json!({ "cname": "us-east-2.spice.cloud" }),
            json!({ "region": null, "cname": "us-east-2.spice.cloud", "endpoint": "https://us-east-2.spice.cloud" }),
        ),
        (
            json!({ "cluster_name": "east-cluster", "region": "us-east-1" }),
            json!({
                "cluster_name": "east-cluster", "region": "us-east-1", "cname": null,
                "endpoint": "https://private-east-cluster-us-east-1-prod-data.spiceai.io",
            }),
        ),
        (
            json!({ "cluster_name": "team-cluster" }),
            json!({ "cluster_name": "team-cluster", "region": "us-west-2", "cname": null }),
        ),
    ];
    for (number, (placement, expected)) in cases.into_iter().enumerate() {
        let mut body = create(placement);
        body["name"] = format!("app-{number}").into();
        assert_has(&sandbox.create_app(body).await, &expected);
    }
    for conflicting in [json!({ "cluster_name": "team-cluster" }), json!({ "region": "us-west-2" })] {
        let mut body = create(conflicting);
        body["cname"] = "us-west-2-prod-aws-data".into();
        let (status, response) = sandbox.post("/v1/apps", body).await;
        assert_eq!(status, 400);
        assert!(response["details"]["fieldErrors"]["cname"][0].is_string(), "{response}");
    }
}

#[tokio::test]
async fn a_cluster_must_be_listed_and_an_explicit_region_must_match() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(json!({ "name": "app-one", "region": "us-east-1" })).await);
    let (_, clusters) = sandbox.get("/v1/clusters").await;
    let infra = clusters["clusters"][0]["infra_cluster_name"].clone();
    let cases = [
        (json!({ "cluster_name": "nothing" }), "cluster_name", "no such target"),
        (json!({ "cluster_name": infra }), "cluster_name", "not of a target"),
        (json!({ "cluster_name": "team-cluster", "region": "us-east-1" }), "region", "us-west-2"),
    ];
    for (body, field, text) in cases {
        for (status, response) in
            [sandbox.post("/v1/apps", create(body.clone())).await, sandbox.put(&url, body.clone()).await]
        {
            let message = response["details"]["fieldErrors"][field][0].as_str().unwrap_or_default();
            assert!(status == 400 && message.contains(text), "{body}: {response}");
        }
    }
    for cluster in clusters["clusters"].as_array().unwrap() {
        let body = json!({ "cluster_name": cluster["cluster_name"] });
        let (_, app) = sandbox.put(&url, body).await;
        assert_has(&app, &json!({ "region": cluster["region"], "endpoint": cluster["endpoint"] }));
    }
    assert_eq!(sandbox.put(&url, json!({ "cluster_name": "team-cluster" })).await.0, 200);
    assert_eq!(sandbox.put(&url, json!({ "region": "us-east-1" })).await.0, 400, "the app stays in its cluster");
    assert_eq!(sandbox.put(&url, json!({ "region": "us-east-1", "cluster_name": null })).await.0, 200);
}

#[tokio::test]
async fn a_spicepod_can_be_yaml_or_json_and_is_returned_as_an_object() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("app-one")).await);
    let object =
        json!({ "version": "v2", "kind": "Spicepod", "name": "pod", "datasets": [{ "from": "s3://b", "name": "d" }] });
    let yaml = "version: v2\nkind: Spicepod\nname: pod\ndatasets:\n  - from: s3://b\n    name: d\n";
    for spicepod in [object.clone(), json!(object.to_string()), json!(yaml)] {
        sandbox.put(&url, json!({ "spicepod": null })).await;
        assert_eq!(
            sandbox.put(&url, json!({ "spicepod": spicepod })).await.1["config"]["spicepod"],
            object,
            "{spicepod}"
        );
    }
}

#[tokio::test]
async fn a_spicepod_error_contains_the_position_but_not_the_text() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("app-one")).await);
    let (_, body) = sandbox.put(&url, json!({ "spicepod": "name: quite-private\nlist: [1\n" })).await;
    let message = body["details"]["fieldErrors"]["spicepod"][0].as_str().unwrap();
    assert!(message.contains("line 2") && !message.contains("quite-private") && !message.contains('\n'), "{message}");
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_gives_400() {
    let sandbox = TestSandbox::start().await;
    let url = path(&sandbox.create_app(named("app-one")).await);
    for body in ["", "{", "[]", "null", "\"text\"", "name: yaml"] {
        for (method, url) in [(reqwest::Method::POST, "/v1/apps"), (reqwest::Method::PUT, url.as_str())] {
            let (status, response) = reply(sandbox.request(method, url).bearer_auth(OPERATOR).body(body)).await;
            assert_eq!(status, 400, "{body}");
            assert!(response["details"]["formErrors"][0].is_string(), "{response}");
        }
    }
}

#[tokio::test]
async fn a_body_above_1_mib_gives_413() {
    let sandbox = TestSandbox::start().await;
    let body_of_length = |length: usize| {
        let frame = json!({ "name": "large-app", "description": "" }).to_string().len();
        json!({ "name": "large-app", "description": "x".repeat(length - frame) })
    };
    let (status, body) = sandbox.post("/v1/apps", body_of_length(1024 * 1024 + 1)).await;
    assert_eq!((status, body), (413, json!({ "error": "Request body too large" })));
    assert_eq!(sandbox.post("/v1/apps", body_of_length(1024 * 1024)).await.0, 201);
    let entry = sandbox.wait_for_entry(|entry| entry["status"] == 413).await;
    assert_has(&entry, &json!({ "state": "answered", "applied": false, "body": null }));
}
