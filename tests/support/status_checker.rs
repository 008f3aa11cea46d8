//! Checks every status in a namespace against the condition invariants (invariant 8).
//!
//! The checker uses a watch, because a watch returns every version of an object. Its own thread and runtime receive
//! events also while the test code runs.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Client, Resource,
    api::{ListParams, Request, WatchEvent, WatchParams},
};
use serde::Deserialize;
use serde_json::Value;
use spice_cloud_operator::api::{Condition, Reason, SpiceApp, SpiceOrganization, SpiceSecret};

use super::{
    condition_invariants, control_plane,
    eventually::{DEADLINE, poll},
};

/// Field manager of the operator. The checker ignores a status that a test wrote.
const OPERATOR: &str = "spice-cloud-operator";

/// Maximum wait at the end for outstanding events. Only a defect exceeds it.
const MAX_LAG: Duration = Duration::from_secs(30);

/// A running checker.
pub struct StatusChecker {
    results: Arc<Results>,
    thread: Option<thread::JoinHandle<Result<(), String>>>,
}

/// Results of the checker, shared with its thread.
#[derive(Default)]
struct Results {
    /// True if the test has ended.
    stop: AtomicBool,
    /// Checked statuses.
    checked: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
}

impl StatusChecker {
    /// Starts the watches. The checker receives every status that is written after the return of this function.
    pub fn start(kubeconfig: &Path, namespace: &str) -> Result<Self, String> {
        let results = Arc::new(Results::default());
        let (started, start) = std::sync::mpsc::channel();
        let (kubeconfig, namespace, thread_results) = (kubeconfig.to_owned(), namespace.to_owned(), results.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| e.to_string())?.block_on(async {
                let client = control_plane::client(&kubeconfig).await?;
                let apps = StatusWatch::start::<SpiceApp>(&client, &namespace).await?;
                let organizations = StatusWatch::start::<SpiceOrganization>(&client, &namespace).await?;
                let secrets = StatusWatch::start::<SpiceSecret>(&client, &namespace).await?;
                started.send(()).map_err(|e| e.to_string())?;
                let (apps, organizations) = (apps.run(&thread_results), organizations.run(&thread_results));
                futures::try_join!(apps, organizations, secrets.run(&thread_results)).map(|_| ())
            })
        });
        if start.recv().is_err() {
            let result = thread.join().unwrap_or_else(|_| Err("panic".to_owned()));
            return Err(format!("the status checker did not start: {result:?}"));
        }
        Ok(Self { results, thread: Some(thread) })
    }

    /// Waits for outstanding events and returns all checked statuses. The error contains the violations, or the reason
    /// for missing events.
    pub fn end(mut self) -> Result<Vec<String>, String> {
        self.results.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().ok_or("the checker has ended")?;
        thread.join().map_err(|_| "the checker panicked".to_owned())??;
        let violations = std::mem::take(&mut *self.results.violations.lock().unwrap_or_else(PoisonError::into_inner));
        let checked = std::mem::take(&mut *self.results.checked.lock().unwrap_or_else(PoisonError::into_inner));
        if violations.is_empty() { Ok(checked) } else { Err(violations.join("\n")) }
    }
}

/// The decoded part of an object. Some tests store specs and managed fields that are nested too deeply for a decoder of
/// the complete object.
#[derive(Clone, Debug, Deserialize)]
pub struct Object {
    metadata: Metadata,
    status: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    resource_version: String,
    generation: Option<i64>,
    #[serde(default)]
    managed_fields: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    manager: Option<String>,
    fields_v1: Option<Fields>,
}

#[derive(Clone, Debug, Deserialize)]
struct Fields {
    #[serde(rename = "f:status", default)]
    status: Value,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    items: Vec<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

/// Watch of the objects of one kind.
struct StatusWatch {
    client: Client,
    request: Request,
    kind: String,
    /// resourceVersion at which the watch continues.
    from: String,
    /// Last received versions of the existing objects.
    versions: BTreeMap<String, String>,
}

impl StatusWatch {
    async fn start<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Result<Self, String> {
        let request = Request::new(K::url_path(&(), Some(namespace)));
        let (client, kind) = (client.clone(), K::kind(&()).into_owned());
        let mut watched = Self { client, request, kind, from: String::new(), versions: BTreeMap::new() };
        // Shortly after the installation of the definitions, reads can fail.
        let list = poll("the list of objects succeeds", DEADLINE, async || watched.list().await).await?;
        watched.from = list.metadata.resource_version;
        watched.versions = list.items.iter().map(Object::version).collect();
        Ok(watched)
    }

    async fn list(&self) -> Result<List, String> {
        let request = self.request.list(&ListParams::default()).map_err(|e| e.to_string())?;
        self.client.request(request).await.map_err(|e| e.to_string())
    }

    async fn run(mut self, results: &Results) -> Result<(), String> {
        let mut stopped_at = None;
        loop {
            let watch = poll("the watch starts", DEADLINE, async || {
                let request = self.request.watch(&WatchParams::default(), &self.from).map_err(|e| e.to_string())?;
                match self.client.request_events::<Object>(request).await {
                    Err(kube::Error::Api(status)) if status.code == 410 => Ok(None),
                    started => started.map(Some).map_err(|e| e.to_string()),
                }
            });
            let Some(watch) = watch.await? else {
                self.relist(results).await?;
                continue;
            };
            let mut watch = watch.boxed();
            loop {
                match tokio::time::timeout(Duration::from_millis(100), watch.next()).await {
                    // A test has changed the definition or restarted the apiserver, so the resourceVersion has expired.
                    Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => {
                        self.relist(results).await?;
                        break;
                    }
                    Ok(Some(Ok(event))) => self.handle_event(event, results)?,
                    // The apiserver limits the duration of a watch, and a test can restart the apiserver. The next watch
                    // continues at `from`.
                    Ok(None | Some(Err(_))) => break,
                    Err(_) => {}
                }
                if results.stop.load(Ordering::SeqCst) {
                    // A busy machine can time out the connection of the list, so an error is not final.
                    let is_up_to_date = self.is_up_to_date().await;
                    if is_up_to_date == Ok(true) {
                        return Ok(());
                    }
                    if stopped_at.get_or_insert_with(Instant::now).elapsed() > MAX_LAG {
                        let (kind, versions) = (&self.kind, &self.versions);
                        return Err(format!("{kind}: up to date: {is_up_to_date:?}; last versions {versions:?}"));
                    }
                }
            }
        }
    }

    /// Lists the objects and checks the changed ones.
    async fn relist(&mut self, results: &Results) -> Result<(), String> {
        let list = poll("the list of objects succeeds", DEADLINE, async || self.list().await).await?;
        let before = std::mem::replace(&mut self.versions, list.items.iter().map(Object::version).collect());
        for object in list.items {
            let (name, version) = object.version();
            if before.get(&name) != Some(&version) {
                self.check(&object, results);
            }
        }
        self.from = list.metadata.resource_version;
        Ok(())
    }

    /// Returns true if the last received versions are the current ones.
    async fn is_up_to_date(&self) -> Result<bool, String> {
        let current: BTreeMap<_, _> = self.list().await?.items.iter().map(Object::version).collect();
        Ok(current == self.versions)
    }

    fn handle_event(&mut self, event: WatchEvent<Object>, results: &Results) -> Result<(), String> {
        let object = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.versions.extend([object.version()]);
                object
            }
            WatchEvent::Deleted(object) => {
                self.versions.remove(&object.metadata.name);
                object
            }
            WatchEvent::Bookmark(bookmark) => {
                self.from = bookmark.metadata.resource_version;
                return Ok(());
            }
            WatchEvent::Error(status) => return Err(format!("{}: the watch failed: {status:?}", self.kind)),
        };
        self.check(&object, results);
        self.from = object.metadata.resource_version;
        Ok(())
    }

    fn check(&self, object: &Object, results: &Results) {
        let status = object.status.as_ref().map(Value::to_string).unwrap_or_default();
        results.checked.lock().unwrap_or_else(PoisonError::into_inner).push(status);
        if let Err(rule) = object.check() {
            let (name, version) = object.version();
            let violation = format!("{} {name} at version {version}: {rule}", self.kind);
            results.violations.lock().unwrap_or_else(PoisonError::into_inner).push(violation);
        }
    }
}

impl Object {
    /// Returns the name and the resourceVersion.
    fn version(&self) -> (String, String) {
        (self.metadata.name.clone(), self.metadata.resource_version.clone())
    }

    /// Returns the first violated rule as an error.
    fn check(&self) -> Result<(), String> {
        let Some(status) = self.status.as_ref().filter(|status| !status.is_null()) else { return Ok(()) };
        if self.is_written_by_test() {
            return Ok(());
        }
        let observed = status["observedGeneration"].as_i64();
        let conditions = status.get("conditions").cloned().unwrap_or(Value::Array(Vec::new()));
        let conditions: Vec<Condition> = serde_json::from_value(conditions).map_err(|e| format!("{e}: {status}"))?;
        if conditions.is_empty() && observed == Some(-1) {
            // The first reconcile has not finished.
            return Ok(());
        }
        condition_invariants::check(&conditions, observed)?;
        if observed > self.metadata.generation {
            return Err(format!("observedGeneration is greater than the generation: {status}"));
        }
        let is_undocumented =
            |condition: &&Condition| serde_json::from_value::<Reason>(Value::String(condition.reason.clone())).is_err();
        match conditions.iter().find(is_undocumented) {
            Some(condition) => Err(format!("the reason {} is not documented", condition.reason)),
            None => Ok(()),
        }
    }

    /// Returns true if a field manager other than the operator owns conditions.
    fn is_written_by_test(&self) -> bool {
        let has_conditions =
            |status: &Value| ["f:conditions", "f:observedGeneration"].iter().any(|field| status.get(field).is_some());
        let others = self.metadata.managed_fields.iter().filter(|entry| entry.manager.as_deref() != Some(OPERATOR));
        others.filter_map(|entry| entry.fields_v1.as_ref()).any(|fields| has_conditions(&fields.status))
    }
}
