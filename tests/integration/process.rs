//! The process: settings, readiness, shutdown.

use std::process::Command;

use kube::api::DeleteParams;
use serde_json::json;
use spice_cloud_operator::api::SpiceApp;

use crate::{
    program,
    support::{
        control_plane::{ControlPlane, User},
        eventually::{DEADLINE, poll},
        operator::Operator,
        run_folder::RunFolder,
        sandbox::{Action, Fault, When},
        world::{World, install},
    },
};

#[test]
fn a_bad_setting_ends_with_one_line_that_names_it() {
    for (args, named) in [
        (vec!["run", "--min-interval", "soon"], "--min-interval"),
        (vec!["run", "--min-retry-delay", "0s"], "--min-retry-delay"),
        (vec!["run", "--read-retry-timeout", "9223372036854775807s"], "--read-retry-timeout"),
        (vec!["run", "--admin-address", "nowhere"], "--admin-address"),
        (vec!["run", "--log-format", "xml"], "--log-format"),
        (vec!["run", "--ready-unknown-after-intervals", "0"], "--ready-unknown-after-intervals"),
        (vec!["run", "--log-filter", "a=b=c"], "--log-filter"),
        (vec!["run", "--admin-address", "192.0.2.1:1"], "--admin-address"),
        (vec!["run", "--no-such-thing"], "--no-such-thing"),
        (vec!["run", "--leader-elect=perhaps"], "--leader-elect"),
        (vec!["sandbox", "--address", "x"], "--address"),
        (vec!["sandbox", "--address", "192.0.2.1:1"], "--address"),
        (vec!["crds", "--output", "/dev/null/x"], "--output"),
    ] {
        let output = Command::new(program()).args(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(error.contains(named), "{args:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{args:?}: {error}");
    }
    let by_environment = Command::new(program()).arg("run").env("SPICE_OPERATOR_MAX_READ_AGE", "x").output().unwrap();
    assert!(String::from_utf8(by_environment.stderr).unwrap().contains("--max-read-age"));
}

#[test]
fn help_explains_every_subcommand_and_setting() {
    for (args, expected) in [
        (vec!["--help"], vec!["run", "crds", "sandbox"]),
        (vec!["run", "--help"], vec!["--admin-address", "SPICE_OPERATOR_MIN_INTERVAL", "KUBECONFIG", "default: 10m"]),
        (vec!["sandbox", "--help"], vec!["--print-address", "/sandbox/journal", "\"action\":"]),
        (vec!["crds", "--help"], vec!["--output"]),
    ] {
        let output = Command::new(program()).args(&args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}");
        for word in expected {
            assert!(text.contains(word), "{args:?} lacks {word}: {text}");
        }
    }
}

#[tokio::test]
async fn without_our_definitions_it_waits_names_them_and_starts_when_they_come() {
    let run = RunFolder::new("definitions").unwrap();
    let cluster = ControlPlane::start_in(&run).await.unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    cluster.kubectl_apply(&root.join("config/rbac")).await.unwrap();
    let kubeconfig = cluster.kubeconfig(User::Operator);
    let operator = Operator::start(&run, program(), &kubeconfig, &["--startup-poll-interval=50ms"], &[]).await.unwrap();
    operator.unready("CustomResourceDefinition spiceorganizations.cloud.spice.ai").await.unwrap();
    assert_eq!(operator.answer("livez").await.unwrap().0, 200);
    install(&cluster).await;
    operator.ready().await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    cluster.stop().unwrap();
}

#[tokio::test]
async fn at_sigterm_a_call_in_hand_finishes_and_its_outcome_is_stored() {
    let world = World::new("sigterm", program()).await;
    let operator = world.operator().await;
    let fault =
        Fault { method: Some("POST".to_owned()), route: None, when: When::After, action: Action::Hang, times: Some(1) };
    world.sandbox.add_fault(&fault).await.unwrap();
    world.app("my-app", json!({})).await;
    world.sandbox.call("the POST is held", 0, |call| call.state == "applied-held").await.unwrap();
    operator.begins_to_stop().await.unwrap();
    world.sandbox.remove_faults().await.unwrap();
    assert_eq!(operator.process().wait(DEADLINE).await.unwrap().code(), Some(0));

    let app = world.api::<SpiceApp>().get("my-app").await.unwrap();
    let status = app.status.unwrap();
    assert_eq!(status.id, world.remote_apps().await[0]["id"].as_i64());
    assert_eq!(status.create_intent, None);
}

#[tokio::test]
async fn at_sigterm_a_call_that_never_ends_is_given_up_and_found_out_after_the_restart() {
    let world = World::new("sigterm-hang", program()).await;
    let operator = world.operator_with(&["--graceful-shutdown-timeout=100ms"]).await;
    let fault =
        Fault { method: Some("POST".to_owned()), route: None, when: When::After, action: Action::Hang, times: Some(1) };
    world.sandbox.add_fault(&fault).await.unwrap();
    world.app("my-app", json!({})).await;
    world.sandbox.call("the POST is held", 0, |call| call.state == "applied-held").await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    world.sandbox.remove_faults().await.unwrap();

    let _operator = world.operator().await;
    let app = world.app_is("my-app", "True", "Succeeded").await;
    assert_eq!(app.status.unwrap().id, world.remote_apps().await[0]["id"].as_i64());
    assert_eq!(world.calls(0).await.iter().filter(|call| *call == "POST /v1/apps").count(), 1);
}

#[tokio::test]
async fn what_a_shutdown_cut_short_is_not_told_as_an_outage() {
    let world = World::new("sigterm-read", program()).await;
    let operator = world.operator().await;
    world.organization_is("True", "Succeeded").await;
    let route = Some("/v1/apps".to_owned());
    let fault = Fault { method: None, route, when: When::Before, action: Action::Hang, times: None };
    world.sandbox.add_fault(&fault).await.unwrap();
    world.app("my-app", json!({})).await;
    world.sandbox.call("the list is held", 0, |call| call.state == "held").await.unwrap();
    let api = world.api::<SpiceApp>();
    let before = api.get("my-app").await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    assert_eq!(api.get("my-app").await.unwrap(), before);
}

#[tokio::test]
async fn when_a_definition_is_deleted_the_operator_is_not_ready_and_names_what_it_cannot_watch() {
    let world = World::alone("vanished", program()).await;
    let operator = world.operator_with(&["--readiness-failure-threshold=200ms"]).await;
    let definition = "crds/spiceapps.cloud.spice.ai.yaml";
    world.cluster.kubectl(&["delete", "-f", definition]).await.unwrap();
    operator.unready("the watch of SpiceApps, which has failed for").await.unwrap();
    assert_eq!(operator.answer("livez").await.unwrap().0, 200);
    assert_eq!(operator.metrics().await.unwrap().sum("spice_operator_ready", &[]), 0.0);

    world.cluster.kubectl_apply(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(definition)).await.unwrap();
    operator.ready().await.unwrap();
    world.app("my-app", json!({})).await;
    world.app_is("my-app", "True", "Succeeded").await;
    // No watch sees every status of a kind that went and came back.
    world.forget_statuses();
}

#[tokio::test]
async fn metrics_count_calls_writes_and_finished_visits_by_how_they_ended() {
    let world = World::new("metrics", program()).await;
    let operator = world.operator().await;
    world.organization_is("True", "Succeeded").await;
    let (method, route) = (Some("POST".to_owned()), Some("/v1/apps".to_owned()));
    let fault = Fault { method, route, when: When::Before, action: Action::Status(503), times: Some(1) };
    world.sandbox.add_fault(&fault).await.unwrap();
    world.app("my-app", json!({})).await;
    world.app_is("my-app", "True", "Succeeded").await;
    let metrics = operator.metrics().await.unwrap();
    let calls = |labels: &[(&str, &str)]| metrics.sum("spice_operator_management_api_requests_total", labels);
    for code in ["201", "503"] {
        let labels = [("method", "POST"), ("route", "/v1/apps"), ("code", code), ("error", "")];
        assert_eq!(calls(&labels), 1.0, "{code}");
    }
    assert_eq!(calls(&[]) as usize, world.calls(0).await.len());
    assert!(metrics.visits("SpiceApp") >= 1.0);
    assert!(metrics.visits("SpiceOrganization") >= 1.0);
    let writes = |labels: &[(&str, &str)]| metrics.sum("spice_operator_kubernetes_writes_total", labels);
    assert_eq!(writes(&[("verb", "patch"), ("kind", "SpiceApp"), ("outcome", "ok")]), 1.0, "the finalizer");
    assert!(writes(&[("verb", "update"), ("kind", "SpiceApp"), ("outcome", "ok")]) >= 3.0);
}

#[tokio::test]
async fn metrics_show_the_objects_that_there_are_by_kind_and_reason() {
    let world = World::new("objects", program()).await;
    let operator = world.operator().await;
    world.app("here", json!({})).await;
    world.app("watched", json!({ "managementPolicy": "Observe" })).await;
    world.app("stopped", json!({ "suspend": true })).await;
    world.app_is("here", "True", "Succeeded").await;
    world.app_is("watched", "False", "NotFound").await;
    world.app_is("stopped", "Unknown", "Suspended").await;
    let objects = async |labels: &[(&str, &str)]| {
        operator.metrics().await.unwrap().sum("spice_operator_objects", &[&[("kind", "SpiceApp")], labels].concat())
    };
    poll("the caches show all three", DEADLINE, async || {
        let found = [
            objects(&[("ready", "True"), ("reason", "Succeeded")]).await,
            objects(&[("ready", "False"), ("reason", "NotFound")]).await,
            objects(&[("ready", "Unknown"), ("reason", "Suspended")]).await,
        ];
        if found == [1.0; 3] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await
    .unwrap();
    let metrics = operator.metrics().await.unwrap();
    let of_apps = |name: &str| metrics.sum(&format!("spice_operator_{name}"), &[("kind", "SpiceApp")]);
    assert_eq!(of_apps("suspended_objects"), 1.0);
    assert!(of_apps("oldest_check_timestamp_seconds") > 1.7e9);
    assert_eq!(of_apps("oldest_deletion_timestamp_seconds"), 0.0);
    assert_eq!(metrics.sum("spice_operator_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    world.api::<SpiceApp>().delete("here", &DeleteParams::default()).await.unwrap();
    world.gone::<SpiceApp>("here").await;
    poll("what is gone is counted no more", DEADLINE, async || match objects(&[]).await {
        2.0 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await
    .unwrap();
}
