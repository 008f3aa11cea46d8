//! Kills of the operator at every fault point of the operations on an app (invariant 3).

use serde_json::{Value, json};
use spice_cloud_operator::api::{FINALIZER, SpiceApp};

use crate::{
    crash_harness::{self, kill_at_every_point},
    extended,
    support::{control_plane::ControlPlane, namespace_controller::NamespaceController, test_env::TestEnv},
};

/// The object under test.
const APP: &str = "my-app";

/// Apps that are created first on plans without tags, so that the operator detects the missing support.
const SIBLINGS: [&str; 2] = ["one-sibling", "two-sibling"];

/// An operation on the object under test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Create,
    Update,
    Adopt,
    /// A create that reactivates a deleted app.
    Reactivate,
    Delete,
    /// The deletion of the namespace.
    Teardown,
}

use Operation::{Adopt, Create, Delete, Reactivate, Teardown, Update};

/// An operation, and the tag support of the plan.
#[derive(Clone, Copy, Debug)]
struct Case {
    operation: Operation,
    /// The sandbox's `--tags` flag.
    tags: &'static str,
}

impl Case {
    fn supports_tags(self) -> bool {
        self.tags == "keep"
    }

    /// Returns the final spec. `imageTag` and `replicas` require a PUT.
    fn expected(self) -> Value {
        let description = if self.operation == Update { "changed" } else { "initial" };
        let tags = if self.tags == "reject" { json!({}) } else { json!({ "team": "data" }) };
        let policy = if self.operation == Adopt { "Adopt" } else { "Fail" };
        json!({
            "description": description, "region": "us-east-1", "tags": tags, "adoptionPolicy": policy,
            "deletionPolicy": "Delete", "runtime": { "replicas": 2, "imageTag": "v1.2.3" },
        })
    }

    async fn check_present(self, env: &TestEnv) {
        let app = env.wait_for_ready::<SpiceApp>(APP).await;
        let (status, finalizers) = (app.status.unwrap(), app.metadata.finalizers.unwrap_or_default());
        let remote = self.remote(env).await;
        assert_eq!(remote.len(), 1, "{remote:?}");
        assert_eq!(status.id, remote[0]["id"].as_i64());
        assert_eq!(status.create_intent, None);
        assert_eq!(finalizers, [FINALIZER]);
        let tags = &remote[0]["tags"];
        let tagged = tags["spice-operator-owner"].is_string() && tags["team"] == "data";
        assert_eq!(
            (tagged, status.tags_unsupported),
            (self.supports_tags(), (!self.supports_tags()).then_some(true)),
            "{remote:?}"
        );
        let expected = self.expected();
        assert_eq!(remote[0]["description"], expected["description"]);
        assert_eq!(remote[0]["config"]["replicas"], expected["runtime"]["replicas"], "{remote:?}");
    }

    async fn remote(self, env: &TestEnv) -> Vec<Value> {
        let mut apps = env.remote_apps().await;
        apps.retain(|app| app["name"] == APP);
        apps
    }
}

impl crash_harness::Operation for Case {
    const OBJECT: &'static str = APP;

    fn sandbox_args(self) -> Vec<&'static str> {
        vec!["--tags", self.tags]
    }

    async fn prepare(self, env: &TestEnv) {
        if !self.supports_tags() {
            // Two apps without tags show that the organization has no tag support.
            for sibling in SIBLINGS {
                env.apply_app_and_wait(sibling, json!({ "deletionPolicy": "Delete" })).await;
            }
        }
        match self.operation {
            Create => {}
            Adopt | Reactivate => {
                let portal = env.sandbox.portal().unwrap();
                let existing = json!({ "name": APP, "region": "us-east-1", "description": "foreign-value" });
                let id = portal.create_app(&existing).await.unwrap()["id"].as_u64().unwrap();
                if self.operation == Reactivate {
                    portal.delete_app(id).await.unwrap();
                }
            }
            Update | Delete | Teardown => {
                env.apply_app_and_wait(APP, Self { operation: Create, ..self }.expected()).await;
            }
        }
    }

    async fn start(self, env: &TestEnv) {
        match self.operation {
            Create | Update | Adopt | Reactivate => drop(env.apply_app(APP, self.expected()).await),
            Delete => env.delete::<SpiceApp>(APP).await,
            Teardown => {
                env.keep_credential().await;
                env.delete_namespace().await;
            }
        }
    }

    async fn wait_and_check(self, env: &TestEnv) {
        match self.operation {
            Create | Update | Adopt | Reactivate => self.check_present(env).await,
            Delete => {
                env.wait_for_deletion::<SpiceApp>(APP).await;
                assert_eq!(self.remote(env).await, [Value::Null; 0]);
            }
            Teardown => {
                env.wait_for_namespace_deletion().await;
                assert_eq!(env.remote_apps().await, [Value::Null; 0]);
            }
        }
        let all_apps = env.sandbox.state().await.unwrap()["apps"].as_array().unwrap().clone();
        let count = all_apps.iter().filter(|app| app["name"] == APP).count();
        assert_eq!(count, 1, "one app in total, including deleted apps");
    }

    /// In a terminating namespace, the status of an app changes only if the operator reconciles the app between the
    /// deletion of the credential Secret and the reconcile of the organization.
    fn is_optional(self, call: &str) -> bool {
        self.operation == Teardown && call.ends_with("/status")
    }
}

/// Only the extended run includes rejected tags. If the operator has detected the missing support, its requests are the
/// same as with dropped tags.
async fn kill_on_every_plan(operation: Operation) {
    let plans: &[_] = if extended() { &["keep", "drop", "reject"] } else { &["keep", "drop"] };
    for &tags in plans {
        kill_at_every_point(Case { operation, tags }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_create_leads_to_one_app() {
    kill_on_every_plan(Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_an_update_leads_to_the_spec() {
    kill_on_every_plan(Update).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_an_adoption_leads_to_one_app() {
    kill_on_every_plan(Adopt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_reactivation_leads_to_one_app() {
    kill_on_every_plan(Reactivate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_deletion_leaves_no_app() {
    kill_on_every_plan(Delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_namespace_deletion_leaves_no_app() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    kill_at_every_point(Case { operation: Teardown, tags: "keep" }).await;
}
