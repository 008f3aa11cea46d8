//! Restarts after a kill during a create, and lost create responses.

use serde_json::json;

use crate::{
    program,
    support::{
        sandbox::{Action, Fault, When},
        test_env::TestEnv,
    },
};

/// Holds the POST of a create, kills the operator, and starts another operator.
async fn kill_with_held_post(name: &str, when: When, state: &str) {
    let env = TestEnv::new(name, program()).await;
    let operator = env.operator().await;
    let fault = Fault {
        method: Some("POST".to_owned()),
        route: Some("/v1/apps".to_owned()),
        when,
        action: Action::Hang,
        times: Some(1),
    };
    env.sandbox.add_fault(&fault).await.unwrap();
    env.app("my-app", json!({ "description": "desired" })).await;
    env.sandbox.call("the POST is held", 0, |call| call.method == "POST" && call.state == state).await.unwrap();
    operator.kill().unwrap();
    env.sandbox
        .call("the connection is closed", 0, |call| call.method == "POST" && call.state == "abandoned")
        .await
        .unwrap();
    env.sandbox.remove_faults().await.unwrap();

    let stored = env.api::<spice_cloud_operator::api::SpiceApp>().get("my-app").await.unwrap();
    let intent = stored.status.unwrap().create_intent.expect("the intent was stored before the POST");
    let _operator = env.operator().await;
    let app = env.app_is("my-app", "True", "Succeeded").await;
    let status = app.status.unwrap();
    let remote = env.remote_apps().await;
    assert_eq!(remote.len(), 1);
    assert_eq!(status.id, remote[0]["id"].as_i64());
    assert_eq!(status.incarnation, Some(format!("c-{}", intent.id)));
    assert_eq!(remote[0]["description"], "desired");
    let state = env.sandbox.state().await.unwrap();
    assert_eq!(state["apps"].as_array().unwrap().len(), 1, "no deleted app either");
}

#[tokio::test]
async fn kill_before_a_create_takes_effect_leads_to_one_app() {
    kill_with_held_post("kill-before", When::Before, "held").await;
}

#[tokio::test]
async fn kill_before_a_create_response_leads_to_one_app() {
    kill_with_held_post("kill-after", When::After, "applied-held").await;
}

#[tokio::test]
async fn lost_create_response_leads_to_one_app() {
    let env = TestEnv::new("cut", program()).await;
    let _operator = env.operator().await;
    let fault = Fault {
        method: Some("POST".to_owned()),
        route: Some("/v1/apps".to_owned()),
        when: When::After,
        action: Action::Close,
        times: Some(1),
    };
    env.sandbox.add_fault(&fault).await.unwrap();
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 1);
    assert_eq!(env.calls(0).await.iter().filter(|call| *call == "POST /v1/apps").count(), 1);
}
