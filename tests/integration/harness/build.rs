//! Tests of `tests/control-plane/build.sh`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::support::run_dir::RunDir;

/// Creates a fake `go` with this version. Its `build` command creates a file and appends the package to `$GO_BUILT`.
fn fake_go(directory: &Path, version: &str) {
    let script = format!(
        r#"#!/bin/sh
case $1 in
  env) echo {version} ;;
  build) while [ "$1" != -o ]; do shift; done; echo "$3" >>"$GO_BUILT"; echo >"$2" ;;
esac
"#
    );
    create_executable(&directory.join("go"), &script);
}

/// Creates an executable file in another process. A file that is open for writing cannot be executed, and a concurrent
/// fork could inherit the open file.
fn create_executable(path: &Path, content: &str) {
    let script = r#"mkdir -p "${1%/*}" && printf '%s' "$2" >"$1" && chmod 755 "$1""#;
    let status = Command::new("/bin/sh").args(["-c", script, "sh"]).arg(path).arg(content).status().unwrap();
    assert!(status.success());
}

/// Returns the command for build.sh with an empty cache and `path` as PATH.
fn build_sh(run: &RunDir, path: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build.sh"));
    command.env_remove("KUBEBUILDER_ASSETS").env("XDG_CACHE_HOME", run.data().join("cache")).env("PATH", path);
    command.env("GO_BUILT", run.data().join("built"));
    command
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn missing_go_and_binaries_are_reported_once_with_alternatives() {
    for (go, reason) in [(None, "there is no Go"), (Some("go1.22.1"), "Go 1.22.1 is older than 1.26")] {
        let run = RunDir::new("no-go").unwrap();
        let path = run.data().join("path");
        if let Some(version) = go {
            fake_go(&path.join("bin"), version);
        }
        let output = build_sh(&run, &path.join("bin")).output().unwrap();
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(output.stdout.is_empty());
        for part in
            [reason, "install Go 1.26 or newer", "KUBEBUILDER_ASSETS", "KUBECONFIG", "USE_EXISTING_CLUSTER=true"]
        {
            assert_eq!(stderr.matches(part).count(), 1, "{part:?} in {stderr}");
        }
    }
}

#[test]
fn binaries_are_taken_from_kubebuilder_assets() {
    let run = RunDir::new("assets").unwrap();
    let assets = run.data().join("assets");
    create_executable(&assets.join("etcd"), "");
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
                assert_eq!(stderr_of(&output).lines().count(), 1);
                assert!(!output.status.success() && stderr_of(&output).contains(part), "{}", stderr_of(&output));
            }
        }
    }
}

#[test]
fn concurrent_builds_build_each_binary_once() {
    let run = RunDir::new("build").unwrap();
    let bin = run.data().join("bin");
    fake_go(&bin, "go1.26.0");
    let path = PathBuf::from(
        env::join_paths([bin].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap()))).unwrap(),
    );
    let builds: Vec<_> =
        (0..3).map(|_| build_sh(&run, &path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    let outputs: Vec<_> = builds.into_iter().map(|child| child.wait_with_output().unwrap()).collect();

    let directories: BTreeSet<_> = outputs.iter().map(|output| output.stdout.clone()).collect();
    assert_eq!(directories.len(), 1, "{}", outputs.iter().map(stderr_of).collect::<String>());
    let directory = PathBuf::from(String::from_utf8(directories.into_iter().next().unwrap()).unwrap().trim_end());
    let mut found: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    found.retain(|name| !name.to_string_lossy().starts_with(".lock"));
    found.sort();
    assert_eq!(found, ["etcd", "kube-apiserver", "kubectl"]);
    let built = fs::read_to_string(run.data().join("built")).unwrap();
    assert_eq!(built.lines().count(), 3, "{built}");

    // The binaries exist, so Go is not required.
    let again = build_sh(&run, Path::new("/nowhere")).output().unwrap();
    assert!(again.status.success() && again.stderr.is_empty(), "{}", stderr_of(&again));
}
