//! SpiceOrganization: the credential, the connection, and what depends on it.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        sandbox::{Action, Fault, Sandbox, When},
        test_env::{CREDENTIAL, TestEnv},
    },
};

fn all_fail(status: u16) -> Fault {
    Fault { method: None, route: None, when: When::Before, action: Action::Status(status), times: None }
}

#[tokio::test]
async fn a_missing_credential_is_named_and_picked_up_when_it_comes() {
    let env = TestEnv::without_credential("credential", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    let organization = env.organization_is("False", "CredentialsMissing").await;
    assert!(organization.status.unwrap().core.conditions[0].message.contains(CREDENTIAL.0));
    // At first the organization itself had nothing to say yet.
    env.says::<SpiceApp>("my-app", "DependencyNotReady", "CredentialsMissing").await;
    assert_eq!(env.calls(0).await, [""; 0]);

    env.give_credential("  \n").await;
    let named = |organization: &SpiceOrganization| {
        let conditions = organization.status.as_ref().map(|status| status.core.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|condition| condition.message.contains(&format!("key {}", CREDENTIAL.1)))
    };
    env.until("default", "naming the key", named).await;
    assert_eq!(env.calls(0).await, [""; 0]);

    // White space around a token is what `kubectl create secret --from-file` leaves.
    env.give_credential("sandbox-fake-token-operator\n").await;
    env.organization_is("True", "Succeeded").await;
    env.app_is("my-app", "True", "Succeeded").await;
}

#[tokio::test]
async fn a_credential_that_is_refused_is_told_on_the_organization_and_stops_its_apps() {
    let env = TestEnv::new("refused", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.give_credential("sandbox-fake-token-nobody").await;
    env.organization_is("False", "Unauthorized").await;
    env.app("my-app", json!({ "description": "new" })).await;
    env.app_is("my-app", "False", "DependencyNotReady").await;
    env.give_credential("sandbox-fake-token-operator").await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["description"], "new");
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let env = TestEnv::new("scope", program()).await;
    let _operator = env.operator().await;
    env.give_credential("sandbox-fake-token-reader").await;
    env.app("my-app", json!({})).await;
    let app = env.app_is("my-app", "False", "Forbidden").await;
    let message = &app.status.unwrap().core.conditions[0].message;
    assert!(message.contains("apps:write"), "{message}");
}

#[tokio::test]
async fn while_the_api_is_down_nothing_is_lost_and_it_converges_when_it_is_back() {
    let env = TestEnv::new("down", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({ "description": "first" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    for status in [500, 503, 429] {
        env.sandbox.add_fault(&all_fail(status)).await.unwrap();
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
async fn an_answer_that_is_none_is_an_outage_and_a_redirect_is_not_followed() {
    let env = TestEnv::new("answers", program()).await;
    let elsewhere = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let _operator = env.operator().await;
    env.organization_is("True", "Succeeded").await;
    let redirect = format!("{}/v1/apps", elsewhere.url());
    for (status, headers, body) in [
        (307, json!({ "location": redirect }), json!({})),
        (200, json!({}), json!({})),
        (200, json!({}), json!("")),
        (404, json!({}), json!("<html>")),
        (404, json!({}), json!({ "error": "Not found" })),
        (418, json!({}), json!(null)),
    ] {
        let what = format!("{status} {body}");
        let action = Action::Answer { status, headers, body };
        let route = Some("/v1/apps".to_owned());
        env.sandbox.add_fault(&Fault { method: None, route, when: When::Before, action, times: None }).await.unwrap();
        env.app("my-app", json!({})).await;
        env.app_is("my-app", "False", "RemoteUnavailable").await;
        assert_eq!(env.remote_apps().await, [json!(null); 0], "{what}");
        env.sandbox.remove_faults().await.unwrap();
        env.app_is("my-app", "True", "Succeeded").await;
        env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
        env.gone::<SpiceApp>("my-app").await;
    }
    assert_eq!(elsewhere.revision().await.unwrap(), 0, "nobody called there");
}

#[tokio::test]
async fn an_outage_does_not_flip_what_was_achieved() {
    let env = TestEnv::new("flap", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    let before = env.app_is("my-app", "True", "Succeeded").await;
    env.sandbox.add_fault(&all_fail(503)).await.unwrap();
    let reconciles = operator.metrics().await.unwrap().reconciles("SpiceApp") as u64;
    env.request_reconcile("my-app").await;
    env.reconciles(&operator, "SpiceApp", reconciles + 3).await;
    let after = env.api::<SpiceApp>().get("my-app").await.unwrap();
    assert_eq!(after.status, before.status);
}

#[tokio::test]
async fn an_api_that_does_not_listen_yet_is_waited_for() {
    let env = TestEnv::new("absent", program()).await;
    let _operator = env.operator().await;
    env.organization_is("True", "Succeeded").await;
    // A second sandbox that ends leaves an address at which nobody listens.
    let ended = Sandbox::start(&env.run, program(), &[]).await.unwrap();
    let address = ended.url().to_owned();
    ended.process().kill().unwrap();
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
async fn a_suspended_organization_is_the_stop_button() {
    let env = TestEnv::new("stop", program()).await;
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
    assert_eq!(env.calls(before).await, [""; 0], "not even a deletion goes out");
    suspend(false).await;
    env.gone::<SpiceApp>("my-app").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn an_organization_in_use_stays_until_its_apps_are_gone() {
    let env = TestEnv::new("in-use", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.api::<SpiceOrganization>().delete("default", &DeleteParams::default()).await.unwrap();
    let waiting = |organization: &SpiceOrganization| {
        let conditions = organization.status.as_ref().map(|status| status.core.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|it| it.type_ == "Reconciling" && it.message.contains("SpiceApp my-app"))
    };
    env.until("default", "saying who uses it", waiting).await;
    // It serves what there is, and takes nothing new.
    env.app("new-app", json!({})).await;
    let new = env.app_is("new-app", "False", "DependencyNotReady").await;
    assert!(new.status.unwrap().core.conditions[0].message.contains("it is being deleted"));
    env.app("my-app", json!({ "description": "still kept" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 1);
    env.api::<SpiceApp>().delete("new-app", &DeleteParams::default()).await.unwrap();
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.gone::<SpiceApp>("my-app").await;
    env.gone::<SpiceOrganization>("default").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn a_credential_that_changes_while_all_is_deleted_holds_up_nothing() {
    let env = TestEnv::new("rotated", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let method = Some("DELETE".to_owned());
    let fault = Fault { method, route: None, when: When::Before, action: Action::Status(503), times: None };
    env.sandbox.add_fault(&fault).await.unwrap();
    env.api::<SpiceApp>().delete("my-app", &DeleteParams::default()).await.unwrap();
    env.api::<SpiceOrganization>().delete("default", &DeleteParams::default()).await.unwrap();
    let in_use = |organization: &SpiceOrganization| {
        let conditions = organization.status.as_ref().map(|status| status.core.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|condition| condition.message.contains("in use by"))
    };
    env.until("default", "in use", in_use).await;
    env.touch_credential().await;
    env.sandbox.remove_faults().await.unwrap();
    env.gone::<SpiceApp>("my-app").await;
    env.gone::<SpiceOrganization>("default").await;
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
}

#[tokio::test]
async fn an_edit_beside_a_change_of_the_credential_is_not_forgotten() {
    let env = TestEnv::new("together", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    for description in ["first", "second", "third"] {
        env.touch_credential().await;
        env.app("my-app", json!({ "description": description })).await;
        env.app_is("my-app", "True", "Succeeded").await;
        assert_eq!(env.remote_apps().await[0]["description"], description);
    }
}

#[tokio::test]
async fn the_stop_button_stops_a_deletion_that_rests_on_what_was_read_before() {
    let env = TestEnv::new("turn", program()).await;
    let operator = env.operator().await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let annotate = async |patch: serde_json::Value| {
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
    env.sandbox.call("the answer is held", before, |call| call.state == "applied-held").await.unwrap();
    annotate(json!({ "metadata": { "annotations": { "cloud.spice.ai/suspend": "Yes" } } })).await;
    env.sandbox.remove_faults().await.unwrap();
    env.reconciles(&operator, "SpiceApp", reconciles + 2).await;
    assert!(!env.calls(before).await.iter().any(|call| call.starts_with("DELETE")));
    annotate(json!({ "metadata": { "annotations": { "cloud.spice.ai/suspend": "false" } } })).await;
    env.gone::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn an_edit_does_not_wait_behind_the_read_that_the_version_before_it_has_asked_for() {
    let env = TestEnv::new("overtaken", program()).await;
    let _operator = env.operator().await;
    env.app("my-app", json!({ "description": "first" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let (method, route) = (Some("GET".to_owned()), Some("/v1/apps/{appId}".to_owned()));
    let fault = Fault { method, route, when: When::Before, action: Action::Hang, times: Some(1) };
    env.sandbox.add_fault(&fault).await.unwrap();
    let before = env.sandbox.revision().await.unwrap();
    env.app("my-app", json!({ "description": "second" })).await;
    env.sandbox.call("the read is held", before, |call| call.state == "held").await.unwrap();
    env.app("my-app", json!({ "description": "third" })).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["description"], "third");
    let puts: Vec<_> = env.calls(before).await.into_iter().filter(|call| call.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 1, "what the second version wanted was never sent");
}

#[tokio::test]
async fn the_token_is_in_no_log_line_and_no_status() {
    let env = TestEnv::new("canary", program()).await;
    let operator = env.operator_with(&["--log-filter=trace"]).await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let journal = env.sandbox.calls_by("operator", 0).await.unwrap();
    assert!(!journal.is_empty(), "the token reached the API");
    let secret: Secret = Api::namespaced(env.client.clone(), &env.namespace).get(CREDENTIAL.0).await.unwrap();
    assert!(secret.data.unwrap()[CREDENTIAL.1].0.starts_with(b"sandbox-fake-token-"));
    let everything = [
        operator.log(),
        env.cluster.kubectl(&["get", "sorg,sapp,events", "-n", &env.namespace, "-o", "yaml"]).await.unwrap(),
    ];
    for text in everything {
        assert!(!text.contains("sandbox-fake-token-operator"), "{text}");
    }
}

async fn change(env: &TestEnv, patch: serde_json::Value) {
    let api = env.api::<SpiceOrganization>();
    api.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn give(env: &TestEnv, name: &str, data: serde_json::Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": env.namespace }, "stringData": data,
    });
    let api: Api<Secret> = Api::namespaced(env.client.clone(), &env.namespace);
    api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&secret)).await.unwrap();
}

fn missing_from(path: &str) -> Fault {
    let action = Action::Answer { status: 404, headers: json!({}), body: json!({ "error": "Not found" }) };
    Fault { method: None, route: Some(path.to_owned()), when: When::Before, action, times: None }
}

#[tokio::test]
async fn an_oauth_client_gets_tokens_and_its_secret_is_in_no_log_line_and_no_status() {
    let env = TestEnv::new("oauth", program()).await;
    let operator = env.operator_with(&["--log-filter=trace"]).await;
    let secret = "sandbox-fake-client-secret-oauth";
    give(&env, "client", json!({ "id": "sandbox-fake-client-oauth", "client-secret": secret })).await;
    let client = json!({ "secretRef": { "name": "client", "clientIdKey": "id" } });
    change(&env, json!({ "spec": { "credentials": { "personalAccessToken": null, "oauthClient": client } } })).await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    let tokens = env.sandbox.journal(0, std::time::Duration::ZERO).await.unwrap().entries;
    let tokens = tokens.iter().filter(|entry| entry.path == "/api/oauth/token").count();
    assert_eq!(tokens, 1);
    give(&env, "client", json!({ "id": "sandbox-fake-client-oauth", "client-secret": "sandbox-fake-wrong" })).await;
    let organization = env.organization_is("False", "Unauthorized").await;
    let message = &organization.status.unwrap().core.conditions[0].message;
    assert!(message.contains("no access token for the OAuth client"), "{message}");
    let seen = [
        operator.log(),
        env.cluster.kubectl(&["get", "sorg,sapp,events", "-n", &env.namespace, "-o", "yaml"]).await.unwrap(),
    ];
    for text in seen {
        assert!(!text.contains(secret) && !text.contains("sandbox-fake-wrong"), "{text}");
    }
}

#[tokio::test]
async fn a_session_token_serves_as_a_credential() {
    let env = TestEnv::new("session", program()).await;
    let _operator = env.operator().await;
    give(&env, "session", json!({ "token": "sandbox-fake-session-token" })).await;
    let token = json!({ "secretRef": { "name": "session" } });
    change(&env, json!({ "spec": { "credentials": { "personalAccessToken": null, "sessionToken": token } } })).await;
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
}

/// Only a recent API tells which organizations a credential reaches.
const CURRENT: &[&str] = &["--profile", "current"];

#[tokio::test]
async fn a_credential_of_another_organization_stops_everything_until_a_person_accepts_it() {
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
    env.app("your-app", json!({})).await;
    env.app_is("my-app", "False", "DependencyNotReady").await;
    env.app_is("your-app", "False", "DependencyNotReady").await;
    let calls = env.sandbox.calls_by("elsewhere", 0).await.unwrap();
    assert!(calls.iter().all(|call| call.path == "/v1/orgs"), "{calls:?}");

    env.give_credential("sandbox-fake-token-operator").await;
    env.app_is("my-app", "True", "Succeeded").await;
    env.app_is("your-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await.len(), 2);

    env.give_credential("sandbox-fake-token-elsewhere").await;
    env.organization_is("False", "OrganizationMismatch").await;
    let accept = json!({ "cloud.spice.ai/accept-organization": "2" });
    change(&env, json!({ "metadata": { "annotations": accept } })).await;
    let organization = env.organization_is("True", "Succeeded").await;
    assert_eq!(organization.status.unwrap().organization.unwrap().id, "2");
}

#[tokio::test]
async fn of_several_organizations_the_spec_names_the_one_to_act_on() {
    let env = TestEnv::with_sandbox("several", program(), CURRENT).await;
    env.give_credential("sandbox-fake-token-both").await;
    let _operator = env.operator().await;
    let organization = env.organization_is("False", "InvalidSpec").await;
    let message = &organization.status.unwrap().core.conditions[0].message;
    assert!(message.contains("elsewhere, sandbox"), "{message}");
    change(&env, json!({ "spec": { "organization": "elsewhere" } })).await;
    let organization = env.organization_is("True", "Succeeded").await;
    assert_eq!(organization.status.unwrap().organization.unwrap().id, "2");
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(env.remote_apps().await[0]["org"], "elsewhere");
}

#[tokio::test]
async fn what_an_older_api_lacks_is_left_out_and_makes_nothing_unready() {
    let env = TestEnv::without_credential("older", program()).await;
    for path in ["/v1/orgs", "/v1/limits", "/v1/container-images"] {
        env.sandbox.add_fault(&missing_from(path)).await.unwrap();
    }
    let _operator = env.operator().await;
    env.give_credential("sandbox-fake-token-operator").await;
    let status = env.organization_is("True", "Succeeded").await.status.unwrap();
    assert_eq!(status.unavailable_paths, ["/v1/orgs", "/v1/container-images", "/v1/limits"]);
    assert_eq!((status.organization, status.endpoint.as_deref()), (None, Some(env.sandbox.url())));
    env.app("my-app", json!({})).await;
    env.app_is("my-app", "True", "Succeeded").await;
}
