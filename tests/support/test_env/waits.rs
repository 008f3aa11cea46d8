//! Waits of [`TestEnv`] for states of objects.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use spice_cloud_operator::api::{Condition, SpiceApp, SpiceOrganization, SpiceSecret};

use super::{
    super::{
        eventually::{DEADLINE, poll},
        operator::Operator,
    },
    Kind, TestEnv,
};

impl TestEnv {
    /// Watches an object until `condition` holds.
    pub async fn until<K: Kind>(&self, name: &str, description: &str, condition: impl Fn(&K) -> bool) -> K {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut changes = watcher(self.api::<K>(), config).default_backoff().applied_objects().boxed();
        let mut last = None;
        let found = tokio::time::timeout(DEADLINE, async {
            while let Some(object) = changes.try_next().await.unwrap_or_default() {
                if condition(&object) {
                    return Some(object);
                }
                last = Some(object);
            }
            None
        });
        match found.await {
            Ok(Some(object)) => object,
            _ => panic!("{name}: not within {DEADLINE:?}: {description}; last version: {last:#?}"),
        }
    }

    /// Watches an object until Ready has this reason and a message that contains `text`.
    pub async fn says<K: Kind>(&self, name: &str, reason: &str, text: &str) -> K {
        self.until(name, &format!("{reason} with {text:?}"), |object: &K| {
            let mut conditions = object.conditions().iter();
            conditions.any(|ready| ready.type_ == "Ready" && ready.reason == reason && ready.message.contains(text))
        })
        .await
    }

    /// Watches a SpiceApp until its current generation has this Ready status and reason.
    pub async fn app_is(&self, name: &str, status: &str, reason: &str) -> SpiceApp {
        self.until(name, &format!("Ready={status} {reason}"), |app: &SpiceApp| {
            let current = app.status.as_ref();
            current.is_some_and(|current| is_ready(&current.core.conditions, app.metadata.generation, status, reason))
        })
        .await
    }

    /// Watches a SpiceSecret until its current generation has this Ready status and reason.
    pub async fn secret_is(&self, name: &str, status: &str, reason: &str) -> SpiceSecret {
        self.until(name, &format!("Ready={status} {reason}"), |secret: &SpiceSecret| {
            let current = secret.status.as_ref();
            current
                .is_some_and(|current| is_ready(&current.core.conditions, secret.metadata.generation, status, reason))
        })
        .await
    }

    /// Watches the SpiceOrganization `default` until its current generation has this Ready status and reason.
    pub async fn organization_is(&self, status: &str, reason: &str) -> SpiceOrganization {
        self.until("default", &format!("Ready={status} {reason}"), |organization: &SpiceOrganization| {
            let current = organization.status.as_ref();
            current.is_some_and(|current| {
                is_ready(&current.core.conditions, organization.metadata.generation, status, reason)
            })
        })
        .await
    }

    /// Waits for the deletion of an object.
    pub async fn gone<K: Kind>(&self, name: &str) {
        let api = self.api::<K>();
        poll(&format!("{name} is deleted"), DEADLINE, async || match api.get_opt(name).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("finalizers {:?}", object.finalizers())),
            Err(error) => Err(error.to_string()),
        })
        .await
        .unwrap();
    }

    /// Waits for the deletion of the namespace and all its objects.
    pub async fn namespace_is_gone(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        poll("the namespace is deleted", DEADLINE, async || {
            match namespaces.get_opt(&self.namespace).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(namespace) => Err(format!("{:?}", namespace.status)),
            }
        })
        .await
        .unwrap();
    }

    /// Requests a reconcile of a SpiceApp and waits for its end. A requested reconcile reads the app.
    pub async fn reconcile_app(&self, name: &str) -> SpiceApp {
        let stamp = self.request_reconcile(name).await;
        self.until(name, "the requested reconcile is handled", |app: &SpiceApp| {
            app.status.as_ref().and_then(|status| status.core.last_handled_reconcile_at.as_ref()) == Some(&stamp)
        })
        .await
    }

    /// Requests a reconcile of a SpiceApp and returns the annotation value.
    pub async fn request_reconcile(&self, name: &str) -> String {
        self.request_reconcile_of::<SpiceApp>(name).await
    }

    /// Requests a reconcile of an object and returns the annotation value.
    pub async fn request_reconcile_of<K: Kind>(&self, name: &str) -> String {
        let stamp = format!("{:?}", std::time::SystemTime::now());
        let patch = json!({ "metadata": { "annotations": { "cloud.spice.ai/reconcile-requested-at": stamp } } });
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        stamp
    }

    /// Requests a reconcile of a SpiceSecret and waits for its end. A requested reconcile lists the secrets.
    pub async fn reconcile_secret(&self, name: &str) -> SpiceSecret {
        let stamp = self.request_reconcile_of::<SpiceSecret>(name).await;
        self.until(name, "the requested reconcile is handled", |secret: &SpiceSecret| {
            secret.status.as_ref().and_then(|status| status.core.last_handled_reconcile_at.as_ref()) == Some(&stamp)
        })
        .await
    }

    /// Waits until an operator has finished `at_least` reconciles of a kind.
    pub async fn reconciles(&self, operator: &Operator, kind: &str, at_least: u64) {
        poll(&format!("{at_least} reconciles of {kind}"), DEADLINE, async || {
            let reconciles = operator.metrics().await?.reconciles(kind);
            if reconciles >= at_least as f64 { Ok(()) } else { Err(format!("{reconciles} so far")) }
        })
        .await
        .unwrap();
    }
}

/// Returns true if Ready has this status and reason for the generation.
fn is_ready(conditions: &[Condition], generation: Option<i64>, status: &str, reason: &str) -> bool {
    conditions.iter().any(|condition| {
        condition.type_ == "Ready"
            && condition.status == status
            && condition.reason == reason
            && condition.observed_generation == generation
    })
}
