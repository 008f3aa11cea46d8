//! Objects that the operator cannot decode: they are told, hold up nobody, and can be deleted.

use serde_json::{Value, json};

use crate::program;
use crate::support::{
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, poll},
    world::World,
};

/// What `kubectl get` prints of a SpiceApp.
async fn shown(world: &World, name: &str, template: &str) -> Result<String, String> {
    let template = format!("jsonpath={template}");
    world.cluster.kubectl(&["get", "sapp", name, "-n", &world.namespace, "-o", &template]).await
}

async fn patch(world: &World, name: &str, patch: &Value, more: &[&str]) -> Result<String, String> {
    let patch = patch.to_string();
    let mut args = vec!["patch", "sapp", name, "-n", &world.namespace, "--type=merge", "-p", &patch];
    args.extend(more);
    world.cluster.kubectl(&args).await
}

/// Waits until the object says that it is stalled by this field.
async fn told(world: &World, name: &str, field: &str) {
    let wanted = format!("InvalidSpec False {field} cannot be read");
    poll(&format!("{name} says {wanted}"), DEADLINE, async || {
        let ready = r#"{range .status.conditions[?(@.type=="Ready")]}{.reason} {.status} {.message}{end}"#;
        let found = shown(world, name, ready).await?;
        if found.starts_with(&wanted) { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

/// Takes the type off `spec.description`, until the definition is installed again.
async fn any_description(world: &World) {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/description";
    let loose = json!([{ "op": "replace", "path": path, "value": { "x-kubernetes-preserve-unknown-fields": true } }]);
    let loose = loose.to_string();
    let name = "spiceapps.cloud.spice.ai";
    world.cluster.kubectl(&["patch", "crd", name, "--type=json", "-p", &loose]).await.unwrap();
}

#[tokio::test]
async fn an_undecodable_object_is_told_holds_up_no_other_and_can_be_mended_and_deleted() {
    if use_existing_cluster() {
        // Its definitions are not for tests to change.
        return;
    }
    let world = World::alone("undecodable", program()).await;
    let operator = world.operator().await;
    for name in ["mended-app", "deleted-app", "other-app"] {
        world.app(name, json!({})).await;
        world.app_is(name, "True", "Succeeded").await;
    }
    any_description(&world).await;
    let number = json!({ "spec": { "description": 5 } });
    poll("the definition takes a number", DEADLINE, async || {
        patch(&world, "mended-app", &number, &["--dry-run=server"]).await.map(drop)
    })
    .await
    .unwrap();
    patch(&world, "mended-app", &number, &[]).await.unwrap();
    patch(&world, "deleted-app", &number, &[]).await.unwrap();
    apply_definitions(&world.cluster).await.unwrap();
    for name in ["mended-app", "deleted-app"] {
        told(&world, name, "spec.description").await;
    }
    let event = [
        "get",
        "events",
        "-n",
        &world.namespace,
        "--field-selector",
        "reason=Undecodable",
        "-o",
        "jsonpath={.items[*].message}",
    ];
    let found = world.cluster.kubectl(&event).await.unwrap();
    assert!(found.contains("spec.description cannot be read"), "{found}");

    world.app("other-app", json!({ "description": "goes on" })).await;
    let other = world.app_is("other-app", "True", "Succeeded").await;
    let remote = world.remote_apps().await;
    let described =
        |app: &Value| app["id"].as_i64() == other.status.as_ref().unwrap().id && app["description"] == "goes on";
    assert!(remote.iter().any(described), "{remote:?}");

    // Also when an operator finds it there.
    operator.terminate().await.unwrap();
    let _operator = world.operator().await;
    world.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &world.namespace, "--timeout=30s"]).await.unwrap();
    assert_eq!(world.remote_apps().await.len(), 2);
    patch(&world, "mended-app", &json!({ "spec": { "description": "mended" } }), &[]).await.unwrap();
    world.app_is("mended-app", "True", "Succeeded").await;
    assert_eq!(world.remote_apps().await.len(), 2);
}

#[tokio::test]
async fn a_status_that_cannot_be_decoded_is_told_and_makes_no_second_app() {
    let world = World::new("spoilt", program()).await;
    let operator = world.operator().await;
    for name in ["mended-app", "deleted-app"] {
        world.app(name, json!({})).await;
        world.app_is(name, "True", "Succeeded").await;
    }
    operator.terminate().await.unwrap();
    let spoilt = json!({ "status": { "createIntent": { "id": "x", "name": "x", "at": "9999-12-31T23:59:59Z" } } });
    for name in ["mended-app", "deleted-app"] {
        patch(&world, name, &spoilt, &["--subresource=status"]).await.unwrap();
    }
    let _operator = world.operator().await;
    for name in ["mended-app", "deleted-app"] {
        told(&world, name, "status.createIntent").await;
    }
    world.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &world.namespace, "--timeout=30s"]).await.unwrap();
    let none = json!({ "status": { "createIntent": null } });
    patch(&world, "mended-app", &none, &["--subresource=status"]).await.unwrap();
    world.app_is("mended-app", "True", "Succeeded").await;
    assert_eq!(world.remote_apps().await.len(), 1);
    let posts = world.calls(0).await.into_iter().filter(|call| call == "POST /v1/apps").count();
    assert_eq!(posts, 2);
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
