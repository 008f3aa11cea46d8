//! Waits of [`TestEnv`] for states of objects.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use super::{
    super::eventually::{DEADLINE, poll},
    Kind, TestEnv,
};

/// Watches an object until `condition` holds.
pub async fn wait_for<K: Kind>(api: Api<K>, name: &str, description: &str, condition: impl Fn(&K) -> bool) -> K {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(api, config).default_backoff().applied_objects().boxed();
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

/// Watches an object until its current generation has this Ready status and reason.
pub async fn wait_for_reason<K: Kind>(api: Api<K>, name: &str, status: &str, reason: &str) -> K {
    let description = format!("Ready={status} {reason}");
    wait_for(api, name, &description, |object: &K| object.has_ready(status, reason)).await
}

/// Waits for the deletion of an object.
pub async fn wait_for_deletion<K: Kind>(api: Api<K>, name: &str) {
    poll(&format!("{name} is deleted"), DEADLINE, async || match api.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(object)) => Err(format!("finalizers {:?}", object.finalizers())),
        Err(error) => Err(error.to_string()),
    })
    .await
    .unwrap();
}

impl TestEnv {
    /// Watches an object until `condition` holds.
    pub async fn wait_for<K: Kind>(&self, name: &str, description: &str, condition: impl Fn(&K) -> bool) -> K {
        wait_for(self.api(), name, description, condition).await
    }

    /// Watches an object until its current generation is Ready.
    pub async fn wait_for_ready<K: Kind>(&self, name: &str) -> K {
        self.wait_for_reason(name, "True", "Succeeded").await
    }

    /// Watches an object until its current generation has this Ready status and reason.
    pub async fn wait_for_reason<K: Kind>(&self, name: &str, status: &str, reason: &str) -> K {
        wait_for_reason(self.api(), name, status, reason).await
    }

    /// Watches an object until Ready has this reason and a message that contains `text`.
    pub async fn wait_for_message<K: Kind>(&self, name: &str, reason: &str, text: &str) -> K {
        self.wait_for(name, &format!("{reason} with {text:?}"), |object: &K| {
            object.condition("Ready").is_some_and(|ready| ready.reason == reason && ready.message.contains(text))
        })
        .await
    }

    /// Waits for the deletion of an object.
    pub async fn wait_for_deletion<K: Kind>(&self, name: &str) {
        wait_for_deletion(self.api::<K>(), name).await;
    }

    /// Requests the deletion of an object and waits for its end.
    pub async fn delete_and_wait<K: Kind>(&self, name: &str) {
        self.delete::<K>(name).await;
        self.wait_for_deletion::<K>(name).await;
    }

    /// Waits for the deletion of the namespace and all its objects. Releases a credential that
    /// [`TestEnv::keep_credential`] keeps when no SpiceOrganization needs the credential.
    pub async fn wait_for_namespace_deletion(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        poll("the namespace is deleted", DEADLINE, async || {
            self.release_credential().await.map_err(|error| error.to_string())?;
            match namespaces.get_opt(&self.namespace).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(namespace) => Err(format!("{:?}", namespace.status)),
            }
        })
        .await
        .unwrap();
    }

    /// Requests a reconcile of an object and returns the annotation value.
    pub async fn request_reconcile<K: Kind>(&self, name: &str) -> String {
        let stamp = format!("{:?}", std::time::SystemTime::now());
        let annotation = json!({ "cloud.spice.ai/reconcile-requested-at": stamp });
        self.patch::<K>(name, json!({ "metadata": { "annotations": annotation } })).await;
        stamp
    }

    /// Requests a reconcile of an object and waits for its end. A requested reconcile reads the remote state.
    pub async fn reconcile<K: Kind>(&self, name: &str) -> K {
        let stamp = self.request_reconcile::<K>(name).await;
        self.wait_for(name, "the requested reconcile is handled", |object: &K| {
            object.core().and_then(|core| core.last_handled_reconcile_at.as_ref()) == Some(&stamp)
        })
        .await
    }
}
