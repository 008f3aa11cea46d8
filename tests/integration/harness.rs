//! The harness itself: what the other tests take for granted.

use std::{
    cell::Cell,
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{
    control_plane::{ControlPlane, User, pinned_version, use_existing_cluster},
    eventually::{DEADLINE, eventually, poll},
    operator::Metrics,
    process::Child,
    run_dir::RunDir,
    sandbox::{Action, Fault, When},
};

// --- the control plane -------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_api_has_the_pinned_version_and_kubectl_matches_it() {
    let cluster = ControlPlane::shared().await.unwrap();
    let versions: Value = serde_json::from_str(&cluster.kubectl(&["version", "--output=json"]).await.unwrap()).unwrap();
    let asked = cluster.client(User::Admin).await.unwrap().apiserver_version().await.unwrap();
    assert_eq!(versions["serverVersion"]["gitVersion"], asked.git_version.as_str());
    if !use_existing_cluster() {
        assert_eq!(versions["clientVersion"]["gitVersion"], asked.git_version.as_str());
        if env::var_os("KUBEBUILDER_ASSETS").is_none() {
            assert_eq!(Some(asked.git_version.as_str()), pinned_version());
        }
    }
}

#[tokio::test]
async fn each_namespace_is_its_own() {
    let cluster = ControlPlane::shared().await.unwrap();
    let (mine, other) = (cluster.namespace("same").await.unwrap(), cluster.namespace("same").await.unwrap());
    assert_ne!(mine, other);

    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "note", "namespace": mine}});
    cluster.kubectl_apply_text(&manifest.to_string()).await.unwrap();

    let client = cluster.client(User::Admin).await.unwrap();
    let in_mine = Api::<ConfigMap>::namespaced(client.clone(), &mine).get_opt("note").await.unwrap();
    let in_other = Api::<ConfigMap>::namespaced(client, &other).get_opt("note").await.unwrap();
    assert!(in_mine.is_some());
    assert!(in_other.is_none());
}

#[tokio::test]
async fn only_what_rbac_gives_is_allowed() {
    let cluster = ControlPlane::shared().await.unwrap();
    let namespace = cluster.namespace("rbac").await.unwrap();
    let list = async |user| {
        let client = cluster.client(user).await.unwrap();
        match Api::<Pod>::namespaced(client, &namespace).list(&ListParams::default()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    };
    for (user, expected) in [(User::Admin, 200), (User::Operator, 403), (User::Viewer, 403)] {
        assert_eq!(list(user).await, expected, "{user:?}");
    }

    // As the manifests do it: bound to the ServiceAccount, not to a user name.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "reader", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "reader", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "spice-cloud-operator",
                      "namespace": "spice-cloud-operator-system"}]});
    cluster.kubectl_apply_text(&format!("{role}\n---\n{binding}")).await.unwrap();

    eventually("the operator may list", DEADLINE, async || match list(User::Operator).await {
        200 => Ok(()),
        code => Err(format!("it is answered {code}")),
    })
    .await;
    assert_eq!(list(User::Viewer).await, 403);
}

#[tokio::test]
async fn a_failing_kubectl_shows_what_it_said() {
    let cluster = ControlPlane::shared().await.unwrap();
    let error = cluster.kubectl(&["get", "--raw", "/nothing-here"]).await.unwrap_err();
    assert!(error.contains("get --raw /nothing-here"), "{error}");
    assert!(error.contains("NotFound"), "{error}");
}

#[tokio::test]
async fn a_control_plane_of_its_own_starts_empty_and_stops() {
    if use_existing_cluster() {
        return;
    }
    let run = RunDir::new("own").unwrap();
    let own = ControlPlane::start_in(&run).await.unwrap();
    let shared = ControlPlane::shared().await.unwrap();
    let namespace = shared.namespace("elsewhere").await.unwrap();
    assert!(own.kubectl(&["get", "namespace", &namespace]).await.unwrap_err().contains("NotFound"));

    let client = own.client(User::Admin).await.unwrap();
    own.stop().unwrap();
    client.apiserver_version().await.unwrap_err();
}

// --- processes ---------------------------------------------------------------------------------------------------

/// Set for the copy of the test binary that is to be killed: the path of a named pipe.
const VICTIM: &str = "SPICE_TEST_VICTIM";

/// The child and what it started in turn hold the pipe open; it ends when the last of them is gone.
#[tokio::test]
async fn who_is_killed_takes_children_and_folders_along() {
    if let Some(pipe) = env::var_os(VICTIM) {
        victim(Path::new(&pipe)).await;
        return;
    }
    let run = RunDir::new("victim").unwrap();
    let pipe = run.data().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "harness::who_is_killed_takes_children_and_folders_along"]).env(VICTIM, &pipe);
    let mut victim = command.stdout(Stdio::null()).spawn().unwrap();
    let (line_sender, line) = oneshot::channel();
    let (end_sender, end) = oneshot::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(fs::File::open(pipe).unwrap());
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        line_sender.send(text).unwrap();
        end_sender.send(reader.read_to_end(&mut Vec::new()).unwrap()).unwrap();
    });
    let folder = tokio::time::timeout(DEADLINE, line).await.expect("the victim's child is running").unwrap();
    let folder = PathBuf::from(folder.trim_end());
    assert!(folder.is_dir());

    victim.kill().unwrap();
    victim.wait().unwrap();

    tokio::time::timeout(DEADLINE, end).await.expect("the victim's child is gone").unwrap();
    eventually("the victim's folder is gone", DEADLINE, async || {
        if folder.exists() { Err(format!("{folder:?} is there")) } else { Ok(()) }
    })
    .await;
}

async fn victim(pipe: &Path) {
    let run = RunDir::new("victim").unwrap();
    let mut command = Command::new("/bin/sh");
    // A grandchild that holds the pipe as well, and a child that ignores what can be ignored.
    command.args(["-c", r#"trap '' TERM INT HUP; exec 3>"$1"; sleep 600 & echo "$2" >&3; wait"#, "sh"]);
    command.arg(pipe).arg(run.path());
    let child = Child::start(&run, "child", &command).unwrap();
    child.wait(DEADLINE * 2).await.unwrap();
}

#[tokio::test]
async fn a_child_announces_itself_or_its_end_is_told() {
    let run = RunDir::new("announce").unwrap();
    for (script, expected) in [
        (r#"echo '{"n":1}'; echo more; exec sleep 600"#, Ok(json!({"n": 1}))),
        (r#"echo '{"n":2}'"#, Ok(json!({"n": 2}))),
        ("echo 'the disk is full' >&2; exit 3", Err("the disk is full")),
        ("echo hello; exec sleep 600", Err("hello")),
    ] {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let announced = Child::start(&run, "child", &command).unwrap().announcement::<Value>().await;
        match expected {
            Ok(value) => assert_eq!(announced.unwrap(), value),
            Err(part) => {
                let error = announced.unwrap_err();
                assert!(error.contains(part), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_child_ends_by_the_signal_it_is_sent() {
    let run = RunDir::new("signals").unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap 'exit 7' TERM; echo '{}'; while :; do sleep 600 & wait; done"]);
    let start = async || {
        let child = Child::start(&run, "child", &command).unwrap();
        // Announced after the trap is set.
        child.announcement::<Value>().await.unwrap();
        child
    };

    let terminated = start().await;
    terminated.terminate().unwrap();
    assert_eq!(terminated.wait(DEADLINE).await.unwrap().code(), Some(7));
    terminated.terminate().expect("nothing happens to one that has ended");

    let killed = start().await;
    assert_eq!(killed.kill().unwrap().code(), None);
}

#[test]
fn logs_stay_only_when_the_run_failed() {
    for failed in [false, true] {
        let run = RunDir::new("retention").unwrap();
        let (path, logs, data) = (run.path().to_owned(), run.logs(), run.data());
        let ended = thread::spawn(move || {
            let _run = run;
            assert!(!failed, "this panic is meant");
        });
        assert_eq!(ended.join().is_err(), failed);
        assert_eq!((logs.exists(), data.exists()), (failed, false));
        fs::remove_dir_all(path).ok();
    }
}

#[tokio::test]
async fn a_condition_that_never_holds_fails_with_its_last_reason() {
    let looks = Cell::new(0);
    let never = poll("the sea is dry", Duration::ZERO, async || {
        looks.set(looks.get() + 1);
        Err::<(), _>(format!("look {} found water", looks.get()))
    });
    let message = never.await.unwrap_err();
    assert!(message.contains("the sea is dry") && message.contains("look 1 found water"), "{message}");
}

// --- formats -----------------------------------------------------------------------------------------------------

#[test]
fn metrics_are_read_from_the_text_format() {
    let text = r#"
# HELP spice_operator_reconciles Reconciles.
# TYPE spice_operator_reconciles counter
spice_operator_reconciles_total{kind="SpiceApp",result="settled"} 3
spice_operator_reconciles_total{kind="SpiceApp",result="a \"quoted\", {odd} \\ one"} 4 1700000000
spice_operator_reconciles_total{kind="SpiceSecret",result="settled"} 5
process_cpu_seconds_total 0.25
queue_seconds_bucket{le="+Inf"} 1e3
# EOF
"#;
    let metrics = Metrics::parse(text).unwrap();
    assert_eq!(metrics.reconciles("SpiceApp"), 7.0);
    assert_eq!(metrics.reconciles("SpiceDeployment"), 0.0);
    assert_eq!(metrics.sum("process_cpu_seconds_total", &[]), 0.25);
    assert_eq!(metrics.sum("queue_seconds_bucket", &[("le", "+Inf")]), 1000.0);
    let odd = [("result", r#"a "quoted", {odd} \ one"#)];
    assert_eq!(metrics.sum("spice_operator_reconciles_total", &odd), 4.0);

    for broken in ["name", "name{", r#"name{a="b} 1"#, "name one"] {
        assert!(Metrics::parse(broken).unwrap_err().contains(broken), "{broken}");
    }
}

#[test]
fn faults_are_written_as_the_sandbox_reads_them() {
    let fault = |when, action, times| Fault {
        method: Some(String::from("POST")),
        route: Some(String::from("/v1/apps")),
        when,
        action,
        times,
    };
    for (fault, expected) in [
        (
            fault(When::Before, Action::Status(503), Some(2)),
            json!({"when": "before", "action": {"status": 503}, "times": 2}),
        ),
        (fault(When::After, Action::Close, Some(1)), json!({"when": "after", "action": "close", "times": 1})),
        (fault(When::After, Action::Hang, None), json!({"when": "after", "action": "hang"})),
    ] {
        let mut expected = expected;
        expected["method"] = json!("POST");
        expected["route"] = json!("/v1/apps");
        assert_eq!(serde_json::to_value(&fault).unwrap(), expected);
    }
}

// --- tests/control-plane/build.sh ----------------------------------------------------------------------------------

/// A Go that answers with this version and "builds" a file, of which it keeps a list in `$GO_BUILT`.
fn fake_go(folder: &Path, version: &str) {
    let script = format!(
        r#"#!/bin/sh
case $1 in
  env) echo {version} ;;
  build) while [ "$1" != -o ]; do shift; done; echo "$3" >>"$GO_BUILT"; echo >"$2" ;;
esac
"#
    );
    executable(&folder.join("go"), &script);
}

/// Written by another process: a program that this one has open for writing cannot be run, and a fork for some other
/// test would keep it open for a moment longer.
fn executable(path: &Path, content: &str) {
    let script = r#"mkdir -p "${1%/*}" && printf '%s' "$2" >"$1" && chmod 755 "$1""#;
    let status = Command::new("/bin/sh").args(["-c", script, "sh"]).arg(path).arg(content).status().unwrap();
    assert!(status.success());
}

/// build.sh with an empty cache, and only `path` to find programs in.
fn build_sh(run: &RunDir, path: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build.sh"));
    command.env_remove("KUBEBUILDER_ASSETS").env("XDG_CACHE_HOME", run.data().join("cache")).env("PATH", path);
    command.env("GO_BUILT", run.data().join("built"));
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_go_and_without_binaries_the_ways_out_are_told_once() {
    for (go, reason) in [(None, "there is no Go"), (Some("go1.22.1"), "Go 1.22.1 is older than 1.26")] {
        let run = RunDir::new("no-go").unwrap();
        let path = run.data().join("path");
        if let Some(version) = go {
            fake_go(&path.join("bin"), version);
        }
        let output = build_sh(&run, &path.join("bin")).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
        for part in
            [reason, "install Go 1.26 or newer", "KUBEBUILDER_ASSETS", "KUBECONFIG", "USE_EXISTING_CLUSTER=true"]
        {
            assert_eq!(said.matches(part).count(), 1, "{part:?} in {said}");
        }
    }
}

#[test]
fn binaries_are_taken_from_the_folder_that_is_named() {
    let run = RunDir::new("assets").unwrap();
    let assets = run.data().join("assets");
    executable(&assets.join("etcd"), "");
    for (names, expected) in [
        (&["etcd"][..], Ok(())),
        (&[], Err("lacks: kube-apiserver kubectl")),
        (&["kube-controller-manager"], Err("lacks: kube-controller-manager")),
        (&["etcd", "vi"], Err("vi is not a tool")),
    ] {
        let mut command = build_sh(&run, Path::new("/nowhere"));
        let output = command.args(names).env("KUBEBUILDER_ASSETS", &assets).output().unwrap();
        match expected {
            Ok(()) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), assets.to_string_lossy()),
            Err(part) => {
                assert_eq!(said(&output).lines().count(), 1);
                assert!(!output.status.success() && said(&output).contains(part), "{}", said(&output));
            }
        }
    }
}

#[test]
fn runs_side_by_side_build_each_binary_once() {
    let run = RunDir::new("build").unwrap();
    let bin = run.data().join("bin");
    fake_go(&bin, "go1.26.0");
    let path = PathBuf::from(
        env::join_paths([bin].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap(),
    );
    let side_by_side: Vec<_> =
        (0..3).map(|_| build_sh(&run, &path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    let outputs: Vec<_> = side_by_side.into_iter().map(|child| child.wait_with_output().unwrap()).collect();

    let folders: BTreeSet<_> = outputs.iter().map(|output| output.stdout.clone()).collect();
    assert_eq!(folders.len(), 1, "{}", outputs.iter().map(said).collect::<String>());
    let folder = PathBuf::from(String::from_utf8(folders.into_iter().next().unwrap()).unwrap().trim_end());
    let mut found: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.retain(|name| !name.to_string_lossy().starts_with(".lock"));
    found.sort();
    assert_eq!(found, ["etcd", "kube-apiserver", "kubectl"]);
    let built = fs::read_to_string(run.data().join("built")).unwrap();
    assert_eq!(built.lines().count(), 3, "{built}");

    // Now they are there, and no Go is needed.
    let again = build_sh(&run, Path::new("/nowhere")).output().unwrap();
    assert!(again.status.success() && again.stderr.is_empty(), "{}", said(&again));
}
