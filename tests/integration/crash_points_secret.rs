//! Kills of the operator at every fault point of the operations on a SpiceSecret (invariant 3).

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};
use spice_cloud_operator::api::{FINALIZER, SpiceApp, SpiceSecret};

use crate::{
    crash_harness::{self, kill_at_every_point},
    secrets::{expected_secrets, one_key_spec, remote_secrets, set_in_portal},
    support::{
        control_plane::ControlPlane,
        eventually::{DEADLINE, eventually},
        namespace_controller::NamespaceController,
        test_env::{Kind, TestEnv, id_of},
    },
};

/// Name of the SpiceSecret and its SpiceApp. With one name, writes to both are fault points.
const NAME: &str = "my-app";

/// The Kubernetes Secret with the values.
const SOURCE: &str = "src";

/// An operation on the object under test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Create,
    Rotate,
    Rename,
    /// The removal of one of two keys of the source.
    Remove,
    /// The adoption of an existing secret.
    Adopt,
    Delete,
    /// The deletion of the SpiceApp without its SpiceSecret.
    DeleteApp,
    /// The deletion of the namespace.
    Teardown {
        /// True if the deletion policy of the app is Retain.
        retained: bool,
    },
}

use Operation::{Adopt, Create, Delete, DeleteApp, Remove, Rename, Rotate, Teardown};

impl Operation {
    /// Returns the spec and the values of the source before the operation.
    fn before(self) -> (Value, Value) {
        match self {
            Rename => (one_key_spec(SOURCE, "A", "OLD"), json!({ "A": "fake-value-a" })),
            _ => (json!({ "secretRef": { "name": SOURCE } }), json!({ "A": "fake-value-a", "B": "fake-value-b" })),
        }
    }

    /// Returns the final secrets of the app.
    fn expected(self) -> BTreeMap<String, String> {
        match self {
            Create | Adopt => expected_secrets(&[("A", "fake-value-a"), ("B", "fake-value-b")]),
            Rotate => expected_secrets(&[("A", "fake-value-a2"), ("B", "fake-value-b")]),
            Rename => expected_secrets(&[("NEW", "fake-value-a")]),
            Remove => expected_secrets(&[("A", "fake-value-a")]),
            Delete | DeleteApp | Teardown { .. } => BTreeMap::new(),
        }
    }

    /// Fails unless the app has the expected secrets and the status contains them.
    async fn check_present(self, env: &TestEnv) -> Result<(), String> {
        let app = only_app(env).await;
        let expected = self.expected();
        let found = remote_secrets(env, app["id"].as_u64().unwrap()).await;
        if found != expected {
            return Err(format!("{found:?}"));
        }
        let secret = env.api::<SpiceSecret>().get(NAME).await.map_err(|error| error.to_string())?;
        let is_ready = secret.has_ready("True", "Succeeded");
        // With the timestamps of the API in the status, a resync detects no drift.
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let remote = app["secrets"].as_array().unwrap().iter();
        let remote: BTreeMap<_, _> =
            remote.map(|secret| (text(&secret["name"]), Some(text(&secret["updated_at"])))).collect();
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        let recorded = entries.clone().map(|entry| (entry.name.clone(), entry.updated_at.clone())).collect();
        let is_confirmed = entries.clone().all(|entry| entry.digest.is_some());
        if is_ready && is_confirmed && remote == recorded && secret.finalizers() == [FINALIZER] {
            Ok(())
        } else {
            Err(format!("{remote:?}, {secret:?}"))
        }
    }
}

impl crash_harness::Operation for Operation {
    const OBJECT: &'static str = NAME;

    fn sandbox_args(self) -> Vec<&'static str> {
        Vec::new()
    }

    async fn prepare(self, env: &TestEnv) {
        let policy = if matches!(self, Teardown { retained: true }) { "Retain" } else { "Delete" };
        let app = id_of(&env.apply_app_and_wait(NAME, json!({ "deletionPolicy": policy })).await);
        let (spec, values) = self.before();
        env.set_values(SOURCE, values).await;
        match self {
            Create => {}
            Adopt => set_in_portal(env, app, "A", "foreign-value").await,
            _ => {
                env.apply_secret_and_wait(NAME, spec).await;
            }
        }
    }

    async fn start(self, env: &TestEnv) {
        let (mut spec, _) = self.before();
        match self {
            Create => drop(env.apply_secret(NAME, spec).await),
            Adopt => {
                spec["adoptionPolicy"] = "Adopt".into();
                env.apply_secret(NAME, spec).await;
            }
            Rotate => env.set_values(SOURCE, json!({ "A": "fake-value-a2", "B": "fake-value-b" })).await,
            Remove => env.set_values(SOURCE, json!({ "A": "fake-value-a" })).await,
            Rename => drop(env.apply_secret(NAME, one_key_spec(SOURCE, "A", "NEW")).await),
            Delete => env.delete::<SpiceSecret>(NAME).await,
            DeleteApp => env.delete::<SpiceApp>(NAME).await,
            Teardown { retained } => {
                // The objects of a namespace are deleted in any order. The deletion of an app deletes its secrets. A
                // retained app waits for the deletion of its SpiceSecrets.
                if !retained {
                    env.delete::<SpiceSecret>(NAME).await;
                }
                env.keep_credential().await;
                env.delete_namespace().await;
            }
        }
    }

    async fn wait_and_check(self, env: &TestEnv) {
        match self {
            Create | Rotate | Rename | Remove | Adopt => {
                eventually("all secrets are set and recorded", DEADLINE, async || self.check_present(env).await).await;
            }
            Delete => {
                env.wait_for_deletion::<SpiceSecret>(NAME).await;
                assert_eq!(only_app(env).await["secrets"], json!([]));
            }
            DeleteApp => {
                env.wait_for_deletion::<SpiceApp>(NAME).await;
                env.wait_for_message::<SpiceSecret>(NAME, "DependencyNotReady", "SpiceApp \"my-app\" not found").await;
                assert_eq!(env.remote_apps().await, [Value::Null; 0]);
            }
            Teardown { retained: false } => {
                env.wait_for_namespace_deletion().await;
                assert_eq!(env.remote_apps().await, [Value::Null; 0]);
            }
            Teardown { retained: true } => {
                env.wait_for_namespace_deletion().await;
                assert_eq!(only_app(env).await["secrets"], json!([]));
            }
        }
    }

    /// A retained app ignores a SpiceSecret after five failed deletions in a row. That takes half a minute with the
    /// defaults, but only one second with the timings of the other tests.
    fn operator_args(self) -> &'static [&'static str] {
        match self {
            Teardown { retained: true } => &["--min-retry-delay=500ms", "--max-retry-delay=5s"],
            _ => &[],
        }
    }

    /// In a terminating namespace, an object reports a missing dependency only if a reconcile occurs during the
    /// deletion of that dependency. A later reconcile then repeats the read. The operator tries once to remove the tags
    /// of a retained app.
    fn is_optional(self, call: &str) -> bool {
        let depends_on_timing = call.ends_with("/status") || call.starts_with("GET") || call == "PUT /v1/apps/{id}";
        matches!(self, Teardown { .. }) && depends_on_timing
    }
}

/// Returns the only app in the sandbox.
async fn only_app(env: &TestEnv) -> Value {
    let mut apps = env.remote_apps().await;
    assert_eq!(apps.len(), 1, "{apps:?}");
    apps.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_secret_create_sets_all_secrets() {
    kill_at_every_point(Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_rotation_sets_the_new_value() {
    kill_at_every_point(Rotate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_rename_deletes_the_old_name() {
    kill_at_every_point(Rename).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_key_removal_deletes_the_secret() {
    kill_at_every_point(Remove).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_secret_adoption_sets_all_secrets() {
    kill_at_every_point(Adopt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_secret_deletion_leaves_no_secret() {
    kill_at_every_point(Delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_an_app_deletion_keeps_the_spice_secret() {
    kill_at_every_point(DeleteApp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_namespace_deletion_leaves_no_secret() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    kill_at_every_point(Teardown { retained: false }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_any_point_of_a_namespace_deletion_empties_a_retained_app() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    kill_at_every_point(Teardown { retained: true }).await;
}
