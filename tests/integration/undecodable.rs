//! Objects that the operator cannot decode: they are told, hold up nobody, and can be deleted.

use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceSecret;

use crate::support::{
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, poll},
    world::{World, id_of},
};
use crate::{program, secrets};

/// What `kubectl get` prints of an object, which is named as `kind/name`.
async fn shown(world: &World, object: &str, template: &str) -> Result<String, String> {
    let template = format!("jsonpath={template}");
    world.cluster.kubectl(&["get", object, "-n", &world.namespace, "-o", &template]).await
}

async fn patch(world: &World, object: &str, patch: &Value, more: &[&str]) -> Result<String, String> {
    let patch = patch.to_string();
    let mut args = vec!["patch", object, "-n", &world.namespace, "--type=merge", "-p", &patch];
    args.extend(more);
    world.cluster.kubectl(&args).await
}

/// Waits until the object says that it is stalled by this field.
async fn told(world: &World, object: &str, field: &str) {
    let wanted = format!("InvalidSpec False {field} cannot be read");
    poll(&format!("{object} says {wanted}"), DEADLINE, async || {
        let ready = r#"{range .status.conditions[?(@.type=="Ready")]}{.reason} {.status} {.message}{end}"#;
        let found = shown(world, object, ready).await?;
        if found.starts_with(&wanted) { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

/// Takes the type off a field of a spec, until the definition is installed again.
async fn takes_anything(world: &World, kinds: &str, field: &str) {
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{field}");
    let loose = json!([{ "op": "replace", "path": path, "value": { "x-kubernetes-preserve-unknown-fields": true } }]);
    let loose = loose.to_string();
    let name = format!("{kinds}.cloud.spice.ai");
    world.cluster.kubectl(&["patch", "crd", &name, "--type=json", "-p", &loose]).await.unwrap();
}

/// Stores a spec that breaks the definition, once the API server has learned that it does no more.
async fn store(world: &World, object: &str, spec: &Value) {
    poll("the definition takes it", DEADLINE, async || {
        patch(world, object, spec, &["--dry-run=server"]).await.map(drop)
    })
    .await
    .unwrap();
    patch(world, object, spec, &[]).await.unwrap();
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
    takes_anything(&world, "spiceapps", "description").await;
    let broken = ["sapp/mended-app", "sapp/deleted-app"];
    for object in broken {
        store(&world, object, &json!({ "spec": { "description": 5 } })).await;
    }
    apply_definitions(&world.cluster).await.unwrap();
    for object in broken {
        told(&world, object, "spec.description").await;
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
    patch(&world, "sapp/mended-app", &json!({ "spec": { "description": "mended" } }), &[]).await.unwrap();
    world.app_is("mended-app", "True", "Succeeded").await;
    assert_eq!(world.remote_apps().await.len(), 2);
}

#[tokio::test]
async fn an_undecodable_secret_is_told_sends_nothing_and_deletes_what_it_has_set() {
    if use_existing_cluster() {
        // Its definitions are not for tests to change.
        return;
    }
    let world = World::alone("undecodable-secret", program()).await;
    let operator = world.operator().await;
    world.app("my-app", json!({})).await;
    let app = id_of(&world.app_is("my-app", "True", "Succeeded").await);
    world.values("src", json!({ "TOKEN": "fake-value-1" })).await;
    for name in ["mended", "deleted"] {
        let spec = secrets::from_key("src", "TOKEN", name);
        world.secret(name, spec).await;
        world.secret_is(name, "True", "Succeeded").await;
    }
    // It asks for a name that an older one has, by a clock that tells seconds.
    secrets::another_second().await;
    let spec = secrets::from_key("src", "TOKEN", "mended");
    world.secret("younger", spec).await;
    world.says::<SpiceSecret>("younger", "NameTaken", "mended is held by SpiceSecret mended").await;
    takes_anything(&world, "spicesecrets", "suspend").await;
    for object in ["ssec/mended", "ssec/deleted"] {
        store(&world, object, &json!({ "spec": { "suspend": "maybe" } })).await;
    }
    apply_definitions(&world.cluster).await.unwrap();
    for object in ["ssec/mended", "ssec/deleted"] {
        told(&world, object, "spec.suspend").await;
    }
    // Also a process that finds it so.
    operator.terminate().await.unwrap();
    let _operator = world.operator().await;
    world.values("src", json!({ "TOKEN": "fake-value-2" })).await;
    world.cluster.kubectl(&["delete", "ssec/deleted", "-n", &world.namespace, "--timeout=30s"]).await.unwrap();
    world.visit_secret("younger").await;
    assert_eq!(secrets::remote(&world, app).await, secrets::expected(&[("mended", "fake-value-1")]));
    // Nor is what both have recorded deleted when the younger one goes.
    world.says::<SpiceSecret>("younger", "NameTaken", "mended is held by SpiceSecret mended").await;
    world.cluster.kubectl(&["delete", "ssec/younger", "-n", &world.namespace, "--timeout=30s"]).await.unwrap();
    assert_eq!(secrets::remote(&world, app).await, secrets::expected(&[("mended", "fake-value-1")]));
    patch(&world, "ssec/mended", &json!({ "spec": { "suspend": null } }), &[]).await.unwrap();
    world.secret_is("mended", "True", "Succeeded").await;
    assert_eq!(secrets::remote(&world, app).await, secrets::expected(&[("mended", "fake-value-2")]));
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
    for name in ["sapp/mended-app", "sapp/deleted-app"] {
        patch(&world, name, &spoilt, &["--subresource=status"]).await.unwrap();
    }
    let _operator = world.operator().await;
    for name in ["sapp/mended-app", "sapp/deleted-app"] {
        told(&world, name, "status.createIntent").await;
    }
    world.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &world.namespace, "--timeout=30s"]).await.unwrap();
    let none = json!({ "status": { "createIntent": null } });
    patch(&world, "sapp/mended-app", &none, &["--subresource=status"]).await.unwrap();
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
