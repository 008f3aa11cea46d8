//! The objects of one file, on one model of the remote side and with an injected clock.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::api::{ResolvedOrganizationRef, SourceVersion, SpiceApp, SpiceSecret, SpiceSecretStatus};
use crate::management::types::{ApiError, App, ErrorKind, ListedApps, RemoteSecret};
use crate::planner::app::tests::remote::Remote;
use crate::planner::model::{Model, Reconciled, ResponseOf, Subject, reconcile};
use crate::planner::{
    AppObserved, AppRead, AppSecrets, AppWrite, DigestKey, Observation, Observed, OrganizationView, ParentApp,
    ResourcePlanner, SecretObserved, SecretRead, SecretWrite, SiblingSecret, SourceValues, WrittenSecret,
    has_finalizer, is_released, requested_names,
};

/// The objects of one file and everything remote.
pub(super) struct World {
    now: Timestamp,
    pub(super) app: Option<Subject<SpiceApp>>,
    /// SpiceSecrets by name. Each sets one secret of the same name.
    pub(super) secrets: BTreeMap<&'static str, Subject<SpiceSecret>>,
    pub(super) apps: Remote,
    /// Time of the last write of each secret in the app.
    pub(super) app_secrets: BTreeMap<String, Timestamp>,
    uids: u32,
    ids: u32,
    /// Events, in their order.
    events: Vec<String>,
}

/// The view of one object on the world.
struct View<'a, K> {
    subject: &'a mut Subject<K>,
    apps: &'a mut Remote,
    app_secrets: &'a mut BTreeMap<String, Timestamp>,
    parent: Option<ParentApp>,
    dependents: AppSecrets,
    siblings: Vec<Arc<SiblingSecret>>,
    ids: &'a mut u32,
}

impl<K> Deref for View<'_, K> {
    type Target = Subject<K>;

    fn deref(&self) -> &Self::Target {
        self.subject
    }
}

impl<K> DerefMut for View<'_, K> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.subject
    }
}

fn organization() -> Observed<OrganizationView> {
    Observed::Present(OrganizationView {
        adoption_allowed: true,
        default_region: Some("us-west-2".into()),
        binding: Some("https://api.example#1".into()),
        ..OrganizationView::default()
    })
}

impl<K> View<'_, K> {
    fn list(&self) -> Observed<Observation<Arc<ListedApps>>> {
        Observed::Present(Observation { value: Arc::new(self.apps.list().into()), started_at: self.subject.now })
    }

    fn app(&self, id: i64) -> Observed<Observation<App>> {
        let found = self.apps.get(id);
        found.map_or(Observed::Absent, |value| Observed::Present(Observation { value, started_at: self.subject.now }))
    }

    fn shown(&self, name: &str) -> RemoteSecret {
        RemoteSecret { name: name.to_owned(), updated_at: Some(self.app_secrets[name].to_string()) }
    }
}

impl Model<SpiceApp> for View<'_, SpiceApp> {
    fn observe(&mut self, read: &AppRead, observed: &mut AppObserved) {
        match read {
            AppRead::Organization => {
                observed.organization = Some(organization());
                let reference = ResolvedOrganizationRef { namespace: "team".into(), name: "default".into() };
                observed.organization_ref = Some(reference);
            }
            AppRead::CompetingApps => observed.competing_apps = Some(Vec::new()),
            AppRead::CrdTerminating => observed.crd_terminating = Some(Observed::Present(false)),
            AppRead::Secrets => observed.secrets = Some(self.dependents.clone()),
            AppRead::Siblings => observed.siblings = Some(Arc::default()),
            AppRead::List(_) => observed.list = Some(self.list()),
            AppRead::App(id, _) => observed.app = Some(self.app(*id)),
            AppRead::Source(_) | AppRead::Spicepod(_) => panic!("the spec has no spicepod"),
        }
    }

    fn carry_out(&mut self, write: &AppWrite) -> Result<ResponseOf<SpiceApp>, ApiError> {
        self.apps.now = Some(self.subject.now);
        self.apps.carry_out(write)
    }

    fn server_time(&self) -> Option<Timestamp> {
        Some(self.subject.now)
    }

    fn fresh_id(&mut self) -> String {
        *self.ids += 1;
        format!("{:032x}", self.ids)
    }
}

impl Model<SpiceSecret> for View<'_, SpiceSecret> {
    fn observe(&mut self, read: &SecretRead, observed: &mut SecretObserved) {
        let (key, now) = (DigestKey::new(vec![7; 32]), self.subject.now);
        let version = || SourceVersion {
            kind: "Secret".into(),
            name: "source".into(),
            uid: "uid-of-the-source".into(),
            resource_version: "1".into(),
            digest: None,
        };
        match read {
            SecretRead::App => observed.app = Some(self.parent.clone().map_or(Observed::Absent, Observed::Present)),
            SecretRead::Siblings => observed.siblings = Some(self.siblings.clone()),
            SecretRead::Source => observed.source = Some(Observed::Present(version())),
            SecretRead::Key => observed.key = Some(Observed::Present(key.id().to_owned())),
            SecretRead::SourceValues => {
                let data = [("key".to_owned(), b"fake-value".to_vec())].into();
                observed.values = Some(Observed::Present(SourceValues::new(version(), data, key)));
            }
            SecretRead::RemoteApp(id, _) => {
                observed.remote_app = Some(match self.app(*id) {
                    Observed::Present(read) => Observed::Present(read.map(Arc::new)),
                    _ => Observed::Absent,
                });
            }
            SecretRead::List(id, _) => {
                let list = self.app_secrets.keys().map(|name| (name.clone(), self.shown(name))).collect();
                let observation = Observation { value: Arc::new(list), started_at: now };
                let exists = self.apps.get(*id).is_some();
                observed.list = Some(if exists { Observed::Present(observation) } else { Observed::Absent });
            }
            SecretRead::Apps(_) => observed.apps = Some(self.list()),
            SecretRead::CrdTerminating => observed.crd_terminating = Some(Observed::Present(false)),
        }
    }

    fn carry_out(&mut self, write: &SecretWrite) -> Result<ResponseOf<SpiceSecret>, ApiError> {
        if self.apps.get(write.app()).is_none() {
            return Err(ApiError::local(ErrorKind::NotFound { json: true }, "not found"));
        }
        let mut response = Vec::new();
        match write {
            SecretWrite::Set { secrets, .. } => {
                for set in secrets {
                    let (name, now) = (set.body.name.clone(), self.subject.now);
                    self.app_secrets.insert(name.clone(), now);
                    response.push((name.clone(), Ok(WrittenSecret::Set(self.shown(&name)))));
                }
            }
            SecretWrite::Delete { names, .. } => {
                for name in names {
                    let before = self.app_secrets.remove(name);
                    let written = before.map_or(WrittenSecret::Missing, |_| WrittenSecret::Deleted);
                    response.push((name.clone(), Ok(written)));
                }
            }
        }
        Ok(response)
    }
}

/// Returns true if Kubernetes removes the object.
fn is_gone(meta: &ObjectMeta) -> bool {
    is_released(meta) && meta.finalizers.as_ref().is_none_or(Vec::is_empty)
}

fn is_ready<K: ResourcePlanner>(subject: &Subject<K>) -> bool {
    let status = subject.status();
    let ready = K::core(&status).conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|ready| ready.status == "True" && ready.observed_generation == subject.object.meta().generation)
}

fn sibling(object: &SpiceSecret) -> SiblingSecret {
    let SpiceSecretStatus { secrets, conflicts, .. } = object.status.clone().unwrap_or_default();
    let acknowledged = conflicts.iter().filter(|one| one.present == Some(true)).map(|one| one.name.clone());
    let managed: std::collections::BTreeSet<String> = secrets.iter().map(|entry| entry.name.clone()).collect();
    SiblingSecret {
        object: object.metadata.name.clone().unwrap_or_default(),
        created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        undecodable: false,
        requested: requested_names(&object.spec),
        adopted: secrets.iter().filter(|entry| entry.adopted == Some(true)).map(|entry| entry.name.clone()).collect(),
        acknowledged: acknowledged.chain(managed.iter().cloned()).collect(),
        managed,
    }
}

impl World {
    pub(super) fn new() -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let (apps, app_secrets) = (Remote::default(), BTreeMap::new());
        let (secrets, events) = (BTreeMap::new(), Vec::new());
        Self { now, app: None, secrets, apps, app_secrets, uids: 0, ids: 0, events }
    }

    fn meta(&mut self, name: &str) -> Value {
        self.uids += 1;
        json!({
            "name": name, "namespace": "team", "uid": format!("uid-{}", self.uids), "generation": 1,
            "creationTimestamp": self.now.to_string(),
        })
    }

    pub(super) fn create_app(&mut self, spec: &Value) {
        let meta = self.meta("my-app");
        let object =
            json!({ "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceApp", "metadata": meta, "spec": spec });
        assert!(self.app.is_none(), "the object still exists");
        self.app = Some(Subject::new(serde_json::from_value(object).unwrap(), self.now));
    }

    pub(super) fn create_secret(&mut self, name: &'static str, adoption: &str) {
        let meta = self.meta(name);
        let reference = json!({ "name": "source", "items": [{ "key": "key", "name": name.to_uppercase() }] });
        let spec = json!({ "appRef": { "name": "my-app" }, "secretRef": reference, "adoptionPolicy": adoption });
        let object =
            json!({ "apiVersion": "cloud.spice.ai/v1alpha1", "kind": "SpiceSecret", "metadata": meta, "spec": spec });
        let subject = Subject::new(serde_json::from_value(object).unwrap(), self.now);
        assert!(self.secrets.insert(name, subject).is_none(), "the object still exists");
    }

    fn parent(&self) -> Option<ParentApp> {
        let subject = self.app.as_ref()?;
        let status = subject.status();
        let is_deleting = subject.object.metadata.deletion_timestamp.is_some();
        let unready =
            if is_deleting { Some("is being deleted") } else { Some("is not ready").filter(|_| !is_ready(subject)) };
        Some(ParentApp {
            uid: subject.object.metadata.uid.clone().unwrap_or_default(),
            name: "my-app".into(),
            id: status.id.filter(|_| status.incarnation.is_some()),
            incarnation: status.incarnation,
            created_at: status.created_at.map(|time| time.0),
            reactivated_at: status.reactivated_at.map(|time| time.0),
            unready: unready.map(str::to_owned),
            organization_binding: status.organization_binding,
            organization_name: "default".into(),
            organization: organization(),
            ..ParentApp::default()
        })
    }

    fn dependents(&self) -> AppSecrets {
        let mut dependents = AppSecrets::default();
        for subject in self.secrets.values().filter(|subject| has_finalizer(&subject.object.metadata)) {
            let name = subject.object.metadata.name.clone().unwrap_or_default();
            let is_deleting = subject.object.metadata.deletion_timestamp.is_some();
            if is_deleting {
                dependents.terminating.push(name)
            } else {
                dependents.remaining.push(name)
            }
            dependents.managed.extend(subject.status().secrets.into_iter().map(|entry| entry.name));
        }
        dependents
    }

    fn record<K: ResourcePlanner>(&mut self, name: &str, done: Reconciled<K>) {
        self.events.extend(done.events.into_iter().map(|event| format!("{name}: {}: {}", event.reason, event.message)));
    }

    fn reconcile_app(&mut self) {
        let (dependents, Some(mut subject)) = (self.dependents(), self.app.take()) else { return };
        (subject.now, subject.runtime_state.force_resync) = (self.now, true);
        let (apps, app_secrets, ids) = (&mut self.apps, &mut self.app_secrets, &mut self.ids);
        let siblings = Vec::new();
        let mut view = View { subject: &mut subject, apps, app_secrets, parent: None, dependents, siblings, ids };
        let done = reconcile(&mut view);
        self.app = Some(subject).filter(|subject| !is_gone(&subject.object.metadata));
        self.record("my-app", done);
    }

    fn reconcile_secret(&mut self, name: &'static str) {
        let (parent, Some(mut subject)) = (self.parent(), self.secrets.remove(name)) else { return };
        (subject.now, subject.runtime_state.force_resync) = (self.now, true);
        let siblings = self.secrets.values().map(|other| Arc::new(sibling(&other.object))).collect();
        let (apps, app_secrets, ids) = (&mut self.apps, &mut self.app_secrets, &mut self.ids);
        let dependents = AppSecrets::default();
        let mut view = View { subject: &mut subject, apps, app_secrets, parent, dependents, siblings, ids };
        let done = reconcile(&mut view);
        if !is_gone(&subject.object.metadata) {
            self.secrets.insert(name, subject);
        }
        self.record(name, done);
    }

    /// Lets time pass. Every second, every object is reconciled.
    pub(super) fn run(&mut self, seconds: i64) {
        if self.app.is_none() && self.secrets.is_empty() {
            self.now += jiff::SignedDuration::from_secs(seconds);
            return;
        }
        for second in 0..=seconds {
            self.now += jiff::SignedDuration::from_secs(i64::from(second > 0));
            let names: Vec<&'static str> = self.secrets.keys().copied().collect();
            for _ in 0..2 {
                self.reconcile_app();
                names.iter().for_each(|name| self.reconcile_secret(name));
            }
        }
    }

    pub(super) fn delete_app(&mut self) {
        let now = self.now;
        self.app.iter_mut().for_each(|subject| {
            subject.now = now;
            subject.delete();
        });
    }

    pub(super) fn delete_secret(&mut self, name: &str) {
        let now = self.now;
        self.secrets.get_mut(name).into_iter().for_each(|subject| {
            subject.now = now;
            subject.delete();
        });
    }

    pub(super) fn events(&self) -> &[String] {
        &self.events
    }

    pub(super) fn has_event(&self, text: &str) -> bool {
        self.events.iter().any(|event| event.contains(text))
    }

    pub(super) fn names_in_app(&self) -> Vec<&str> {
        self.app_secrets.keys().map(String::as_str).collect()
    }

    #[track_caller]
    pub(super) fn assert_ready(&self, case: &str) {
        assert!(self.app.as_ref().is_some_and(is_ready), "{case}: {:?}", self.app.as_ref().map(Subject::status));
        for subject in self.secrets.values() {
            assert!(is_ready(subject), "{case}: {:?}", subject.status().core.conditions);
        }
    }
}
