//! What a body may say.

use serde_json::{Value, json};

use super::{OPERATOR, TestSandbox, assert_has, named, path, reply};

/// A create that is right but for the given members.
fn create(body: Value) -> Value {
    let mut whole = json!({ "name": "app-name" });
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    whole
}

#[tokio::test]
async fn a_name_has_4_to_38_letters_digits_and_dashes() {
    let world = TestSandbox::start().await;
    for name in ["abcd", "A-1-", "----", &"x".repeat(38)] {
        assert_eq!(world.post("/v1/apps", json!({ "name": name })).await.0, 201, "{name}");
    }
    for name in
        [json!("abc"), json!("x".repeat(39)), json!("a_bc"), json!("a bc"), json!("äbcd"), json!(1234), json!(null)]
    {
        let (status, body) = world.post("/v1/apps", json!({ "name": name })).await;
        assert_eq!(status, 400, "{name}");
        assert!(body["details"]["fieldErrors"]["name"][0].is_string(), "{body}");
    }
    let (_, body) = world.post("/v1/apps", json!({})).await;
    let details = json!({ "fieldErrors": { "name": ["is required"] }, "formErrors": [] });
    assert_eq!(body, json!({ "error": "Validation failed", "details": details }));
}

#[tokio::test]
async fn a_field_that_breaks_its_rule_is_named() {
    let world = TestSandbox::start().await;
    let url = path(&world.app(named("for-updates")).await);
    let long = "x".repeat(257);
    let both = [
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
    for (field, value) in both.iter().chain(&create_only) {
        let (status, body) = world.post("/v1/apps", create(json!({ *field: value }))).await;
        assert_eq!(status, 400, "POST {field} {value}");
        assert!(body["details"]["fieldErrors"][field][0].is_string(), "{body}");
    }
    for (field, value) in both.iter().chain(&update_only) {
        let (status, body) = world.put(&url, json!({ *field: value })).await;
        assert_eq!(status, 400, "PUT {field} {value}");
        assert!(body["details"]["fieldErrors"][field][0].is_string(), "{body}");
    }
    assert_eq!(world.kept().await, ["for-updates"]);
}

#[tokio::test]
async fn one_answer_names_everything_that_is_wrong() {
    let world = TestSandbox::start().await;
    let (_, body) = world.post("/v1/apps", json!({ "name": "x", "replicas": 0, "tags": 1 })).await;
    let errors = body["details"]["fieldErrors"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["name", "replicas", "tags"]);
}

#[tokio::test]
async fn a_create_keeps_what_it_may_carry() {
    let world = TestSandbox::start().await;
    let resources = json!({
        "limits": { "cpu": "-", "memory": "16Gi", "ephemeral-storage": "100Gi" }, "requests": { "cpu": "2", "memory": "8Gi" },
    });
    let executor = json!({ "replicas": 2, "resources": resources, "storage_size_gb": 50 });
    let tags = json!({ "a": "", "Long_key./-9": "v_@-9", "b": "x".repeat(256) });
    let app = world
        .app(create(json!({
            "description": "", "visibility": "public", "tags": tags, "update_channel": "preview", "replicas": 10,
            "resources": resources, "executor": executor, "storage_size_gb": 20, "default_alerts": false,
            // Not part of a create.
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
async fn an_app_is_placed_by_region_name_of_the_data_plane_or_cluster_or_not_at_all() {
    let world = TestSandbox::start().await;
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
        assert_has(&world.app(body).await, &expected);
    }
    for beside in [json!({ "cluster_name": "team-cluster" }), json!({ "region": "us-west-2" })] {
        let mut body = create(beside);
        body["cname"] = "us-west-2-prod-aws-data".into();
        let (status, answer) = world.post("/v1/apps", body).await;
        assert_eq!(status, 400);
        assert!(answer["details"]["fieldErrors"]["cname"][0].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn a_cluster_is_one_of_those_listed_and_a_region_beside_it_is_its_own() {
    let world = TestSandbox::start().await;
    let url = path(&world.app(json!({ "name": "app-one", "region": "us-east-1" })).await);
    let (_, clusters) = world.get("/v1/clusters").await;
    let infra = clusters["clusters"][0]["infra_cluster_name"].clone();
    let cases = [
        (json!({ "cluster_name": "nothing" }), "cluster_name", "no such target"),
        (json!({ "cluster_name": infra }), "cluster_name", "not of a target"),
        (json!({ "cluster_name": "team-cluster", "region": "us-east-1" }), "region", "us-west-2"),
    ];
    for (body, field, text) in cases {
        for (status, answer) in
            [world.post("/v1/apps", create(body.clone())).await, world.put(&url, body.clone()).await]
        {
            let message = answer["details"]["fieldErrors"][field][0].as_str().unwrap_or_default();
            assert!(status == 400 && message.contains(text), "{body}: {answer}");
        }
    }
    for cluster in clusters["clusters"].as_array().unwrap() {
        let body = json!({ "cluster_name": cluster["cluster_name"] });
        let (_, app) = world.put(&url, body).await;
        assert_has(&app, &json!({ "region": cluster["region"], "endpoint": cluster["endpoint"] }));
    }
    assert_eq!(world.put(&url, json!({ "cluster_name": "team-cluster" })).await.0, 200);
    assert_eq!(world.put(&url, json!({ "region": "us-east-1" })).await.0, 400, "it stays in its cluster");
    assert_eq!(world.put(&url, json!({ "region": "us-east-1", "cluster_name": null })).await.0, 200);
}

#[tokio::test]
async fn a_spicepod_may_be_yaml_or_json_and_is_an_object_afterwards() {
    let world = TestSandbox::start().await;
    let url = path(&world.app(named("app-one")).await);
    let object =
        json!({ "version": "v2", "kind": "Spicepod", "name": "pod", "datasets": [{ "from": "s3://b", "name": "d" }] });
    let yaml = "version: v2\nkind: Spicepod\nname: pod\ndatasets:\n  - from: s3://b\n    name: d\n";
    for spicepod in [object.clone(), json!(object.to_string()), json!(yaml)] {
        world.put(&url, json!({ "spicepod": null })).await;
        assert_eq!(
            world.put(&url, json!({ "spicepod": spicepod })).await.1["config"]["spicepod"],
            object,
            "{spicepod}"
        );
    }
}

#[tokio::test]
async fn a_broken_spicepod_is_told_by_its_place_and_not_repeated() {
    let world = TestSandbox::start().await;
    let url = path(&world.app(named("app-one")).await);
    let (_, body) = world.put(&url, json!({ "spicepod": "name: quite-private\nlist: [1\n" })).await;
    let message = body["details"]["fieldErrors"]["spicepod"][0].as_str().unwrap();
    assert!(message.contains("line 2") && !message.contains("quite-private") && !message.contains('\n'), "{message}");
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_400() {
    let world = TestSandbox::start().await;
    let url = path(&world.app(named("app-one")).await);
    for body in ["", "{", "[]", "null", "\"text\"", "name: yaml"] {
        for (method, url) in [(reqwest::Method::POST, "/v1/apps"), (reqwest::Method::PUT, url.as_str())] {
            let (status, answer) = reply(world.request(method, url).bearer_auth(OPERATOR).body(body)).await;
            assert_eq!(status, 400, "{body}");
            assert!(answer["details"]["formErrors"][0].is_string(), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_body_above_one_mebibyte_is_413() {
    let world = TestSandbox::start().await;
    let whole = |length: usize| {
        let frame = json!({ "name": "large-app", "description": "" }).to_string().len();
        json!({ "name": "large-app", "description": "x".repeat(length - frame) })
    };
    let (status, body) = world.post("/v1/apps", whole(1024 * 1024 + 1)).await;
    assert_eq!((status, body), (413, json!({ "error": "Request body too large" })));
    assert_eq!(world.post("/v1/apps", whole(1024 * 1024)).await.0, 201);
    let entry = world.entry(|entry| entry["status"] == 413).await;
    assert_has(&entry, &json!({ "state": "answered", "applied": false, "body": null }));
}
