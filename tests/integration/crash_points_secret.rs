//! The operator is killed at every point of everything that it does to a SpiceSecret, and started again (invariant 3).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::DeleteParams};
use serde_json::{Value, json};
use spice_cloud_operator::api::{FINALIZER, SpiceApp, SpiceSecret};

use crate::{
    crash_harness::{self, killed_at_every_point},
    secrets::{expected, from_key, portal_sets, remote},
    support::{
        control_plane::ControlPlane,
        eventually::{DEADLINE, eventually},
        namespace_controller::NamespaceController,
        test_env::{Kind, TestEnv, id_of},
    },
};

/// The object under test has the name of its app, so that writes to both are points: an app waits for its secrets.
const NAME: &str = "my-app";

/// The Kubernetes Secret that the object follows.
const SOURCE: &str = "src";

/// What is done to the object under test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Create,
    Rotate,
    Rename,
    /// One of two keys of the source goes.
    Remove,
    /// What somebody has set is taken over.
    Adopt,
    Delete,
    /// The deletion of the app; its secret stays, and waits for another one.
    DeleteApp,
    /// The deletion of the namespace.
    Teardown {
        /// Whether the app outlives it.
        retained: bool,
    },
}

use Operation::{Adopt, Create, Delete, DeleteApp, Remove, Rename, Rotate, Teardown};

impl Operation {
    /// The spec before the operation, and what the source holds.
    fn before(self) -> (Value, Value) {
        match self {
            Rename => (from_key(SOURCE, "A", "OLD"), json!({ "A": "fake-value-a" })),
            _ => (json!({ "secretRef": { "name": SOURCE } }), json!({ "A": "fake-value-a", "B": "fake-value-b" })),
        }
    }

    /// What the app's secrets are in the end.
    fn wanted(self) -> BTreeMap<String, String> {
        match self {
            Create | Adopt => expected(&[("A", "fake-value-a"), ("B", "fake-value-b")]),
            Rotate => expected(&[("A", "fake-value-a2"), ("B", "fake-value-b")]),
            Rename => expected(&[("NEW", "fake-value-a")]),
            Remove => expected(&[("A", "fake-value-a")]),
            Delete | DeleteApp | Teardown { .. } => BTreeMap::new(),
        }
    }

    /// Whether every secret is set, and the status says so.
    async fn is_made(self, env: &TestEnv) -> Result<(), String> {
        let app = only_app(env).await;
        let wanted = self.wanted();
        let found = remote(env, app["id"].as_u64().unwrap()).await;
        if found != wanted {
            return Err(format!("{found:?}"));
        }
        let secret = env.api::<SpiceSecret>().get(NAME).await.map_err(|error| error.to_string())?;
        let ready = secret.conditions().iter().any(|one| {
            one.type_ == "Ready" && one.status == "True" && one.observed_generation == secret.metadata.generation
        });
        // The times are those of the API: a check finds nothing to mend.
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let kept = app["secrets"].as_array().unwrap().iter();
        let kept: BTreeMap<_, _> = kept.map(|one| (text(&one["name"]), Some(text(&one["updated_at"])))).collect();
        let entries = secret.status.iter().flat_map(|status| &status.secrets);
        let told = entries.clone().map(|entry| (entry.name.clone(), entry.updated_at.clone())).collect();
        let certain = entries.clone().all(|entry| entry.digest.is_some());
        if ready && certain && kept == told && secret.finalizers() == [FINALIZER] {
            Ok(())
        } else {
            Err(format!("{kept:?}, {secret:?}"))
        }
    }
}

impl crash_harness::Operation for Operation {
    const OBJECT: &'static str = NAME;

    fn sandbox(self) -> Vec<&'static str> {
        Vec::new()
    }

    async fn prepare(self, env: &TestEnv) {
        let policy = if matches!(self, Teardown { retained: true }) { "Retain" } else { "Delete" };
        env.app(NAME, json!({ "deletionPolicy": policy })).await;
        let app = id_of(&env.app_is(NAME, "True", "Succeeded").await);
        let (spec, values) = self.before();
        env.values(SOURCE, values).await;
        match self {
            Create => {}
            Adopt => portal_sets(env, app, "A", "theirs").await,
            _ => {
                env.secret(NAME, spec).await;
                env.secret_is(NAME, "True", "Succeeded").await;
            }
        }
    }

    async fn begin(self, env: &TestEnv) {
        let params = DeleteParams::default();
        let (mut spec, _) = self.before();
        match self {
            Create => drop(env.secret(NAME, spec).await),
            Adopt => {
                spec["adoptionPolicy"] = "Adopt".into();
                env.secret(NAME, spec).await;
            }
            Rotate => env.values(SOURCE, json!({ "A": "fake-value-a2", "B": "fake-value-b" })).await,
            Remove => env.values(SOURCE, json!({ "A": "fake-value-a" })).await,
            Rename => drop(env.secret(NAME, from_key(SOURCE, "A", "NEW")).await),
            Delete => drop(env.api::<SpiceSecret>().delete(NAME, &params).await.unwrap()),
            DeleteApp => drop(env.api::<SpiceApp>().delete(NAME, &params).await.unwrap()),
            Teardown { retained } => {
                // The objects of a namespace go in any order. An app that goes first takes its secrets with it; one that is
                // retained waits for them.
                if !retained {
                    env.api::<SpiceSecret>().delete(NAME, &params).await.unwrap();
                }
                let namespaces: Api<Namespace> = Api::all(env.client.clone());
                namespaces.delete(&env.namespace, &params).await.unwrap();
            }
        }
    }

    async fn ends(self, env: &TestEnv) {
        match self {
            Create | Rotate | Rename | Remove | Adopt => {
                eventually("all is set and told", DEADLINE, async || self.is_made(env).await).await;
            }
            Delete => {
                env.gone::<SpiceSecret>(NAME).await;
                assert_eq!(only_app(env).await["secrets"], json!([]));
            }
            DeleteApp => {
                env.gone::<SpiceApp>(NAME).await;
                env.says::<SpiceSecret>(NAME, "DependencyNotReady", "SpiceApp \"my-app\" not found").await;
                assert_eq!(env.remote_apps().await, [Value::Null; 0]);
            }
            Teardown { retained: false } => {
                env.namespace_is_gone().await;
                assert_eq!(env.remote_apps().await, [Value::Null; 0]);
            }
            Teardown { retained: true } => {
                env.namespace_is_gone().await;
                assert_eq!(only_app(env).await["secrets"], json!([]));
            }
        }
    }

    /// An app that is retained waits for no secret whose deletion has failed five times in a row, which is half a minute by the
    /// defaults, and one second by the waits of other tests.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Teardown { retained: true } => &["--min-retry-delay=500ms", "--max-retry-delay=5s"],
            _ => &[],
        }
    }

    /// Whether a run may come to its end without this call. In a namespace that ends, objects say what they wait for if they
    /// are reconciled between the deletion of what they need and its end, and read again after they have waited. The tags of an
    /// app that stays are taken off if that can be done at once.
    fn may_do_without(self, what: &str) -> bool {
        let is_seldom = what.ends_with("/status") || what.starts_with("GET") || what == "PUT /v1/apps/{id}";
        matches!(self, Teardown { .. }) && is_seldom
    }
}

/// The one app that there is.
async fn only_app(env: &TestEnv) -> Value {
    let mut apps = env.remote_apps().await;
    assert_eq!(apps.len(), 1, "{apps:?}");
    apps.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_secrets_are_set() {
    killed_at_every_point(Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_rotation_the_new_value_is_set() {
    killed_at_every_point(Rotate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_a_rename_the_old_name_is_gone() {
    killed_at_every_point(Rename).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_after_a_key_went_its_secret_is_gone() {
    killed_at_every_point(Remove).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_an_adoption_of_secrets_they_are_taken() {
    killed_at_every_point(Adopt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_the_deletion_of_secrets_none_is_left() {
    killed_at_every_point(Delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_the_deletion_of_their_app_secrets_wait_for_another() {
    killed_at_every_point(DeleteApp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_the_end_of_their_namespace_no_secret_is_left() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    killed_at_every_point(Teardown { retained: false }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_of_the_end_of_a_namespace_no_secret_is_left_in_a_retained_app() {
    let cluster = ControlPlane::shared().await.unwrap();
    let _controller = NamespaceController::start(&cluster).await.unwrap();
    killed_at_every_point(Teardown { retained: true }).await;
}
