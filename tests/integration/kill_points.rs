//! The operator is killed at every point of every operation, and started again (invariant 3).
//!
//! A point is a call of the operator for the object under test, as `tests/support/proxy.rs` says. An undisturbed run
//! counts n of them; then the operator is killed at each, once with the call held and dropped and once with it applied
//! and its answer withheld, and once after the last: 2n + 1 runs. A new operation is a variant and an arm in each match.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::{FINALIZER, SpiceApp};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    extended, program,
    support::{
        control_plane::{ControlPlane, User},
        eventually::DEADLINE,
        namespace_controller::NamespaceController,
        proxy::{Gate, Point, Proxy},
        sandbox::When,
        world::World,
    },
};

/// The object under test.
const APP: &str = "my-app";

/// The clocks of sandbox and operator are one: an app that is older than the intent is, by however little. A create may
/// take its time on a busy machine, and none of these deletions waits for one.
const SETTINGS: &[&str] = &["--clock-skew=0s", "--create-settles=30s"];

/// Runs side by side. Each is two operators and a sandbox, which wait most of the time.
const SIDE_BY_SIDE: usize = 4;

/// Made where tags are not to be had before the object under test: it shows that they are not.
const SIBLING: &str = "sibling";

/// What is done to the object under test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Create,
    Update,
    Adopt,
    /// A create that brings back an app which was deleted.
    Reactivate,
    Delete,
    /// The deletion of the namespace.
    Teardown,
}

use Operation::{Adopt, Create, Delete, Reactivate, Teardown, Update};

/// What is done, and on what kind of plan.
#[derive(Clone, Copy, Debug)]
struct Case {
    operation: Operation,
    /// The sandbox's rule for tags.
    tags: &'static str,
}

impl Case {
    fn takes_tags(self) -> bool {
        self.tags == "keep"
    }

    /// The spec that the object has in the end; the image's tag and the replicas need a PUT.
    fn wanted(self) -> Value {
        let description = if self.operation == Update { "changed" } else { "wanted" };
        let tags = if self.tags == "reject" { json!({}) } else { json!({ "team": "data" }) };
        let policy = if self.operation == Adopt { "Adopt" } else { "Fail" };
        json!({
            "description": description, "region": "us-east-1", "tags": tags, "adoptionPolicy": policy,
            "deletionPolicy": "Delete", "runtime": { "replicas": 2, "imageTag": "v1.2.3" },
        })
    }

    /// What is so before the operation begins.
    async fn prepare(self, world: &World) {
        if !self.takes_tags() {
            world.app(SIBLING, json!({ "deletionPolicy": "Delete" })).await;
            world.app_is(SIBLING, "True", "Succeeded").await;
        }
        match self.operation {
            Create => {}
            Adopt | Reactivate => {
                let portal = world.sandbox.portal().unwrap();
                let theirs = json!({ "name": APP, "region": "us-east-1", "description": "theirs" });
                let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
                if self.operation == Reactivate {
                    portal.delete_app(id).await.unwrap();
                }
            }
            Update | Delete | Teardown => {
                world.app(APP, Self { operation: Create, ..self }.wanted()).await;
                world.app_is(APP, "True", "Succeeded").await;
            }
        }
    }

    async fn begin(self, world: &World) {
        match self.operation {
            Create | Update | Adopt | Reactivate => drop(world.app(APP, self.wanted()).await),
            Delete => drop(world.api::<SpiceApp>().delete(APP, &DeleteParams::default()).await.unwrap()),
            Teardown => {
                let namespaces: Api<Namespace> = Api::all(world.client.clone());
                namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
            }
        }
    }

    /// Waits until the operation is done, and looks at what it left behind.
    async fn ends(self, world: &World) {
        match self.operation {
            Create | Update | Adopt | Reactivate => self.is_made(world).await,
            Delete => {
                // Nothing holds it back any more, a finalizer least of all.
                world.gone::<SpiceApp>(APP).await;
                assert_eq!(self.remote(world).await, [Value::Null; 0]);
            }
            Teardown => {
                world.namespace_is_gone().await;
                assert_eq!(world.remote_apps().await, [Value::Null; 0]);
            }
        }
        let ever = world.sandbox.state().await.unwrap()["apps"].as_array().unwrap().clone();
        let ever = ever.iter().filter(|app| app["name"] == APP).count();
        assert_eq!(ever, 1, "one remote app in all, deleted ones counted");
    }

    async fn is_made(self, world: &World) {
        let app = world.app_is(APP, "True", "Succeeded").await;
        let (status, finalizers) = (app.status.unwrap(), app.metadata.finalizers.unwrap_or_default());
        let remote = self.remote(world).await;
        assert_eq!(remote.len(), 1, "{remote:?}");
        assert_eq!(status.id, remote[0]["id"].as_i64());
        assert_eq!(status.create_intent, None, "nothing is open");
        assert_eq!(finalizers, [FINALIZER]);
        let tags = &remote[0]["tags"];
        let tagged = tags["spice-operator-owner"].is_string() && tags["team"] == "data";
        assert_eq!((tagged, status.untagged), (self.takes_tags(), (!self.takes_tags()).then_some(true)), "{remote:?}");
        let wanted = self.wanted();
        assert_eq!(remote[0]["description"], wanted["description"]);
        assert_eq!(remote[0]["config"]["replicas"], wanted["runtime"]["replicas"], "{remote:?}");
    }

    /// Whether a run may come to its end without this call. In a namespace that ends, an app says what it waits for if it is
    /// visited between the deletion of the credential's Secret and the organization's look at it.
    fn may_do_without(self, what: &str) -> bool {
        self.operation == Teardown && what.ends_with("/status")
    }

    async fn remote(self, world: &World) -> Vec<Value> {
        let mut apps = world.remote_apps().await;
        apps.retain(|app| app["name"] == APP);
        apps
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
    async fn new(case: Case) -> Self {
        let (gate, world) = (Gate::new(APP), World::with_sandbox("kill", program(), &["--tags", case.tags]).await);
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
    async fn undisturbed(self, case: Case) -> Vec<Point> {
        let _operator = self.world.operator_by(&self.kubeconfig, SETTINGS).await;
        self.world.organization_is("True", "Succeeded").await;
        case.prepare(&self.world).await;
        self.gate.count(None);
        case.begin(&self.world).await;
        case.ends(&self.world).await;
        self.gate.points()
    }

    /// Kills the operator at a point, or after the last, and starts another one.
    async fn killed(self, case: Case, cut: Option<(Point, When)>) {
        let world = &self.world;
        let operator = world.operator_by(&self.kubeconfig, SETTINGS).await;
        world.organization_is("True", "Succeeded").await;
        case.prepare(world).await;
        let revision = world.sandbox.revision().await.unwrap();
        self.gate.count(cut.clone());
        case.begin(world).await;
        match cut {
            Some(((what, _), when)) => {
                // Not whether it is done: a last write whose answer is withheld makes it so.
                tokio::select! {
                    biased;
                    stopped = tokio::time::timeout(DEADLINE, self.gate.stopped()) => {
                        assert!(stopped.is_ok(), "it never came to that point: {:?}", self.gate.points());
                    }
                    () = case.ends(world), if case.may_do_without(&what) => return,
                }
                // What was held never came to the API, and what was applied did.
                let points = self.gate.points();
                let passed = &points[..points.len() - usize::from(matches!(when, When::Before))];
                let sent = passed.iter().filter(|(what, _)| what.contains("/v1/")).count();
                let calls = world.calls(revision).await.into_iter().filter(|call| call.contains("/apps"));
                assert_eq!(calls.count(), sent, "{points:?}");
            }
            None => case.ends(world).await,
        }
        operator.kill().unwrap();
        self.gate.open();
        let _operator = world.operator_by(&self.kubeconfig, SETTINGS).await;
        case.ends(world).await;
    }
}

async fn killed_at_every_point(case: Case) {
    let points = Stage::new(case).await.undisturbed(case).await;
    let mut cuts: Vec<_> = points
        .iter()
        .flat_map(|point| [When::Before, When::After].map(|when| (point, when)))
        .map(|(point, when)| Some((point.clone(), when)))
        .collect();
    cuts.push(None);
    assert_eq!(cuts.len(), 2 * points.len() + 1);
    let list = points.iter().map(|(what, occurrence)| format!("{what} #{occurrence}")).collect::<Vec<_>>().join(", ");
    println!("{case:?}: {} kill points of n = {} calls: {list}", cuts.len(), points.len());

    let (lanes, mut runs, mut failed) = (Arc::new(Semaphore::new(SIDE_BY_SIDE)), JoinSet::new(), Vec::new());
    for cut in cuts {
        let lanes = lanes.clone();
        runs.spawn(async move {
            let _lane = lanes.acquire_owned().await;
            let name = format!("{cut:?}");
            let run = tokio::spawn(async move { Stage::new(case).await.killed(case, cut).await });
            run.await.map_err(|error| format!("{name}: {error}"))
        });
    }
    while let Some(run) = runs.join_next().await {
        failed.extend(run.unwrap().err());
    }
    assert!(failed.is_empty(), "{case:?}: {}", failed.join("\n"));
}

/// Tags are refused only in the extended run: the operator sends none where it knows that they are not to be had, so that
/// its calls are the same as where they are dropped.
async fn killed_on_every_plan(operation: Operation) {
    let plans: &[_] = if extended() { &["keep", "drop", "reject"] } else { &["keep", "drop"] };
    for &tags in plans {
        killed_at_every_point(Case { operation, tags }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_create_one_app_comes_of_it() {
    killed_on_every_plan(Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_an_update_the_app_is_as_wanted() {
    killed_on_every_plan(Update).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_an_adoption_the_app_is_taken_and_no_other_made() {
    killed_on_every_plan(Adopt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_reactivation_the_app_is_back_and_ours() {
    killed_on_every_plan(Reactivate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_delete_nothing_is_left() {
    killed_on_every_plan(Delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_the_end_of_a_namespace_nothing_is_left() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    killed_at_every_point(Case { operation: Teardown, tags: "keep" }).await;
}
