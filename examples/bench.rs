//! `make bench`: measures the resource usage of the operator.
//!
//! | variable | default | content |
//! |---|---|---|
//! | `APPS` | 500; 50 with `QUICK=1` | number of SpiceApps |
//! | `SPICEPOD_BYTES` | 5120 | length of each spicepod as JSON, with a dataset in each 160 bytes; 0: no spicepod |
//! | `SECRETS` | 4 | number of SpiceSecrets of each app; 0: no phases for secrets |
//! | `REQUESTS_PER_MINUTE` | 1000000 | request budget of the organization; by default, the budget limits no result |
//!
//! Each phase starts a new operator: creation, restart with objects that are in sync, and resyncs of every app. The same
//! phases follow for the secrets, which all have one Kubernetes Secret as source. Apps with a spicepod above the limit
//! of 256 KiB are never created, so these apps have the first two phases only.
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
const DEADLINE: Duration = Duration::from_secs(3600);
/// Time without work before the memory at the end of a phase is read, so that the allocator can return free memory.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Pause after a scrape of the metrics, as a multiple of its duration. A scrape visits every object, and must not be the
/// main work of the operator.
const SCRAPE_PAUSE: u32 = 50;
/// Longest spicepod that the operator sends.
const MAX_SPICEPOD_BYTES: usize = 256 * 1024;
/// Length of one dataset of a spicepod.
const DATASET_BYTES: usize = 160;
/// Resyncs of all apps together in one phase.
const RESYNCS: usize = 50_000;

/// No resync during a phase, so that the figures count only the necessary requests.
const NO_RESYNC: [&str; 2] = ["--default-interval=24h", "--log-filter=warn"];
/// A resync of every object each 5 s.
const RESYNC_5_S: [&str; 3] = ["--min-interval=1s", "--default-interval=5s", "--log-filter=warn"];
/// A resync of every object each second.
const RESYNC_1_S: [&str; 3] = ["--min-interval=1s", "--default-interval=1s", "--log-filter=warn"];

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
    size: Size,
}

/// Size of the benchmark, from the environment.
#[derive(Clone, Copy)]
struct Size {
    apps: usize,
    spicepod_bytes: usize,
    secrets_per_app: usize,
    requests_per_minute: usize,
    /// Resyncs of each app in one phase.
    cycles: usize,
}

impl Size {
    fn from_env() -> Result<Self, String> {
        let quick = env::var("QUICK").is_ok_and(|quick| quick == "1");
        let number = |name: &str, default: usize| match env::var(name) {
            Ok(text) if !text.is_empty() => text.parse().map_err(|error| format!("{name}={text}: {error}")),
            _ => Ok(default),
        };
        let apps = number("APPS", if quick { 50 } else { 500 })?;
        Ok(Self {
            apps,
            spicepod_bytes: number("SPICEPOD_BYTES", 5 * 1024)?,
            secrets_per_app: number("SECRETS", 4)?,
            requests_per_minute: number("REQUESTS_PER_MINUTE", 1_000_000)?,
            cycles: if quick { 10 } else { (RESYNCS / apps.max(1)).clamp(1, 100) },
        })
    }

    /// Returns true if the operator rejects the spicepods.
    fn is_oversized(self) -> bool {
        self.spicepod_bytes > MAX_SPICEPOD_BYTES
    }

    /// Goals for the peak memory of the creation, and after a restart.
    fn memory_goals(self) -> (&'static str, &'static str) {
        match self.apps {
            _ if self.is_oversized() => ("100 MiB", "100 MiB"),
            0..=1000 => ("120 MiB", "40 MiB"),
            1001..=5000 => ("400 MiB", ""),
            _ => ("", ""),
        }
    }

    /// A spicepod of the length as JSON.
    fn spicepod(self) -> Option<Value> {
        let dataset = |number: usize, description: &str| {
            json!({
                "from": format!("postgres:public.table_{number:05}"), "name": format!("dataset_{number:05}"),
                "description": description, "acceleration": { "enabled": true, "refresh_interval": "10s" },
            })
        };
        let missing = DATASET_BYTES.saturating_sub(dataset(0, "").to_string().len() + 1);
        let datasets = |count: usize, last: &str| {
            let description = |number: usize| if number + 1 == count { last.to_owned() } else { "x".repeat(missing) };
            let datasets: Vec<Value> = (0..count).map(|number| dataset(number, &description(number))).collect();
            json!({ "version": "v1", "kind": "Spicepod", "name": "bench", "datasets": datasets })
        };
        let count = (self.spicepod_bytes / DATASET_BYTES).max(1);
        let rest = self.spicepod_bytes.saturating_sub(datasets(count, "").to_string().len());
        (self.spicepod_bytes > 0).then(|| datasets(count, &"x".repeat(rest)))
    }
}

async fn bench() -> Result<(), String> {
    let size = Size::from_env()?;
    let Size { apps, secrets_per_app, cycles, requests_per_minute, .. } = size;
    let length = size.spicepod().map_or(0, |spicepod| spicepod.to_string().len());
    println!(
        "{apps} apps; spicepods of {length} bytes; {secrets_per_app} secrets per app; {cycles} resyncs of each app;"
    );
    println!("at most {requests_per_minute} requests per minute\n");
    println!("{:<44} {:>12} {:>14}", "", "measured", "goal");
    let bench = Bench::start(size).await?;
    bench.measure_creates().await?;
    bench.measure_restart::<SpiceApp>(apps).await?;
    if size.is_oversized() {
        return Ok(());
    }
    bench.measure_app_resyncs(cycles).await?;
    if secrets_per_app == 0 {
        return Ok(());
    }
    bench.measure_secret_writes().await?;
    bench.measure_restart::<SpiceSecret>(secrets_per_app * apps).await?;
    bench.measure_secret_resyncs((cycles / 10).max(1)).await
}

fn print_row(name: &str, measured: String, goal: &str) {
    println!("{name:<44} {measured:>12} {goal:>14}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

impl Bench {
    async fn start(size: Size) -> Result<Self, String> {
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
                "requestBudget": { "requestsPerMinute": size.requests_per_minute, "reservePercent": 0 },
            },
        });
        cluster.kubectl_apply_text(&format!("{secret}\n---\n{organization}")).await?;
        Ok(Self { run, program, cluster, _sandbox: sandbox, client, namespace, size })
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

    /// Applies objects of a kind, and waits until all have this reason.
    async fn apply_all<K: Kind>(
        &self,
        specs: impl ExactSizeIterator<Item = (String, Value)>,
        operator: &Operator,
        reason: &str,
    ) -> Result<(), String> {
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
        let ready = |metrics: &Metrics| metrics.sum("spice_operator_objects", &[("kind", &kind), ("reason", reason)]);
        wait_for(operator, &format!("every object is {reason}"), count as f64, ready).await?;
        print_row(&format!("apply: all {reason}"), seconds(started.elapsed()), "");
        Ok(())
    }

    async fn measure_creates(&self) -> Result<(), String> {
        let (operator, ready) = self.operator(&NO_RESYNC).await?;
        print_row("start to ready, no objects", seconds(ready), "1 s");
        let mut spec = json!({ "description": "one of many", "runtime": { "replicas": 2 } });
        spec.as_object_mut().into_iter().for_each(|spec| {
            spec.extend(self.size.spicepod().map(|spicepod| ("spicepod".to_owned(), spicepod)));
        });
        let specs = (0..self.size.apps).map(|number| (app(number), spec.clone()));
        let (goal, _) = self.size.memory_goals();
        if self.size.is_oversized() {
            self.apply_all::<SpiceApp>(specs, &operator, "InvalidSpec").await?;
            return finish("create", operator, goal).await;
        }
        self.apply_all::<SpiceApp>(specs, &operator, "Succeeded").await?;
        let calls = count_calls(&operator, &[]).await?;
        print_row("create: calls", format!("{calls}"), &format!("{}", 2 * self.size.apps));
        let lists = count_calls(&operator, &[("method", "GET"), ("route", "/v1/apps")]).await?;
        print_row("create: pages of the app list", format!("{lists}"), "1 per list");
        print_row("create: calls per app", format!("{:.2}", calls / self.size.apps as f64), "2");
        finish("create", operator, goal).await
    }

    async fn measure_restart<K: Kind>(&self, objects: usize) -> Result<(), String> {
        let (operator, ready) = self.operator(&NO_RESYNC).await?;
        print_row("restart: start to ready", seconds(ready), "1 s");
        let reconciles = |metrics: &Metrics| metrics.reconciles(&K::kind(&()));
        wait_for(&operator, "every object was reconciled", objects as f64, reconciles).await?;
        print_row("restart: calls", format!("{}", count_calls(&operator, &[]).await?), "0");
        finish("restart", operator, self.size.memory_goals().1).await
    }

    /// Applies the Kubernetes Secret that is the source of all SpiceSecrets.
    async fn apply_source(&self, version: usize) -> Result<(), String> {
        let values = (0..self.size.secrets_per_app)
            .map(|key| (format!("KEY_{key}"), json!(format!("fake-value-{key}-{version}"))));
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": Value::Object(values.collect()),
            "metadata": { "name": "values", "namespace": self.namespace } });
        self.cluster.kubectl_apply_text(&secret.to_string()).await.map(drop)
    }

    async fn measure_secret_writes(&self) -> Result<(), String> {
        self.apply_source(0).await?;
        let (operator, _) = self.operator(&NO_RESYNC).await?;
        let per_app = self.size.secrets_per_app;
        let object = |number: usize| {
            let (app, key) = (app(number / per_app), format!("KEY_{}", number % per_app));
            let source = json!({ "name": "values", "items": [{ "key": key }] });
            (format!("{app}-{}", number % per_app), json!({ "appRef": { "name": app }, "secretRef": source }))
        };
        let count = per_app * self.size.apps;
        self.apply_all::<SpiceSecret>((0..count).map(object), &operator, "Succeeded").await?;
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
        finish("secrets", operator, "").await
    }

    /// Resyncs of the apps and of all secrets.
    async fn measure_secret_resyncs(&self, cycles: usize) -> Result<(), String> {
        let operator = self.operator(&RESYNC_5_S).await?.0;
        let (expected, pages) =
            ((self.size.apps * cycles) as f64, [("method", "GET"), ("route", "/v1/apps/{appId}/secrets")]);
        wait_for(&operator, "the resyncs are finished", expected, |metrics| metrics.sum(CALLS, &pages)).await?;
        let (calls, metrics) = (count_calls(&operator, &[]).await?, operator.metrics().await?);
        // The resyncs of an app and of its secrets are not simultaneous, so the last resyncs can be incomplete.
        let app_reads = metrics.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps/{appId}")]);
        print_row(&format!("drift: app reads in {cycles} resyncs"), format!("{app_reads}"), &format!("{expected}"));
        print_row("drift: pages of secrets", format!("{}", metrics.sum(CALLS, &pages)), &format!("{expected}"));
        let separate_reads = format!("{} separately", 1 + self.size.secrets_per_app);
        print_row("drift: calls per app and its secrets", format!("{:.2}", calls / app_reads), &separate_reads);
        let writes = calls - metrics.sum(CALLS, &[("method", "GET")]);
        print_row("drift: remote writes", format!("{}", writes.max(0.0)), "0");
        finish("drift", operator, "").await
    }

    async fn measure_app_resyncs(&self, cycles: usize) -> Result<(), String> {
        let before = self.versions().await?;
        let ((operator, _), started) = (self.operator(&RESYNC_1_S).await?, Instant::now());
        let resyncs = (self.size.apps * cycles) as f64;
        let reads = |metrics: &Metrics| metrics.sum(CALLS, &[("method", "GET"), ("route", "/v1/apps/{appId}")]);
        wait_for(&operator, "the resyncs are finished", resyncs, reads).await?;
        let (duration, calls) = (started.elapsed(), count_calls(&operator, &[]).await?);
        print_row(&format!("steady: {cycles} resyncs of each app"), seconds(duration), &format!("{cycles} s"));
        print_row("steady: calls per resync", format!("{:.2}", calls / resyncs), "1 + list share");
        let writes = calls - count_calls(&operator, &[("method", "GET")]).await?;
        print_row("steady: remote writes", format!("{}", writes.max(0.0)), "0");
        let changed = self.versions().await?.iter().zip(&before).filter(|(after, before)| after != before).count();
        print_row("steady: objects written", format!("{changed}"), "0");
        finish("steady", operator, "").await
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
        let started_at = Instant::now();
        let count = figure(&operator.metrics().await?);
        if count >= expected {
            return Ok(());
        }
        tokio::time::sleep(started_at.elapsed() * SCRAPE_PAUSE).await;
        Err(format!("{count} of {expected}"))
    })
    .await
}

/// Prints peak memory, memory without work and CPU time of an operator, and stops the operator.
async fn finish(phase: &str, operator: Operator, peak_goal: &str) -> Result<(), String> {
    let pid = operator.process().pid();
    tokio::time::sleep(IDLE_TIME).await;
    let (peak, idle) = (common::memory_mib(pid, "VmHWM")?, common::memory_mib(pid, "VmRSS")?);
    print_row(&format!("{phase}: peak memory"), format!("{peak:.1} MiB"), peak_goal);
    print_row(&format!("{phase}: memory after {} without work", seconds(IDLE_TIME)), format!("{idle:.1} MiB"), "");
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // User and system time are fields 14 and 15. Field 2 can contain spaces and ends with a parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    print_row(&format!("{phase}: CPU"), format!("{:.2} s", ticks / TICKS_PER_SECOND), "");
    operator.terminate().await.map(drop)
}
