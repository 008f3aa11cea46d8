//! The process: settings, readiness, shutdown.

use std::process::Command;

use serde_json::json;

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
        (vec!["run", "--backoff-min", "0s"], "--backoff-min"),
        (vec!["run", "--admin-address", "nowhere"], "--admin-address"),
        (vec!["run", "--log-format", "xml"], "--log-format"),
        (vec!["run", "--missed-intervals", "0"], "--missed-intervals"),
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
    let by_environment = Command::new(program()).arg("run").env("SPICE_OPERATOR_EVIDENCE", "x").output().unwrap();
    assert!(String::from_utf8(by_environment.stderr).unwrap().contains("--evidence"));
}

#[test]
fn help_explains_every_subcommand_and_setting() {
    for (args, expected) in [
        (vec!["--help"], vec!["run", "crds", "sandbox"]),
        (vec!["run", "--help"], vec!["--admin-address", "SPICE_OPERATOR_MIN_INTERVAL", "KUBECONFIG", "default: 10m"]),
        (vec!["sandbox", "--help"], vec!["--announce", "/sandbox/journal"]),
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
    let operator = Operator::start(&run, program(), &kubeconfig, &["--start-poll=50ms"], &[]).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let readyz = async || {
        let answer = http.get(format!("{}/readyz", operator.admin())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    poll("it names the definition", DEADLINE, async || match readyz().await {
        (503, text) if text.contains("CustomResourceDefinition spiceorganizations.cloud.spice.ai") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    let livez = http.get(format!("{}/livez", operator.admin())).send().await.unwrap();
    assert_eq!(livez.status().as_u16(), 200);
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
    operator.process().terminate().unwrap();
    poll("it says that it stops", DEADLINE, async || {
        if operator.log().contains("calls in hand may finish") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await
    .unwrap();
    world.sandbox.remove_faults().await.unwrap();
    assert_eq!(operator.process().wait(DEADLINE).await.unwrap().code(), Some(0));

    let app = world.api::<spice_cloud_operator::api::SpiceApp>().get("my-app").await.unwrap();
    let status = app.status.unwrap();
    assert_eq!(status.id, world.remote_apps().await[0]["id"].as_i64());
    assert_eq!(status.create_intent, None);
}

#[tokio::test]
async fn at_sigterm_a_call_that_never_ends_is_given_up_and_found_out_after_the_restart() {
    let world = World::new("sigterm-hang", program()).await;
    let operator = world.operator_with(&["--shutdown-grace=100ms"]).await;
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
    let api = world.api::<spice_cloud_operator::api::SpiceApp>();
    let before = api.get("my-app").await.unwrap();
    assert_eq!(operator.terminate().await.unwrap(), Some(0));
    assert_eq!(api.get("my-app").await.unwrap(), before);
}

#[tokio::test]
async fn metrics_count_calls_and_finished_visits_by_kind() {
    let world = World::new("metrics", program()).await;
    let operator = world.operator().await;
    world.app("my-app", json!({})).await;
    world.app_is("my-app", "True", "Succeeded").await;
    let metrics = operator.metrics().await.unwrap();
    let calls = |labels: &[(&str, &str)]| metrics.sum("spice_operator_management_api_requests_total", labels);
    assert_eq!(calls(&[("method", "POST"), ("route", "/v1/apps"), ("outcome", "201")]), 1.0);
    assert_eq!(calls(&[]) as usize, world.calls(0).await.len());
    assert!(metrics.visits("SpiceApp") >= 1.0);
    assert!(metrics.visits("SpiceOrganization") >= 1.0);
}
