//! What still keeps the operator from working, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use crate::api::custom_resource_definitions;

/// What is missing. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    /// How many wait for each.
    missing: BTreeMap<String, usize>,
    /// What worked before: since when it fails, and after how long of it that counts.
    failing: BTreeMap<String, (Instant, Duration)>,
}

/// Something that is missing until this is dropped.
#[derive(Debug)]
pub struct ReadinessGate {
    readiness: Readiness,
    what: String,
}

/// Something that has to work as long as this is kept. It is missing until it first does, and again once it has failed for
/// longer than is put up with: the apiserver is away for a moment now and then, and nobody is helped by a process that is
/// taken for unready then.
#[derive(Debug)]
pub struct HealthCheck {
    readiness: Readiness,
    what: String,
    patience: Duration,
    /// None once it has worked.
    pending: Option<ReadinessGate>,
}

impl Readiness {
    /// Adds something that is missing; it stays until the answer is dropped.
    pub fn waiting_for(&self, what: impl Into<String>) -> ReadinessGate {
        let what = what.into();
        *self.list().missing.entry(what.clone()).or_default() += 1;
        ReadinessGate { readiness: self.clone(), what }
    }

    /// Adds something that has to work from now on, and may fail for as long as `patience`. No two may have one name.
    pub fn relying_on(&self, what: impl Into<String>, patience: Duration) -> HealthCheck {
        let what = what.into();
        let pending = Some(self.waiting_for(what.clone()));
        HealthCheck { readiness: self.clone(), what, patience, pending }
    }

    /// What is missing now; empty when ready.
    pub fn missing(&self) -> Vec<String> {
        let (list, now) = (self.list(), Instant::now());
        let failing = list.failing.iter().filter_map(|(what, (since, patience))| {
            let time = now.duration_since(*since);
            (time >= *patience).then(|| format!("{what}, which has failed for {} s", time.as_secs()))
        });
        list.missing.keys().cloned().chain(failing).collect()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessGate {
    /// The list that it is on.
    pub(super) fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Drop for ReadinessGate {
    fn drop(&mut self) {
        let mut list = self.readiness.list();
        if let Some(count) = list.missing.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                list.missing.remove(&self.what);
            }
        }
    }
}

impl HealthCheck {
    /// It has just been seen to work.
    pub fn works(&mut self) {
        self.pending = None;
        self.readiness.list().failing.remove(&self.what);
    }

    /// It has just been seen to fail.
    pub fn fails(&mut self) {
        if self.pending.is_none() {
            let since = (Instant::now(), self.patience);
            self.readiness.list().failing.entry(self.what.clone()).or_insert(since);
        }
    }
}

impl Drop for HealthCheck {
    fn drop(&mut self) {
        self.readiness.list().failing.remove(&self.what);
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

    #[tokio::test(start_paused = true)]
    async fn what_is_relied_on_may_fail_for_a_moment_and_not_for_long() {
        let readiness = Readiness::default();
        let advance = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let mut watch = readiness.relying_on("the watch", Duration::from_secs(60));
        watch.fails();
        assert_eq!(readiness.missing(), ["the watch"], "it never worked: nothing to be patient about");
        watch.works();
        assert_eq!(readiness.missing(), [""; 0]);
        watch.fails();
        advance(59).await;
        watch.fails();
        assert_eq!(readiness.missing(), [""; 0]);
        advance(1).await;
        assert_eq!(readiness.missing(), ["the watch, which has failed for 60 s"], "counted from the first failure");
        watch.works();
        watch.fails();
        advance(59).await;
        assert_eq!(readiness.missing(), [""; 0], "it worked in between");
        advance(1).await;
        drop(watch);
        assert_eq!(readiness.missing(), [""; 0]);
    }
}
