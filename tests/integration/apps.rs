//! SpiceApp on real parts: YAML in, a real apiserver, real HTTP, status out.

use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::{
    program,
    support::{
        eventually::{DEADLINE, poll},
        sandbox::{Action, Fault, When},
        world::World,
    },
};

fn spicepod(dataset: &str) -> Value {
    json!({ "version": "v1", "kind": "Spicepod", "name": "app", "datasets": [{ "name": dataset, "from": "s3://bucket/" }] })
}

fn id_of(app: &SpiceApp) -> u64 {
    app.status.as_ref().unwrap().id.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn an_app_is_created_as_declared_with_one_post_and_one_put() {
    let world = World::new("create", program()).await;
    let _operator = world.operator().await;
    world
        .app(
            "my-app",
            json!({
                "description": "what it is for", "visibility": "public", "tags": { "team": "data" },
                "productionBranch": "main", "spicepod": spicepod("trips"),
                "runtime": { "replicas": 2, "imageTag": "v1.2.3", "resources": { "limits": { "cpu": "2" } } },
            }),
        )
        .await;
    let app = world.app_is("my-app", "True", "Succeeded").await;

    let remote = &world.remote_apps().await[0];
    let status = app.status.as_ref().unwrap();
    assert_eq!(remote["name"], "my-app");
    assert_eq!(remote["description"], "what it is for");
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
    let of_apps: Vec<_> = world.calls(0).await.into_iter().filter(|call| call.contains("/apps")).collect();
    assert_eq!(of_apps, ["GET /v1/apps", "POST /v1/apps", "PUT /v1/apps/{appId}"]);

    let table = world.cluster.kubectl(&["get", "sapp", "-n", &world.namespace]).await.unwrap();
    let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns[0][..5], ["NAME", "READY", "REASON", "EXTERNAL", "ID"]);
    assert_eq!(columns[1][..4], ["my-app", "True", "Succeeded", &id_of(&app).to_string()]);
    // Events are published behind the visit.
    world
        .cluster
        .kubectl(&["wait", "-n", &world.namespace, "sapp/my-app", "--for=condition=Ready", "--timeout=10s"])
        .await
        .unwrap();
}

#[tokio::test]
async fn an_edit_sends_what_changed_and_clears_what_was_taken_out() {
    let world = World::new("edit", program()).await;
    let _operator = world.operator().await;
    let spec = json!({
        "description": "first", "spicepod": spicepod("trips"), "tags": { "team": "data", "tier": "gold" },
        "runtime": { "imageTag": "v1", "replicas": 2 },
    });
    world.app("my-app", spec).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    world.sandbox.portal().unwrap().update_app(id, &json!({ "version": "2.x" })).await.unwrap();

    for (spec, body) in [
        (
            json!({ "description": "second", "spicepod": spicepod("trips"), "tags": { "team": "data", "tier": "gold" }, "runtime": { "imageTag": "v1", "replicas": 2 } }),
            json!({ "description": "second" }),
        ),
        (
            json!({ "description": "second", "spicepod": spicepod("rides"), "tags": { "team": "data", "tier": "gold" }, "runtime": { "imageTag": "v1", "replicas": 3 } }),
            json!({ "spicepod": spicepod("rides"), "replicas": 3 }),
        ),
        (
            json!({ "spicepod": spicepod("rides"), "tags": { "team": "data", "tier": "gold" }, "runtime": { "replicas": 3 } }),
            json!({ "description": "", "image_tag": null }),
        ),
    ] {
        let before = world.sandbox.revision().await.unwrap();
        world.app("my-app", spec).await;
        world.app_is("my-app", "True", "Succeeded").await;
        let calls = world.sandbox.calls_by("operator", before).await.unwrap();
        let puts: Vec<_> = calls.iter().filter(|call| call.method == "PUT").collect();
        assert_eq!(puts.len(), 1, "{puts:?}");
        assert_eq!(puts[0].body, body);
    }
    let before = world.sandbox.revision().await.unwrap();
    world.app("my-app", json!({ "spicepod": spicepod("rides"), "tags": { "team": "data" } })).await;
    world.app_is("my-app", "True", "Succeeded").await;
    let remote = &world.remote_apps().await[0];
    let keys: Vec<_> = remote["tags"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["spice-operator-incarnation", "spice-operator-owner", "team"]);
    assert_eq!(remote["config"]["replicas"], 3, "the API cannot clear it: it is left as it was");
    assert_eq!(remote["config"]["version"], "2.x", "a field never named is left alone");
    assert_eq!(world.calls(before).await, ["GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
}

#[tokio::test]
async fn drift_by_a_foreign_edit_is_put_back_and_foreign_tags_stay() {
    let world = World::new("drift", program()).await;
    let _operator = world.operator().await;
    world
        .app("my-app", json!({ "description": "ours", "spicepod": spicepod("trips"), "tags": { "team": "data" } }))
        .await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    let portal = world.sandbox.portal().unwrap();

    let mut tags = portal.app(id).await.unwrap()["tags"].clone();
    (tags["team"], tags["foreign"]) = (json!("theirs"), json!("stays"));
    let edit = json!({ "description": "theirs", "spicepod": spicepod("other"), "tags": tags });
    portal.update_app(id, &edit).await.unwrap();
    world.visit("my-app").await;

    let remote = &world.remote_apps().await[0];
    assert_eq!(remote["description"], "ours");
    assert_eq!(remote["config"]["spicepod"], spicepod("trips"));
    assert_eq!(remote["tags"]["team"], "data");
    assert_eq!(remote["tags"]["foreign"], "stays");
    let events = world.cluster.kubectl(&["get", "events", "-n", &world.namespace, "-o", "yaml"]).await.unwrap();
    assert!(!events.contains("theirs"), "an event does not quote what somebody else wrote");
}

#[tokio::test]
async fn a_check_comes_by_itself_once_an_interval() {
    let world = World::new("interval", program()).await;
    let _operator = world.operator().await;
    world.app("my-app", json!({ "description": "ours", "interval": "1s" })).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    let before = world.sandbox.revision().await.unwrap();
    world.sandbox.portal().unwrap().update_app(id, &json!({ "description": "theirs" })).await.unwrap();
    world
        .sandbox
        .call("the drift is put back", before, |call| {
            call.credential.as_deref() == Some("operator") && call.method == "PUT" && call.status == Some(200)
        })
        .await
        .unwrap();
    assert_eq!(world.remote_apps().await[0]["description"], "ours");
}

#[tokio::test]
async fn deleting_the_object_deletes_the_app_unless_it_is_to_be_retained() {
    let world = World::new("delete", program()).await;
    let _operator = world.operator().await;
    for (name, policy, stays) in
        [("deleted-app", None, false), ("named-app", Some("Delete"), false), ("kept-app", Some("Retain"), true)]
    {
        let spec = policy.map_or_else(|| json!({}), |policy| json!({ "deletionPolicy": policy }));
        world.app(name, spec).await;
        world.app_is(name, "True", "Succeeded").await;
        world.api::<SpiceApp>().delete(name, &DeleteParams::default()).await.unwrap();
        world.gone::<SpiceApp>(name).await;
        assert_eq!(world.sandbox.portal().unwrap().app_named(name).await.unwrap().is_some(), stays, "{name}");
    }
    assert_eq!(world.calls(0).await.iter().filter(|call| call.starts_with("DELETE")).count(), 2);
}

#[tokio::test]
async fn a_taken_name_is_left_alone_until_it_is_free() {
    let world = World::new("taken", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    let foreign = portal.create_app(&json!({ "name": "My-App", "region": "us-east-1" })).await.unwrap();
    world.app("my-app", json!({ "description": "ours" })).await;

    let app = world.app_is("my-app", "False", "NameTaken").await;
    let status = app.status.unwrap();
    let stalled = status.conditions.iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert_eq!(stalled.status, "True");
    assert!(stalled.message.contains(&foreign["id"].to_string()), "{}", stalled.message);
    let writes: Vec<_> = world.calls(0).await.into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!(world.remote_apps().await[0]["description"], Value::Null);

    portal.delete_app(foreign["id"].as_u64().unwrap()).await.unwrap();
    world.request_visit("my-app").await;
    world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(world.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn an_app_that_exists_is_adopted_with_one_put_and_outlives_its_object() {
    let world = World::new("adopt", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    let theirs =
        json!({ "name": "My-App", "region": "us-east-1", "description": "theirs", "tags": { "foreign": "f" } });
    let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
    world.app("my-app", json!({ "description": "ours" })).await;
    let refused = world.app_is("my-app", "False", "NameTaken").await;
    assert!(refused.status.unwrap().conditions[0].message.contains("adoptionPolicy"));

    let before = world.sandbox.revision().await.unwrap();
    world.app("my-app", json!({ "description": "ours", "adoptionPolicy": "Adopt" })).await;
    let app = world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(id_of(&app), id);
    assert_eq!(world.calls(before).await, ["GET /v1/apps", "GET /v1/apps/{appId}", "PUT /v1/apps/{appId}"]);
    let remote = &world.remote_apps().await[0];
    assert_eq!((&remote["description"], &remote["tags"]["foreign"]), (&json!("ours"), &json!("f")));
    assert_eq!(remote["tags"]["spice-operator-incarnation"], app.status.unwrap().incarnation.unwrap());

    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    assert_eq!(world.remote_apps().await[0]["tags"], json!({ "foreign": "f" }), "our tags went, the app stayed");
}

#[tokio::test]
async fn another_owners_app_is_taken_over_when_an_annotation_names_the_owner() {
    let world = World::new("take-over", program()).await;
    let _operator = world.operator().await;
    let owner = "0123456789abcdef0123456789abcdef";
    let theirs = json!({ "name": "my-app", "region": "us-east-1", "tags": { "spice-operator-owner": owner } });
    world.sandbox.portal().unwrap().create_app(&theirs).await.unwrap();
    world.app("my-app", json!({ "adoptionPolicy": "Adopt" })).await;
    let refused = world.app_is("my-app", "False", "OwnedElsewhere").await;
    assert!(refused.status.unwrap().conditions[0].message.contains(owner));
    let annotation = format!("cloud.spice.ai/take-over={owner}");
    world.cluster.kubectl(&["annotate", "sapp/my-app", "-n", &world.namespace, &annotation]).await.unwrap();
    world.app_is("my-app", "True", "Succeeded").await;
    assert_ne!(world.remote_apps().await[0]["tags"]["spice-operator-owner"], owner);
}

#[tokio::test]
async fn an_observed_app_is_shown_with_what_differs_and_never_written() {
    let world = World::new("observe", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    let theirs = json!({ "name": "my-app", "region": "us-east-1", "description": "theirs" });
    let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
    world
        .app("my-app", json!({ "description": "ours", "managementPolicy": "Observe", "deletionPolicy": "Delete" }))
        .await;
    let app = world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!((id_of(&app), app.status.unwrap().drift), (id, vec!["description".to_owned()]));
    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    assert!(world.calls(0).await.iter().all(|call| call.starts_with("GET")));
    assert_eq!(world.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn drift_that_is_to_be_reported_is_a_condition_and_stays() {
    let world = World::new("report", program()).await;
    let _operator = world.operator().await;
    world.app("my-app", json!({ "description": "ours", "driftPolicy": "Report" })).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    world.sandbox.portal().unwrap().update_app(id, &json!({ "description": "theirs" })).await.unwrap();
    let status = world.visit("my-app").await.status.unwrap();
    assert_eq!(status.drift, ["description"]);
    let drifted = status.conditions.iter().find(|condition| condition.type_ == "Drifted").unwrap();
    assert_eq!((drifted.status.as_str(), drifted.reason.as_str()), ("True", "DriftDetected"));
    assert!(status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"));
    assert_eq!(world.remote_apps().await[0]["description"], "theirs");
}

#[tokio::test]
async fn a_spicepod_from_a_config_map_is_sent_and_its_change_reaches_the_app_at_once() {
    let world = World::new("source", program()).await;
    let _operator = world.operator().await;
    let give = async |text: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": { "spicepod.yaml": text },
            "metadata": { "name": "pods", "namespace": world.namespace },
        });
        world.cluster.kubectl_apply_text(&object.to_string()).await.unwrap();
    };
    let source = json!({ "spicepodFrom": { "configMapKeyRef": { "name": "pods", "key": "spicepod.yaml" } } });
    world.app("my-app", source).await;
    let missing = world.app_is("my-app", "False", "InvalidSpec").await;
    assert!(missing.status.unwrap().conditions[0].message.contains("ConfigMap pods does not exist"));
    give("version: v1\nkind: Spicepod\nname: first\n").await;
    world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(world.remote_apps().await[0]["config"]["spicepod"]["name"], "first");

    let before = world.sandbox.revision().await.unwrap();
    give("version: v1\nkind: Spicepod\nname: second\n").await;
    world
        .sandbox
        .call("the change is sent", before, |call| call.method == "PUT" && call.status == Some(200))
        .await
        .unwrap();
    assert_eq!(world.remote_apps().await[0]["config"]["spicepod"]["name"], "second");
    give("- no mapping").await;
    let invalid = world.app_is("my-app", "False", "InvalidSpec").await;
    assert!(invalid.status.unwrap().conditions[0].message.contains("not a mapping"));
}

#[tokio::test]
async fn of_two_objects_for_one_name_the_older_acts_and_the_younger_says_who_does() {
    let world = World::new("claims", program()).await;
    world.app("first", json!({ "name": "shared" })).await;
    let operator = world.operator().await;
    world.app_is("first", "True", "Succeeded").await;
    world.app("second", json!({ "name": "SHARED" })).await;
    let second = world.app_is("second", "False", "NameTaken").await;
    let message = &second.status.unwrap().conditions[0].message;
    assert!(message.contains(&format!("{}/first", world.namespace)), "{message}");
    assert_eq!(world.remote_apps().await.len(), 1);

    world.api::<SpiceApp>().delete("first", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("first").await;
    world.app_is("second", "True", "Succeeded").await;
    drop(operator);
}

#[tokio::test]
async fn another_owners_app_is_never_written_and_its_object_goes_without_it() {
    let world = World::new("owned", program()).await;
    let _operator = world.operator().await;
    world.app("my-app", json!({ "description": "ours" })).await;
    let id = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    let theirs = json!({ "tags": { "spice-operator-owner": "0".repeat(32) }, "description": "theirs" });
    world.sandbox.portal().unwrap().update_app(id, &theirs).await.unwrap();
    let before = world.sandbox.revision().await.unwrap();
    world.request_visit("my-app").await;
    world.app_is("my-app", "False", "OwnedElsewhere").await;

    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    let writes: Vec<_> = world.calls(before).await.into_iter().filter(|call| !call.starts_with("GET")).collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!(world.remote_apps().await[0]["description"], "theirs");
}

#[tokio::test]
async fn an_app_deleted_outside_is_made_anew_if_we_made_it_and_else_said_to_be_gone() {
    let world = World::new("gone", program()).await;
    let _operator = world.operator().await;
    let portal = world.sandbox.portal().unwrap();
    portal.create_app(&json!({ "name": "adopted-app", "region": "us-east-1" })).await.unwrap();
    for (name, spec) in
        [("made-app", json!({ "description": "ours" })), ("adopted-app", json!({ "adoptionPolicy": "Adopt" }))]
    {
        world.app(name, spec).await;
        let id = id_of(&world.app_is(name, "True", "Succeeded").await);
        portal.delete_app(id).await.unwrap();
    }
    let before = world.sandbox.revision().await.unwrap();
    world.visit("made-app").await;
    let made = world.app_is("made-app", "True", "Succeeded").await;
    let apps: Vec<_> = world.calls(before).await.into_iter().filter(|call| call.contains("/apps")).collect();
    assert_eq!(apps[..3], ["GET /v1/apps/{appId}", "GET /v1/apps", "POST /v1/apps"]);
    assert_eq!(world.remote_apps().await[0]["description"], "ours");
    assert_eq!(world.remote_apps().await[0]["id"], id_of(&made));

    let before = world.sandbox.revision().await.unwrap();
    world.request_visit("adopted-app").await;
    world.app_is("adopted-app", "False", "DeletedExternally").await;
    assert_eq!(world.calls(before).await, ["GET /v1/apps/{appId}", "GET /v1/apps"]);
    world.api::<SpiceApp>().delete("adopted-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("adopted-app").await;
    assert!(!world.calls(before).await.iter().any(|call| call.starts_with("DELETE")));
}

#[tokio::test]
async fn many_apps_missing_at_once_are_taken_for_another_organization_until_a_person_says_otherwise() {
    let world = World::new("mass", program()).await;
    let _operator = world.operator().await;
    let names = ["one-app", "two-app", "three-app", "four-app"];
    for name in names {
        world.app(name, json!({})).await;
        world.app_is(name, "True", "Succeeded").await;
    }
    let portal = world.sandbox.portal().unwrap();
    for app in world.remote_apps().await {
        portal.delete_app(app["id"].as_u64().unwrap()).await.unwrap();
    }
    for name in names {
        world.request_visit(name).await;
        world.app_is(name, "False", "OrganizationMismatch").await;
    }
    assert_eq!(world.remote_apps().await, [json!(null); 0]);
    let accept = ["annotate", "sorg/default", "-n", &world.namespace, "cloud.spice.ai/accept-absent=4"];
    world.cluster.kubectl(&accept).await.unwrap();
    for name in names {
        world.app_is(name, "True", "Succeeded").await;
    }
    assert_eq!(world.remote_apps().await.len(), 4);
}

#[tokio::test]
async fn what_the_api_will_not_take_is_said_with_its_fields_and_without_its_values() {
    let world = World::new("invalid", program()).await;
    let _operator = world.operator().await;
    world.app("my-app", json!({ "region": "mars-north-1" })).await;
    let app = world.app_is("my-app", "False", "InvalidSpec").await;
    let message = &app.status.unwrap().conditions[0].message;
    assert!(message.contains("region: must be one of"), "{message}");
    world.app("other-app", json!({})).await;
    world.app_is("other-app", "True", "Succeeded").await;
    world.app("my-app", json!({ "region": "us-east-1" })).await;
    world.app_is("my-app", "True", "Succeeded").await;
}

#[tokio::test]
async fn a_refused_write_is_not_repeated_by_whatever_wakes_the_object() {
    let world = World::new("refused-write", program()).await;
    let operator = world.operator_with(&[]).await;
    world.organization_is("True", "Succeeded").await;
    let fault = Fault {
        method: Some("POST".to_owned()),
        route: None,
        when: When::Before,
        action: Action::Answer { status: 429, headers: json!({ "retry-after": "3600" }), body: json!({}) },
        times: None,
    };
    world.sandbox.add_fault(&fault).await.unwrap();
    world.app("my-app", json!({})).await;
    world.app_is("my-app", "False", "RateLimited").await;
    let before = operator.metrics().await.unwrap().visits("SpiceApp") as u64;
    let annotation = json!({ "metadata": { "annotations": { "somebody/else": "writes" } } });
    world.api::<SpiceApp>().patch("my-app", &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
    world.visits(&operator, "SpiceApp", before + 1).await;
    let posts = async || world.calls(0).await.iter().filter(|call| call.starts_with("POST")).count();
    assert_eq!(posts().await, 1, "another annotation is no reason to ask again");

    world.sandbox.remove_faults().await.unwrap();
    world.visit("my-app").await;
    world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(posts().await, 2, "a person's request is");
}

#[tokio::test]
async fn an_object_nested_deeper_than_decoders_go_hides_no_other_and_can_be_deleted() {
    let world = World::new("deep", program()).await;
    let manifest = format!(
        "{{\"apiVersion\":\"cloud.spice.ai/v1alpha1\",\"kind\":\"SpiceApp\",\"metadata\":{{\"name\":\"deep-app\",\"namespace\":\"{}\"}},\"spec\":{{\"spicepod\":{}1{}}}}}",
        world.namespace,
        "{\"a\":".repeat(300),
        "}".repeat(300)
    );
    world.cluster.kubectl_apply_text(&manifest).await.unwrap();
    // One operator that finds it there, and sees it deleted; the other objects are watched with it.
    let _operator = world.operator().await;
    let reason = r#"jsonpath={.status.conditions[?(@.type=="Stalled")].message}"#;
    poll("it is refused", DEADLINE, async || {
        let message = world.cluster.kubectl(&["get", "sapp", "deep-app", "-n", &world.namespace, "-o", reason]).await?;
        if message.contains("nested deeper than 64 levels") { Ok(()) } else { Err(message) }
    })
    .await
    .unwrap();
    world.cluster.kubectl(&["delete", "sapp", "deep-app", "-n", &world.namespace, "--timeout=30s"]).await.unwrap();
    world.app("other-app", json!({})).await;
    world.app_is("other-app", "True", "Succeeded").await;
}

#[tokio::test]
async fn conditions_that_cannot_be_decoded_are_written_anew_and_hold_up_no_deletion() {
    let world = World::new("garbage", program()).await;
    let operator = world.operator().await;
    let namespace = world.namespace.clone();
    let garbage = r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"X","message":"x","lastTransitionTime":"9999-12-31T23:59:59Z"}]}}"#;
    let spoil = async |name: &str| {
        let object = format!("sapp/{name}");
        let args = ["patch", &object, "-n", &namespace, "--subresource=status", "--type=merge", "-p", garbage];
        world.cluster.kubectl(&args).await.unwrap();
    };
    let conditions = async |name: &str| {
        let args = ["get", "sapp", name, "-n", &namespace, "-o", "jsonpath={.status.conditions}"];
        world.cluster.kubectl(&args).await
    };
    for name in ["mended-app", "deleted-app"] {
        world.app(name, json!({})).await;
        world.app_is(name, "True", "Succeeded").await;
    }
    spoil("mended-app").await;
    poll("its conditions are written anew", DEADLINE, async || {
        let found = conditions("mended-app").await?;
        if found.contains("Succeeded") && !found.contains("9999") { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();

    operator.terminate().await.unwrap();
    spoil("deleted-app").await;
    world.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &namespace, "--wait=false"]).await.unwrap();
    let _operator = world.operator().await;
    poll("it is gone", DEADLINE, async || match conditions("deleted-app").await {
        Err(error) if error.contains("NotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    assert_eq!(world.remote_apps().await.len(), 1);
}

#[tokio::test]
async fn a_suspended_app_makes_no_call_and_can_still_be_deleted() {
    let world = World::new("suspend", program()).await;
    let operator = world.operator().await;
    world.app("my-app", json!({ "description": "first" })).await;
    world.app_is("my-app", "True", "Succeeded").await;
    let before = world.sandbox.revision().await.unwrap();
    world.app("my-app", json!({ "description": "second", "suspend": true })).await;
    world.app_is("my-app", "Unknown", "Suspended").await;
    let visits = operator.metrics().await.unwrap().visits("SpiceApp") as u64;
    world.request_visit("my-app").await;
    world.visits(&operator, "SpiceApp", visits + 1).await;
    assert_eq!(world.calls(before).await, [""; 0]);
    world.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("my-app").await;
    assert_eq!(world.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn every_object_carries_the_finalizer_before_the_first_remote_call() {
    let world = World::new("finalizer", program()).await;
    let _operator = world.operator().await;
    let created = world.app("my-app", json!({})).await;
    assert_eq!(created.finalizers(), [""; 0]);
    let app = world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(app.finalizers(), ["cloud.spice.ai/finalizer"]);
}
