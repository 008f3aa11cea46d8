//! Unusual responses of the Management API: quotes of the request, pages, redirects and rare status codes.

use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization, SpiceSecret};

use crate::support::{
    hostile::{HostileEndpoint, RawAnswer},
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

/// A hostile endpoint in front of the sandbox of an environment.
async fn hostile_env(name: &str) -> (TestEnv, HostileEndpoint) {
    let env = TestEnv::new(name).await;
    let hostile = HostileEndpoint::start(env.sandbox.url()).await.unwrap();
    env.apply_organization(&hostile.url()).await;
    (env, hostile)
}

fn count(hostile: &HostileEndpoint, method: &str) -> usize {
    hostile.requests().iter().filter(|request| request.call.starts_with(method)).count()
}

#[tokio::test]
async fn refused_create_leaves_no_intent_and_delays_no_deletion() {
    let (env, hostile) = hostile_env("refused-create").await;
    let _operator = env.start_operator_with(&["--create-confirmation-timeout=1h"]).await;
    for (status, reason) in [(402, "PlanLimit"), (405, "Rejected"), (413, "InvalidSpec"), (451, "Rejected")] {
        hostile.answer_times("POST", "/v1/apps", RawAnswer::page(status), 1);
        env.apply_app("my-app", json!({})).await;
        let app = env.wait_for_reason::<SpiceApp>("my-app", "False", reason).await;
        let message = app.ready_message();
        assert!(message.contains(&status.to_string()) && !message.contains("Sign in"), "{message}");
        assert_eq!(app.status.unwrap().create_intent, None, "{status}");
        env.delete_and_wait::<SpiceApp>("my-app").await;
    }
    // 409 and 408 leave the outcome unknown.
    for status in [408, 409] {
        hostile.answer_times("POST", "/v1/apps", RawAnswer::page(status), 1);
        env.apply_app("my-app", json!({})).await;
        let intent = |app: &SpiceApp| {
            app.has_ready("False", "RemoteUnavailable")
                && app.status.as_ref().is_some_and(|status| status.create_intent.is_some())
        };
        env.wait_for("my-app", "the intent is kept", intent).await;
        env.wait_for_ready::<SpiceApp>("my-app").await;
        env.delete_and_wait::<SpiceApp>("my-app").await;
    }
}

#[tokio::test]
async fn deletion_answered_with_a_page_is_repeated() {
    let (env, hostile) = hostile_env("deletion-page").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.set_values("src", json!({ "TOKEN": "fake-value" })).await;
    env.apply_secret_and_wait("src", json!({ "secretRef": { "name": "src" } })).await;

    hostile.answer_times("DELETE", "/v1/apps/*/secrets/*", RawAnswer::page(200), 1);
    hostile.answer_times("DELETE", "/v1/apps/*", RawAnswer::page(203), 1);
    env.delete::<SpiceSecret>("src").await;
    env.wait_for_message::<SpiceSecret>("src", "RemoteUnavailable", "does not confirm the deletion").await;
    env.wait_for_deletion::<SpiceSecret>("src").await;
    env.delete::<SpiceApp>("my-app").await;
    env.wait_for_message::<SpiceApp>("my-app", "RemoteUnavailable", "does not confirm the deletion").await;
    assert_eq!(env.remote_apps().await.len(), 1, "the app still exists");
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    assert_eq!((env.remote_apps().await.len(), count(&hostile, "DELETE")), (0, 4));
}

#[tokio::test]
async fn redirects_pages_and_foreign_services_are_explained_without_their_content() {
    let (env, hostile) = hostile_env("redirects").await;
    let _operator = env.start_operator().await;
    let foreign = |status, body: &'static str| RawAnswer::new(status, body).header("content-type", "application/json");
    for (answer, reason, text) in [
        (
            RawAnswer::redirect(308, "https://elsewhere.example/fake-path"),
            "RemoteUnavailable",
            "redirects to https://elsewhere.example",
        ),
        (RawAnswer::page(200), "RemoteUnavailable", "a page instead of JSON"),
        (foreign(200, r#"{"internal":"fake-data"}"#), "RemoteUnavailable", "does not match"),
        (foreign(400, r#"{"message":"fake-data"}"#), "InvalidSpec", "400 Bad Request"),
        (foreign(405, r#"["fake-data"]"#), "Rejected", "405 Method Not Allowed"),
        (RawAnswer::new(503, "fake-data"), "RemoteUnavailable", "503 Service Unavailable"),
    ] {
        hostile.forward_all();
        hostile.answer("GET", "/v1/orgs", answer);
        env.request_reconcile::<SpiceOrganization>("default").await;
        let organization = env.wait_for_message::<SpiceOrganization>("default", reason, text).await;
        let message = organization.ready_message();
        assert!(!message.contains("fake") && !message.contains("Sign in"), "{message}");
    }
}

#[tokio::test]
async fn oversized_credential_is_reported_with_its_size() {
    let env = TestEnv::without_credential("oversized").await;
    let _operator = env.start_operator().await;
    env.set_credential(&"x".repeat(900_000)).await;
    env.wait_for_message::<SpiceOrganization>("default", "Rejected", "The credential has 900000 bytes").await;
}

#[tokio::test]
async fn page_for_a_create_does_not_disable_the_owner_tags() {
    let (env, hostile) = hostile_env("tags-page").await;
    let _operator = env.start_operator().await;
    hostile.answer_times("POST", "/v1/apps", RawAnswer::page(400), 1);
    env.apply_app("my-app", json!({})).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "InvalidSpec").await;
    assert_eq!(count(&hostile, "POST"), 1, "no attempt without tags");
    env.request_reconcile::<SpiceApp>("my-app").await;
    let app = env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(app.status.unwrap().tags_unsupported, None);
    assert!(env.remote_apps().await[0]["tags"]["spice-operator-owner"].is_string());

    // One JSON rejection marks one app, and no other app of the organization.
    let rejection = RawAnswer::new(400, r#"{"error":"no"}"#);
    hostile.answer_times("POST", "/v1/apps", rejection, 1);
    let app = env.apply_app_and_wait("untagged", json!({})).await;
    assert_eq!(app.status.unwrap().tags_unsupported, Some(true));
    let app = env.apply_app_and_wait("tagged", json!({})).await;
    assert_eq!(app.status.unwrap().tags_unsupported, None);
    let events = env.kubectl(&["get", "events", "-o", "yaml"]).await.unwrap();
    assert_eq!(events.matches("reason: TagsUnsupported").count(), 1, "{events}");
}

#[tokio::test]
async fn response_with_the_app_of_another_object_changes_no_app() {
    let (env, hostile) = hostile_env("other-app").await;
    let _operator = env.start_operator().await;
    let id = id_of(&env.apply_app_and_wait("first-app", json!({ "description": "first" })).await);
    let wrong = json!({ "id": id, "name": "second-app" }).to_string();
    hostile.answer_times("POST", "/v1/apps", RawAnswer::new(201, wrong), 1);
    env.apply_app("second-app", json!({ "description": "second" })).await;
    let second = env.wait_for_ready::<SpiceApp>("second-app").await;
    assert_ne!(id_of(&second), id, "the second attempt creates another app");
    let apps = env.remote_apps().await;
    let first = apps.iter().find(|app| app["id"] == id).unwrap();
    assert_eq!((&first["name"], &first["description"]), (&json!("first-app"), &json!("first")));
    assert_eq!(count(&hostile, "PUT"), 0);
}
