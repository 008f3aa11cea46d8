//! Kills the operator at every fault point of an operation and restarts it (invariant 3).
//!
//! `tests/support/proxy.rs` defines the fault points. A first run without a kill records the n fault points. Then each
//! fault point has two runs: one drops the request, the other applies the request and withholds the response. The last
//! run kills the operator after the operation: 2n + 1 runs.

use std::{fmt::Debug, future::Future, path::PathBuf, sync::Arc};

use spice_cloud_operator::api::SpiceOrganization;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::support::{
    control_plane::User,
    eventually::DEADLINE,
    proxy::{FaultPoint, FaultPoints, Proxy},
    sandbox::When,
    test_env::TestEnv,
};

/// Sandbox and operator share one clock, so no clock skew is allowed. A create can be slow on a busy machine, and no
/// deletion in these tests waits for the confirmation of a create.
const OPERATOR_ARGS: &[&str] = &["--clock-skew=0s", "--create-confirmation-timeout=30s"];

/// Number of concurrent runs. The operators and the sandbox of a run are idle most of the time.
const CONCURRENT_RUNS: usize = 4;

/// An operation on one object.
pub trait Operation: Copy + Debug + Send + Sync + 'static {
    /// The name of the object under test.
    const OBJECT: &'static str;

    /// Returns arguments for the sandbox.
    fn sandbox_args(self) -> Vec<&'static str>;

    /// Creates the state before the operation.
    fn prepare(self, env: &TestEnv) -> impl Future<Output = ()> + Send;

    /// Starts the operation.
    fn start(self, env: &TestEnv) -> impl Future<Output = ()> + Send;

    /// Waits for the end of the operation and checks the result.
    fn wait_and_check(self, env: &TestEnv) -> impl Future<Output = ()> + Send;

    /// Returns additional arguments for the operator.
    fn operator_args(self) -> &'static [&'static str] {
        &[]
    }

    /// Returns true if a run can finish without this request.
    fn is_optional(self, _call: &str) -> bool {
        false
    }
}

/// A test environment with a proxy in front of each API.
struct ProxiedEnv {
    faults: Arc<FaultPoints>,
    env: TestEnv,
    kubeconfig: PathBuf,
    _proxies: [Proxy; 2],
}

impl ProxiedEnv {
    async fn new<O: Operation>(operation: O) -> Self {
        let (faults, env) =
            (FaultPoints::new(O::OBJECT), TestEnv::with_sandbox("kill", &operation.sandbox_args()).await);
        let management = Proxy::for_management_api(&faults, env.sandbox.url()).await.unwrap();
        let client = env.cluster.client(User::Operator).await.unwrap();
        let kubernetes = Proxy::for_kubernetes_api(&faults, client).await.unwrap();
        env.apply_organization(&management.url()).await;
        let kubeconfig = kubernetes.write_kubeconfig(&env.run).unwrap();
        Self { faults, env, kubeconfig, _proxies: [management, kubernetes] }
    }

    /// Runs the operation without a kill and returns the fault points.
    async fn record(self, operation: impl Operation) -> Vec<FaultPoint> {
        let args = [OPERATOR_ARGS, operation.operator_args()].concat();
        let _operator = self.env.start_operator_as(&self.kubeconfig, &args).await;
        self.env.wait_for_ready::<SpiceOrganization>("default").await;
        operation.prepare(&self.env).await;
        self.faults.start_recording(None);
        operation.start(&self.env).await;
        operation.wait_and_check(&self.env).await;
        self.faults.points()
    }

    /// Kills the operator at a fault point, or after the operation, and starts another operator.
    async fn kill_at(self, operation: impl Operation, point: Option<(FaultPoint, When)>) {
        let env = &self.env;
        let args = [OPERATOR_ARGS, operation.operator_args()].concat();
        let operator = env.start_operator_as(&self.kubeconfig, &args).await;
        env.wait_for_ready::<SpiceOrganization>("default").await;
        operation.prepare(env).await;
        let revision = env.sandbox.revision().await.unwrap();
        self.faults.start_recording(point.clone());
        operation.start(env).await;
        match point {
            Some(((call, _), when)) => {
                // The result is no indication: the operation is complete if only the last response is withheld.
                tokio::select! {
                    biased;
                    stopped = tokio::time::timeout(DEADLINE, self.faults.wait_until_reached()) => {
                        assert!(stopped.is_ok(), "the fault point was not reached: {:?}", self.faults.points());
                    }
                    () = operation.wait_and_check(env), if operation.is_optional(&call) => return,
                }
                // The API received every request except a dropped one.
                let points = self.faults.points();
                let forwarded = &points[..points.len() - usize::from(matches!(when, When::Before))];
                let sent = forwarded.iter().filter(|(call, _)| call.contains("/v1/")).count();
                let calls = env.calls_since(revision).await.into_iter().filter(|call| call.contains("/apps"));
                assert_eq!(calls.count(), sent, "{points:?}");
            }
            None => operation.wait_and_check(env).await,
        }
        operator.kill().unwrap();
        self.faults.end_recording();
        let _operator = env.start_operator_as(&self.kubeconfig, &args).await;
        operation.wait_and_check(env).await;
    }
}

/// Kills the operator at every fault point of an operation. Every run must have the same result.
pub async fn kill_at_every_point(operation: impl Operation) {
    let points = ProxiedEnv::new(operation).await.record(operation).await;
    let mut kills: Vec<_> = points
        .iter()
        .flat_map(|point| [When::Before, When::After].map(|when| (point, when)))
        .map(|(point, when)| Some((point.clone(), when)))
        .collect();
    kills.push(None);
    assert_eq!(kills.len(), 2 * points.len() + 1);
    let list = points.iter().map(|(call, occurrence)| format!("{call} #{occurrence}")).collect::<Vec<_>>().join(", ");
    println!("{operation:?}: {} kill points for n = {} fault points: {list}", kills.len(), points.len());

    let (permits, mut runs, mut failures) = (Arc::new(Semaphore::new(CONCURRENT_RUNS)), JoinSet::new(), Vec::new());
    for kill in kills {
        let permits = permits.clone();
        runs.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let name = format!("{kill:?}");
            let run = tokio::spawn(async move { ProxiedEnv::new(operation).await.kill_at(operation, kill).await });
            run.await.map_err(|error| format!("{name}: {error}"))
        });
    }
    while let Some(run) = runs.join_next().await {
        failures.extend(run.unwrap().err());
    }
    assert!(failures.is_empty(), "{operation:?}: {}", failures.join("\n"));
}
