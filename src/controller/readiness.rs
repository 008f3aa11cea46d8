//! What still keeps the operator from working, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};

use crate::api::custom_resource_definitions;

/// What is missing. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// How many wait for each.
    missing: Arc<Mutex<BTreeMap<String, usize>>>,
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
        *self.list().entry(what.clone()).or_default() += 1;
        Pending { readiness: self.clone(), what }
    }

    /// What is missing now; empty when ready.
    pub fn missing(&self) -> Vec<String> {
        self.list().keys().cloned().collect()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// The list that it is on.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut list = self.readiness.list();
        if let Some(count) = list.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                list.remove(&self.what);
            }
        }
    }
}

/// Waits until every CustomResourceDefinition of ours is established, and says meanwhile which are not.
pub(super) async fn definitions(client: &Client, readiness: &Readiness, poll: Duration) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for file in custom_resource_definitions() {
        let name = file.definition.name_any();
        let mut pending = None;
        loop {
            let problem = match super::store::bounded(definitions.get_opt(&name)).await {
                Ok(Some(definition)) if established(&definition) => break,
                Ok(Some(_)) => "is not established yet".to_owned(),
                Ok(None) => "is missing".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            };
            pending.get_or_insert_with(|| {
                tracing::warn!("CustomResourceDefinition {name} {problem}; waiting for it");
                readiness.waiting_for(format!("CustomResourceDefinition {name}"))
            });
            tokio::time::sleep(poll).await;
        }
    }
}

fn established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_missing_until_nobody_waits_for_it_any_more() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing(), [""; 0]);
        let (first, second) = (readiness.waiting_for("a thing"), readiness.waiting_for("a thing"));
        let other = readiness.waiting_for("another");
        drop(first);
        assert_eq!(readiness.missing(), ["a thing", "another"]);
        drop((second, other));
        assert_eq!(readiness.missing(), [""; 0]);
    }
}
