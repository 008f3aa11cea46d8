//! SpiceOrganization: connection, suspension, deletion and organization binding.

use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        sandbox::{Action, Fault, Sandbox, When},
        test_env::{Kind, TestEnv},
    },
};

/// A fault of every request.
fn fail_all(status: u16) -> Fault {
    Fault::new(When::Before, Action::Status(status))
}

/// Sets an annotation of the SpiceOrganization `default`.
async fn annotate(env: &TestEnv, annotation: &str, value: &str) {
    env.patch::<SpiceOrganization>("default", json!({ "metadata": { "annotations": { annotation: value } } })).await;
}

/// A 404 for a path that older API versions do not serve.
fn missing_path(path: &str) -> Fault {
    let action = Action::Response { status: 404, headers: json!({}), body: json!({ "error": "Not found" }) };
    Fault::new(When::Before, action).route(path)
}

/// Only the current API version lists the organizations of a credential.
const CURRENT: &[&str] = &["--profile", "current"];

#[tokio::test]
async fn app_converges_after_an_api_outage_without_a_second_create() {
    let env = TestEnv::new("down").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({ "description": "first" })).await;
    for status in [500, 503, 429] {
        env.sandbox.add_fault(fail_all(status)).await.unwrap();
        let reason = if status == 429 { "RateLimited" } else { "RemoteUnavailable" };
        env.apply_app("my-app", json!({ "description": format!("after {status}") })).await;
        env.wait_for_reason::<SpiceApp>("my-app", "False", reason).await;
        env.sandbox.remove_faults().await.unwrap();
        env.wait_for_ready::<SpiceApp>("my-app").await;
        assert_eq!(env.remote_apps().await[0]["description"], format!("after {status}"));
    }
    assert_eq!(env.count_posts().await, 1);
}

#[tokio::test]
async fn invalid_responses_are_outages_and_redirects_are_not_followed() {
    let env = TestEnv::new("responses").await;
    let redirect_target = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let _operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    let redirect = format!("{}/v1/apps", redirect_target.url());
    for (status, headers, body, reason) in [
        (307, json!({ "location": redirect }), json!({}), "RemoteUnavailable"),
        (200, json!({}), json!({}), "RemoteUnavailable"),
        (200, json!({}), json!(""), "RemoteUnavailable"),
        (404, json!({}), json!("<html>"), "RemoteUnavailable"),
        (404, json!({}), json!({ "error": "Not found" }), "RemoteUnavailable"),
        (418, json!({}), json!(null), "Rejected"),
    ] {
        let response = format!("{status} {body}");
        let action = Action::Response { status, headers, body };
        env.sandbox.add_fault(Fault::new(When::Before, action).route("/v1/apps")).await.unwrap();
        env.apply_app("my-app", json!({})).await;
        env.wait_for_reason::<SpiceApp>("my-app", "False", reason).await;
        assert_eq!(env.remote_apps().await, [json!(null); 0], "{response}");
        env.sandbox.remove_faults().await.unwrap();
        env.wait_for_ready::<SpiceApp>("my-app").await;
        env.delete_and_wait::<SpiceApp>("my-app").await;
    }
    assert_eq!(redirect_target.revision().await.unwrap(), 0, "no request reached the redirect target");
}

#[tokio::test]
async fn outage_does_not_change_a_ready_status() {
    let env = TestEnv::new("flap").await;
    let operator = env.start_operator().await;
    let before = env.apply_app_and_wait("my-app", json!({})).await;
    env.sandbox.add_fault(fail_all(503)).await.unwrap();
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    env.request_reconcile::<SpiceApp>("my-app").await;
    operator.wait_for_reconciles("SpiceApp", reconciles + 3).await.unwrap();
    let after = env.api::<SpiceApp>().get("my-app").await.unwrap();
    assert_eq!(after.status, before.status);
}

#[tokio::test]
async fn unreachable_endpoint_is_reported_and_retried() {
    let env = TestEnv::new("absent").await;
    let _operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    // No process listens on the address of a killed sandbox.
    let killed = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let address = killed.url().to_owned();
    killed.process().kill().unwrap();
    env.apply_organization(&address).await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "RemoteUnavailable").await;
    let message = organization.ready_message();
    assert!(message.contains("Connection refused"), "{message}");
    env.apply_app("my-app", json!({})).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "DependencyNotReady").await;
    env.apply_organization(env.sandbox.url()).await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn https_url_of_a_server_without_tls_is_reported() {
    let env = TestEnv::new("plain").await;
    let _operator = env.start_operator().await;
    env.apply_organization(&env.sandbox.url().replace("http://", "https://")).await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "RemoteUnavailable").await;
    let message = organization.ready_message();
    assert!(message.contains("the server does not speak TLS"), "{message}");
    env.apply_organization(env.sandbox.url()).await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
}

#[tokio::test]
async fn suspended_organization_blocks_all_writes() {
    let env = TestEnv::new("suspended").await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({ "description": "first" })).await;
    let suspend = async |value: &str| annotate(&env, "cloud.spice.ai/suspend", value).await;
    suspend("true").await;
    env.apply_app("my-app", json!({ "description": "second" })).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "DependencyNotReady").await;
    let before = env.sandbox.revision().await.unwrap();
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    env.delete::<SpiceApp>("my-app").await;
    operator.wait_for_reconciles("SpiceApp", reconciles + 2).await.unwrap();
    assert_eq!(env.calls_since(before).await, [""; 0], "the operator sends no deletion");
    suspend("false").await;
    env.wait_for_deletion::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn organization_in_use_is_deleted_after_its_apps() {
    let env = TestEnv::new("in-use").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    env.delete::<SpiceOrganization>("default").await;
    env.wait_for("default", "a message with the app", |organization: &SpiceOrganization| {
        let reconciling = organization.condition("Reconciling");
        reconciling.is_some_and(|condition| condition.message.contains("SpiceApp \"my-app\""))
    })
    .await;
    // A terminating organization serves existing apps and accepts no new app.
    env.apply_app("new-app", json!({})).await;
    let new = env.wait_for_reason::<SpiceApp>("new-app", "False", "DependencyNotReady").await;
    assert!(new.ready_message().contains("it is being deleted"));
    env.apply_app_and_wait("my-app", json!({ "description": "edited" })).await;
    assert_eq!(env.remote_apps().await.len(), 1);
    env.delete::<SpiceApp>("new-app").await;
    env.delete_and_wait::<SpiceApp>("my-app").await;
    env.wait_for_deletion::<SpiceOrganization>("default").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn suspension_stops_a_deletion_that_has_already_read_the_app() {
    let env = TestEnv::new("suspended-delete").await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    let fault = Fault::new(When::After, Action::Hang).method("GET").route("/v1/apps/{appId}").times(1);
    env.sandbox.add_fault(fault).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    env.delete::<SpiceApp>("my-app").await;
    env.sandbox.wait_for_call("the response hangs", before, |call| call.state == "applied-held").await.unwrap();
    annotate(&env, "cloud.spice.ai/suspend", "Yes").await;
    env.sandbox.remove_faults().await.unwrap();
    operator.wait_for_reconciles("SpiceApp", reconciles + 2).await.unwrap();
    assert!(!env.calls_since(before).await.iter().any(|call| call.starts_with("DELETE")));
    annotate(&env, "cloud.spice.ai/suspend", "false").await;
    env.wait_for_deletion::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn edit_cancels_the_read_of_the_previous_generation() {
    let env = TestEnv::new("overtaken").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({ "description": "first" })).await;
    let fault = Fault::new(When::Before, Action::Hang).method("GET").route("/v1/apps/{appId}").times(1);
    env.sandbox.add_fault(fault).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    env.apply_app("my-app", json!({ "description": "second" })).await;
    env.sandbox.wait_for_call("the read hangs", before, |call| call.state == "held").await.unwrap();
    env.apply_app_and_wait("my-app", json!({ "description": "third" })).await;
    assert_eq!(env.remote_apps().await[0]["description"], "third");
    let puts: Vec<_> = env.calls_since(before).await.into_iter().filter(|call| call.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 1, "the operator never sends the second generation");
}

#[tokio::test]
async fn credential_of_another_organization_blocks_apps_until_accepted() {
    let env = TestEnv::with_sandbox("mismatch", CURRENT).await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({ "description": "first" })).await;
    let organization = env.wait_for_ready::<SpiceOrganization>("default").await;
    let status = organization.status.unwrap();
    assert_eq!(status.organization.unwrap().name.as_deref(), Some("sandbox"));
    assert!(status.images.contains_key("stable") && status.limits.is_some(), "{:?}", status.images);
    assert_eq!(status.unavailable_paths, [""; 0]);

    env.set_credential("sandbox-fake-token-elsewhere").await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "OrganizationMismatch").await;
    let message = organization.ready_message();
    assert!(message.contains("cloud.spice.ai/accept-organization=2"), "{message}");
    env.apply_app("my-app", json!({ "description": "second" })).await;
    env.apply_app("other-app", json!({})).await;
    env.wait_for_reason::<SpiceApp>("my-app", "False", "DependencyNotReady").await;
    env.wait_for_reason::<SpiceApp>("other-app", "False", "DependencyNotReady").await;
    let calls = env.sandbox.calls_by("elsewhere", 0).await.unwrap();
    assert!(calls.iter().all(|call| call.path == "/v1/orgs"), "{calls:?}");

    env.set_credential("sandbox-fake-token-operator").await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    env.wait_for_ready::<SpiceApp>("other-app").await;
    assert_eq!(env.remote_apps().await.len(), 2);

    env.set_credential("sandbox-fake-token-elsewhere").await;
    env.wait_for_reason::<SpiceOrganization>("default", "False", "OrganizationMismatch").await;
    annotate(&env, "cloud.spice.ai/accept-organization", "2").await;
    let organization = env.wait_for_ready::<SpiceOrganization>("default").await;
    assert_eq!(organization.status.unwrap().organization.unwrap().id, "2");
}

#[tokio::test]
async fn two_spellings_of_one_endpoint_are_one_organization() {
    for (name, args) in [("spelling", &[][..]), ("spelling-id", CURRENT)] {
        let env = TestEnv::with_sandbox(name, args).await;
        let spelling = format!("{}/", env.sandbox.url().replace("http://127.0.0.1", "http://LOCALHOST"));
        let bound = env.api::<SpiceOrganization>().get("default").await.unwrap();
        let other =
            json!({ "endpoint": spelling, "allowInsecureEndpoint": true, "credentials": bound.spec.credentials });
        env.apply::<SpiceOrganization>("other", other).await;
        let _operator = env.start_operator().await;
        let before = env.wait_for_ready::<SpiceOrganization>("default").await.status.unwrap();
        env.wait_for_ready::<SpiceOrganization>("other").await;

        env.apply_app_and_wait("first", json!({ "name": "my-app", "description": "first" })).await;
        let second = json!({
            "name": "My-App", "description": "second", "organizationRef": { "name": "other" }, "adoptionPolicy": "Adopt",
        });
        env.apply_app("second", second).await;
        let second = env.wait_for_reason::<SpiceApp>("second", "False", "NameTaken").await;
        assert!(second.ready_message().contains("/first. "), "{}", second.ready_message());

        env.apply_organization(&spelling).await;
        let after = env.wait_for_ready::<SpiceOrganization>("default").await.status.unwrap();
        assert_eq!((after.endpoint, after.organization), (before.endpoint, before.organization));
        env.apply_app_and_wait("first", json!({ "name": "my-app", "description": "third" })).await;
        assert_eq!(env.remote_apps().await[0]["description"], "third");
    }
}

#[tokio::test]
async fn spec_selects_one_of_several_organizations() {
    let env = TestEnv::with_sandbox("several", CURRENT).await;
    env.set_credential("sandbox-fake-token-both").await;
    let _operator = env.start_operator().await;
    let organization = env.wait_for_reason::<SpiceOrganization>("default", "False", "InvalidSpec").await;
    let message = organization.ready_message();
    assert!(message.contains("elsewhere, sandbox"), "{message}");
    env.patch::<SpiceOrganization>("default", json!({ "spec": { "organization": "elsewhere" } })).await;
    let organization = env.wait_for_ready::<SpiceOrganization>("default").await;
    assert_eq!(organization.status.unwrap().organization.unwrap().id, "2");
    env.apply_app_and_wait("my-app", json!({})).await;
    assert_eq!(env.remote_apps().await[0]["org"], "elsewhere");
}

#[tokio::test]
async fn paths_missing_in_an_older_api_do_not_affect_readiness() {
    let env = TestEnv::without_credential("older").await;
    for path in ["/v1/orgs", "/v1/limits", "/v1/container-images"] {
        env.sandbox.add_fault(missing_path(path)).await.unwrap();
    }
    let _operator = env.start_operator().await;
    env.set_credential("sandbox-fake-token-operator").await;
    let status = env.wait_for_ready::<SpiceOrganization>("default").await.status.unwrap();
    assert_eq!(status.unavailable_paths, ["/v1/orgs", "/v1/container-images", "/v1/limits"]);
    assert_eq!((status.organization, status.endpoint.as_deref()), (None, Some(env.sandbox.url())));
    env.apply_app_and_wait("my-app", json!({})).await;
}
