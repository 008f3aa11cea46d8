//! Life cycle of a SpiceApp: create, update, drift, sources, suspend, delete.

use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::support::{
    sandbox::{Action, Fault, When},
    test_env::{Kind, TestEnv, id_of},
};

fn spicepod(dataset: &str) -> Value {
    let datasets = json!([{ "name": dataset, "from": "s3://bucket/" }]);
    json!({ "version": "v1", "kind": "Spicepod", "name": "app", "datasets": datasets })
}

#[tokio::test]
async fn app_is_created_with_one_post_and_one_put() {
    let env = TestEnv::new("create").await;
    let _operator = env.start_operator().await;
    let spec = json!({
        "description": "test description", "visibility": "public", "tags": { "team": "data" },
        "productionBranch": "main", "spicepod": spicepod("trips"),
        "runtime": { "replicas": 2, "imageTag": "v1.2.3", "resources": { "limits": { "cpu": "2" } } },
    });
    let app = env.apply_app_and_wait("my-app", spec).await;

    let remote = &env.remote_apps().await[0];
    let status = app.status.as_ref().unwrap();
    assert_eq!(remote["name"], "my-app");
    assert_eq!(remote["description"], "test description");
    assert_eq!(remote["visibility"], "public");
    assert_eq!(remote["production_branch"], "main");
    assert_eq!(remote["region"], "us-west-2", "the organization's default region");
    assert_eq!(remote["tags"]["team"], "data");
    assert_eq!(remote["tags"]["spice-operator-incarnation"], status.incarnation.as_deref().unwrap());
    assert_eq!(remote["tags"]["spice-operator-owner"].as_str().unwrap().len(), 32);
    assert_eq!(remote["config"]["spicepod"], spicepod("trips"));
    assert_eq!(remote["config"]["replicas"], 2);
    assert_eq!(remote["config"]["image_tag"], "v1.2.3");
    assert_eq!(remote["config"]["resources"], json!({ "limits": { "cpu": "2" } }));

    assert_eq!(remote["id"], id_of(&app));
    assert_eq!(status.region.as_deref(), Some("us-west-2"));
    assert_eq!(status.create_intent, None);
    assert_eq!(status.endpoint.as_deref(), remote["endpoint"].as_str());
    let app_calls: Vec<_> = env.calls_since(0).await.into_iter().filter(|call| call.contains("/apps")).collect();
    assert_eq!(app_calls, ["GET /v1/apps", "POST /v1/apps", "PUT /v1/apps/{appId}"]);

    let table = env.kubectl(&["get", "sapp"]).await.unwrap();
    let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns[0], ["NAME", "READY", "REASON", "DRIFTED", "REGION", "AGE"]);
    assert_eq!(columns[1][..4], ["my-app", "True", "Succeeded", "us-west-2"], "nothing has drifted");
    let wide = env.kubectl(&["get", "sapp", "-o", "wide"]).await.unwrap();
    assert!(wide.lines().nth(1).is_some_and(|row| row.contains(&id_of(&app).to_string())), "{wide}");
    env.kubectl(&["wait", "sapp/my-app", "--for=condition=Ready", "--timeout=10s"]).await.unwrap();
}

#[tokio::test]
async fn edit_sends_changed_fields_and_clears_removed_fields() {
    let env = TestEnv::new("edit").await;
    let _operator = env.start_operator().await;
    let tags = json!({ "team": "data", "tier": "gold" });
    let spec = json!({
        "description": "first", "spicepod": spicepod("trips"), "tags": tags,
        "runtime": { "imageTag": "v1", "replicas": 2 },
    });
    let id = id_of(&env.apply_app_and_wait("my-app", spec).await);
    env.sandbox.portal().unwrap().update_app(id, &json!({ "version": "2.x" })).await.unwrap();

    for (spec, body) in [
        (
            json!({
                "description": "second", "spicepod": spicepod("trips"), "tags": tags,
                "runtime": { "imageTag": "v1", "replicas": 2 },
            }),
            json!({ "description": "second" }),
        ),
        (
            json!({
                "description": "second", "spicepod": spicepod("rides"), "tags": tags,
                "runtime": { "imageTag": "v1", "replicas": 3 },
            }),
            json!({ "spicepod": spicepod("rides"), "replicas": 3 }),
        ),
        (
            json!({ "spicepod": spicepod("rides"), "tags": tags, "runtime": { "replicas": 3 } }),
            json!({ "description": "", "image_tag": null }),
        ),
    ] {
        let before = env.sandbox.revision().await.unwrap();
        env.apply_app_and_wait("my-app", spec).await;
        let calls = env.sandbox.calls_by("operator", before).await.unwrap();
        let puts: Vec<_> = calls.iter().filter(|call| call.method == "PUT").collect();
        assert_eq!(puts.len(), 1, "{puts:?}");
        assert_eq!(puts[0].body, body);
    }
    let before = env.sandbox.revision().await.unwrap();
    env.apply_app_and_wait("my-app", json!({ "spicepod": spicepod("rides"), "tags": { "team": "data" } })).await;
    let remote = &env.remote_apps().await[0];
    let keys: Vec<_> = remote["tags"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["spice-operator-incarnation", "spice-operator-owner", "team"]);
    assert_eq!(remote["config"]["replicas"], 3, "the API cannot clear replicas, so the value remains");
    assert_eq!(remote["config"]["version"], "2.x", "a field that was never in the spec is not changed");
    assert_eq!(env.calls_since(before).await, ["GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
}

#[tokio::test]
async fn drift_is_corrected_and_foreign_tags_are_kept() {
    let env = TestEnv::new("drift").await;
    let _operator = env.start_operator().await;
    let spec = json!({ "description": "desired", "spicepod": spicepod("trips"), "tags": { "team": "data" } });
    let id = id_of(&env.apply_app_and_wait("my-app", spec).await);
    let portal = env.sandbox.portal().unwrap();

    let mut tags = portal.app(id).await.unwrap()["tags"].clone();
    (tags["team"], tags["foreign"]) = (json!("foreign-value"), json!("stays"));
    let edit = json!({ "description": "foreign-value", "spicepod": spicepod("other"), "tags": tags });
    portal.update_app(id, &edit).await.unwrap();
    env.reconcile::<SpiceApp>("my-app").await;

    let remote = &env.remote_apps().await[0];
    assert_eq!(remote["description"], "desired");
    assert_eq!(remote["config"]["spicepod"], spicepod("trips"));
    assert_eq!(remote["tags"]["team"], "data");
    assert_eq!(remote["tags"]["foreign"], "stays");
    let events = env.kubectl(&["get", "events", "-o", "yaml"]).await.unwrap();
    assert!(!events.contains("foreign-value"), "an event does not contain a foreign value");
}

#[tokio::test]
async fn resync_corrects_drift_after_the_interval() {
    let env = TestEnv::new("interval").await;
    let _operator = env.start_operator().await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({ "description": "desired", "interval": "1s" })).await);
    let before = env.sandbox.revision().await.unwrap();
    env.sandbox.portal().unwrap().update_app(id, &json!({ "description": "foreign-value" })).await.unwrap();
    env.sandbox
        .wait_for_call("the drift is corrected", before, |call| {
            call.credential.as_deref() == Some("operator") && call.method == "PUT" && call.status == Some(200)
        })
        .await
        .unwrap();
    assert_eq!(env.remote_apps().await[0]["description"], "desired");
}

#[tokio::test]
async fn default_visibility_of_a_created_app_is_restored() {
    let env = TestEnv::new("visibility").await;
    let _operator = env.start_operator().await;
    let id = id_of(&env.apply_app_and_wait("my-app", json!({})).await);
    let before = env.sandbox.revision().await.unwrap();
    env.sandbox.portal().unwrap().update_app(id, &json!({ "visibility": "public" })).await.unwrap();
    env.reconcile::<SpiceApp>("my-app").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await[0]["visibility"], "private");
    assert_eq!(env.writes_since(before).await.len(), 1);
}

#[tokio::test]
async fn object_deletion_deletes_the_app_unless_retained() {
    let env = TestEnv::new("delete").await;
    let _operator = env.start_operator().await;
    for (name, policy, exists) in
        [("deleted-app", None, false), ("named-app", Some("Delete"), false), ("retained-app", Some("Retain"), true)]
    {
        let spec = policy.map_or_else(|| json!({}), |policy| json!({ "deletionPolicy": policy }));
        env.apply_app_and_wait(name, spec).await;
        env.delete_and_wait::<SpiceApp>(name).await;
        assert_eq!(env.sandbox.portal().unwrap().app_named(name).await.unwrap().is_some(), exists, "{name}");
    }
    assert_eq!(env.calls_since(0).await.iter().filter(|call| call.starts_with("DELETE")).count(), 2);
}

#[tokio::test]
async fn reported_drift_sets_drifted_and_is_not_corrected() {
    let env = TestEnv::new("report").await;
    let _operator = env.start_operator().await;
    let id =
        id_of(&env.apply_app_and_wait("my-app", json!({ "description": "desired", "driftPolicy": "Report" })).await);
    env.sandbox.portal().unwrap().update_app(id, &json!({ "description": "foreign-value" })).await.unwrap();
    let app = env.reconcile::<SpiceApp>("my-app").await;
    let drifted = app.condition("Drifted").unwrap();
    assert_eq!((drifted.status.as_str(), drifted.reason.as_str()), ("True", "DriftDetected"));
    assert_eq!(app.condition("Ready").unwrap().status, "True");
    assert_eq!(app.status.unwrap().drift, ["description"]);
    assert_eq!(env.remote_apps().await[0]["description"], "foreign-value");
}

#[tokio::test]
async fn config_map_change_updates_the_spicepod() {
    let env = TestEnv::new("source").await;
    let _operator = env.start_operator().await;
    let apply_config_map = async |text: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "spicepod.yaml": text },
            "metadata": { "name": "pods", "namespace": env.namespace },
        });
        env.cluster.kubectl_apply_text(&object.to_string()).await.unwrap();
    };
    let source = json!({ "spicepodFrom": { "configMapKeyRef": { "name": "pods" } } });
    env.apply_app("my-app", source).await;
    let missing = env.wait_for_reason::<SpiceApp>("my-app", "False", "SourceNotFound").await;
    assert!(missing.ready_message().contains("ConfigMap \"pods\" not found"));
    apply_config_map("version: v1\nkind: Spicepod\nname: first\n").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await[0]["config"]["spicepod"]["name"], "first");

    let before = env.sandbox.revision().await.unwrap();
    apply_config_map("version: v1\nkind: Spicepod\nname: second\n").await;
    env.sandbox
        .wait_for_call("the new spicepod is sent", before, |call| call.method == "PUT" && call.status == Some(200))
        .await
        .unwrap();
    assert_eq!(env.remote_apps().await[0]["config"]["spicepod"]["name"], "second");
    apply_config_map("- no mapping").await;
    let invalid = env.wait_for_reason::<SpiceApp>("my-app", "False", "InvalidSpec").await;
    assert!(invalid.ready_message().contains("not a mapping"));
}

#[tokio::test]
async fn rejected_field_is_reported_by_name() {
    let env = TestEnv::new("invalid").await;
    let _operator = env.start_operator().await;
    env.apply_app("my-app", json!({ "region": "mars-north-1" })).await;
    let app = env.wait_for_reason::<SpiceApp>("my-app", "False", "InvalidSpec").await;
    let message = app.ready_message();
    assert!(message.contains("region: must be one of"), "{message}");
    env.apply_app_and_wait("other-app", json!({})).await;
    env.apply_app_and_wait("my-app", json!({ "region": "us-east-1" })).await;
}

#[tokio::test]
async fn rejected_write_is_retried_only_on_request() {
    let env = TestEnv::new("refused-write").await;
    let _operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    let rate_limit = Action::Response { status: 429, headers: json!({ "retry-after": "3600" }), body: json!({}) };
    env.sandbox.add_fault(Fault::new(When::Before, rate_limit).method("POST")).await.unwrap();
    env.apply_app("my-app", json!({})).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "RateLimited").await;
    let annotation = json!({ "metadata": { "annotations": { "example.com/other": "value" } } });
    env.patch::<SpiceApp>("my-app", annotation).await;

    env.sandbox.remove_faults().await.unwrap();
    env.reconcile::<SpiceApp>("my-app").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.count_posts().await, 2, "only the requested reconcile causes a retry, another annotation does not");
}

#[tokio::test]
async fn suspended_app_sends_no_requests_and_can_be_deleted() {
    let env = TestEnv::new("suspend").await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({ "description": "first" })).await;
    let before = env.sandbox.revision().await.unwrap();
    env.apply_app("my-app", json!({ "description": "second", "suspend": true })).await;
    env.wait_for_reason::<SpiceApp>("my-app", "Unknown", "Suspended").await;
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    env.request_reconcile::<SpiceApp>("my-app").await;
    operator.wait_for_reconciles("SpiceApp", reconciles + 1).await.unwrap();
    assert_eq!(env.calls_since(before).await, [""; 0]);
    env.delete_and_wait::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn slow_list_does_not_prevent_the_create() {
    let env = TestEnv::new("long-list").await;
    // The list takes longer than the maximum age of the read before an update or delete.
    let _operator = env.start_operator_with(&["--max-read-age=1ms"]).await;
    let fault = Fault::new(When::After, Action::Delay(50)).method("GET").route("/v1/apps");
    env.sandbox.add_fault(fault).await.unwrap();
    env.apply_app_and_wait("my-app", json!({})).await;
    assert_eq!(env.count_posts().await, 1);
}

#[tokio::test]
async fn unusable_create_responses_do_not_block_the_app() {
    let env = TestEnv::new("odd-responses").await;
    let _operator = env.start_operator().await;
    let response_fault = |body: Value| {
        let response = Action::Response { status: 201, headers: json!({}), body };
        Fault::new(When::After, response).method("POST").route("/v1/apps").times(1)
    };
    // The sandbox assigns consecutive IDs.
    let next = id_of(&env.apply_app_and_wait("first", json!({})).await) + 1;
    let huge = json!({ "id": next, "name": "huge", "tags": {}, "endpoint": "e".repeat(1_800_000) });
    env.sandbox.add_fault(response_fault(huge)).await.unwrap();
    env.apply_app_and_wait("huge", json!({})).await;
    env.sandbox.add_fault(response_fault(json!({ "id": 0, "name": "none", "tags": {} }))).await.unwrap();
    env.apply_app_and_wait("none", json!({})).await;
    assert_eq!(env.remote_apps().await.len(), 3);
    assert_eq!(env.count_posts().await, 3);
}
