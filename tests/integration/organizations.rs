//! SpiceOrganization: connection, suspension, deletion and organization binding.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        sandbox::{Action, Fault, Sandbox, When},
        test_env::TestEnv,
    },
};

/// A fault of every request.
fn fail_all(status: u16) -> Fault {
    Fault { method: None, route: None, when: When::Before, action: Action::Status(status), times: None }
}

/// Applies a merge patch to the SpiceOrganization `default`.
pub async fn patch_organization(env: &TestEnv, patch: Value) {
    let api = env.api::<SpiceOrganization>();
    api.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// A 404 for a path that older API versions do not serve.
fn missing_path(path: &str) -> Fault {
    let action = Action::Answer { status: 404, headers: json!({}), body: json!({ "error": "Not found" }) };
    Fault { method: None, route: Some(path.to_owned()), when: When::Before, action, times: None }
}

/// Only the current API version lists the organizations of a credential.
const CURRENT: &[&str] = &["--profile", "current"];

#[tokio::test]
async fn app_converges_after_an_api_outage_without_a_second_create() {
    let env = TestEnv::new("down", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({ "description": "first" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    for status in [500, 503, 429] {
        env.sandbox.add_fault(&fail_all(status)).await.unwrap();
        let reason = if status == 429 { "RateLimited" } else { "RemoteUnavailable" };
        env.app("my-app", json!({ "description": format!("after {status}") })).await;
        env.app_is("my-app", "False", reason).await;
        env.sandbox.remove_faults().await.unwrap();
        env.app_is("my-app", "True", "Succeeded").await;
        assert_eq!(env.remote_apps().await[0]["description"], format!("after {status}"));
    }
    assert_eq!(env.calls(0).await.iter().filter(|call| call.starts_with("POST")).count(), 1);
}

#[tokio::test]
async fn invalid_responses_are_outages_and_redirects_are_not_followed() {
    let env = TestEnv::new("responses", program()).await;
    let redirect_target = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let _operator = env.operator().await;
    env.organization_is("True", "Succeeded").await;
    let redirect = format!("{}/v1/apps", redirect_target.url());
    for (status, headers, body) in [
        (307, json!({ "location": redirect }), json!({})),
        (200, json!({}), json!({})),
        (200, json!({}), json!("")),
        (404, json!({}), json!("<html>")),
        (404, json!({}), json!({ "error": "Not found" })),
        (418, json!({}), json!(null)),
    ] {
        let response = format!("{status} {body}");
        let action = Action::Answer { status, headers, body };
        let route = Some("/v1/apps".to_owned());
        env.sandbox.add_fault(&Fault { method: None, route, when: When::Before, action, times: None }).await.unwrap();
        env.app("my-app", json!({})).await;
        env.app_is("my-app", "False", "RemoteUnavailable").await;
        assert_eq!(env.remote_apps().await, [json!(null); 0], "{response}");
        env.sandbox.remove_faults().await.unwrap();
        env.app_is("my-app", "True", "Succeeded").await;
        env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceApp>("my-app").await;
    }
    assert_eq!(redirect_target.revision().await.unwrap(), 0, "no request reached the redirect target");
}

#[tokio::test]
async fn outage_does_not_change_a_ready_status() {
    let env = TestEnv::new("flap", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    let before = env.app_is("my-app", "True", "Succeeded").await;
    env.sandbox.add_fault(&fail_all(503)).await.unwrap();
    let reconciles = operator.metrics().await.unwrap().reconciles("SpiceApp") as u64;
    env.request_reconcile("my-app").await;
    env.reconciles(&operator, "SpiceApp", reconciles + 3).await;
    let after = env.api::<SpiceApp>().get("my-app").await.unwrap();
    assert_eq!(after.status, before.status);
}

#[tokio::test]
async fn unreachable_endpoint_is_reported_and_retried() {
    let env = TestEnv::new("absent", program()).await;
    let _operator = env.operator().await;
    env.organization_is("True", "Succeeded").await;
    // No process listens on the address of a killed sandbox.
    let killed = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let address = killed.url().to_owned();
    killed.process().kill().unwrap();
    env.organization(&address).await;
    let organization = env.organization_is("False", "RemoteUnavailable").await;
    let message = &organization.status.unwrap().core.conditions[0].message;
    assert!(message.contains("Connection refused"), "{message}");
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "False", "DependencyNotReady").await;
    env.organization(env.sandbox.url()).await;
    env.app_is("my-app", "True", "Succeeded").await;
}

#[tokio::test]
async fn suspended_organization_blocks_all_writes() {
    let env = TestEnv::new("suspended", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({ "description": "first" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let suspend = |on: bool| {
        let flag = format!("cloud.spice.ai/suspend={on}");
        let namespace = env.namespace.clone();
        let cluster = &env.cluster;
        async move {
            cluster.kubectl(&["annotate", "--overwrite", "sorg/default", "-n", &namespace, &flag]).await.unwrap();
        }
    };
    suspend(true).await;
    env.app("my-app", json!({ "description": "second" })).await;
    env.app_is("my-app", "False", "DependencyNotReady").await;
    let before = env.sandbox.revision().await.unwrap();
    let reconciles = operator.metrics().await.unwrap().reconciles("SpiceApp") as u64;
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.reconciles(&operator, "SpiceApp", reconciles + 2).await;
    assert_eq!(env.calls(before).await, [""; 0], "the operator sends no deletion");
    suspend(false).await;
    env.gone::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn organization_in_use_is_deleted_after_its_apps() {
    let env = TestEnv::new("in-use", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.api::<SpiceOrganization>().delete("default", &DeleteParams::default()).await.unwrap();
    let waiting = |organization: &SpiceOrganization| {
        let conditions = organization.status.as_ref().map(|status| status.core.conditions.clone()).unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Reconciling" && condition.message.contains("SpiceApp \"my-app\""))
    };
    env.until("default", "a message with the app", waiting).await;
    // A terminating organization serves existing apps and accepts no new app.
    env.app("new-app", json!({})).await;
    let new = env.app_is("new-app", "False", "DependencyNotReady").await;
    assert!(new.status.unwrap().core.conditions[0].message.contains("it is being deleted"));
    env.app("my-app", json!({ "description": "edited" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 1);
    env.api::<SpiceApp>().delete("new-app", &DeleteParams::default()).await.unwrap();
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceApp>("my-app").await;
    env.gone::<SpiceOrganization>("default").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn suspension_stops_a_deletion_that_has_already_read_the_app() {
    let env = TestEnv::new("suspended-delete", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let annotate = async |patch: Value| {
        let api = env.api::<SpiceOrganization>();
        api.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    let route = Some("/v1/apps/{appId}".to_owned());
    let fault =
        Fault { method: Some("GET".to_owned()), route, when: When::After, action: Action::Hang, times: Some(1) };
    env.sandbox.add_fault(&fault).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    let reconciles = operator.metrics().await.unwrap().reconciles("SpiceApp") as u64;
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.sandbox.call("the response hangs", before, |call| call.state == "applied-held").await.unwrap();
    annotate(json!({ "metadata": { "annotations": { "cloud.spice.ai/suspend": "Yes" } } })).await;
    env.sandbox.remove_faults().await.unwrap();
    env.reconciles(&operator, "SpiceApp", reconciles + 2).await;
    assert!(!env.calls(before).await.iter().any(|call| call.starts_with("DELETE")));
    annotate(json!({ "metadata": { "annotations": { "cloud.spice.ai/suspend": "false" } } })).await;
    env.gone::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn edit_cancels_the_read_of_the_previous_generation() {
    let env = TestEnv::new("overtaken", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({ "description": "first" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let (method, route) = (Some("GET".to_owned()), Some("/v1/apps/{appId}".to_owned()));
    let fault = Fault { method, route, when: When::Before, action: Action::Hang, times: Some(1) };
    env.sandbox.add_fault(&fault).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    env.app("my-app", json!({ "description": "second" })).await;
    env.sandbox.call("the read hangs", before, |call| call.state == "held").await.unwrap();
    env.app("my-app", json!({ "description": "third" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["description"], "third");
    let puts: Vec<_> = env.calls(before).await.into_iter().filter(|call| call.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 1, "the operator never sends the second generation");
}

#[tokio::test]
async fn credential_of_another_organization_blocks_apps_until_accepted() {
    let env = TestEnv::with_sandbox("mismatch", program(), CURRENT).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({ "description": "first" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let organization = env.organization_is("True", "Succeeded").await;
    let status = organization.status.unwrap();
    assert_eq!(status.organization.unwrap().name.as_deref(), Some("sandbox"));
    assert!(status.images.contains_key("stable") && status.limits.is_some(), "{:?}", status.images);
    assert_eq!(status.unavailable_paths, [""; 0]);

    env.give_credential("sandbox-fake-token-elsewhere").await;
    let organization = env.organization_is("False", "OrganizationMismatch").await;
    let message = &organization.status.unwrap().core.conditions[0].message;
    assert!(message.contains("cloud.spice.ai/accept-organization=2"), "{message}");
    env.app("my-app", json!({ "description": "second" })).await;
    env.app("other-app", json!({})).await;
    env.app_is("my-app", "False", "DependencyNotReady").await;
    env.app_is("other-app", "False", "DependencyNotReady").await;
    let calls = env.sandbox.calls_by("elsewhere", 0).await.unwrap();
    assert!(calls.iter().all(|call| call.path == "/v1/orgs"), "{calls:?}");

    env.give_credential("sandbox-fake-token-operator").await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.app_is("other-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 2);

    env.give_credential("sandbox-fake-token-elsewhere").await;
    env.organization_is("False", "OrganizationMismatch").await;
    let accept = json!({ "cloud.spice.ai/accept-organization": "2" });
    patch_organization(&env, json!({ "metadata": { "annotations": accept } })).await;
    let organization = env.organization_is("True", "Succeeded").await;
    assert_eq!(organization.status.unwrap().organization.unwrap().id, "2");
}

#[tokio::test]
async fn spec_selects_one_of_several_organizations() {
    let env = TestEnv::with_sandbox("several", program(), CURRENT).await;
    env.give_credential("sandbox-fake-token-both").await;
    let _operator = env.operator().await;
    let organization = env.organization_is("False", "InvalidSpec").await;
    let message = &organization.status.unwrap().core.conditions[0].message;
    assert!(message.contains("elsewhere, sandbox"), "{message}");
    patch_organization(&env, json!({ "spec": { "organization": "elsewhere" } })).await;
    let organization = env.organization_is("True", "Succeeded").await;
    assert_eq!(organization.status.unwrap().organization.unwrap().id, "2");
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["org"], "elsewhere");
}

#[tokio::test]
async fn paths_missing_in_an_older_api_do_not_affect_readiness() {
    let env = TestEnv::without_credential("older", program()).await;
    for path in ["/v1/orgs", "/v1/limits", "/v1/container-images"] {
        env.sandbox.add_fault(&missing_path(path)).await.unwrap();
    }
    let _operator = env.operator().await;
    env.give_credential("sandbox-fake-token-operator").await;
    let status = env.organization_is("True", "Succeeded").await.status.unwrap();
    assert_eq!(status.unavailable_paths, ["/v1/orgs", "/v1/container-images", "/v1/limits"]);
    assert_eq!((status.organization, status.endpoint.as_deref()), (None, Some(env.sandbox.url())));
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
}
