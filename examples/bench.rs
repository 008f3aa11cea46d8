//! `make bench`: what the operator costs, measured on real parts. 500 apps with 4 secrets each, or 50 with `QUICK=1`.
//!
//! The budget of the organization is raised so far that it is not what is measured. Each phase has an operator of its
//! own: one that creates, one that starts with everything in date, and one that checks every app once a second; and so
//! again for the secrets, which all come from one Kubernetes Secret.
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

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::{SpiceApp, SpiceSecret};
use support::{
    control_plane::{ControlPlane, User},
    definitions::install_definitions,
    eventually::poll,
    operator::Operator,
    run_dir::RunDir,
    sandbox::Sandbox,
    test_env::Kind,
};

/// Reached only when something is wrong.
const DEADLINE: Duration = Duration::from_secs(600);

/// Nothing is due by the clock, so that only what has to be done is counted.
const AT_REST: [&str; 2] = ["--default-interval=24h", "--log-filter=warn"];
const CHECKING_SECRETS: [&str; 3] = ["--min-interval=1s", "--default-interval=5s", "--log-filter=warn"];
const CHECKING: [&str; 3] = ["--min-interval=1s", "--default-interval=1s", "--log-filter=warn"];

/// Secrets of each app.
const SECRETS: usize = 4;

/// Ticks of `/proc/PID/stat` in a second: fixed for programs, whatever the kernel counts in.
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = bench() => ended,
        _ = tokio::signal::ctrl_c() => Err("interrupted; everything it started is stopped".to_owned()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe bench ended early: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All that runs but the operator.
struct Stage {
    run: Arc<RunDir>,
    program: PathBuf,
    cluster: ControlPlane,
    _sandbox: Sandbox,
    client: Client,
    namespace: String,
    apps: usize,
}

async fn bench() -> Result<(), String> {
    let quick = env::var("QUICK").is_ok_and(|quick| quick == "1");
    let (apps, cycles) = if quick { (50, 10) } else { (500, 100) };
    let stage = Stage::set_up(apps).await?;
    println!(
        "{apps} apps, each with a setting that needs a PUT; {cycles} cycles of checks; {SECRETS} secrets an app\n"
    );
    println!("{:<44} {:>12} {:>14}", "", "measured", "least / aim");
    stage.creates().await?;
    stage.restarts::<SpiceApp>(apps).await?;
    stage.checks(cycles).await?;
    stage.sets_secrets().await?;
    stage.restarts::<SpiceSecret>(SECRETS * apps).await?;
    stage.checks_secrets(cycles / 10).await
}

fn row(what: &str, measured: String, aim: &str) {
    println!("{what:<44} {measured:>12} {aim:>14}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

impl Stage {
    async fn set_up(apps: usize) -> Result<Self, String> {
        let (run, program) = (RunDir::new("bench")?, program()?);
        let cluster = ControlPlane::start_in(&run).await?;
        // What is measured is the operator, not how long it waits for its turn.
        let unlimited = ["--user-rate", "100000000", "--organization-rate", "100000000"];
        let sandbox = Sandbox::start(&run, &program, &unlimited).await?;
        cluster.kubectl_apply(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac")).await?;
        install_definitions(&cluster).await?;
        let (namespace, client) = (cluster.namespace("bench").await?, cluster.client(User::Admin).await?);
        let token = sandbox.credential("operator")?.token.clone().ok_or("the credential has no token")?;
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "token": token },
            "metadata": { "name": "credential", "namespace": namespace } });
        let organization = json!({
            "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceOrganization",
            "metadata": { "name": "default", "namespace": namespace },
            "spec": {
                "endpoint": sandbox.url(), "allowInsecureEndpoint": true, "interval": "24h",
                "credentials": { "personalAccessToken": { "secretRef": { "name": "credential" } } },
                "requestBudget": { "requestsPerMinute": 1_000_000, "reservePercent": 0 },
            },
        });
        cluster.kubectl_apply_text(&format!("{secret}\n---\n{organization}")).await?;
        Ok(Self { run, program, cluster, _sandbox: sandbox, client, namespace, apps })
    }

    /// An operator, and how long it took to be ready.
    async fn operator(&self, args: &[&str]) -> Result<(Operator, Duration), String> {
        let (args, began) = ([args, &["--watch-namespace", &self.namespace]].concat(), Instant::now());
        let kubeconfig = self.cluster.kubeconfig(User::Operator);
        let operator = Operator::start(&self.run, &self.program, &kubeconfig, &args, &[]).await?;
        operator.ready().await?;
        Ok((operator, began.elapsed()))
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies objects of a kind, and waits until as many are Ready.
    async fn settles<K: Kind>(&self, specs: Vec<(String, Value)>, operator: &Operator) -> Result<(), String> {
        let (began, count, kind, api) = (Instant::now(), specs.len(), K::kind(&()), &self.api::<K>());
        stream::iter(specs)
            .map(|(name, spec)| async move {
                let (version, kind) = (K::api_version(&()), K::kind(&()));
                let object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": spec });
                api.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&object)).await.map(drop)
            })
            .buffer_unordered(16)
            .try_collect::<()>()
            .await
            .map_err(|error| error.to_string())?;
        row("apply, all stored in Kubernetes", seconds(began.elapsed()), "");
        poll("every object is Ready", DEADLINE, async || {
            let metrics = operator.metrics().await?;
            let ready = metrics.sum("spice_operator_objects", &[("kind", &kind), ("reason", "Succeeded")]);
            if ready >= count as f64 { Ok(()) } else { Err(format!("{ready} of {count} are")) }
        })
        .await?;
        row("apply to all Ready", seconds(began.elapsed()), "");
        Ok(())
    }

    async fn creates(&self) -> Result<(), String> {
        let (operator, ready) = self.operator(&AT_REST).await?;
        row("start to ready, nothing there", seconds(ready), "1 s");
        let spec = json!({ "description": "one of many", "runtime": { "replicas": 2 } });
        let specs = (0..self.apps).map(|number| (app(number), spec.clone())).collect();
        self.settles::<SpiceApp>(specs, &operator).await?;
        let calls = self.calls(&operator).await?;
        row("create: calls in all", format!("{calls}"), &format!("{}", 2 * self.apps));
        let lists = operator.metrics().await?.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps")]);
        row("create: of these, pages of the list", format!("{lists}"), "1 a list");
        row("create: calls an app", format!("{:.2}", calls / self.apps as f64), "2");
        self.process("create", &operator)?;
        operator.terminate().await.map(drop)
    }

    async fn restarts<K: Kind>(&self, objects: usize) -> Result<(), String> {
        let (operator, ready) = self.operator(&AT_REST).await?;
        row("restart: start to ready", seconds(ready), "1 s");
        poll("every object was reconciled", DEADLINE, async || {
            let reconciles = operator.metrics().await?.reconciles(&K::kind(&()));
            if reconciles >= objects as f64 { Ok(()) } else { Err(format!("{reconciles} reconciles")) }
        })
        .await?;
        row("restart: calls", format!("{}", self.calls(&operator).await?), "0");
        self.process("restart", &operator)?;
        operator.terminate().await.map(drop)
    }

    /// The one Kubernetes Secret that all values come from.
    async fn values(&self, version: usize) -> Result<(), String> {
        let values = (0..SECRETS).map(|key| (format!("KEY_{key}"), json!(format!("fake-value-{key}-{version}"))));
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": Value::Object(values.collect()),
            "metadata": { "name": "values", "namespace": self.namespace } });
        self.cluster.kubectl_apply_text(&secret.to_string()).await.map(drop)
    }

    async fn sets_secrets(&self) -> Result<(), String> {
        self.values(0).await?;
        let (operator, _) = self.operator(&AT_REST).await?;
        let object = |number: usize| {
            let (app, key) = (app(number / SECRETS), format!("KEY_{}", number % SECRETS));
            let source = json!({ "name": "values", "items": [{ "key": key }] });
            (format!("{app}-{}", number % SECRETS), json!({ "appRef": { "name": app }, "secretRef": source }))
        };
        let count = SECRETS * self.apps;
        self.settles::<SpiceSecret>((0..count).map(object).collect(), &operator).await?;
        let calls = self.calls(&operator).await?;
        row("secrets: calls in all", format!("{calls}"), &format!("{count}"));
        let route = ("route", "/v1/apps/{appId}/secrets");
        let lists = operator.metrics().await?.sum(CALLS, &[("method", "GET"), route]);
        row("secrets: of these, pages of lists", format!("{lists}"), "1 an app");
        row("secrets: calls a secret", format!("{:.2}", calls / count as f64), "1");

        let began = Instant::now();
        self.values(1).await?;
        poll("every secret is set anew", DEADLINE, async || {
            let posts = operator.metrics().await?.sum(CALLS, &[("method", "POST"), route]);
            if posts >= (2 * count) as f64 { Ok(()) } else { Err(format!("{posts} of {}", 2 * count)) }
        })
        .await?;
        row("one Kubernetes Secret rotated, all set anew", seconds(began.elapsed()), "");
        let calls = self.calls(&operator).await? - calls;
        row("rotation: calls a secret", format!("{:.2}", calls / count as f64), "1");
        self.process("secrets", &operator)?;
        operator.terminate().await.map(drop)
    }

    /// Checks of apps and all their secrets.
    async fn checks_secrets(&self, cycles: usize) -> Result<(), String> {
        let operator = self.operator(&CHECKING_SECRETS).await?.0;
        let (wanted, pages) = ((self.apps * cycles) as f64, [("method", "GET"), ("route", "/v1/apps/{appId}/secrets")]);
        poll("the checks are made", DEADLINE, async || {
            let made = operator.metrics().await?.sum(CALLS, &pages);
            if made >= wanted { Ok(()) } else { Err(format!("{made} of {wanted}")) }
        })
        .await?;
        let (calls, metrics) = (self.calls(&operator).await?, operator.metrics().await?);
        // The checks of an app and of its secrets are not made at the same moment: the last of some are under way.
        let checks = metrics.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps/{appId}")]);
        row(&format!("drift: {cycles} checks of each app, its detail"), format!("{checks}"), &format!("{wanted}"));
        row("drift: pages of secrets", format!("{}", metrics.sum(CALLS, &pages)), &format!("{wanted}"));
        let singly = format!("{} one by one", 1 + SECRETS);
        row("drift: calls a check of an app and its secrets", format!("{:.2}", calls / checks), &singly);
        let writes = calls - metrics.sum(CALLS, &[("method", "GET")]);
        row("drift: remote writes", format!("{}", writes.max(0.0)), "0");
        self.process("drift", &operator)?;
        operator.terminate().await.map(drop)
    }

    async fn checks(&self, cycles: usize) -> Result<(), String> {
        let before = self.versions().await?;
        let ((operator, _), began) = (self.operator(&CHECKING).await?, Instant::now());
        let checks = (self.apps * cycles) as f64;
        poll("the checks are made", DEADLINE, async || {
            let metrics = operator.metrics().await?;
            let made = metrics.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps/{appId}")]);
            if made >= checks { Ok(()) } else { Err(format!("{made} of {checks}")) }
        })
        .await?;
        let (took, calls) = (began.elapsed(), self.calls(&operator).await?);
        row(&format!("steady: {cycles} checks of each app"), seconds(took), &format!("{cycles} s"));
        row("steady: calls a check", format!("{:.2}", calls / checks), "1 + list share");
        let writes: f64 = calls - operator.metrics().await?.sum(CALLS, &[("method", "GET")]);
        row("steady: remote writes", format!("{}", writes.max(0.0)), "0");
        let changed = self.versions().await?.iter().zip(&before).filter(|(now, then)| now != then).count();
        row("steady: objects written", format!("{changed}"), "0");
        self.process("steady", &operator)?;
        operator.terminate().await.map(drop)
    }

    async fn calls(&self, operator: &Operator) -> Result<f64, String> {
        // The sum of nothing is a negative zero.
        Ok(operator.metrics().await?.sum(CALLS, &[]) + 0.0)
    }

    /// The version of every app, in the order of their names.
    async fn versions(&self) -> Result<Vec<Option<String>>, String> {
        let list = self.api::<SpiceApp>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        Ok(list.items.into_iter().map(|app| app.metadata.resource_version).collect())
    }

    /// What the process used so far, of an operator that runs.
    fn process(&self, phase: &str, operator: &Operator) -> Result<(), String> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", operator.process().pid());
            fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let status = read("status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        let peak: f64 = peak.trim().trim_end_matches(" kB").parse().map_err(|_| "VmHWM is no number")?;
        row(&format!("{phase}: peak memory"), format!("{:.1} MiB", peak / 1024.0), "40 MiB");
        let stat = read("stat")?;
        // User and system time are the 14th and 15th; the second may hold spaces, and ends with a parenthesis.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        row(&format!("{phase}: CPU"), format!("{:.2} s", ticks / TICKS), "");
        Ok(())
    }
}

const CALLS: &str = "spice_operator_management_api_requests_total";

/// The name of an app.
fn app(number: usize) -> String {
    format!("app-{number:04}")
}

/// The operator of the same build, which `make bench` makes a release.
fn program() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let program = own.parent().and_then(Path::parent).map(|folder| folder.join("spice-cloud-operator"));
    program.filter(|program| program.exists()).ok_or_else(|| "build the operator first: make bench does".to_owned())
}
