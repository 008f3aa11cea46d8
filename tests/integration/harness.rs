//! Tests of the test harness: processes, run directories, file formats, and the build of the control plane.

use std::{
    cell::Cell,
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{
    eventually::{DEADLINE, eventually, poll},
    hostile::{HostileEndpoint, RawAnswer, SIGN_IN_PAGE},
    operator::Metrics,
    process::Child,
    run_dir::RunDir,
    sandbox::{Action, Fault, When},
};

mod build;
mod control_plane;

/// Environment variable of the test binary that the test kills: the path of a named pipe.
const KILLED_PROCESS: &str = "SPICE_TEST_KILLED_PROCESS";

/// The child and its own children hold the pipe open. The end of the pipe shows the end of all these processes.
#[tokio::test]
async fn killed_process_leaves_no_children_and_no_directories() {
    if let Some(pipe) = env::var_os(KILLED_PROCESS) {
        run_until_killed(Path::new(&pipe)).await;
        return;
    }
    let run = RunDir::new("killed").unwrap();
    let pipe = run.data().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "harness::killed_process_leaves_no_children_and_no_directories"])
        .env(KILLED_PROCESS, &pipe);
    let mut killed = command.stdout(Stdio::null()).spawn().unwrap();
    let (line_sender, line) = oneshot::channel();
    let (end_sender, end) = oneshot::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(fs::File::open(pipe).unwrap());
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        line_sender.send(text).unwrap();
        end_sender.send(reader.read_to_end(&mut Vec::new()).unwrap()).unwrap();
    });
    let directory = tokio::time::timeout(DEADLINE, line).await.expect("the child starts").unwrap();
    let directory = PathBuf::from(directory.trim_end());
    assert!(directory.is_dir());

    killed.kill().unwrap();
    killed.wait().unwrap();

    tokio::time::timeout(DEADLINE, end).await.expect("the child ends").unwrap();
    eventually("the directory is removed", DEADLINE, async || {
        if directory.exists() { Err(format!("{directory:?} exists")) } else { Ok(()) }
    })
    .await;
}

async fn run_until_killed(pipe: &Path) {
    let run = RunDir::new("killed").unwrap();
    let mut command = Command::new("/bin/sh");
    // A child that ignores signals, and a grandchild that also holds the pipe.
    command.args(["-c", r#"trap '' TERM INT HUP; exec 3>"$1"; sleep 600 & echo "$2" >&3; wait"#, "sh"]);
    command.arg(pipe).arg(run.path());
    let child = Child::start(&run, "child", &command).unwrap();
    child.wait(DEADLINE * 2).await.unwrap();
}

#[tokio::test]
async fn first_line_or_exit_of_a_child_is_returned() {
    let run = RunDir::new("first-line").unwrap();
    for (script, expected) in [
        (r#"echo '{"n":1}'; echo more; exec sleep 600"#, Ok(json!({"n": 1}))),
        (r#"echo '{"n":2}'"#, Ok(json!({"n": 2}))),
        ("echo 'the disk is full' >&2; exit 3", Err("the disk is full")),
        ("echo hello; exec sleep 600", Err("hello")),
    ] {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let line = Child::start(&run, "child", &command).unwrap().wait_for_first_line::<Value>().await;
        match expected {
            Ok(value) => assert_eq!(line.unwrap(), value),
            Err(part) => {
                let error = line.unwrap_err();
                assert!(error.contains(part), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn child_receives_the_sent_signal() {
    let run = RunDir::new("signals").unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap 'exit 7' TERM; echo '{}'; while :; do sleep 600 & wait; done"]);
    let start = async || {
        let child = Child::start(&run, "child", &command).unwrap();
        // The child prints the line after `trap`.
        child.wait_for_first_line::<Value>().await.unwrap();
        child
    };

    let terminated = start().await;
    terminated.terminate().unwrap();
    assert_eq!(terminated.wait(DEADLINE).await.unwrap().code(), Some(7));
    terminated.terminate().expect("no effect on an ended process");

    let killed = start().await;
    assert_eq!(killed.kill().unwrap().code(), None);
}

#[test]
fn only_failed_runs_keep_their_logs() {
    for failed in [false, true] {
        let run = RunDir::new("retention").unwrap();
        let (path, logs, data) = (run.path().to_owned(), run.logs(), run.data());
        let test_thread = thread::spawn(move || {
            let _run = run;
            assert!(!failed, "expected panic");
        });
        assert_eq!(test_thread.join().is_err(), failed);
        assert_eq!((logs.exists(), data.exists()), (failed, false));
        fs::remove_dir_all(path).ok();
    }
}

#[tokio::test]
async fn poll_timeout_contains_the_last_reason() {
    let polls = Cell::new(0);
    let never = poll("the value is ready", Duration::ZERO, async || {
        polls.set(polls.get() + 1);
        Err::<(), _>(format!("poll {} failed", polls.get()))
    });
    let message = never.await.unwrap_err();
    assert!(message.contains("the value is ready") && message.contains("poll 1 failed"), "{message}");
}

#[test]
fn metrics_text_format_is_parsed() {
    let text = r#"
# HELP spice_operator_reconciles Reconciles.
# TYPE spice_operator_reconciles counter
spice_operator_reconciles_total{kind="SpiceApp",result="in_sync"} 3
spice_operator_reconciles_total{kind="SpiceApp",result="a \"quoted\", {odd} \\ one"} 4 1700000000
spice_operator_reconciles_total{kind="SpiceSecret",result="in_sync"} 5
process_cpu_seconds_total 0.25
queue_seconds_bucket{le="+Inf"} 1e3
# EOF
"#;
    let metrics = Metrics::parse(text).unwrap();
    assert_eq!(metrics.reconciles("SpiceApp"), 7.0);
    assert_eq!(metrics.reconciles("SpiceDeployment"), 0.0);
    assert_eq!(metrics.sum("process_cpu_seconds_total", &[]), 0.25);
    assert_eq!(metrics.sum("queue_seconds_bucket", &[("le", "+Inf")]), 1000.0);
    let escaped = [("result", r#"a "quoted", {odd} \ one"#)];
    assert_eq!(metrics.sum("spice_operator_reconciles_total", &escaped), 4.0);

    for invalid in ["name", "name{", r#"name{a="b} 1"#, "name one"] {
        assert!(Metrics::parse(invalid).unwrap_err().contains(invalid), "{invalid}");
    }
}

#[test]
fn fault_rules_are_serialized_as_the_sandbox_expects() {
    let fault = |when, action| Fault::new(when, action).method("POST").route("/v1/apps");
    for (fault, expected) in [
        (
            fault(When::Before, Action::Status(503)).times(2),
            json!({"when": "before", "action": {"status": 503}, "times": 2}),
        ),
        (fault(When::After, Action::Close).times(1), json!({"when": "after", "action": "close", "times": 1})),
        (fault(When::After, Action::Hang), json!({"when": "after", "action": "hang"})),
    ] {
        let mut expected = expected;
        expected["method"] = json!("POST");
        expected["route"] = json!("/v1/apps");
        assert_eq!(serde_json::to_value(&fault).unwrap(), expected);
    }
}

#[tokio::test]
async fn hostile_endpoint_gives_the_chosen_answers_and_forwards_other_requests() {
    let upstream = HostileEndpoint::start("http://127.0.0.1:9").await.unwrap();
    upstream.answer("GET", "/v1/apps", RawAnswer::new(200, "[]"));
    let hostile = HostileEndpoint::start(&upstream.url()).await.unwrap();
    hostile.answer_times("POST", "/v1/apps/*/secrets", RawAnswer::page(413), 1);
    hostile.answer("GET", "/v1/regions", RawAnswer::redirect(308, "https://other.example/x"));
    hostile.answer("PUT", "/v1/apps/7", RawAnswer::new(200, "{").cut());
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let send = async |method: &str, path: &str| {
        let request = http.request(method.parse().unwrap(), format!("{}{path}", hostile.url())).body("sent");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.ok())
    };
    assert_eq!(send("GET", "/v1/apps").await, (200, Some("[]".to_owned())));
    assert_eq!(send("POST", "/v1/apps/7/secrets").await, (413, Some(SIGN_IN_PAGE.to_owned())));
    assert_eq!(send("GET", "/v1/regions").await, (308, Some(String::new())));
    assert_eq!(send("PUT", "/v1/apps/7").await, (200, None), "the body is cut");
    assert_eq!(send("POST", "/v1/apps/7/secrets").await.0, 502, "answered once, then forwarded");
    let requests = hostile.requests();
    let answered: Vec<_> = requests.iter().map(|request| request.answered).collect();
    assert_eq!(answered, [None, Some(413), Some(308), Some(200), None]);
    assert_eq!((requests[1].call.as_str(), &requests[1].body[..]), ("POST /v1/apps/7/secrets", &b"sent"[..]));
}
