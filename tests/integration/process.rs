//! The operator process: flags, readiness, metrics and shutdown.

use std::process::Command;

use serde_json::json;
use spice_cloud_operator::api::{SpiceApp, SpiceOrganization};

use crate::{
    program,
    support::{
        control_plane::{ControlPlane, User},
        eventually::{DEADLINE, eventually},
        operator::Operator,
        run_dir::RunDir,
        sandbox::{Action, Fault, When},
        test_env::{TestEnv, install},
    },
};

#[test]
fn invalid_flag_exits_with_one_line_that_names_the_flag() {
    for (args, flag) in [
        (vec!["run", "--min-interval", "soon"], "--min-interval"),
        (vec!["run", "--min-retry-delay", "0s"], "--min-retry-delay"),
        (vec!["run", "--read-retry-timeout", "9223372036854775807s"], "--read-retry-timeout"),
        (vec!["run", "--admin-address", "nowhere"], "--admin-address"),
        (vec!["run", "--log-format", "xml"], "--log-format"),
        (vec!["run", "--ready-unknown-after-intervals", "0"], "--ready-unknown-after-intervals"),
        (vec!["run", "--log-filter", "a=b=c"], "--log-filter"),
        (vec!["run", "--log-filter", ""], "--log-filter"),
        (vec!["run", "--watch-namespace", "../x?y"], "--watch-namespace"),
        (vec!["run", "--leader-elect-resource-namespace", "x/y"], "--leader-elect-resource-namespace"),
        (vec!["run", "--leader-elect-resource-name", "A B"], "--leader-elect-resource-name"),
        (vec!["run", "--digest-key-secret", "A B"], "--digest-key-secret"),
        (vec!["sandbox", "--address", "127.0.0.1:0", "--state", "/dev/zero"], "--state"),
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
        assert!(error.contains(flag), "{args:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{args:?}: {error}");
    }
    let output = Command::new(program()).arg("run").env("SPICE_OPERATOR_MAX_READ_AGE", "x").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("--max-read-age"));
}

#[test]
fn invalid_kubeconfig_is_reported_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    for user in ["token: \"secret-token", "token: [secret-token]", "token: x\n   secret-token: y"] {
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, format!("users:\n- name: a\n  user:\n    {user}\n")).unwrap();
        let run = ["run", "--admin-address", "127.0.0.1:0"];
        let output = Command::new(program()).args(run).env("KUBECONFIG", &kubeconfig).output().unwrap();
        let log = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success() && log.contains("kubeconfig"), "{log}");
        assert!(log.contains("line ") && !log.contains("secret-token"), "{log}");
    }
}

#[test]
fn help_describes_every_subcommand_and_flag() {
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
async fn missing_definition_is_reported_until_it_is_installed() {
    let run = RunDir::new("definitions").unwrap();
    let cluster = ControlPlane::start_in(&run).await.unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    cluster.kubectl_apply(&root.join("config/rbac")).await.unwrap();
    let kubeconfig = cluster.kubeconfig(User::Operator);
    let operator = Operator::start(&run, program(), &kubeconfig, &["--startup-poll-interval=50ms"], &[]).await.unwrap();
    operator.wait_until_unready("CustomResourceDefinition spiceorganizations.cloud.spice.ai").await.unwrap();
    assert_eq!(operator.get("livez").await.unwrap().0, 200);
    install(&cluster).await;
    operator.wait_until_ready().await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    cluster.stop().unwrap();
}

#[tokio::test]
async fn shutdown_waits_for_an_in_flight_create_and_stores_its_result() {
    let env = TestEnv::new("sigterm").await;
    let operator = env.start_operator().await;
    let hang = Fault::new(When::After, Action::Hang).method("POST").times(1);
    env.sandbox.add_fault(hang).await.unwrap();
    env.apply_app("my-app", json!({})).await;
    env.sandbox.wait_for_call("the POST hangs", 0, |call| call.state == "applied-held").await.unwrap();
    operator.begin_shutdown().await.unwrap();
    env.sandbox.remove_faults().await.unwrap();
    assert_eq!(operator.wait_for_exit().await.unwrap(), Some(0));

    let app = env.api::<SpiceApp>().get("my-app").await.unwrap();
    let status = app.status.unwrap();
    assert_eq!(status.id, env.remote_apps().await[0]["id"].as_i64());
    assert_eq!(status.create_intent, None);
}

#[tokio::test]
async fn restart_recovers_a_create_that_the_shutdown_timeout_aborted() {
    let env = TestEnv::new("sigterm-hang").await;
    let operator = env.start_operator_with(&["--graceful-shutdown-timeout=100ms"]).await;
    let hang = Fault::new(When::After, Action::Hang).method("POST").times(1);
    env.sandbox.add_fault(hang).await.unwrap();
    env.apply_app("my-app", json!({})).await;
    env.sandbox.wait_for_call("the POST hangs", 0, |call| call.state == "applied-held").await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    env.sandbox.remove_faults().await.unwrap();

    let _operator = env.start_operator().await;
    let app = env.wait_for_ready::<SpiceApp>("my-app").await;
    assert_eq!(app.status.unwrap().id, env.remote_apps().await[0]["id"].as_i64());
    assert_eq!(env.count_posts().await, 1);
}

#[tokio::test]
async fn read_aborted_by_shutdown_does_not_change_the_status() {
    let env = TestEnv::new("sigterm-read").await;
    let operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    env.sandbox.add_fault(Fault::new(When::Before, Action::Hang).route("/v1/apps")).await.unwrap();
    env.apply_app("my-app", json!({})).await;
    env.sandbox.wait_for_call("the list request hangs", 0, |call| call.state == "held").await.unwrap();
    let api = env.api::<SpiceApp>();
    let before = api.get("my-app").await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    assert_eq!(api.get("my-app").await.unwrap(), before);
}

#[tokio::test]
async fn deleted_definition_makes_the_operator_unready_until_reinstalled() {
    let env = TestEnv::with_dedicated_control_plane("deleted-definition").await;
    let operator = env.start_operator_with(&["--readiness-failure-threshold=200ms"]).await;
    let definition = "crds/spiceapps.cloud.spice.ai.yaml";
    env.cluster.kubectl(&["delete", "-f", definition]).await.unwrap();
    operator.wait_until_unready("the watch of SpiceApps (failing for").await.unwrap();
    assert_eq!(operator.get("livez").await.unwrap().0, 200);
    assert_eq!(operator.metrics().await.unwrap().sum("spice_operator_ready", &[]), 0.0);

    env.cluster.kubectl_apply(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(definition)).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    env.apply_app_and_wait("my-app", json!({})).await;
    // The status checker cannot watch across the deletion and reinstallation of a definition.
    env.skip_status_check();
}

#[tokio::test]
async fn metrics_count_requests_writes_and_reconciles_by_result() {
    let env = TestEnv::new("metrics").await;
    let operator = env.start_operator().await;
    env.wait_for_ready::<SpiceOrganization>("default").await;
    let fault = Fault::new(When::Before, Action::Status(503)).method("POST").route("/v1/apps").times(1);
    env.sandbox.add_fault(fault).await.unwrap();
    env.apply_app_and_wait("my-app", json!({})).await;
    let metrics = operator.metrics().await.unwrap();
    let requests = |labels: &[(&str, &str)]| metrics.sum("spice_operator_management_api_requests_total", labels);
    for code in ["201", "503"] {
        let labels = [("method", "POST"), ("route", "/v1/apps"), ("code", code), ("error", "")];
        assert_eq!(requests(&labels), 1.0, "{code}");
    }
    assert_eq!(requests(&[]) as usize, env.calls_since(0).await.len());
    assert!(metrics.reconciles("SpiceApp") >= 1.0);
    assert!(metrics.reconciles("SpiceOrganization") >= 1.0);
    let writes = |labels: &[(&str, &str)]| metrics.sum("spice_operator_kubernetes_writes_total", labels);
    assert_eq!(
        writes(&[("verb", "patch"), ("kind", "SpiceApp"), ("code", "200"), ("error", "")]),
        1.0,
        "the finalizer"
    );
    assert!(writes(&[("verb", "update"), ("kind", "SpiceApp"), ("code", "200"), ("error", "")]) >= 3.0);
}

#[tokio::test]
async fn metrics_count_existing_objects_by_kind_and_reason() {
    let env = TestEnv::new("objects").await;
    let operator = env.start_operator().await;
    env.apply_app("synced", json!({})).await;
    env.apply_app("observed", json!({ "managementPolicy": "Observe" })).await;
    env.apply_app("suspended", json!({ "suspend": true })).await;
    env.wait_for_ready::<SpiceApp>("synced").await;
    env.wait_for_reason::<SpiceApp>("observed", "False", "NotFound").await;
    env.wait_for_reason::<SpiceApp>("suspended", "Unknown", "Suspended").await;
    let objects = async |labels: &[(&str, &str)]| {
        operator.metrics().await.unwrap().sum("spice_operator_objects", &[&[("kind", "SpiceApp")], labels].concat())
    };
    eventually("the metrics count all three objects", DEADLINE, async || {
        let found = [
            objects(&[("ready", "True"), ("reason", "Succeeded")]).await,
            objects(&[("ready", "False"), ("reason", "NotFound")]).await,
            objects(&[("ready", "Unknown"), ("reason", "Suspended")]).await,
        ];
        if found == [1.0; 3] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let metrics = operator.metrics().await.unwrap();
    let app_metric = |name: &str| metrics.sum(&format!("spice_operator_{name}"), &[("kind", "SpiceApp")]);
    assert_eq!(app_metric("suspended_objects"), 1.0);
    assert!(app_metric("oldest_sync_timestamp_seconds") > 1.7e9);
    assert_eq!(app_metric("oldest_deletion_timestamp_seconds"), 0.0);
    assert_eq!(metrics.sum("spice_operator_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    env.delete_and_wait::<SpiceApp>("synced").await;
    eventually("the metrics no longer count the deleted object", DEADLINE, async || match objects(&[]).await {
        2.0 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
}
