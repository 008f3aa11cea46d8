//! Spicepods above the limit, up to the size limit of the API server.

use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceApp;

use crate::support::test_env::TestEnv;

/// A spicepod of about 1.24 MB with many small values.
fn oversized() -> Value {
    let dataset = |number: usize| {
        let acceleration = json!({ "enabled": true, "refresh_interval": "10s" });
        json!({ "name": format!("dataset_{number:05}"), "from": format!("s3://bucket/{number:05}"), "acceleration": acceleration })
    };
    let datasets: Vec<Value> = (0..10_000).map(dataset).collect();
    json!({ "version": "v1", "kind": "Spicepod", "name": "app", "datasets": datasets })
}

/// The stored object, as no type of the operator decodes it.
async fn stored(env: &TestEnv, name: &str) -> Value {
    let text = env.kubectl(&["get", "sapp", name, "-o", "json", "--show-managed-fields"]).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_spicepod_above_the_limit_is_reported_with_its_length_and_stays_in_kubernetes() {
    let env = TestEnv::new("oversized").await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({ "spicepod": { "name": "app" } })).await;
    let spicepod = oversized();
    let length = spicepod.to_string().len();
    let message = format!("spec.spicepod: {length} bytes as JSON; the maximum is 262144");
    for name in ["my-app", "new-app"] {
        env.apply_app(name, json!({ "spicepod": spicepod })).await;
    }
    // A list delivers the objects after the restart, a watch before.
    for operator in [Some(operator), None] {
        drop(operator);
        let _operator = env.start_operator().await;
        for name in ["my-app", "new-app"] {
            env.reconcile::<SpiceApp>(name).await;
            env.wait_for_message::<SpiceApp>(name, "InvalidSpec", &message).await;
            let object = stored(&env, name).await;
            assert!(object["spec"]["spicepod"] == spicepod, "a write of the operator changed the spec of {name}");
            let managers = object["metadata"]["managedFields"].as_array().unwrap();
            let owns = |manager: &Value| manager["fieldsV1"]["f:spec"].get("f:spicepod").is_some();
            assert!(managers.iter().any(owns), "a status write changed the owner of the spec of {name}");
        }
    }
    assert_eq!(env.remote_apps().await[0]["config"]["spicepod"], json!({ "name": "app" }));
    let _operator = env.start_operator().await;
    for name in ["my-app", "new-app"] {
        env.delete_and_wait::<SpiceApp>(name).await;
    }
    assert_eq!(env.remote_apps().await, [Value::Null; 0]);
}
