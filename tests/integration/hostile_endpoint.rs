//! Unusual responses of the Management API: quotes of the request, pages, redirects and rare status codes.

use serde_json::json;
use spice_cloud_operator::api::SpiceApp;

use crate::support::{
    sandbox::{Action, Fault, When},
    test_env::{Kind, TestEnv, id_of},
};

#[tokio::test]
async fn words_of_errors_in_a_spicepod_change_no_reason() {
    let env = TestEnv::new("words").await;
    let _operator = env.start_operator().await;
    let spec = |description: &str, words: [&str; 2]| {
        let datasets = words.map(|name| json!({ "name": name }));
        json!({ "description": description, "spicepod": { "version": "v1", "datasets": datasets } })
    };
    let id = id_of(&env.apply_app_and_wait("my-app", spec("first", ["github", "scope"])).await);
    let refuse = async |words, body, reason| {
        let rejection = Action::Response { status: 403, headers: json!({}), body };
        let fault = Fault::new(When::Before, rejection).method("PUT").route("/v1/apps/{appId}");
        env.sandbox.add_fault(fault).await.unwrap();
        env.apply_app("my-app", spec("first", words)).await;
        env.wait_for_reason::<SpiceApp>("my-app", "False", reason).await;
        env.sandbox.remove_faults().await.unwrap();
    };
    let scope = json!({ "error": "Insufficient scope. Required: apps:write" });
    refuse(["scope", "apps:write"], scope, "Forbidden").await;
    let limit = json!({ "error": "no", "code": "plan_limit" });
    refuse(["plan_limit", "insufficient_scope"], limit, "PlanLimit").await;

    env.sandbox.change_repository(id, "connect").await.unwrap();
    env.apply_app("my-app", spec("second", ["github", "github_connected"])).await;
    let app = env.wait_for_reason::<SpiceApp>("my-app", "False", "RepositoryConnected").await;
    assert!(app.ready_message().contains("connected repository"), "{}", app.ready_message());
    assert_eq!(env.remote_apps().await[0]["description"], "second", "the other fields are updated");
}
