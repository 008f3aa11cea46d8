//! Restarts after a kill during a create, and lost create responses.

use serde_json::json;
use spice_cloud_operator::api::SpiceApp;

use crate::support::{
    sandbox::{Action, Fault, When},
    test_env::TestEnv,
};

/// Kills the operator while the POST of a create is held, before and after the POST takes effect.
#[tokio::test]
async fn kill_during_a_create_leads_to_one_app() {
    for (name, when, state) in [("kill-before", When::Before, "held"), ("kill-after", When::After, "applied-held")] {
        kill_during_create(name, when, state).await;
    }
}

async fn kill_during_create(name: &str, when: When, state: &str) {
    let env = TestEnv::new(name).await;
    let operator = env.start_operator().await;
    let fault = Fault::new(when, Action::Hang).method("POST").route("/v1/apps").times(1);
    env.sandbox.add_fault(fault).await.unwrap();
    env.apply_app("my-app", json!({ "description": "desired" })).await;
    env.sandbox
        .wait_for_call("the POST is held", 0, |call| call.method == "POST" && call.state == state)
        .await
        .unwrap();
    operator.kill().unwrap();
    env.sandbox
        .wait_for_call("the connection is closed", 0, |call| call.method == "POST" && call.state == "abandoned")
        .await
        .unwrap();
    env.sandbox.remove_faults().await.unwrap();

    let stored = env.api::<SpiceApp>().get("my-app").await.unwrap();
    let intent = stored.status.unwrap().create_intent.expect("the intent was stored before the POST");
    let _operator = env.start_operator().await;
    let app = env.wait_for_ready::<SpiceApp>("my-app").await;
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
async fn lost_create_response_leads_to_one_app() {
    let env = TestEnv::new("cut").await;
    let _operator = env.start_operator().await;
    let fault = Fault::new(When::After, Action::Close).method("POST").route("/v1/apps").times(1);
    env.sandbox.add_fault(fault).await.unwrap();
    env.apply_app_and_wait("my-app", json!({})).await;
    assert_eq!(env.remote_apps().await.len(), 1);
    assert_eq!(env.count_posts().await, 1);
}
