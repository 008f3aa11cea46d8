//! A checker of every status that is written in a namespace: it holds each against the rulebook (invariant 8).
//!
//! It watches, because a watch tells every version of an object and a cache only the last. It has a thread and a
//! runtime of its own, so that it sees what happens while a test does not wait for anything, and to its end.

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

/// The name under which the operator writes. What a test writes by hand is not judged.
const OPERATOR: &str = "spice-cloud-operator";

/// How long the end waits for what was written and not seen yet. Reached only when something is wrong.
const LAG: Duration = Duration::from_secs(30);

/// A running checker.
pub struct StatusChecker {
    seen: Arc<Seen>,
    thread: Option<thread::JoinHandle<Result<(), String>>>,
}

/// What the checker tells.
#[derive(Default)]
struct Seen {
    ends: AtomicBool,
    /// Statuses that were judged.
    judged: Mutex<Vec<String>>,
    broken: Mutex<Vec<String>>,
}

impl StatusChecker {
    /// Begins to watch; what is written after this returns is seen.
    pub fn start(kubeconfig: &Path, namespace: &str) -> Result<Self, String> {
        let seen = Arc::new(Seen::default());
        let (started, begun) = std::sync::mpsc::channel();
        let (kubeconfig, namespace, in_thread) = (kubeconfig.to_owned(), namespace.to_owned(), seen.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| e.to_string())?.block_on(async {
                let client = control_plane::client(&kubeconfig).await?;
                let apps = Watched::begin::<SpiceApp>(&client, &namespace).await?;
                let organizations = Watched::begin::<SpiceOrganization>(&client, &namespace).await?;
                let secrets = Watched::begin::<SpiceSecret>(&client, &namespace).await?;
                started.send(()).map_err(|e| e.to_string())?;
                let (apps, organizations) = (apps.follow(&in_thread), organizations.follow(&in_thread));
                futures::try_join!(apps, organizations, secrets.follow(&in_thread)).map(|_| ())
            })
        });
        if begun.recv().is_err() {
            let end = thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
            return Err(format!("nobody watches the statuses: {end:?}"));
        }
        Ok(Self { seen, thread: Some(thread) })
    }

    /// Waits until all that was written is seen, and returns it. What broke a rule, or why not all could be seen.
    pub fn end(mut self) -> Result<Vec<String>, String> {
        self.seen.ends.store(true, Ordering::SeqCst);
        let thread = self.thread.take().ok_or("it has ended")?;
        thread.join().map_err(|_| "the checker panicked".to_owned())??;
        let broken = std::mem::take(&mut *self.seen.broken.lock().unwrap_or_else(PoisonError::into_inner));
        let judged = std::mem::take(&mut *self.seen.judged.lock().unwrap_or_else(PoisonError::into_inner));
        if broken.is_empty() { Ok(judged) } else { Err(broken.join("\n")) }
    }
}

/// What is read of an object. No more: a test stores specs, and so managed fields, that are nested too deep for a decoder
/// that keeps them.
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

/// The objects of one kind.
struct Watched {
    client: Client,
    request: Request,
    kind: String,
    /// From where the watch goes on.
    from: String,
    /// The versions that were seen of what is there.
    versions: BTreeMap<String, String>,
}

impl Watched {
    async fn begin<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Result<Self, String> {
        let request = Request::new(K::url_path(&(), Some(namespace)));
        let (client, kind) = (client.clone(), K::kind(&()).into_owned());
        let mut watched = Self { client, request, kind, from: String::new(), versions: BTreeMap::new() };
        // Right after the definitions were installed their objects cannot be read for a moment.
        let list = poll("statuses can be read", DEADLINE, async || watched.list().await).await?;
        watched.from = list.metadata.resource_version;
        watched.versions = list.items.iter().map(Object::version).collect();
        Ok(watched)
    }

    async fn list(&self) -> Result<List, String> {
        let request = self.request.list(&ListParams::default()).map_err(|e| e.to_string())?;
        self.client.request(request).await.map_err(|e| e.to_string())
    }

    async fn follow(mut self, seen: &Seen) -> Result<(), String> {
        let mut patience = None;
        loop {
            let watch = poll("statuses can be watched", DEADLINE, async || {
                let request = self.request.watch(&WatchParams::default(), &self.from).map_err(|e| e.to_string())?;
                self.client.request_events::<Object>(request).await.map_err(|e| e.to_string())
            });
            let mut watch = watch.await?.boxed();
            loop {
                match tokio::time::timeout(Duration::from_millis(100), watch.next()).await {
                    // A test has changed the definition, and the API has forgotten where the watch goes on.
                    Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => {
                        self.renew(seen).await?;
                        break;
                    }
                    Ok(Some(Ok(event))) => self.event(event, seen)?,
                    Ok(Some(Err(error))) => return Err(format!("{}: statuses went unseen: {error}", self.kind)),
                    // It has a longest time; the next one goes on where it ended.
                    Ok(None) => break,
                    Err(_) => {}
                }
                if seen.ends.load(Ordering::SeqCst) {
                    if self.is_up_to_date().await? {
                        return Ok(());
                    }
                    if patience.get_or_insert_with(Instant::now).elapsed() > LAG {
                        return Err(format!("{}: not all was seen; {:?}", self.kind, self.versions));
                    }
                }
            }
        }
    }

    /// Goes on from what is there now.
    async fn renew(&mut self, seen: &Seen) -> Result<(), String> {
        let list = self.list().await?;
        let before = std::mem::replace(&mut self.versions, list.items.iter().map(Object::version).collect());
        for object in list.items {
            let (name, version) = object.version();
            if before.get(&name) != Some(&version) {
                self.judge(&object, seen);
            }
        }
        self.from = list.metadata.resource_version;
        Ok(())
    }

    /// Whether what was seen last is what is there.
    async fn is_up_to_date(&self) -> Result<bool, String> {
        let there: BTreeMap<_, _> = self.list().await?.items.iter().map(Object::version).collect();
        Ok(there == self.versions)
    }

    fn event(&mut self, event: WatchEvent<Object>, seen: &Seen) -> Result<(), String> {
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
            WatchEvent::Error(status) => return Err(format!("{}: statuses went unseen: {status:?}", self.kind)),
        };
        self.judge(&object, seen);
        self.from = object.metadata.resource_version;
        Ok(())
    }

    fn judge(&self, object: &Object, seen: &Seen) {
        let status = object.status.as_ref().map(Value::to_string).unwrap_or_default();
        seen.judged.lock().unwrap_or_else(PoisonError::into_inner).push(status);
        if let Err(rule) = object.judge() {
            let (name, version) = object.version();
            let words = format!("{} {name} at version {version}: {rule}", self.kind);
            seen.broken.lock().unwrap_or_else(PoisonError::into_inner).push(words);
        }
    }
}

impl Object {
    /// Its name and version.
    fn version(&self) -> (String, String) {
        (self.metadata.name.clone(), self.metadata.resource_version.clone())
    }

    /// Which rule the status breaks.
    fn judge(&self) -> Result<(), String> {
        let Some(status) = self.status.as_ref().filter(|status| !status.is_null()) else { return Ok(()) };
        if self.is_written_by_hand() {
            return Ok(());
        }
        let observed = status["observedGeneration"].as_i64();
        let conditions = status.get("conditions").cloned().unwrap_or(Value::Array(Vec::new()));
        let conditions: Vec<Condition> = serde_json::from_value(conditions).map_err(|e| format!("{e}: {status}"))?;
        if conditions.is_empty() && observed == Some(-1) {
            // Nobody has reconciled it yet, or its first reconcile is under way.
            return Ok(());
        }
        condition_invariants::broken(&conditions, observed)?;
        if observed > self.metadata.generation {
            return Err(format!("no generation is observed before it is there: {status}"));
        }
        let unknown =
            |condition: &&Condition| serde_json::from_value::<Reason>(Value::String(condition.reason.clone())).is_err();
        match conditions.iter().find(unknown) {
            Some(condition) => Err(format!("the reason {} is none of the documented", condition.reason)),
            None => Ok(()),
        }
    }

    /// Whether somebody else has a hand in the conditions.
    fn is_written_by_hand(&self) -> bool {
        let hand_in =
            |status: &Value| ["f:conditions", "f:observedGeneration"].iter().any(|part| status.get(part).is_some());
        let others = self.metadata.managed_fields.iter().filter(|entry| entry.manager.as_deref() != Some(OPERATOR));
        others.filter_map(|entry| entry.fields_v1.as_ref()).any(|fields| hand_in(&fields.status))
    }
}
