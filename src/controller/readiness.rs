//! What still keeps the operator from working, by name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};

use crate::api::custom_resource_definitions;

/// What is missing. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeSet<String>>>,
}

/// Something that is missing until this is dropped.
#[derive(Debug)]
pub struct Pending {
    readiness: Readiness,
    what: String,
}

impl Readiness {
    /// Adds something that is missing; it stays until the answer is dropped.
    pub fn waiting_for(&self, what: impl Into<String>) -> Pending {
        let what = what.into();
        self.list().insert(what.clone());
        Pending { readiness: self.clone(), what }
    }

    /// What is missing now; empty when ready.
    pub fn missing(&self) -> Vec<String> {
        self.list().iter().cloned().collect()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.readiness.list().remove(&self.what);
    }
}

/// Waits until every CustomResourceDefinition of ours is established, and says meanwhile which are not.
pub(super) async fn definitions(client: &Client, readiness: &Readiness, poll: Duration) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for file in custom_resource_definitions() {
        let name = file.definition.name_any();
        let mut pending = None;
        loop {
            let problem = match definitions.get_opt(&name).await {
                Ok(Some(definition)) if established(&definition) => break,
                Ok(Some(_)) => "is not established yet".to_owned(),
                Ok(None) => "is missing".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            };
            if pending.is_none() {
                tracing::warn!("CustomResourceDefinition {name} {problem}; waiting for it");
            }
            pending = Some(readiness.waiting_for(format!("CustomResourceDefinition {name}")));
            tokio::time::sleep(poll).await;
        }
    }
}

fn established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}
