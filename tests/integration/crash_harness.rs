//! Kills the operator at every point of an operation, and starts it again (invariant 3).
//!
//! A point is a call of the operator for the object under test, as `tests/support/proxy.rs` says. An undisturbed run
//! counts n of them; then the operator is killed at each, once with the call held and dropped and once with it applied
//! and its answer withheld, and once after the last: 2n + 1 runs.

use std::{fmt::Debug, future::Future, path::PathBuf, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    program,
    support::{
        control_plane::User,
        eventually::DEADLINE,
        proxy::{FaultPoint, FaultPoints, Proxy},
        sandbox::When,
        test_env::TestEnv,
    },
};

/// The clocks of sandbox and operator are one: an app that is older than the intent is, by however little. A create may
/// take its time on a busy machine, and none of these deletions waits for one.
const SETTINGS: &[&str] = &["--clock-skew=0s", "--create-confirmation-timeout=30s"];

/// Runs side by side. Each is two operators and a sandbox, which wait most of the time.
const SIDE_BY_SIDE: usize = 4;

/// An operation on one object.
pub trait Operation: Copy + Debug + Send + Sync + 'static {
    /// The name of the object under test.
    const OBJECT: &'static str;

    /// How the sandbox is started.
    fn sandbox(self) -> Vec<&'static str>;

    /// What is so before the operation begins.
    fn prepare(self, env: &TestEnv) -> impl Future<Output = ()> + Send;

    fn begin(self, env: &TestEnv) -> impl Future<Output = ()> + Send;

    /// Waits until the operation is done, and looks at what it left behind.
    fn ends(self, env: &TestEnv) -> impl Future<Output = ()> + Send;

    /// Settings of the operator besides those of all operations.
    fn settings(self) -> &'static [&'static str] {
        &[]
    }

    /// Whether a run may come to its end without this call.
    fn may_do_without(self, _what: &str) -> bool {
        false
    }
}

/// A env behind a gate.
struct Stage {
    faults: Arc<FaultPoints>,
    env: TestEnv,
    kubeconfig: PathBuf,
    _proxies: [Proxy; 2],
}

impl Stage {
    async fn new<O: Operation>(operation: O) -> Self {
        let (faults, env) =
            (FaultPoints::new(O::OBJECT), TestEnv::with_sandbox("kill", program(), &operation.sandbox()).await);
        let management = Proxy::of_management(&faults, env.sandbox.url()).await.unwrap();
        let client = env.cluster.client(User::Operator).await.unwrap();
        let kubernetes = Proxy::of_kubernetes(&faults, client).await.unwrap();
        env.organization(&management.url()).await;
        let kubeconfig = env.run.write("proxy.kubeconfig", &kubernetes.kubeconfig().to_string()).unwrap();
        Self { faults, env, kubeconfig, _proxies: [management, kubernetes] }
    }

    /// The points that an undisturbed run has.
    async fn undisturbed(self, operation: impl Operation) -> Vec<FaultPoint> {
        let settings = [SETTINGS, operation.settings()].concat();
        let _operator = self.env.operator_by(&self.kubeconfig, &settings).await;
        self.env.organization_is("True", "Succeeded").await;
        operation.prepare(&self.env).await;
        self.faults.count(None);
        operation.begin(&self.env).await;
        operation.ends(&self.env).await;
        self.faults.points()
    }

    /// Kills the operator at a point, or after the last, and starts another one.
    async fn killed(self, operation: impl Operation, cut: Option<(FaultPoint, When)>) {
        let env = &self.env;
        let settings = [SETTINGS, operation.settings()].concat();
        let operator = env.operator_by(&self.kubeconfig, &settings).await;
        env.organization_is("True", "Succeeded").await;
        operation.prepare(env).await;
        let revision = env.sandbox.revision().await.unwrap();
        self.faults.count(cut.clone());
        operation.begin(env).await;
        match cut {
            Some(((what, _), when)) => {
                // Not whether it is done: a last write whose answer is withheld makes it so.
                tokio::select! {
                    biased;
                    stopped = tokio::time::timeout(DEADLINE, self.faults.stopped()) => {
                        assert!(stopped.is_ok(), "it never came to that point: {:?}", self.faults.points());
                    }
                    () = operation.ends(env), if operation.may_do_without(&what) => return,
                }
                // What was held never came to the API, and what was applied did.
                let points = self.faults.points();
                let passed = &points[..points.len() - usize::from(matches!(when, When::Before))];
                let sent = passed.iter().filter(|(what, _)| what.contains("/v1/")).count();
                let calls = env.calls(revision).await.into_iter().filter(|call| call.contains("/apps"));
                assert_eq!(calls.count(), sent, "{points:?}");
            }
            None => operation.ends(env).await,
        }
        operator.kill().unwrap();
        self.faults.open();
        let _operator = env.operator_by(&self.kubeconfig, &settings).await;
        operation.ends(env).await;
    }
}

/// Kills the operator at every point of an operation, and wants the same end each time.
pub async fn killed_at_every_point(operation: impl Operation) {
    let points = Stage::new(operation).await.undisturbed(operation).await;
    let mut cuts: Vec<_> = points
        .iter()
        .flat_map(|point| [When::Before, When::After].map(|when| (point, when)))
        .map(|(point, when)| Some((point.clone(), when)))
        .collect();
    cuts.push(None);
    assert_eq!(cuts.len(), 2 * points.len() + 1);
    let list = points.iter().map(|(what, occurrence)| format!("{what} #{occurrence}")).collect::<Vec<_>>().join(", ");
    println!("{operation:?}: {} kill points of n = {} calls: {list}", cuts.len(), points.len());

    let (lanes, mut runs, mut failed) = (Arc::new(Semaphore::new(SIDE_BY_SIDE)), JoinSet::new(), Vec::new());
    for cut in cuts {
        let lanes = lanes.clone();
        runs.spawn(async move {
            let _lane = lanes.acquire_owned().await;
            let name = format!("{cut:?}");
            let run = tokio::spawn(async move { Stage::new(operation).await.killed(operation, cut).await });
            run.await.map_err(|error| format!("{name}: {error}"))
        });
    }
    while let Some(run) = runs.join_next().await {
        failed.extend(run.unwrap().err());
    }
    assert!(failed.is_empty(), "{operation:?}: {}", failed.join("\n"));
}
