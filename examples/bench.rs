//! `make bench`: measures the resource usage of the operator with 500 apps of 4 secrets each, or 50 apps with
//! `QUICK=1`.
//!
//! The request budget of the organization is high, so that the budget does not limit the results. Each phase starts a
//! new operator: creation, restart with objects that are in sync, and a resync of every app each second. The same
//! phases follow for the secrets, which all have one Kubernetes Secret as source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "the benchmark prints, and the shared support code is for tests"
)]

mod common;
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
    operator::{Metrics, Operator},
    run_dir::RunDir,
    sandbox::Sandbox,
    test_env::Kind,
};

/// Time limit of each phase. A working operator does not reach it.
const DEADLINE: Duration = Duration::from_secs(600);

/// No resync during a phase, so that the figures count only the necessary requests.
const NO_RESYNC: [&str; 2] = ["--default-interval=24h", "--log-filter=warn"];
/// A resync of every object each 5 s.
const RESYNC_5_S: [&str; 3] = ["--min-interval=1s", "--default-interval=5s", "--log-filter=warn"];
/// A resync of every object each second.
const RESYNC_1_S: [&str; 3] = ["--min-interval=1s", "--default-interval=1s", "--log-filter=warn"];

/// Number of secrets of each app.
const SECRETS_PER_APP: usize = 4;

/// Clock ticks per second in `/proc/PID/stat` (`USER_HZ`: 100 on x86-64 and arm64).
const TICKS_PER_SECOND: f64 = 100.0;

#[tokio::main]
async fn main() -> ExitCode {
    common::run("benchmark", bench()).await
}

/// The running processes without the operator.
struct Bench {
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
    let bench = Bench::start(apps).await?;
    println!("{apps} apps, each with a field that needs a PUT; {SECRETS_PER_APP} secrets per app; {cycles} resyncs\n");
    println!("{:<44} {:>12} {:>14}", "", "measured", "goal");
    bench.measure_creates().await?;
    bench.measure_restart::<SpiceApp>(apps).await?;
    bench.measure_app_resyncs(cycles).await?;
    bench.measure_secret_writes().await?;
    bench.measure_restart::<SpiceSecret>(SECRETS_PER_APP * apps).await?;
    bench.measure_secret_resyncs(cycles / 10).await
}

fn print_row(name: &str, measured: String, goal: &str) {
    println!("{name:<44} {measured:>12} {goal:>14}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

impl Bench {
    async fn start(apps: usize) -> Result<Self, String> {
        let (run, program) = (RunDir::new("bench")?, common::operator_program()?);
        let cluster = ControlPlane::start_in(&run).await?;
        // High rate limits, so that the figures do not include the wait for a request budget.
        let unlimited = ["--user-rate", "100000000", "--organization-rate", "100000000"];
        let sandbox = Sandbox::start(&run, &program, &unlimited).await?;
        cluster.kubectl_apply(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac")).await?;
        install_definitions(&cluster).await?;
        let (namespace, client) = (cluster.create_namespace("bench").await?, cluster.client(User::Admin).await?);
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

    /// Starts an operator, and returns the time until it was ready.
    async fn operator(&self, args: &[&str]) -> Result<(Operator, Duration), String> {
        let (args, started) = ([args, &["--watch-namespace", &self.namespace]].concat(), Instant::now());
        let kubeconfig = self.cluster.kubeconfig(User::Operator);
        let operator = Operator::start(&self.run, &self.program, &kubeconfig, &args, &[]).await?;
        operator.wait_until_ready().await?;
        Ok((operator, started.elapsed()))
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies objects of a kind, and waits until all are Ready.
    async fn apply_all<K: Kind>(&self, specs: Vec<(String, Value)>, operator: &Operator) -> Result<(), String> {
        let (started, count, kind, api) = (Instant::now(), specs.len(), K::kind(&()), &self.api::<K>());
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
        print_row("apply: all stored in Kubernetes", seconds(started.elapsed()), "");
        let ready =
            |metrics: &Metrics| metrics.sum("spice_operator_objects", &[("kind", &kind), ("reason", "Succeeded")]);
        wait_for(operator, "every object is Ready", count as f64, ready).await?;
        print_row("apply: all Ready", seconds(started.elapsed()), "");
        Ok(())
    }

    async fn measure_creates(&self) -> Result<(), String> {
        let (operator, ready) = self.operator(&NO_RESYNC).await?;
        print_row("start to ready, no objects", seconds(ready), "1 s");
        let spec = json!({ "description": "one of many", "runtime": { "replicas": 2 } });
        let specs = (0..self.apps).map(|number| (app(number), spec.clone())).collect();
        self.apply_all::<SpiceApp>(specs, &operator).await?;
        let calls = count_calls(&operator, &[]).await?;
        print_row("create: calls", format!("{calls}"), &format!("{}", 2 * self.apps));
        let lists = count_calls(&operator, &[("method", "GET"), ("route", "/v1/apps")]).await?;
        print_row("create: pages of the app list", format!("{lists}"), "1 per list");
        print_row("create: calls per app", format!("{:.2}", calls / self.apps as f64), "2");
        finish("create", operator).await
    }

    async fn measure_restart<K: Kind>(&self, objects: usize) -> Result<(), String> {
        let (operator, ready) = self.operator(&NO_RESYNC).await?;
        print_row("restart: start to ready", seconds(ready), "1 s");
        let reconciles = |metrics: &Metrics| metrics.reconciles(&K::kind(&()));
        wait_for(&operator, "every object was reconciled", objects as f64, reconciles).await?;
        print_row("restart: calls", format!("{}", count_calls(&operator, &[]).await?), "0");
        finish("restart", operator).await
    }

    /// Applies the Kubernetes Secret that is the source of all SpiceSecrets.
    async fn apply_source(&self, version: usize) -> Result<(), String> {
        let values =
            (0..SECRETS_PER_APP).map(|key| (format!("KEY_{key}"), json!(format!("fake-value-{key}-{version}"))));
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": Value::Object(values.collect()),
            "metadata": { "name": "values", "namespace": self.namespace } });
        self.cluster.kubectl_apply_text(&secret.to_string()).await.map(drop)
    }

    async fn measure_secret_writes(&self) -> Result<(), String> {
        self.apply_source(0).await?;
        let (operator, _) = self.operator(&NO_RESYNC).await?;
        let object = |number: usize| {
            let (app, key) = (app(number / SECRETS_PER_APP), format!("KEY_{}", number % SECRETS_PER_APP));
            let source = json!({ "name": "values", "items": [{ "key": key }] });
            (format!("{app}-{}", number % SECRETS_PER_APP), json!({ "appRef": { "name": app }, "secretRef": source }))
        };
        let count = SECRETS_PER_APP * self.apps;
        self.apply_all::<SpiceSecret>((0..count).map(object).collect(), &operator).await?;
        let calls = count_calls(&operator, &[]).await?;
        print_row("secrets: calls", format!("{calls}"), &format!("{count}"));
        let route = ("route", "/v1/apps/{appId}/secrets");
        let lists = count_calls(&operator, &[("method", "GET"), route]).await?;
        print_row("secrets: pages of secret lists", format!("{lists}"), "1 per app");
        print_row("secrets: calls per secret", format!("{:.2}", calls / count as f64), "1");

        let started = Instant::now();
        self.apply_source(1).await?;
        let posts = |metrics: &Metrics| metrics.sum(CALLS, &[("method", "POST"), route]);
        wait_for(&operator, "every secret is set again", (2 * count) as f64, posts).await?;
        print_row("rotation: all secrets set", seconds(started.elapsed()), "");
        let calls = count_calls(&operator, &[]).await? - calls;
        print_row("rotation: calls per secret", format!("{:.2}", calls / count as f64), "1");
        finish("secrets", operator).await
    }

    /// Resyncs of the apps and of all secrets.
    async fn measure_secret_resyncs(&self, cycles: usize) -> Result<(), String> {
        let operator = self.operator(&RESYNC_5_S).await?.0;
        let (expected, pages) =
            ((self.apps * cycles) as f64, [("method", "GET"), ("route", "/v1/apps/{appId}/secrets")]);
        wait_for(&operator, "the resyncs are finished", expected, |metrics| metrics.sum(CALLS, &pages)).await?;
        let (calls, metrics) = (count_calls(&operator, &[]).await?, operator.metrics().await?);
        // The resyncs of an app and of its secrets are not simultaneous, so the last resyncs can be incomplete.
        let app_reads = metrics.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps/{appId}")]);
        print_row(&format!("drift: app reads in {cycles} resyncs"), format!("{app_reads}"), &format!("{expected}"));
        print_row("drift: pages of secrets", format!("{}", metrics.sum(CALLS, &pages)), &format!("{expected}"));
        let separate_reads = format!("{} separately", 1 + SECRETS_PER_APP);
        print_row("drift: calls per app and its secrets", format!("{:.2}", calls / app_reads), &separate_reads);
        let writes = calls - metrics.sum(CALLS, &[("method", "GET")]);
        print_row("drift: remote writes", format!("{}", writes.max(0.0)), "0");
        finish("drift", operator).await
    }

    async fn measure_app_resyncs(&self, cycles: usize) -> Result<(), String> {
        let before = self.versions().await?;
        let ((operator, _), started) = (self.operator(&RESYNC_1_S).await?, Instant::now());
        let resyncs = (self.apps * cycles) as f64;
        let reads = |metrics: &Metrics| metrics.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps/{appId}")]);
        wait_for(&operator, "the resyncs are finished", resyncs, reads).await?;
        let (duration, calls) = (started.elapsed(), count_calls(&operator, &[]).await?);
        print_row(&format!("steady: {cycles} resyncs of each app"), seconds(duration), &format!("{cycles} s"));
        print_row("steady: calls per resync", format!("{:.2}", calls / resyncs), "1 + list share");
        let writes = calls - count_calls(&operator, &[("method", "GET")]).await?;
        print_row("steady: remote writes", format!("{}", writes.max(0.0)), "0");
        let changed = self.versions().await?.iter().zip(&before).filter(|(after, before)| after != before).count();
        print_row("steady: objects written", format!("{changed}"), "0");
        finish("steady", operator).await
    }

    /// The resource version of every SpiceApp, in the order of the names.
    async fn versions(&self) -> Result<Vec<Option<String>>, String> {
        let list = self.api::<SpiceApp>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        Ok(list.items.into_iter().map(|app| app.metadata.resource_version).collect())
    }
}

const CALLS: &str = "spice_operator_management_api_requests_total";

/// The name of an app.
fn app(number: usize) -> String {
    format!("app-{number:04}")
}

/// The number of requests to the Management API with these labels.
async fn count_calls(operator: &Operator, labels: &[(&str, &str)]) -> Result<f64, String> {
    // The sum of an empty iterator is -0.0.
    Ok(operator.metrics().await?.sum(CALLS, labels) + 0.0)
}

/// Waits until a figure of the operator's metrics reaches a value.
async fn wait_for(
    operator: &Operator,
    goal: &str,
    expected: f64,
    figure: impl Fn(&Metrics) -> f64,
) -> Result<(), String> {
    poll(goal, DEADLINE, async || {
        let count = figure(&operator.metrics().await?);
        if count >= expected { Ok(()) } else { Err(format!("{count} of {expected}")) }
    })
    .await
}

/// Prints peak memory and CPU time of an operator, and stops the operator.
async fn finish(phase: &str, operator: Operator) -> Result<(), String> {
    let pid = operator.process().pid();
    let peak = common::memory_mib(pid, "VmHWM")?;
    print_row(&format!("{phase}: peak memory"), format!("{peak:.1} MiB"), "40 MiB");
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // User and system time are fields 14 and 15. Field 2 can contain spaces and ends with a parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    print_row(&format!("{phase}: CPU"), format!("{:.2} s", ticks / TICKS_PER_SECOND), "");
    operator.terminate().await.map(drop)
}
