//! Writes to Kubernetes that the API server refuses.

use serde_json::json;

use crate::support::{
    admission::AdmissionPolicy,
    eventually::{DEADLINE, eventually},
    test_env::TestEnv,
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
