//! The planner of secrets on a model of the API. The model returns values, so that tests can compare them.

mod bounds;
mod deletion;
mod errors;
mod name_conflicts;
mod random;
mod sources;
mod update;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::{Reason, SpiceSecretSpec};
use crate::management::types::{ApiError, App, ErrorKind, RemoteSecret};
use crate::planner::model::{Model, Reconciled, Subject, identity, reconcile};
use crate::planner::remote_app::OWNER_TAG;
use crate::planner::{
    DigestKey, DigestKeyFailure, EventRecord, KubernetesWrite, Observation, Observed, OrganizationView, Outcome, Retry,
    digest,
};

const APP: i64 = 7;

/// A secret in the app: its value, and the second of its last write.
type StoredSecret = (String, i64);

/// One object, its dependencies, and a model of the API.
struct Fixture {
    subject: Subject<SpiceSecret>,
    remote: BTreeMap<String, StoredSecret>,
    /// Errors that reject writes, by secret name.
    rejected: BTreeMap<String, ErrorKind>,
    /// Error of every remote read.
    read_error: Option<ApiError>,
    app: ParentApp,
    app_exists: bool,
    app_is_released: bool,
    remote_app: App,
    siblings: Vec<SiblingSecret>,
    /// Version and data of the Kubernetes Secret.
    source: Option<(u32, BTreeMap<String, Vec<u8>>)>,
    source_uid: &'static str,
    key: DigestKey,
    has_key: bool,
    key_failure: Option<DigestKeyFailure>,
    /// Secrets that the current reconcile set and deleted.
    set: Vec<String>,
    deleted: Vec<String>,
    /// Number of writes before the one after which the process is killed.
    writes_left: usize,
    killed: bool,
}

/// Result of a reconcile.
#[derive(Debug)]
struct Reconciliation {
    reads: Vec<SecretRead>,
    first: Vec<KubernetesWrite>,
    set: Vec<String>,
    deleted: Vec<String>,
    outcome: Outcome,
    events: Vec<EventRecord>,
}

fn values(values: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    values.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

fn time(second: i64) -> String {
    Timestamp::from_second(second).unwrap().to_string()
}

impl Default for ParentApp {
    fn default() -> Self {
        Self {
            uid: String::new(),
            interval: None,
            name: String::new(),
            id: None,
            incarnation: None,
            created_at: None,
            reactivated_at: None,
            tags_unsupported: false,
            unready: None,
            organization_binding: None,
            organization_name: String::new(),
            organization: Observed::Absent,
        }
    }
}

impl Fixture {
    fn new(spec: Value, data: &[(&str, &str)]) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut object = SpiceSecret::new("my-object", SpiceSecretSpec::default());
        object.metadata.namespace = Some("team".into());
        object.metadata.uid = Some("uid-5".into());
        object.metadata.creation_timestamp = Some(Time(now));
        object.metadata.generation = Some(0);
        let organization = OrganizationView {
            adoption_allowed: true,
            binding: Some("https://api.example#1".into()),
            ..OrganizationView::default()
        };
        let app = ParentApp {
            uid: "uid-of-the-app".into(),
            name: "my-app".into(),
            id: Some(APP),
            incarnation: Some("c-1".into()),
            created_at: Some(now),
            organization_binding: Some("https://api.example#1".into()),
            organization_name: "default".into(),
            organization: Observed::Present(organization),
            ..ParentApp::default()
        };
        let owner = digest::owner(&identity(), "team", "my-app");
        let remote_app = json!({ "id": APP, "name": "My-App", "tags": { OWNER_TAG: owner } });
        let mut fixture = Self {
            subject: Subject::new(object, now),
            remote: BTreeMap::new(),
            rejected: BTreeMap::new(),
            read_error: None,
            app,
            app_exists: true,
            app_is_released: false,
            remote_app: serde_json::from_value(remote_app).unwrap(),
            siblings: Vec::new(),
            source: Some((1, values(data))),
            source_uid: "uid-of-the-source",
            key: DigestKey::new(vec![7; 32]),
            has_key: true,
            key_failure: None,
            set: Vec::new(),
            deleted: Vec::new(),
            writes_left: usize::MAX,
            killed: false,
        };
        fixture.edit(spec);
        fixture
    }

    /// The organization of the app.
    fn organization(&mut self) -> &mut OrganizationView {
        match &mut self.app.organization {
            Observed::Present(organization) => organization,
            other => panic!("{other:?}"),
        }
    }

    /// An object that is in sync with its spec; its next resync is due.
    fn settled(spec: Value, data: &[(&str, &str)]) -> Self {
        let mut fixture = Self::new(spec, data);
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::InSync, "{result:?}");
        fixture.advance(660);
        fixture
    }

    fn edit(&mut self, mut spec: Value) {
        spec["appRef"] = json!({ "name": "my-app" });
        self.object.spec = serde_json::from_value(spec).unwrap();
        self.increment_generation();
    }

    /// Changes the data of the Kubernetes Secret, and so its version.
    fn set_source(&mut self, data: BTreeMap<String, Vec<u8>>) {
        let version = self.source.as_ref().map_or(100, |(version, _)| version + 1);
        self.source = Some((version, data));
    }

    /// Another client sets a secret in the portal.
    fn set_in_portal(&mut self, name: &str, value: &str) {
        self.remote.insert(name.to_owned(), (value.to_owned(), self.now.as_second()));
    }

    fn names(&self) -> Vec<String> {
        self.status().secrets.into_iter().map(|entry| entry.name).collect()
    }

    fn remote(&self) -> Vec<(&str, &str)> {
        self.remote.iter().map(|(name, (value, _))| (name.as_str(), value.as_str())).collect()
    }

    fn shown(&self, name: &str) -> RemoteSecret {
        RemoteSecret { name: name.to_owned(), updated_at: Some(time(self.remote[name].1)) }
    }

    fn observe(&self, read: &SecretRead, observed: &mut SecretObserved) {
        let version = |version: u32| SourceVersion {
            kind: "Secret".into(),
            name: "source".into(),
            uid: self.source_uid.into(),
            resource_version: version.to_string(),
            digest: None,
        };
        let read_error = || self.read_error.clone();
        match read {
            SecretRead::App if !self.app_exists => {
                (observed.app, observed.app_is_released) = (Some(Observed::Absent), self.app_is_released);
            }
            SecretRead::App => observed.app = Some(Observed::Present(self.app.clone())),
            SecretRead::Siblings => observed.siblings = Some(self.siblings.iter().cloned().map(Arc::new).collect()),
            SecretRead::Source => {
                let version = self.source.as_ref().map(|(number, _)| version(*number));
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::Key => {
                let key = self.has_key.then(|| self.key.id().to_owned());
                observed.key = Some(key.map_or(Observed::Absent, Observed::Present));
                observed.key_failure.clone_from(&self.key_failure);
            }
            SecretRead::SourceValues => {
                let data = self.source.clone();
                let data = data.map(|(number, data)| SourceValues::new(version(number), data, self.key.clone()));
                observed.values = Some(data.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::RemoteApp(_, not_before) => {
                assert!(*not_before <= self.now);
                let observation = Observation { value: Arc::new(self.remote_app.clone()), started_at: self.now };
                observed.remote_app = Some(read_error().map_or(Observed::Present(observation), Observed::Unknown));
            }
            SecretRead::List(_, not_before) => {
                assert!(*not_before <= self.now);
                let list = self.remote.keys().map(|name| (name.clone(), self.shown(name))).collect();
                let observation = Observation { value: Arc::new(list), started_at: self.now };
                observed.list = Some(read_error().map_or(Observed::Present(observation), Observed::Unknown));
            }
            SecretRead::Apps(_) => {
                let observation =
                    Observation { value: Arc::new(vec![self.remote_app.clone()].into()), started_at: self.now };
                observed.apps = Some(Observed::Present(observation));
            }
            SecretRead::CrdTerminating => observed.crd_terminating = Some(Observed::Present(false)),
        }
    }

    /// Response of the API: one result for each secret, up to the first error that is no validation error.
    fn respond(&mut self, write: &SecretWrite) -> Result<SecretResponse, ApiError> {
        let mut response = Vec::new();
        let names: Vec<(String, Option<String>)> = match write {
            SecretWrite::Set { secrets, .. } => {
                secrets.iter().map(|set| (set.body.name.clone(), Some(set.body.value.expose().to_owned()))).collect()
            }
            SecretWrite::Delete { names, .. } => names.iter().map(|name| (name.clone(), None)).collect(),
        };
        for (name, value) in names {
            if let Some(kind) = self.rejected.get(&name) {
                let error = ApiError::local(*kind, "it failed");
                if *kind != ErrorKind::Invalid && response.is_empty() {
                    return Err(error);
                }
                response.push((name, Err(error)));
                if *kind != ErrorKind::Invalid {
                    break;
                }
                continue;
            }
            let shown = match value {
                Some(value) => {
                    self.set.push(name.clone());
                    self.remote.insert(name.clone(), (value, self.now.as_second()));
                    WrittenSecret::Set(self.shown(&name))
                }
                None => {
                    self.deleted.push(name.clone());
                    self.remote.remove(&name).map_or(WrittenSecret::Missing, |_| WrittenSecret::Deleted)
                }
            };
            response.push((name, Ok(shown)));
        }
        Ok(response)
    }

    /// One reconcile.
    fn reconcile(&mut self) -> Reconciliation {
        self.reconcile_until_killed(usize::MAX)
    }

    /// One reconcile of a process that is killed after the next write that follows this number of writes.
    fn reconcile_until_killed(&mut self, writes: usize) -> Reconciliation {
        (self.writes_left, self.killed) = (writes, false);
        let Reconciled { reads, first, outcome, events, .. } = reconcile(self);
        if self.killed {
            self.restart();
        }
        let (set, deleted) = (std::mem::take(&mut self.set), std::mem::take(&mut self.deleted));
        Reconciliation { reads, first, set, deleted, outcome, events }
    }

    /// Checks that a plan contains no value, and that a write follows the finalizer, the record of its names, and a
    /// read that shows the owner of the app.
    fn check_plan(&self, object: &SpiceSecret, plan: &Plan<SpiceSecret>, observed: &SecretObserved) {
        let text = format!("{plan:?}");
        for value in self.source.iter().flat_map(|(_, data)| data.values()) {
            let value = String::from_utf8_lossy(value);
            assert!(value.len() < 8 || !text.contains(value.as_ref()), "{text}");
        }
        let Some(write) = &plan.remote else { return };
        // After an abort, the status must not show content that the app may no longer have.
        let current = self.source.as_ref().map(|(version, _)| version.to_string());
        let is_current = |source: &SourceVersion| Some(&source.resource_version) == current.as_ref();
        let is_deleting = object.metadata.deletion_timestamp.is_some();
        let sources = &plan.status.core.observed_sources;
        assert!(is_deleting || sources.iter().all(|source| source.digest.is_none() || is_current(source)), "{plan:?}");
        assert!(object.metadata.finalizers.as_ref().is_some_and(|it| !it.is_empty()));
        let Some(Observed::Present(Observation { value: app, started_at })) = &observed.remote_app else {
            panic!("a write without a read: {plan:?}")
        };
        assert!(app.id == write.app() && self.now.duration_since(*started_at).as_secs() <= 30);
        let before = object.status.clone().unwrap_or_default();
        let stored = if plan.first == Some(KubernetesWrite::StoreStatus) { &plan.status } else { &before };
        let is_recorded = |name: &String| stored.secrets.iter().any(|entry| entry.name == *name);
        match write {
            SecretWrite::Set { secrets, .. } => {
                assert!(secrets.iter().all(|set| is_recorded(&set.body.name)), "{plan:?}");
            }
            SecretWrite::Delete { names, .. } => {
                let is_handed_over = |name: &String| {
                    stored.conflicts.iter().any(|conflict| conflict.name == *name && conflict.present == Some(true))
                };
                assert!(names.iter().all(|name| is_recorded(name) || is_handed_over(name)), "{plan:?}");
            }
        }
    }

    fn ready(&self) -> (String, String, String) {
        let ready = self.status().core.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        (ready.status, ready.reason, ready.message)
    }

    /// Reason and message of Ready after a reconcile.
    fn reconciled_ready(&mut self) -> (String, String) {
        self.reconcile();
        let (_, reason, message) = self.ready();
        (reason, message)
    }
}

impl Deref for Fixture {
    type Target = Subject<SpiceSecret>;

    fn deref(&self) -> &Self::Target {
        &self.subject
    }
}

impl DerefMut for Fixture {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.subject
    }
}

impl Model<SpiceSecret> for Fixture {
    fn observe(&mut self, read: &SecretRead, observed: &mut SecretObserved) {
        Fixture::observe(self, read, observed);
    }

    fn carry_out(&mut self, write: &SecretWrite) -> Result<SecretResponse, ApiError> {
        self.respond(write)
    }

    fn check(&mut self, object: &SpiceSecret, plan: &Plan<SpiceSecret>, observed: &SecretObserved) {
        self.check_plan(object, plan, observed);
    }

    fn survives_write(&mut self) -> bool {
        self.killed = self.writes_left == 0;
        self.writes_left = self.writes_left.saturating_sub(1);
        !self.killed
    }
}

impl Reconciliation {
    /// Reads from the API.
    fn remote_reads(&self) -> Vec<&SecretRead> {
        use SecretRead::{Apps, List, RemoteApp};
        self.reads.iter().filter(|read| matches!(read, RemoteApp(..) | List(..) | Apps(_))).collect()
    }

    fn event(&self, reason: &str) -> Option<&str> {
        self.events.iter().find(|event| event.reason == reason).map(|event| event.message.as_str())
    }
}

fn one(name: &str) -> Value {
    json!({ "secretRef": { "name": "source", "items": [{ "key": "key", "name": name }] } })
}

fn all() -> Value {
    json!({ "secretRef": { "name": "source" } })
}
