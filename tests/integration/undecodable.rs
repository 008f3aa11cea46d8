//! Objects that the operator cannot decode: they are told, hold up nobody, and can be deleted.

use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceSecret;

use crate::support::{
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, poll},
    test_env::{TestEnv, id_of},
};
use crate::{program, secrets};

/// What `kubectl get` prints of an object, which is named as `kind/name`.
async fn shown(env: &TestEnv, object: &str, template: &str) -> Result<String, String> {
    let template = format!("jsonpath={template}");
    env.cluster.kubectl(&["get", object, "-n", &env.namespace, "-o", &template]).await
}

async fn patch(env: &TestEnv, object: &str, patch: &Value, more: &[&str]) -> Result<String, String> {
    let patch = patch.to_string();
    let mut args = vec!["patch", object, "-n", &env.namespace, "--type=merge", "-p", &patch];
    args.extend(more);
    env.cluster.kubectl(&args).await
}

/// Waits until the object says that it is stalled by this field.
async fn told(env: &TestEnv, object: &str, field: &str) {
    let wanted = format!("InvalidSpec False {field} cannot be decoded");
    poll(&format!("{object} says {wanted}"), DEADLINE, async || {
        let ready = r#"{range .status.conditions[?(@.type=="Ready")]}{.reason} {.status} {.message}{end}"#;
        let found = shown(env, object, ready).await?;
        if found.starts_with(&wanted) { Ok(()) } else { Err(found) }
    })
    .await
    .unwrap();
}

/// Takes the type off a field of a spec, until the definition is installed again.
async fn takes_anything(env: &TestEnv, kinds: &str, field: &str) {
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{field}");
    let loose = json!([{ "op": "replace", "path": path, "value": { "x-kubernetes-preserve-unknown-fields": true } }]);
    let loose = loose.to_string();
    let name = format!("{kinds}.cloud.spice.ai");
    env.cluster.kubectl(&["patch", "crd", &name, "--type=json", "-p", &loose]).await.unwrap();
}

/// Stores a spec that breaks the definition, once the API server has learned that it does no more.
async fn store(env: &TestEnv, object: &str, spec: &Value) {
    poll("the definition takes it", DEADLINE, async || patch(env, object, spec, &["--dry-run=server"]).await.map(drop))
        .await
        .unwrap();
    patch(env, object, spec, &[]).await.unwrap();
}

#[tokio::test]
async fn an_undecodable_object_is_told_holds_up_no_other_and_can_be_mended_and_deleted() {
    if use_existing_cluster() {
        // Its definitions are not for tests to change.
        return;
    }
    let env = TestEnv::alone("undecodable", program()).await;
    let operator = env.operator().await;
    for name in ["mended-app", "deleted-app", "other-app"] {
        env.app(name, json!({})).await;
        env.app_is(name, "True", "Succeeded").await;
    }
    takes_anything(&env, "spiceapps", "description").await;
    let broken = ["sapp/mended-app", "sapp/deleted-app"];
    for object in broken {
        store(&env, object, &json!({ "spec": { "description": 5 } })).await;
    }
    apply_definitions(&env.cluster).await.unwrap();
    for object in broken {
        told(&env, object, "spec.description").await;
    }
    let event = [
        "get",
        "events",
        "-n",
        &env.namespace,
        "--field-selector",
        "reason=Undecodable",
        "-o",
        "jsonpath={.items[*].message}",
    ];
    let found = env.cluster.kubectl(&event).await.unwrap();
    assert!(found.contains("spec.description cannot be decoded"), "{found}");

    env.app("other-app", json!({ "description": "goes on" })).await;
    let other = env.app_is("other-app", "True", "Succeeded").await;
    let remote = env.remote_apps().await;
    let described =
        |app: &Value| app["id"].as_i64() == other.status.as_ref().unwrap().id && app["description"] == "goes on";
    assert!(remote.iter().any(described), "{remote:?}");

    // Also when an operator finds it there.
    operator.terminate().await.unwrap();
    let _operator = env.operator().await;
    env.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &env.namespace, "--timeout=30s"]).await.unwrap();
    assert_eq!(env.remote_apps().await.len(), 2);
    patch(&env, "sapp/mended-app", &json!({ "spec": { "description": "mended" } }), &[]).await.unwrap();
    env.app_is("mended-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 2);
}

#[tokio::test]
async fn an_undecodable_secret_is_told_sends_nothing_and_deletes_what_it_has_set() {
    if use_existing_cluster() {
        // Its definitions are not for tests to change.
        return;
    }
    let env = TestEnv::alone("undecodable-secret", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    let app = id_of(&env.app_is("my-app", "True", "Succeeded").await);
    env.values("src", json!({ "TOKEN": "fake-value-1" })).await;
    for name in ["mended", "deleted"] {
        let spec = secrets::from_key("src", "TOKEN", name);
        env.secret(name, spec).await;
        env.secret_is(name, "True", "Succeeded").await;
    }
    // It asks for a name that an older one has, by a clock that tells seconds.
    secrets::another_second().await;
    let spec = secrets::from_key("src", "TOKEN", "mended");
    env.secret("younger", spec).await;
    env.says::<SpiceSecret>("younger", "NameTaken", "mended is held by SpiceSecret mended").await;
    takes_anything(&env, "spicesecrets", "suspend").await;
    for object in ["ssec/mended", "ssec/deleted"] {
        store(&env, object, &json!({ "spec": { "suspend": "maybe" } })).await;
    }
    apply_definitions(&env.cluster).await.unwrap();
    for object in ["ssec/mended", "ssec/deleted"] {
        told(&env, object, "spec.suspend").await;
    }
    // Also a process that finds it so.
    operator.terminate().await.unwrap();
    let _operator = env.operator().await;
    env.values("src", json!({ "TOKEN": "fake-value-2" })).await;
    env.cluster.kubectl(&["delete", "ssec/deleted", "-n", &env.namespace, "--timeout=30s"]).await.unwrap();
    env.reconcile_secret("younger").await;
    assert_eq!(secrets::remote(&env, app).await, secrets::expected(&[("mended", "fake-value-1")]));
    // Nor is what both have recorded deleted when the younger one goes.
    env.says::<SpiceSecret>("younger", "NameTaken", "mended is held by SpiceSecret mended").await;
    env.cluster.kubectl(&["delete", "ssec/younger", "-n", &env.namespace, "--timeout=30s"]).await.unwrap();
    assert_eq!(secrets::remote(&env, app).await, secrets::expected(&[("mended", "fake-value-1")]));
    patch(&env, "ssec/mended", &json!({ "spec": { "suspend": null } }), &[]).await.unwrap();
    env.secret_is("mended", "True", "Succeeded").await;
    assert_eq!(secrets::remote(&env, app).await, secrets::expected(&[("mended", "fake-value-2")]));
}

#[tokio::test]
async fn a_status_that_cannot_be_decoded_is_told_and_makes_no_second_app() {
    let env = TestEnv::new("spoilt", program()).await;
    let operator = env.operator().await;
    for name in ["mended-app", "deleted-app"] {
        env.app(name, json!({})).await;
        env.app_is(name, "True", "Succeeded").await;
    }
    operator.terminate().await.unwrap();
    let spoilt = json!({ "status": { "createIntent": { "id": "x", "name": "x", "at": "9999-12-31T23:59:59Z" } } });
    for name in ["sapp/mended-app", "sapp/deleted-app"] {
        patch(&env, name, &spoilt, &["--subresource=status"]).await.unwrap();
    }
    let _operator = env.operator().await;
    for name in ["sapp/mended-app", "sapp/deleted-app"] {
        told(&env, name, "status.createIntent").await;
    }
    env.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &env.namespace, "--timeout=30s"]).await.unwrap();
    let none = json!({ "status": { "createIntent": null } });
    patch(&env, "sapp/mended-app", &none, &["--subresource=status"]).await.unwrap();
    env.app_is("mended-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 1);
    let posts = env.calls(0).await.into_iter().filter(|call| call == "POST /v1/apps").count();
    assert_eq!(posts, 2);
}

#[tokio::test]
async fn an_object_nested_deeper_than_decoders_go_hides_no_other_and_can_be_deleted() {
    let env = TestEnv::new("deep", program()).await;
    let manifest = format!(
        "{{\"apiVersion\":\"cloud.spice.ai/v1alpha1\",\"kind\":\"SpiceApp\",\"metadata\":{{\"name\":\"deep-app\",\"namespace\":\"{}\"}},\"spec\":{{\"spicepod\":{}1{}}}}}",
        env.namespace,
        "{\"a\":".repeat(300),
        "}".repeat(300)
    );
    env.cluster.kubectl_apply_text(&manifest).await.unwrap();
    // One operator that finds it there, and sees it deleted; the other objects are watched with it.
    let _operator = env.operator().await;
    let reason = r#"jsonpath={.status.conditions[?(@.type=="Stalled")].message}"#;
    poll("it is refused", DEADLINE, async || {
        let message = env.cluster.kubectl(&["get", "sapp", "deep-app", "-n", &env.namespace, "-o", reason]).await?;
        if message.contains("nested deeper than 64 levels") { Ok(()) } else { Err(message) }
    })
    .await
    .unwrap();
    env.cluster.kubectl(&["delete", "sapp", "deep-app", "-n", &env.namespace, "--timeout=30s"]).await.unwrap();
    env.app("other-app", json!({})).await;
    env.app_is("other-app", "True", "Succeeded").await;
}

#[tokio::test]
async fn conditions_that_cannot_be_decoded_are_written_anew_and_hold_up_no_deletion() {
    let env = TestEnv::new("garbage", program()).await;
    let operator = env.operator().await;
    let namespace = env.namespace.clone();
    let garbage = r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"X","message":"x","lastTransitionTime":"9999-12-31T23:59:59Z"}]}}"#;
    let spoil = async |name: &str| {
        let object = format!("sapp/{name}");
        let args = ["patch", &object, "-n", &namespace, "--subresource=status", "--type=merge", "-p", garbage];
        env.cluster.kubectl(&args).await.unwrap();
    };
    let conditions = async |name: &str| {
        let args = ["get", "sapp", name, "-n", &namespace, "-o", "jsonpath={.status.conditions}"];
        env.cluster.kubectl(&args).await
    };
    for name in ["mended-app", "deleted-app"] {
        env.app(name, json!({})).await;
        env.app_is(name, "True", "Succeeded").await;
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
    env.cluster.kubectl(&["delete", "sapp", "deleted-app", "-n", &namespace, "--wait=false"]).await.unwrap();
    let _operator = env.operator().await;
    poll("it is gone", DEADLINE, async || match conditions("deleted-app").await {
        Err(error) if error.contains("NotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    assert_eq!(env.remote_apps().await.len(), 1);
}
