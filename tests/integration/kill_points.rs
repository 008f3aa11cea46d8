//! The operator is killed at every point of every operation, and started again (invariant 3).
//!
//! A point is a call of the operator for the object under test, as `tests/support/proxy.rs` says. An undisturbed run
//! counts n of them; then the operator is killed at each, once with the call held and dropped and once with it applied
//! and its answer withheld, and once after the last: 2n + 1 runs. A new operation is a variant and an arm in each match.

use std::{path::PathBuf, sync::Arc};

use kube::api::DeleteParams;
use serde_json::{Value, json};
use spice_cloud_operator::api::{FINALIZER, SpiceApp};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    program,
    support::{
        control_plane::User,
        proxy::{Gate, Point, Proxy},
        sandbox::When,
        world::World,
    },
};

/// The object under test.
const APP: &str = "my-app";

/// Runs side by side. Each is two operators and a sandbox, which wait most of the time.
const SIDE_BY_SIDE: usize = 4;

/// What is done to the object under test.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    /// The spec that the object has in the end; the image's tag and the replicas need a PUT.
    fn wanted(self) -> Value {
        let description = if matches!(self, Self::Update) { "changed" } else { "wanted" };
        json!({ "description": description, "tags": { "team": "data" }, "runtime": { "replicas": 2, "imageTag": "v1.2.3" } })
    }

    /// What is so before the operation begins.
    async fn prepare(self, world: &World) {
        if !matches!(self, Self::Create) {
            world.app(APP, Self::Create.wanted()).await;
            world.app_is(APP, "True", "Succeeded").await;
        }
    }

    async fn begin(self, world: &World) {
        match self {
            Self::Create | Self::Update => drop(world.app(APP, self.wanted()).await),
            Self::Delete => drop(world.api::<SpiceApp>().delete(APP, &DeleteParams::default()).await.unwrap()),
        }
    }

    /// Waits until the operation is done, and looks at what it left behind.
    async fn ends(self, world: &World) {
        match self {
            Self::Create | Self::Update => {
                let app = world.app_is(APP, "True", "Succeeded").await;
                let (status, finalizers) = (app.status.unwrap(), app.metadata.finalizers.unwrap_or_default());
                let remote = world.remote_apps().await;
                assert_eq!(remote.len(), 1, "{remote:?}");
                assert_eq!(status.id, remote[0]["id"].as_i64());
                assert_eq!(status.create_intent, None, "nothing is open");
                assert_eq!(finalizers, [FINALIZER]);
                let owner = &remote[0]["tags"]["spice-operator-owner"];
                assert!(owner.is_string() && remote[0]["tags"]["team"] == "data", "{remote:?}");
                let wanted = self.wanted();
                assert_eq!(remote[0]["description"], wanted["description"]);
                assert_eq!(remote[0]["config"]["replicas"], wanted["runtime"]["replicas"], "{remote:?}");
            }
            Self::Delete => {
                // Nothing holds it back any more, a finalizer least of all.
                world.gone::<SpiceApp>(APP).await;
                assert_eq!(world.remote_apps().await, [Value::Null; 0]);
            }
        }
        let ever = world.sandbox.state().await.unwrap()["apps"].as_array().unwrap().len();
        assert_eq!(ever, 1, "one remote app in all, deleted ones counted");
    }
}

/// A world behind a gate.
struct Stage {
    gate: Arc<Gate>,
    world: World,
    kubeconfig: PathBuf,
    _proxies: [Proxy; 2],
}

impl Stage {
    async fn new() -> Self {
        let (gate, world) = (Gate::new(APP), World::new("kill", program()).await);
        let management = Proxy::of_management(&gate, world.sandbox.url()).await.unwrap();
        let client = world.cluster.client(User::Operator).await.unwrap();
        let kubernetes = Proxy::of_kubernetes(&gate, client).await.unwrap();
        world.organization(&management.url()).await;
        // The proxy has the operator's rights.
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": kubernetes.url() } }],
            "users": [{ "name": "operator", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "operator" } }],
        });
        let kubeconfig = world.run.write("proxy.kubeconfig", &kubeconfig.to_string()).unwrap();
        Self { gate, world, kubeconfig, _proxies: [management, kubernetes] }
    }

    /// The points that an undisturbed run has.
    async fn undisturbed(self, operation: Operation) -> Vec<Point> {
        let _operator = self.world.operator_by(&self.kubeconfig, &[]).await;
        self.world.organization_is("True", "Succeeded").await;
        operation.prepare(&self.world).await;
        self.gate.count(None);
        operation.begin(&self.world).await;
        operation.ends(&self.world).await;
        self.gate.points()
    }

    /// Kills the operator at a point, or after the last, and starts another one.
    async fn killed(self, operation: Operation, cut: Option<(Point, When)>) {
        let world = &self.world;
        let operator = world.operator_by(&self.kubeconfig, &[]).await;
        world.organization_is("True", "Succeeded").await;
        operation.prepare(world).await;
        let revision = world.sandbox.revision().await.unwrap();
        self.gate.count(cut.clone());
        operation.begin(world).await;
        match cut {
            Some((_, when)) => {
                tokio::select! {
                    () = self.gate.stopped() => {}
                    () = operation.ends(world) => panic!("it was done without that point: {:?}", self.gate.points()),
                }
                // What was held never came to the API, and what was applied did.
                let points = self.gate.points();
                let passed = &points[..points.len() - usize::from(matches!(when, When::Before))];
                let sent = passed.iter().filter(|(what, _)| what.contains("/v1/")).count();
                assert_eq!(world.calls(revision).await.len(), sent, "{points:?}");
            }
            None => operation.ends(world).await,
        }
        operator.kill().unwrap();
        self.gate.open();
        let _operator = world.operator_by(&self.kubeconfig, &[]).await;
        operation.ends(world).await;
    }
}

async fn killed_at_every_point(operation: Operation) {
    let points = Stage::new().await.undisturbed(operation).await;
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
            let run = tokio::spawn(async move { Stage::new().await.killed(operation, cut).await });
            run.await.map_err(|error| format!("{name}: {error}"))
        });
    }
    while let Some(run) = runs.join_next().await {
        failed.extend(run.unwrap().err());
    }
    assert!(failed.is_empty(), "{operation:?}: {}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_create_one_app_comes_of_it() {
    killed_at_every_point(Operation::Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_an_update_the_app_is_as_wanted() {
    killed_at_every_point(Operation::Update).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_delete_nothing_is_left() {
    killed_at_every_point(Operation::Delete).await;
}
