//! The operator is killed at every point of everything that it does to an app, and started again (invariant 3).

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::{FINALIZER, SpiceApp};

use crate::{
    crash_harness::{self, killed_at_every_point},
    extended,
    support::{control_plane::ControlPlane, namespace_controller::NamespaceController, test_env::TestEnv},
};

/// The object under test.
const APP: &str = "my-app";

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

    async fn is_made(self, env: &TestEnv) {
        let app = env.app_is(APP, "True", "Succeeded").await;
        let (status, finalizers) = (app.status.unwrap(), app.metadata.finalizers.unwrap_or_default());
        let remote = self.remote(env).await;
        assert_eq!(remote.len(), 1, "{remote:?}");
        assert_eq!(status.id, remote[0]["id"].as_i64());
        assert_eq!(status.create_intent, None, "nothing is open");
        assert_eq!(finalizers, [FINALIZER]);
        let tags = &remote[0]["tags"];
        let tagged = tags["spice-operator-owner"].is_string() && tags["team"] == "data";
        assert_eq!(
            (tagged, status.tags_unsupported),
            (self.takes_tags(), (!self.takes_tags()).then_some(true)),
            "{remote:?}"
        );
        let wanted = self.wanted();
        assert_eq!(remote[0]["description"], wanted["description"]);
        assert_eq!(remote[0]["config"]["replicas"], wanted["runtime"]["replicas"], "{remote:?}");
    }

    async fn remote(self, env: &TestEnv) -> Vec<Value> {
        let mut apps = env.remote_apps().await;
        apps.retain(|app| app["name"] == APP);
        apps
    }
}

impl crash_harness::Operation for Case {
    const OBJECT: &'static str = APP;

    fn sandbox(self) -> Vec<&'static str> {
        vec!["--tags", self.tags]
    }

    async fn prepare(self, env: &TestEnv) {
        if !self.takes_tags() {
            env.app(SIBLING, json!({ "deletionPolicy": "Delete" })).await;
            env.app_is(SIBLING, "True", "Succeeded").await;
        }
        match self.operation {
            Create => {}
            Adopt | Reactivate => {
                let portal = env.sandbox.portal().unwrap();
                let theirs = json!({ "name": APP, "region": "us-east-1", "description": "theirs" });
                let id = portal.create_app(&theirs).await.unwrap()["id"].as_u64().unwrap();
                if self.operation == Reactivate {
                    portal.delete_app(id).await.unwrap();
                }
            }
            Update | Delete | Teardown => {
                env.app(APP, Self { operation: Create, ..self }.wanted()).await;
                env.app_is(APP, "True", "Succeeded").await;
            }
        }
    }

    async fn begin(self, env: &TestEnv) {
        match self.operation {
            Create | Update | Adopt | Reactivate => drop(env.app(APP, self.wanted()).await),
            Delete => drop(env.api::<SpiceApp>().delete(APP, &DeleteParams::default()).await.unwrap()),
            Teardown => {
                let namespaces: Api<Namespace> = Api::all(env.client.clone());
                namespaces.delete(&env.namespace, &DeleteParams::default()).await.unwrap();
            }
        }
    }

    async fn ends(self, env: &TestEnv) {
        match self.operation {
            Create | Update | Adopt | Reactivate => self.is_made(env).await,
            Delete => {
                // Nothing holds it back any more, a finalizer least of all.
                env.gone::<SpiceApp>(APP).await;
                assert_eq!(self.remote(env).await, [Value::Null; 0]);
            }
            Teardown => {
                env.namespace_is_gone().await;
                assert_eq!(env.remote_apps().await, [Value::Null; 0]);
            }
        }
        let ever = env.sandbox.state().await.unwrap()["apps"].as_array().unwrap().clone();
        let ever = ever.iter().filter(|app| app["name"] == APP).count();
        assert_eq!(ever, 1, "one remote app in all, deleted ones counted");
    }

    /// Whether a run may come to its end without this call. In a namespace that ends, an app says what it waits for if it is
    /// reconciled between the deletion of the credential's Secret and the organization's look at it.
    fn may_do_without(self, what: &str) -> bool {
        self.operation == Teardown && what.ends_with("/status")
    }
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
