//! Writes to Kubernetes that the API server refuses or does not keep: finalizers, statuses and events.

use serde_json::json;
use spice_cloud_operator::api::{FINALIZER, SpiceApp, SpiceOrganization};

use crate::support::{
    admission::AdmissionPolicy,
    control_plane::use_existing_cluster,
    definitions::apply_definitions,
    eventually::{DEADLINE, eventually},
    sandbox::{Action, Fault, When},
    test_env::{Kind, TestEnv},
    webhook::AdmissionWebhook,
};

/// Group and resource of SpiceApps, without their status.
const APPS: (&str, &str) = ("cloud.spice.ai", "spiceapps");

/// Waits for an event with this reason about an object. Returns its note.
pub async fn wait_for_event(env: &TestEnv, object: &str, reason: &str) -> String {
    wait_for_event_with(env, object, reason, &[]).await
}

/// As [`wait_for_event`], until the notes of all these events contain the texts.
pub async fn wait_for_event_with(env: &TestEnv, object: &str, reason: &str, texts: &[&str]) -> String {
    let selector = format!("--field-selector=involvedObject.name={object},reason={reason}");
    let query = ["get", "events", &selector, "--output=jsonpath={.items[*].message}"];
    eventually(&format!("event {reason} about {object}"), DEADLINE, async || {
        let found = env.kubectl(&query).await?;
        match texts.iter().find(|text| !found.contains(**text)) {
            _ if found.is_empty() => Err("no such event".to_owned()),
            Some(missing) => Err(format!("no text {missing:?} in: {found}")),
            None => Ok(found),
        }
    })
    .await
}

/// Arguments of a kubectl dry run that patches the metadata or the status of SpiceApp `my-app`.
fn dry_run<'a>(patch: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["patch", "sapp/my-app", "--type=merge", "--dry-run=server", "-p", patch][..], more].concat()
}

#[tokio::test]
async fn events_about_an_object_with_the_longest_name_arrive() {
    let env = TestEnv::new("long-name").await;
    let operator = env.start_operator().await;
    // Names that differ only after the cut.
    let names = ["a", "b"].map(|last| format!("{}.{last}", "long".repeat(63).get(..251).unwrap()));
    for (name, app) in names.iter().zip(["first-app", "second-app"]) {
        env.apply_app_and_wait(name, json!({ "name": app })).await;
        wait_for_event(&env, name, "Created").await;
        wait_for_event(&env, name, "Succeeded").await;
    }
    let metrics = operator.metrics().await.unwrap();
    assert_eq!(metrics.sum("spice_operator_events_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn refused_event_is_counted_and_logged_once() {
    let env = TestEnv::new("events").await;
    let words = "no events in this namespace";
    let probe = ["create", "event", "--help"];
    let probe_object = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "probe" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Probe", "reason": "Probe", "type": "Normal",
        "reportingController": "test", "reportingInstance": "test",
        "regarding": { "namespace": env.namespace, "kind": "SpiceApp", "name": "my-app" },
    });
    let path = env.run.write("probe.json", &probe_object.to_string()).unwrap();
    let path = path.to_string_lossy();
    let probe = [&probe[..1], &["--dry-run=server", "-f", &path]].concat();
    let policy = AdmissionPolicy::deny(&env, ("events.k8s.io", "events"), "false", words, &probe).await;
    let operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    // Creation and readiness each have an event.
    eventually("two events of the app are lost", DEADLINE, async || {
        let lost = operator.metrics().await?.sum("spice_operator_events_dropped_total", &[("cause", "rejected")]);
        if lost >= 3.0 { Ok(()) } else { Err(format!("{lost} lost")) }
    })
    .await;
    let log = operator.log();
    let lines = log.lines().filter(|line| line.contains("Failed to publish event") && line.contains("\"my-app\""));
    let lines: Vec<_> = lines.collect();
    assert!(matches!(lines[..], [line] if line.contains(words)), "{lines:?}");
    policy.remove(&env).await;
}

#[tokio::test]
async fn refused_finalizer_is_reported_with_the_words_of_the_policy() {
    let env = TestEnv::new("finalizer").await;
    let _operator = env.start_operator().await;
    env.apply_app("my-app", json!({ "suspend": true })).await;
    let words = "no finalizers of third parties";
    let allowed = format!("!object.metadata.?finalizers.orValue([]).exists(name, name == '{FINALIZER}')");
    let patch = json!({ "metadata": { "finalizers": [FINALIZER] } }).to_string();
    let policy = AdmissionPolicy::deny(&env, APPS, &allowed, words, &dry_run(&patch, &[])).await;
    env.apply_app("my-app", json!({})).await;
    let app: SpiceApp = env.wait_for_message("my-app", "KubernetesRejected", words).await;
    assert!(app.has_ready("False", "KubernetesRejected"), "{app:?}");
    assert!(wait_for_event(&env, "my-app", "KubernetesRejected").await.contains(words));
    assert_eq!(env.count_posts().await, 0);
    policy.remove(&env).await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn refused_removal_of_the_finalizer_is_reported_after_the_deletion_of_the_app() {
    let env = TestEnv::new("removal").await;
    let _operator = env.start_operator().await;
    env.apply_app_and_wait("my-app", json!({})).await;
    let words = "finalizers stay";
    let has = |version: &str| format!("{version}.metadata.?finalizers.orValue([]).exists(name, name == '{FINALIZER}')");
    let allowed = format!("oldObject == null || !{} || {}", has("oldObject"), has("object"));
    let patch = json!({ "metadata": { "finalizers": null } }).to_string();
    let policy = AdmissionPolicy::deny(&env, APPS, &allowed, words, &dry_run(&patch, &[])).await;
    env.delete::<SpiceApp>("my-app").await;
    let app: SpiceApp = env.wait_for_message("my-app", "KubernetesRejected", words).await;
    assert!(app.has_ready("False", "KubernetesRejected"), "{app:?}");
    assert!(app.ready_message().starts_with("The deletion is complete"), "{}", app.ready_message());
    assert_eq!(env.remote_apps().await, [json!(null); 0]);
    assert!(wait_for_event(&env, "my-app", "KubernetesRejected").await.contains(words));
    policy.remove(&env).await;
    env.wait_for_deletion::<SpiceApp>("my-app").await;
}

#[tokio::test]
async fn refused_status_is_reported_as_an_event_and_nothing_is_created_before_it_is_stored() {
    let env = TestEnv::new("status").await;
    let operator = env.start_operator().await;
    env.apply_app("my-app", json!({ "suspend": true })).await;
    env.wait_for_reason::<SpiceApp>("my-app", "Unknown", "Suspended").await;
    let (words, resource) = ("no status today", ("cloud.spice.ai", "spiceapps/status"));
    let patch = json!({ "status": { "observedGeneration": 7 } }).to_string();
    let probe = dry_run(&patch, &["--subresource=status"]);
    let policy = AdmissionPolicy::deny(&env, resource, "false", words, &probe).await;
    env.apply_app("my-app", json!({})).await;
    assert!(wait_for_event(&env, "my-app", "StatusNotStored").await.contains(words));
    eventually("several attempts fail", DEADLINE, async || {
        let metrics = operator.metrics().await?;
        let failed = metrics.sum("spice_operator_reconciles_total", &[("kind", "SpiceApp"), ("result", "store_error")]);
        if failed >= 4.0 { Ok(()) } else { Err(format!("{failed} failed reconciles")) }
    })
    .await;
    assert_eq!(env.count_posts().await, 0);
    let log = operator.log();
    let warnings = log.lines().filter(|line| line.contains("Failed to store status") && line.contains("WARN"));
    assert_eq!(warnings.count(), 1, "{log}");
    policy.remove(&env).await;
    env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(env.count_posts().await, 1);
}

#[tokio::test]
async fn refused_status_is_reported_with_the_words_of_the_policy_for_every_code() {
    let env = TestEnv::new("codes").await;
    let _operator = env.start_operator().await;
    let resource = ("cloud.spice.ai", "spiceapps/status");
    let patch = json!({ "status": { "observedGeneration": 7 } }).to_string();
    env.apply_app_and_wait("my-app", json!({})).await;
    // The API server allows no other reasons but Invalid.
    for (reason, code, interval) in [("Forbidden", 403, "23h"), ("RequestEntityTooLarge", 413, "22h")] {
        let words = format!("no status because of {reason}");
        let probe = dry_run(&patch, &["--subresource=status"]);
        let policy = AdmissionPolicy::deny_because(&env, resource, "false", (reason, &words), &probe).await;
        env.apply_app("my-app", json!({ "interval": interval })).await;
        let note = format!("{words}” ({code})");
        wait_for_event_with(&env, "my-app", "StatusNotStored", &[&note]).await;
        policy.remove(&env).await;
        env.wait_for_ready::<SpiceApp>("my-app").await;
    }
}

#[tokio::test]
async fn refusal_of_a_webhook_with_the_code_of_a_conflict_is_reported_with_its_words() {
    let env = TestEnv::new("webhook").await;
    let operator = env.start_operator().await;
    let has_finalizer = format!("object.metadata.?finalizers.orValue([]).exists(name, name == '{FINALIZER}')");
    let finalizer = json!({ "metadata": { "finalizers": [FINALIZER] } }).to_string();
    for code in [404, 409] {
        env.apply_app("my-app", json!({ "suspend": true })).await;
        env.wait_for_reason::<SpiceApp>("my-app", "Unknown", "Suspended").await;
        let words = format!("no finalizers with {code}");
        let (probe, refusal) = (dry_run(&finalizer, &[]), (code, &*words));
        let webhook = AdmissionWebhook::deny(&env, APPS, &has_finalizer, refusal, &probe).await;
        env.apply_app("my-app", json!({})).await;
        let app: SpiceApp = env.wait_for_message("my-app", "KubernetesRejected", &words).await;
        assert!(app.has_ready("False", "KubernetesRejected"), "{app:?}");
        webhook.remove(&env).await;
        env.wait_for_ready::<SpiceApp>("my-app").await;

        let words = format!("no status with {code}");
        let resource = ("cloud.spice.ai", "spiceapps/status");
        let status = json!({ "status": { "observedGeneration": 7 } }).to_string();
        let (probe, refusal) = (dry_run(&status, &["--subresource=status"]), (code, &*words));
        let labels = [("kind", "SpiceApp"), ("result", "store_error")];
        let before = operator.metrics().await.unwrap().sum("spice_operator_reconciles_total", &labels);
        let webhook = AdmissionWebhook::deny(&env, resource, "true", refusal, &probe).await;
        env.apply_app("my-app", json!({ "interval": "23h" })).await;
        wait_for_event_with(&env, "my-app", "StatusNotStored", &[&words]).await;
        eventually("several attempts fail", DEADLINE, async || {
            let failed = operator.metrics().await?.sum("spice_operator_reconciles_total", &labels) - before;
            if failed >= 3.0 { Ok(()) } else { Err(format!("{failed} failed reconciles")) }
        })
        .await;
        webhook.remove(&env).await;
        env.wait_for_ready::<SpiceApp>("my-app").await;
        env.delete_and_wait::<SpiceApp>("my-app").await;
    }
}

/// Removes a field of the status from the installed definition of SpiceApps, as in an older version.
async fn install_without_status_field(env: &TestEnv, field: &str) {
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/{field}");
    let patch = json!([{ "op": "remove", "path": path }]).to_string();
    env.cluster.kubectl(&["patch", "crd", "spiceapps.cloud.spice.ai", "--type=json", "-p", &patch]).await.unwrap();
    // The API server drops the field when it has loaded the definition.
    let probe = json!({ "status": { field: { "id": "probe", "name": "probe", "at": "2026-01-01T00:00:00.000000Z" } } });
    let probe = probe.to_string();
    let output = format!("--output=jsonpath={{.status.{field}.id}}");
    let args = dry_run(&probe, &["--subresource=status", &output]);
    eventually("the API server drops the field", DEADLINE, async || match env.kubectl(&args).await? {
        found if found.contains("probe") => Err(found),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn status_field_that_an_older_definition_drops_is_reported_and_nothing_is_created_without_it() {
    if use_existing_cluster() {
        // A test must not change the definitions of an existing cluster.
        return;
    }
    let env = TestEnv::with_dedicated_control_plane("older-definition").await;
    let operator = env.start_operator().await;
    env.apply_app("my-app", json!({ "suspend": true })).await;
    env.wait_for_reason::<SpiceApp>("my-app", "Unknown", "Suspended").await;
    install_without_status_field(&env, "createIntent").await;
    env.apply_app("my-app", json!({})).await;
    let note = wait_for_event(&env, "my-app", "StatusNotStored").await;
    assert!(note.contains("status.createIntent"), "{note}");
    eventually("several attempts fail", DEADLINE, async || {
        let dropped =
            operator.metrics().await?.sum("spice_operator_status_fields_dropped_total", &[("kind", "SpiceApp")]);
        if dropped >= 3.0 { Ok(()) } else { Err(format!("{dropped} statuses without a field")) }
    })
    .await;
    assert_eq!(env.count_posts().await, 0);
    apply_definitions(&env.cluster).await.unwrap();
    // The change of the definition ends a watch of its objects.
    eventually("the app is ready", DEADLINE, async || {
        let app = env.api::<SpiceApp>().get("my-app").await.map_err(|error| error.to_string())?;
        if app.has_ready("True", "Succeeded") { Ok(()) } else { Err(format!("{:?}", app.conditions())) }
    })
    .await;
    assert_eq!(env.count_posts().await, 1);
}

/// Makes each of the next 200 answers to a request an error with another request ID.
async fn fail_with_request_ids(env: &TestEnv, method: &str, route: &str) {
    for number in 0..200 {
        let body = json!({ "error": format!("Internal error, request {number:08x}-aa") });
        let action = Action::Response { status: 500, headers: json!({}), body };
        env.sandbox.add_fault(Fault::new(When::Before, action).method(method).route(route).times(1)).await.unwrap();
    }
}

#[tokio::test]
async fn changing_error_text_writes_no_status_and_enqueues_no_dependent() {
    let env = TestEnv::new("request-ids").await;
    fail_with_request_ids(&env, "GET", "/v1/orgs").await;
    let operator = env.start_operator().await;
    let names = ["one-app", "two-app", "three-app"];
    for name in names {
        env.apply_app(name, json!({})).await;
        env.wait_for_reason::<SpiceApp>(name, "False", "DependencyNotReady").await;
    }
    let organization: SpiceOrganization = env
        .wait_for("default", "all apps are counted, and the error is shown", |organization: &SpiceOrganization| {
            let counts_all = organization.status.as_ref().is_some_and(|status| status.apps == Some(3));
            counts_all && organization.has_ready("False", "RemoteUnavailable")
        })
        .await;
    assert!(organization.ready_message().contains("request "), "{}", organization.ready_message());
    for name in names {
        let shows_reason = |app: &SpiceApp| app.ready_message().contains("RemoteUnavailable");
        env.wait_for(name, "the app shows the reason of the organization", shows_reason).await;
    }
    let failures = || async {
        let labels = [("kind", "SpiceOrganization"), ("result", "write_error")];
        operator.metrics().await.map(|metrics| metrics.sum("spice_operator_reconciles_total", &labels))
    };
    let wait_for_failures = async |count: f64| {
        let start = failures().await.unwrap();
        eventually("the organization fails again", DEADLINE, async || {
            let now = failures().await?;
            if now >= start + count { Ok(()) } else { Err(format!("{now} after {start}")) }
        })
        .await;
    };
    // The reconciles that stored the messages have ended by then.
    wait_for_failures(1.0).await;
    let version = |object: &SpiceApp| object.metadata.resource_version.clone();
    let mut before = Vec::new();
    for name in names {
        before.push(version(&env.api::<SpiceApp>().get(name).await.unwrap()));
    }
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    wait_for_failures(5.0).await;
    let now = env.api::<SpiceOrganization>().get("default").await.unwrap();
    assert_eq!(now.metadata.resource_version, organization.metadata.resource_version);
    for (name, version_before) in names.iter().zip(before) {
        assert_eq!(version(&env.api::<SpiceApp>().get(name).await.unwrap()), version_before, "{name}");
    }
    assert_eq!(operator.reconciles("SpiceApp").await.unwrap(), reconciles, "no app was enqueued");
    env.sandbox.remove_faults().await.unwrap();
    for name in names {
        env.wait_for_ready::<SpiceApp>(name).await;
    }
}
