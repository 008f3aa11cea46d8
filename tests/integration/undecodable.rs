//! Objects that the operator cannot decode: the operator reports them, reconciles other objects, and can delete them.

use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceSecret};

use crate::secrets::{expected_secrets, one_key_spec, remote_secrets, wait_for_next_second};
use crate::support::{
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, eventually},
    test_env::{TestEnv, id_of},
};

/// Returns the value of a JSONPath in an object (`kind/name`).
async fn get_jsonpath(env: &TestEnv, object: &str, template: &str) -> Result<String, String> {
    let template = format!("jsonpath={template}");
    env.kubectl(&["get", object, "-o", &template]).await
}

/// Applies a merge patch to an object.
async fn patch(env: &TestEnv, object: &str, patch: &Value, flags: &[&str]) -> Result<String, String> {
    let patch = patch.to_string();
    env.kubectl(&[&["patch", object, "--type=merge", "-p", &patch], flags].concat()).await
}

/// Deletes an object (`kind/name`) and waits for its end. The client of the tests cannot decode the object.
async fn delete(env: &TestEnv, object: &str) {
    env.kubectl(&["delete", object, "--timeout=30s"]).await.unwrap();
}

/// Waits until Ready of an object reports that this field cannot be decoded.
async fn wait_for_undecodable(env: &TestEnv, object: &str, field: &str) {
    let expected = format!("InvalidSpec False {field} cannot be decoded");
    eventually(&format!("{object} is {expected}"), DEADLINE, async || {
        let ready = r#"{range .status.conditions[?(@.type=="Ready")]}{.reason} {.status} {.message}{end}"#;
        let found = get_jsonpath(env, object, ready).await?;
        if found.starts_with(&expected) { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Removes the type of a spec field from the installed definition.
async fn remove_field_type(env: &TestEnv, kinds: &str, field: &str) {
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{field}");
    let loose = json!([{ "op": "replace", "path": path, "value": { "x-kubernetes-preserve-unknown-fields": true } }]);
    let loose = loose.to_string();
    let name = format!("{kinds}.cloud.spice.ai");
    env.cluster.kubectl(&["patch", "crd", &name, "--type=json", "-p", &loose]).await.unwrap();
}

/// Patches an object with an invalid spec, after the API server has loaded the definition without the type.
async fn patch_invalid(env: &TestEnv, object: &str, spec: &Value) {
    eventually("the API server accepts the invalid spec", DEADLINE, async || {
        patch(env, object, spec, &["--dry-run=server"]).await.map(drop)
    })
    .await;
    patch(env, object, spec, &[]).await.unwrap();
}

#[tokio::test]
async fn undecodable_app_is_reported_and_does_not_block_other_apps() {
    if use_existing_cluster() {
        // A test must not change the definitions of an existing cluster.
        return;
    }
    let env = TestEnv::with_dedicated_control_plane("undecodable").await;
    let operator = env.start_operator().await;
    for name in ["corrected-app", "deleted-app", "other-app"] {
        env.apply_app_and_wait(name, json!({})).await;
    }
    remove_field_type(&env, "spiceapps", "description").await;
    let undecodable = ["sapp/corrected-app", "sapp/deleted-app"];
    for object in undecodable {
        patch_invalid(&env, object, &json!({ "spec": { "description": 5 } })).await;
    }
    apply_definitions(&env.cluster).await.unwrap();
    for object in undecodable {
        wait_for_undecodable(&env, object, "spec.description").await;
    }
    let query = ["--field-selector=reason=Undecodable", "--output=jsonpath={.items[*].message}"];
    let found = env.kubectl(&[&["get", "events"], &query[..]].concat()).await.unwrap();
    assert!(found.contains("spec.description cannot be decoded"), "{found}");

    let other = env.apply_app_and_wait("other-app", json!({ "description": "edited" })).await;
    let remote = env.remote_apps().await;
    let is_updated =
        |app: &Value| app["id"].as_i64() == other.status.as_ref().unwrap().id && app["description"] == "edited";
    assert!(remote.iter().any(is_updated), "{remote:?}");

    // The same behaviour after a restart of the operator.
    operator.terminate().await.unwrap();
    let _operator = env.start_operator().await;
    delete(&env, "sapp/deleted-app").await;
    assert_eq!(env.remote_apps().await.len(), 2);
    patch(&env, "sapp/corrected-app", &json!({ "spec": { "description": "corrected" } }), &[]).await.unwrap();
    env.wait_for_ready::<SpiceApp>("corrected-app").await;
    assert_eq!(env.remote_apps().await.len(), 2);
}

#[tokio::test]
async fn interval_of_a_looser_schema_is_reported_and_does_not_end_the_process() {
    if use_existing_cluster() {
        // A test must not change the definitions of an existing cluster.
        return;
    }
    let env = TestEnv::with_dedicated_control_plane("undecodable-interval").await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.set_values("src", json!({ "TOKEN": "fake-value-1" })).await;
    env.apply_secret_and_wait("src", json!({ "appRef": { "name": "my-app" } })).await;
    for kinds in ["spiceorganizations", "spiceapps", "spicesecrets"] {
        remove_field_type(&env, kinds, "interval").await;
    }
    let token = json!({ "personalAccessToken": { "secretRef": { "name": "spice-credentials" } } });
    let invalid = [
        ("SpiceOrganization", json!({ "interval": "1h-1m", "credentials": token })),
        ("SpiceApp", json!({ "interval": "1h-1m" })),
        ("SpiceSecret", json!({ "interval": "1h-1m", "appRef": { "name": "my-app" }, "secretRef": { "name": "src" } })),
    ];
    for (kind, spec) in invalid {
        let metadata = json!({ "name": "invalid", "namespace": env.namespace });
        let object =
            json!({ "apiVersion": "cloud.spice.ai/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
        eventually("the API server accepts the invalid interval", DEADLINE, async || {
            env.cluster.kubectl_apply_text(&object.to_string()).await.map(drop)
        })
        .await;
    }
    let check = async |description: &str| {
        for object in ["sorg/invalid", "sapp/invalid", "ssec/invalid"] {
            wait_for_undecodable(&env, object, "spec.interval").await;
            let conditions = get_jsonpath(&env, object, "{.status.conditions}").await.unwrap();
            let form = "interval must be a duration of 1s or more, such as 90s, 10m or 1h30m";
            assert!(conditions.contains(form), "{object}: {conditions}");
        }
        env.apply_app_and_wait("my-app", json!({ "description": description })).await;
        assert_eq!(env.remote_apps().await.len(), 1);
    };
    check("by a process that watches the objects").await;
    operator.terminate().await.unwrap();
    let _operator = env.start_operator().await;
    check("by a process that lists the objects").await;
    for object in ["ssec/invalid", "sapp/invalid", "sorg/invalid"] {
        delete(&env, object).await;
    }
}

#[tokio::test]
async fn undecodable_secret_is_not_rotated_and_can_be_deleted() {
    if use_existing_cluster() {
        // A test must not change the definitions of an existing cluster.
        return;
    }
    let env = TestEnv::with_dedicated_control_plane("undecodable-secret").await;
    let operator = env.start_operator().await;
    let app = id_of(&env.apply_app_and_wait("my-app", json!({})).await);
    env.set_values("src", json!({ "TOKEN": "fake-value-1" })).await;
    for name in ["corrected", "deleted"] {
        let spec = one_key_spec("src", "TOKEN", name);
        env.apply_secret_and_wait(name, spec).await;
    }
    // A younger SpiceSecret requests the name of an older one. Creation timestamps have a resolution of 1 s.
    wait_for_next_second().await;
    let conflict = "Name \"corrected\" is owned by SpiceSecret \"corrected\"";
    let spec = one_key_spec("src", "TOKEN", "corrected");
    env.apply_secret("younger", spec).await;
    env.wait_for_message::<SpiceSecret>("younger", "NameTaken", conflict).await;
    remove_field_type(&env, "spicesecrets", "suspend").await;
    for object in ["ssec/corrected", "ssec/deleted"] {
        patch_invalid(&env, object, &json!({ "spec": { "suspend": "maybe" } })).await;
    }
    apply_definitions(&env.cluster).await.unwrap();
    for object in ["ssec/corrected", "ssec/deleted"] {
        wait_for_undecodable(&env, object, "spec.suspend").await;
    }
    // The same behaviour after a restart of the operator.
    operator.terminate().await.unwrap();
    let _operator = env.start_operator().await;
    env.set_values("src", json!({ "TOKEN": "fake-value-2" })).await;
    delete(&env, "ssec/deleted").await;
    env.reconcile::<SpiceSecret>("younger").await;
    assert_eq!(remote_secrets(&env, app).await, expected_secrets(&[("corrected", "fake-value-1")]));
    // The deletion of the younger SpiceSecret does not delete the secret that both statuses record.
    env.wait_for_message::<SpiceSecret>("younger", "NameTaken", conflict).await;
    env.delete_and_wait::<SpiceSecret>("younger").await;
    assert_eq!(remote_secrets(&env, app).await, expected_secrets(&[("corrected", "fake-value-1")]));
    patch(&env, "ssec/corrected", &json!({ "spec": { "suspend": null } }), &[]).await.unwrap();
    env.wait_for_ready::<SpiceSecret>("corrected").await;
    assert_eq!(remote_secrets(&env, app).await, expected_secrets(&[("corrected", "fake-value-2")]));
}

#[tokio::test]
async fn undecodable_status_is_reported_and_creates_no_second_app() {
    let env = TestEnv::new("undecodable-status").await;
    let operator = env.start_operator().await;
    for name in ["corrected-app", "deleted-app"] {
        env.apply_app_and_wait(name, json!({})).await;
    }
    operator.terminate().await.unwrap();
    let invalid = json!({ "status": { "createIntent": { "id": "x", "name": "x", "at": "9999-12-31T23:59:59Z" } } });
    for name in ["sapp/corrected-app", "sapp/deleted-app"] {
        patch(&env, name, &invalid, &["--subresource=status"]).await.unwrap();
    }
    let _operator = env.start_operator().await;
    for name in ["sapp/corrected-app", "sapp/deleted-app"] {
        wait_for_undecodable(&env, name, "status.createIntent").await;
    }
    delete(&env, "sapp/deleted-app").await;
    let none = json!({ "status": { "createIntent": null } });
    patch(&env, "sapp/corrected-app", &none, &["--subresource=status"]).await.unwrap();
    env.wait_for_ready::<SpiceApp>("corrected-app").await;
    assert_eq!(env.remote_apps().await.len(), 1);
    assert_eq!(env.count_posts().await, 2);
}

#[tokio::test]
async fn deeply_nested_object_is_rejected_and_does_not_block_other_apps() {
    let env = TestEnv::new("deep").await;
    let manifest = format!(
        "{{\"apiVersion\":\"cloud.spice.ai/v1alpha1\",\"kind\":\"SpiceApp\",\"metadata\":{{\"name\":\"deep-app\",\"namespace\":\"{}\"}},\"spec\":{{\"spicepod\":{}1{}}}}}",
        env.namespace,
        "{\"a\":".repeat(300),
        "}".repeat(300)
    );
    env.cluster.kubectl_apply_text(&manifest).await.unwrap();
    // The operator lists the object at its start, and its watch delivers the deletion.
    let _operator = env.start_operator().await;
    let stalled_message = r#"{.status.conditions[?(@.type=="Stalled")].message}"#;
    eventually("the object is rejected", DEADLINE, async || {
        let message = get_jsonpath(&env, "sapp/deep-app", stalled_message).await?;
        if message.contains("nested deeper than 64 levels") { Ok(()) } else { Err(message) }
    })
    .await;
    delete(&env, "sapp/deep-app").await;
    env.apply_app_and_wait("other-app", json!({})).await;
}

#[tokio::test]
async fn undecodable_conditions_are_replaced_and_do_not_block_deletion() {
    let env = TestEnv::new("undecodable-conditions").await;
    let operator = env.start_operator().await;
    let invalid = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "X", "message": "x", "lastTransitionTime": "9999-12-31T23:59:59Z",
    }] } });
    let invalidate = async |object: &str| {
        patch(&env, object, &invalid, &["--subresource=status"]).await.unwrap();
    };
    let conditions = async |object: &str| get_jsonpath(&env, object, "{.status.conditions}").await;
    for name in ["corrected-app", "deleted-app"] {
        env.apply_app_and_wait(name, json!({})).await;
    }
    invalidate("sapp/corrected-app").await;
    eventually("the operator replaces the conditions", DEADLINE, async || {
        let found = conditions("sapp/corrected-app").await?;
        if found.contains("Succeeded") && !found.contains("9999") { Ok(()) } else { Err(found) }
    })
    .await;

    operator.terminate().await.unwrap();
    invalidate("sapp/deleted-app").await;
    env.kubectl(&["delete", "sapp/deleted-app", "--wait=false"]).await.unwrap();
    let _operator = env.start_operator().await;
    eventually("the app is deleted", DEADLINE, async || match conditions("sapp/deleted-app").await {
        Err(error) if error.contains("NotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(env.remote_apps().await.len(), 1);
}
