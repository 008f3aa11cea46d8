//! `make demo`: runs the operator on this machine with a real Kubernetes API, the sandbox as the Management API, and
//! the permissions of `config/rbac`.
//!
//! The demo stops every process that it starts, also after an error or an interrupt. `KEEP=1` keeps the processes
//! running.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "the demo prints, and the shared support code is for tests"
)]

mod common;
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    env,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use support::{
    control_plane::{ControlPlane, User},
    eventually::{DEADLINE, poll},
    operator::Operator,
    run_dir::RunDir,
    sandbox::{Entry, Sandbox},
};

const NAMESPACE: &str = "demo";
const APP: &str = "taxi-trips";
/// Shorter intervals than the defaults: the default resync interval is 10 min.
const OPERATOR_FLAGS: [&str; 4] = [
    "--min-interval=1s",
    "--default-interval=3s",
    "--write-settle-period=1s",
    "--log-filter=spice_cloud_operator=debug",
];

#[tokio::main]
async fn main() -> ExitCode {
    common::run("demo", demo()).await
}

/// The running processes.
struct Demo {
    run: Arc<RunDir>,
    cluster: ControlPlane,
    sandbox: Sandbox,
    operator: Operator,
    start_to_ready: Duration,
}

async fn demo() -> Result<(), String> {
    let demo = start().await?;
    let result = demo.run_steps().await;
    if result.is_err() {
        demo.run.keep_logs();
    }
    result?;
    demo.print_figures();
    if env::var("KEEP").is_ok_and(|keep| keep == "1") {
        demo.keep();
    } else {
        let Demo { cluster, sandbox, operator, .. } = demo;
        operator.terminate().await?;
        drop(sandbox);
        cluster.stop()?;
        println!("\nAll processes are stopped. To keep them running, use: KEEP=1 make demo");
    }
    Ok(())
}

async fn start() -> Result<Demo, String> {
    heading("Start etcd, kube-apiserver, the sandbox Management API, and the operator");
    let run = RunDir::new("demo")?;
    let program = common::operator_program()?;
    let cluster = ControlPlane::start_in(&run).await?;
    let sandbox = Sandbox::start(&run, &program, &[]).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for manifests in ["config/rbac", "crds"] {
        println!("$ kubectl apply -f {manifests}");
        print!("{}", cluster.kubectl_apply(&root.join(manifests)).await?);
    }
    let started = Instant::now();
    let operator = Operator::start(&run, &program, &cluster.kubeconfig(User::Operator), &OPERATOR_FLAGS, &[]).await?;
    operator.wait_until_ready().await?;
    let start_to_ready = started.elapsed();
    println!("The operator is ready. Flags for a short demo: {}", OPERATOR_FLAGS[..3].join(" "));
    Ok(Demo { run, cluster, sandbox, operator, start_to_ready })
}

impl Demo {
    async fn run_steps(&self) -> Result<(), String> {
        self.create().await?;
        let id = self.app_id().await?;

        heading("Edit the spec: the operator updates the app");
        let patch = json!({ "spec": { "description": "Every trip since 2009", "runtime": { "replicas": 2 } } });
        self.kubectl(&["patch", "spiceapp", APP, "--type=merge", "--patch", &patch.to_string()]).await?;
        self.wait_and_print().await?;

        heading("Change the app in the portal: the operator corrects the drift");
        let change = json!({ "description": "changed in the portal" });
        println!("In the portal, the description is set to \"changed in the portal\".");
        let portal = self.sandbox.portal()?;
        portal.update_app(id, &change).await?;
        poll("the description is corrected", DEADLINE, async || match portal.app(id).await?["description"].as_str() {
            Some("Every trip since 2009") => Ok(()),
            other => Err(format!("description: {other:?}")),
        })
        .await?;
        self.wait_and_print().await?;
        self.kubectl(&["events", "--for", &format!("spiceapp/{APP}"), "--no-headers"]).await?;

        heading("Rotate a Kubernetes Secret: the operator sends one POST");
        self.rotate().await?;

        heading("Delete the objects: the operator deletes the app and its secrets");
        self.kubectl(&["delete", &format!("spicesecret/{APP}"), &format!("spiceapp/{APP}"), "--timeout=60s"]).await?;
        self.kubectl(&["get", "spiceapps,spicesecrets"]).await?;
        self.print_remote().await?;
        if portal.app_named(APP).await?.is_some() {
            return Err(format!("the app {APP} still exists"));
        }
        println!("\nAll API requests of the operator:");
        for call in self.sandbox.calls_by("operator", 0).await? {
            print_call(&call);
        }
        Ok(())
    }

    async fn rotate(&self) -> Result<(), String> {
        let before = self.sandbox.revision().await?;
        let patch = json!({ "stringData": { "OPENAI_API_KEY": "fake-key-2" } });
        self.kubectl(&["patch", "secret", APP, "--type=merge", "--patch", &patch.to_string()]).await?;
        let writes = async || {
            let calls = self.sandbox.calls_by("operator", before).await?;
            Ok::<_, String>(calls.into_iter().filter(|call| call.method != "GET").collect::<Vec<Entry>>())
        };
        poll("the new value is sent", DEADLINE, async || {
            match writes().await?.iter().any(|call| call.status.is_some()) {
                true => Ok(()),
                false => Err("no write yet".to_owned()),
            }
        })
        .await?;
        self.wait_and_print().await?;
        self.kubectl(&["events", "--for", &format!("spicesecret/{APP}"), "--no-headers"]).await?;
        let writes = writes().await?;
        println!("API writes since the rotation:");
        writes.iter().for_each(print_call);
        if writes.len() == 1 { Ok(()) } else { Err(format!("{} writes instead of one", writes.len())) }
    }

    async fn create(&self) -> Result<(), String> {
        heading("Apply an organization, an app and its secrets (config/samples)");
        self.cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
        let token = self.sandbox.credential("operator")?.token.clone().unwrap_or_default();
        let literal = format!("--from-literal=token={token}");
        self.kubectl(&["create", "secret", "generic", "spice-credentials", &literal]).await?;
        self.kubectl(&["create", "secret", "generic", APP, "--from-literal=OPENAI_API_KEY=fake-key-1"]).await?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let overlay = root.join("config/demo");
        let manifests = self.cluster.kubectl(&["kustomize", &overlay.to_string_lossy()]).await?;
        // The overlay contains the default port of the sandbox. The demo uses a free port.
        let manifests = manifests.replace("http://127.0.0.1:8490", self.sandbox.url());
        let file = self.run.write("samples.yaml", &manifests)?;
        println!("$ kubectl apply -k config/demo        (endpoint: {})", self.sandbox.url());
        let applied = self.cluster.kubectl(&["apply", "-n", NAMESPACE, "-f", &file.to_string_lossy()]).await?;
        print!("{applied}");
        self.wait_and_print().await
    }

    /// Waits until the app and its secrets are Ready, and prints the Kubernetes objects and the app in the API.
    async fn wait_and_print(&self) -> Result<(), String> {
        let objects = [format!("spiceapp/{APP}"), format!("spicesecret/{APP}")];
        self.kubectl(&["wait", &objects[0], &objects[1], "--for=condition=Ready", "--timeout=60s"]).await?;
        self.kubectl(&["get", "spice"]).await?;
        self.print_remote().await
    }

    async fn app_id(&self) -> Result<u64, String> {
        let app = self.sandbox.portal()?.app_named(APP).await?.ok_or("the app does not exist in the API")?;
        app["id"].as_u64().ok_or_else(|| format!("the app has no ID: {app}"))
    }

    /// Runs kubectl in the namespace of the demo, and prints the command and its output.
    async fn kubectl(&self, args: &[&str]) -> Result<(), String> {
        let command: Vec<String> =
            args.iter().map(|arg| if arg.contains('"') { format!("'{arg}'") } else { (*arg).to_owned() }).collect();
        println!("$ kubectl {}", command.join(" "));
        let mut arguments = vec!["-n", NAMESPACE];
        arguments.extend(args);
        print!("{}", self.cluster.kubectl(&arguments).await?);
        Ok(())
    }

    async fn print_remote(&self) -> Result<(), String> {
        let portal = self.sandbox.portal()?;
        let apps = portal.apps().await?;
        println!("Apps in the API: {}", apps.len());
        for app in apps {
            let app = portal.app(app["id"].as_u64().unwrap_or_default()).await?;
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            println!(
                "  {}  {}  region {}  replicas {}  \"{}\"",
                app["id"],
                text(&app["name"]),
                text(&app["region"]),
                app["config"]["replicas"],
                text(&app["description"]),
            );
            let secrets = portal.call(Method::GET, &format!("/apps/{}/secrets", app["id"]), None).await?;
            let secrets: Value = serde_json::from_str(&secrets).map_err(|error| error.to_string())?;
            for secret in secrets["secrets"].as_array().into_iter().flatten() {
                println!("        secret {}, set {}", text(&secret["name"]), text(&secret["updated_at"]));
            }
        }
        Ok(())
    }

    fn print_figures(&self) {
        heading("Figures");
        println!("Operator start to ready: {} ms", self.start_to_ready.as_millis());
        let memory = |field| common::memory_mib(self.operator.process().pid(), field);
        if let (Ok(now), Ok(peak)) = (memory("VmRSS"), memory("VmHWM")) {
            println!("Operator memory: {now:.1} MiB now, {peak:.1} MiB peak (unoptimized build)");
        }
    }

    fn keep(self) {
        let Demo { run, cluster, sandbox, operator, .. } = self;
        let mut pids = vec![operator.process().pid(), sandbox.process().pid()];
        pids.extend(cluster.pids());
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let kubectl = cluster.kubectl_program().display();
        println!("\nThe processes are still running. To use them:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig(User::Admin).display());
        println!("  {kubectl} -n {NAMESPACE} apply -f {}/samples.yaml", run.data().display());
        println!("  curl {}/sandbox/state", sandbox.url());
        println!("  curl {}/metrics", operator.admin());
        println!("To stop the processes and delete their files:");
        // SIGKILL, because kube-apiserver waits for etcd at SIGTERM.
        println!("  kill -KILL {}; rm -r {}", pids.join(" "), run.path().display());
        run.keep_everything();
        operator.detach();
        sandbox.detach();
        cluster.detach();
    }
}

fn print_call(call: &Entry) {
    println!("  {:<6} {:<44} {}", call.method, call.path, call.status.map_or(String::new(), |s| s.to_string()));
}

fn heading(text: &str) {
    println!("\n=== {text}");
}
