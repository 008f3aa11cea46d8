//! Writes to Kubernetes that the API server refuses.

use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::support::{
    admission::AdmissionPolicy,
    eventually::{DEADLINE, eventually},
    sandbox::{Action, Fault, When},
    test_env::{Kind, TestEnv},
};

/// Waits for an event with this reason about an object. Returns its note.
async fn wait_for_event(env: &TestEnv, object: &str, reason: &str) -> String {
    let selector = format!("--field-selector=involvedObject.name={object},reason={reason}");
    let query = ["get", "events", &selector, "--output=jsonpath={.items[*].message}"];
    eventually(&format!("event {reason} about {object}"), DEADLINE, async || {
        let found = env.kubectl(&query).await?;
        if found.is_empty() { Err("no such event".to_owned()) } else { Ok(found) }
    })
    .await
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

/// Makes each of the next 200 answers to a request an error with another request ID.
async fn fail_with_request_ids(env: &TestEnv, method: &str, route: &str) {
    for number in 0..200 {
        let body = json!({ "error": format!("Internal error, request {number:08x}-aa") });
        let action = Action::Response { status: 500, headers: json!({}), body };
        env.sandbox.add_fault(Fault::new(When::Before, action).method(method).route(route).times(1)).await.unwrap();
    }
}

#[tokio::test]
async fn changing_error_text_writes_no_status_and_wakes_no_dependent() {
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
    let version = |object: &SpiceApp| object.metadata.resource_version.clone();
    let mut before = Vec::new();
    for name in names {
        before.push(version(&env.api::<SpiceApp>().get(name).await.unwrap()));
    }
    let reconciles = operator.reconciles("SpiceApp").await.unwrap();
    let failures = || async {
        let labels = [("kind", "SpiceOrganization"), ("result", "write_error")];
        operator.metrics().await.map(|metrics| metrics.sum("spice_operator_reconciles_total", &labels))
    };
    let start = failures().await.unwrap();
    eventually("the organization fails five more times", DEADLINE, async || {
        let now = failures().await?;
        if now >= start + 5.0 { Ok(()) } else { Err(format!("{now} after {start}")) }
    })
    .await;
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
