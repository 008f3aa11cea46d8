//! `make demo`: the operator at work on this machine. A real Kubernetes API, the sandbox as the Management API, and the
//! operator under exactly the permissions that `config/rbac` gives.
//!
//! Everything it starts ends with it, also when it fails or is interrupted. `KEEP=1` leaves it running.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program for people: it prints, and the shared support is written for tests"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
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
/// Checks come every ten minutes as shipped; nobody wants to watch that long.
const QUICK: [&str; 4] = [
    "--min-interval=1s",
    "--default-interval=3s",
    "--write-settle-period=1s",
    "--log-filter=spice_cloud_operator=debug",
];

#[tokio::main]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = demo() => ended,
        _ = tokio::signal::ctrl_c() => Err("interrupted; everything it started is stopped".to_owned()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo ended early: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All that runs.
struct Stage {
    run: Arc<RunDir>,
    cluster: ControlPlane,
    sandbox: Sandbox,
    operator: Operator,
    start_to_ready: Duration,
}

async fn demo() -> Result<(), String> {
    let stage = set_up().await?;
    let shown = stage.show().await;
    if shown.is_err() {
        stage.run.keep_logs();
    }
    shown?;
    stage.figures();
    if env::var("KEEP").is_ok_and(|keep| keep == "1") {
        stage.keep();
    } else {
        let Stage { cluster, sandbox, operator, .. } = stage;
        operator.terminate().await?;
        drop(sandbox);
        cluster.stop()?;
        println!("\nEverything is stopped. KEEP=1 make demo leaves it running.");
    }
    Ok(())
}

async fn set_up() -> Result<Stage, String> {
    heading("Start: etcd, kube-apiserver, the sandbox Management API, the operator");
    let run = RunDir::new("demo")?;
    let program = program()?;
    let cluster = ControlPlane::start_in(&run).await?;
    let sandbox = Sandbox::start(&run, &program, &[]).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for manifests in ["config/rbac", "crds"] {
        println!("$ kubectl apply of {manifests}");
        print!("{}", cluster.kubectl_apply(&root.join(manifests)).await?);
    }
    let began = Instant::now();
    let operator = Operator::start(&run, &program, &cluster.kubeconfig(User::Operator), &QUICK, &[]).await?;
    operator.ready().await?;
    let start_to_ready = began.elapsed();
    println!("The operator is ready; its checks are quickened with {}.", QUICK[..3].join(" "));
    Ok(Stage { run, cluster, sandbox, operator, start_to_ready })
}

impl Stage {
    async fn show(&self) -> Result<(), String> {
        self.create().await?;
        let id = self.app_id().await?;

        heading("A change in the cluster reaches the API");
        let patch = json!({ "spec": { "description": "Every trip since 2009", "runtime": { "replicas": 2 } } });
        self.kubectl(&["patch", "spiceapp", APP, "--type=merge", "--patch", &patch.to_string()]).await?;
        self.settled().await?;

        heading("A change behind the operator's back is put back");
        let theirs = json!({ "description": "changed in the portal" });
        println!("In the portal: the description becomes \"changed in the portal\".");
        let portal = self.sandbox.portal()?;
        portal.update_app(id, &theirs).await?;
        poll("the description is put back", DEADLINE, async || match portal.app(id).await?["description"].as_str() {
            Some("Every trip since 2009") => Ok(()),
            other => Err(format!("it is {other:?}")),
        })
        .await?;
        self.settled().await?;
        self.kubectl(&["events", "--for", &format!("spiceapp/{APP}"), "--no-headers"]).await?;

        heading("A secret is rotated in Kubernetes: one POST");
        self.rotate().await?;

        heading("Deleted in the cluster, gone in the API");
        self.kubectl(&["delete", &format!("spicesecret/{APP}"), &format!("spiceapp/{APP}"), "--timeout=60s"]).await?;
        self.kubectl(&["get", "spiceapps,spicesecrets"]).await?;
        self.print_remote().await?;
        if portal.app_named(APP).await?.is_some() {
            return Err(format!("the app {APP} is still there"));
        }
        println!("\nWhat the operator asked of the API:");
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
                false => Err("nothing was sent".to_owned()),
            }
        })
        .await?;
        self.settled().await?;
        self.kubectl(&["events", "--for", &format!("spicesecret/{APP}"), "--no-headers"]).await?;
        let writes = writes().await?;
        println!("What the operator wrote since:");
        writes.iter().for_each(print_call);
        if writes.len() == 1 { Ok(()) } else { Err(format!("{} writes where one was due", writes.len())) }
    }

    async fn create(&self) -> Result<(), String> {
        heading("An app and its secrets, declared in YAML (config/samples)");
        self.cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
        let token = self.sandbox.credential("operator")?.token.clone().unwrap_or_default();
        let literal = format!("--from-literal=token={token}");
        self.kubectl(&["create", "secret", "generic", "spice-credentials", &literal]).await?;
        self.kubectl(&["create", "secret", "generic", APP, "--from-literal=OPENAI_API_KEY=fake-key-1"]).await?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let overlay = root.join("config/demo");
        let manifests = self.cluster.kubectl(&["kustomize", &overlay.to_string_lossy()]).await?;
        // The overlay names the sandbox's usual port; this one took a free port.
        let manifests = manifests.replace("http://127.0.0.1:8490", self.sandbox.url());
        let file = self.run.write("samples.yaml", &manifests)?;
        println!("$ kubectl apply -k config/demo        (with the sandbox at {})", self.sandbox.url());
        let applied = self.cluster.kubectl(&["apply", "-n", NAMESPACE, "-f", &file.to_string_lossy()]).await?;
        print!("{applied}");
        self.settled().await
    }

    /// Waits until the app and its secrets are Ready for their current generation, and shows both sides.
    async fn settled(&self) -> Result<(), String> {
        let objects = [format!("spiceapp/{APP}"), format!("spicesecret/{APP}")];
        self.kubectl(&["wait", &objects[0], &objects[1], "--for=condition=Ready", "--timeout=60s"]).await?;
        self.kubectl(&["get", "spice"]).await?;
        self.print_remote().await
    }

    async fn app_id(&self) -> Result<u64, String> {
        let app = self.sandbox.portal()?.app_named(APP).await?.ok_or("the API has no such app")?;
        app["id"].as_u64().ok_or_else(|| format!("an app without an id: {app}"))
    }

    /// Runs kubectl as a person would, and shows both the command and what it printed.
    async fn kubectl(&self, args: &[&str]) -> Result<(), String> {
        let shown: Vec<String> =
            args.iter().map(|arg| if arg.contains('"') { format!("'{arg}'") } else { (*arg).to_owned() }).collect();
        println!("$ kubectl {}", shown.join(" "));
        let mut all = vec!["-n", NAMESPACE];
        all.extend(args);
        print!("{}", self.cluster.kubectl(&all).await?);
        Ok(())
    }

    async fn print_remote(&self) -> Result<(), String> {
        let portal = self.sandbox.portal()?;
        let apps = portal.apps().await?;
        println!("The API holds {} app(s):", apps.len());
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

    fn figures(&self) {
        heading("Figures");
        println!("operator, start to ready: {} ms", self.start_to_ready.as_millis());
        if let Some((now, peak)) = memory(self.operator.process().pid()) {
            println!("operator, memory: {now} now, {peak} at its peak (unoptimized build)");
        }
    }

    fn keep(self) {
        let Stage { run, cluster, sandbox, operator, .. } = self;
        let mut pids = vec![operator.process().pid(), sandbox.process().pid()];
        pids.extend(cluster.pids());
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let kubectl = cluster.kubectl_program().display();
        println!("\nIt goes on running. To use it:");
        println!("  export KUBECONFIG={}", cluster.kubeconfig(User::Admin).display());
        println!("  {kubectl} -n {NAMESPACE} apply -f {}/samples.yaml", run.data().display());
        println!("  curl {}/sandbox/state", sandbox.url());
        println!("  curl {}/metrics", operator.admin());
        println!("To stop it and remove what it wrote:");
        // The apiserver would wait for its etcd to come back.
        println!("  kill -KILL {}; rm -r {}", pids.join(" "), run.path().display());
        run.keep_everything();
        operator.detach();
        sandbox.detach();
        cluster.detach();
    }
}

/// The operator's binary, beside the folder of this example's.
fn program() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let program = own.ancestors().nth(2).map(|folder| folder.join("spice-cloud-operator"));
    program.filter(|program| program.exists()).ok_or_else(|| "run `cargo build` first".to_owned())
}

/// Resident memory of a process, now and at its peak, as the kernel words it.
fn memory(pid: u32) -> Option<(String, String)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{:.1} MiB", kib / 1024.0))
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

fn print_call(call: &Entry) {
    println!("  {:<6} {:<44} {}", call.method, call.path, call.status.map_or(String::new(), |s| s.to_string()));
}

fn heading(text: &str) {
    println!("\n=== {text}");
}
