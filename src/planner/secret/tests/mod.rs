//! What a SpiceSecret reads and sets, and what it says. The service here keeps values, to be compared.

mod deletion;
mod failing;
mod keeping;
mod name_conflicts;
mod random;
mod sources;
mod waiting;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::{FINALIZER, SpiceSecretSpec};
use crate::planner::{DigestKey, RuntimeState, report, rulebook};

/// As the driver has it.
const ROUNDS: usize = 8;
const APP: i64 = 7;

/// A secret in the service: its value, and the second in which it was set.
type There = (String, i64);

/// An object, and all that it depends on.
struct World {
    object: SpiceSecret,
    remote: BTreeMap<String, There>,
    /// Names that the service refuses, and how.
    refused: BTreeMap<String, ErrorKind>,
    /// What cannot be seen.
    blind: Option<ApiError>,
    app: ParentApp,
    app_is_there: bool,
    app_shows: App,
    others: Vec<SiblingSecret>,
    /// The version of the Kubernetes Secret, and what it holds.
    source: Option<(u32, BTreeMap<String, Vec<u8>>)>,
    key: DigestKey,
    has_key: bool,
    runtime_state: RuntimeState,
    timings: Timings,
    now: Timestamp,
}

/// What a visit did.
#[derive(Debug)]
struct Visit {
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

impl World {
    fn new(spec: Value, held: &[(&str, &str)]) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut object = SpiceSecret::new("my-object", SpiceSecretSpec::default());
        object.metadata.namespace = Some("team".into());
        object.metadata.uid = Some("uid-5".into());
        object.metadata.creation_timestamp = Some(Time(now));
        object.metadata.generation = Some(0);
        let organization = OrganizationView {
            adoption_allowed: true,
            pin: Some("https://api.example#1".into()),
            ..OrganizationView::default()
        };
        let app = ParentApp {
            uid: "uid-of-the-app".into(),
            name: "my-app".into(),
            id: Some(APP),
            incarnation: Some("c-1".into()),
            created_at: Some(now),
            recorded_in: Some("https://api.example#1".into()),
            organization_name: "default".into(),
            organization: Some(organization),
            ..ParentApp::default()
        };
        let owner = digest::owner(&Self::identity(), "team", "my-app");
        let app_shows = json!({ "id": APP, "name": "My-App", "tags": { OWNER_TAG: owner } });
        let mut world = Self {
            object,
            remote: BTreeMap::new(),
            refused: BTreeMap::new(),
            blind: None,
            app,
            app_is_there: true,
            app_shows: serde_json::from_value(app_shows).unwrap(),
            others: Vec::new(),
            source: Some((1, values(held))),
            key: DigestKey::new(vec![7; 32]),
            has_key: true,
            runtime_state: RuntimeState::new(now),
            timings: Timings::default(),
            now,
        };
        world.edit(spec);
        world
    }

    /// One that settled on its spec, long ago enough that a check is due, and none was missed.
    fn settled(spec: Value, held: &[(&str, &str)]) -> Self {
        let mut world = Self::new(spec, held);
        let visit = world.visit();
        assert_eq!(visit.outcome, Outcome::InSync, "{visit:?}");
        world.pass(660);
        world
    }

    fn identity() -> Identity {
        Identity { cluster_id: "cluster".into() }
    }

    fn edit(&mut self, mut spec: Value) {
        spec["appRef"] = json!({ "name": "my-app" });
        self.object.spec = serde_json::from_value(spec).unwrap();
        self.object.metadata.generation = self.object.metadata.generation.map(|generation| generation + 1);
    }

    fn delete(&mut self) {
        self.object.metadata.deletion_timestamp = Some(Time(self.now));
        self.object.metadata.generation = self.object.metadata.generation.map(|generation| generation + 1);
    }

    fn pass(&mut self, seconds: i64) {
        self.now += jiff::SignedDuration::from_secs(seconds);
    }

    /// Another version of the Kubernetes Secret.
    fn source(&mut self, held: BTreeMap<String, Vec<u8>>) {
        let version = self.source.as_ref().map_or(100, |(version, _)| version + 1);
        self.source = Some((version, held));
    }

    /// Somebody sets a secret in the portal.
    fn portal(&mut self, name: &str, value: &str) {
        self.remote.insert(name.to_owned(), (value.to_owned(), self.now.as_second()));
    }

    /// A new process, which knows nothing but what is stored.
    fn restart(&mut self) {
        self.runtime_state = RuntimeState::new(self.now);
    }

    fn status(&self) -> SpiceSecretStatus {
        self.object.status.clone().unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        self.status().secrets.into_iter().map(|entry| entry.name).collect()
    }

    fn remote(&self) -> Vec<(&str, &str)> {
        self.remote.iter().map(|(name, (value, _))| (name.as_str(), value.as_str())).collect()
    }

    fn judge<T>(
        &self,
        status: &SpiceSecretStatus,
        observed: &SecretObserved,
        look: impl FnOnce(&PlanInput<'_, SpiceSecret>) -> T,
    ) -> T {
        look(&PlanInput {
            meta: &self.object.metadata,
            desired: &self.object.desired(&Self::identity()),
            status,
            runtime_state: &self.runtime_state,
            observed,
            timings: &self.timings,
            fresh_id: "",
            now: self.now,
        })
    }

    fn shown(&self, name: &str) -> RemoteSecret {
        RemoteSecret { name: name.to_owned(), updated_at: Some(time(self.remote[name].1)) }
    }

    fn observe(&self, read: &SecretRead, observed: &mut SecretObserved) {
        let version = |version: u32| SourceVersion {
            kind: "Secret".into(),
            name: "source".into(),
            uid: "uid-of-the-source".into(),
            resource_version: version.to_string(),
        };
        let blind = || self.blind.clone();
        match read {
            SecretRead::App if !self.app_is_there => observed.app = Some(Observed::Absent),
            SecretRead::App => observed.app = Some(Observed::Present(self.app.clone())),
            SecretRead::Siblings => observed.others = Some(self.others.iter().cloned().map(Arc::new).collect()),
            SecretRead::Source => {
                let version = self.source.as_ref().map(|(number, _)| version(*number));
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::Key => {
                let key = self.has_key.then(|| self.key.id().to_owned());
                observed.key = Some(key.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::SourceValues => {
                let held = self.source.clone();
                let held = held.map(|(number, held)| SourceValues::new(version(number), held, self.key.clone()));
                observed.values = Some(held.map_or(Observed::Absent, Observed::Present));
            }
            SecretRead::RemoteApp(_, not_before) => {
                assert!(*not_before <= self.now);
                let seen = Observation { value: Arc::new(self.app_shows.clone()), started_at: self.now };
                observed.shown = Some(blind().map_or(Observed::Present(seen), Observed::Unknown));
            }
            SecretRead::List(_, not_before) => {
                assert!(*not_before <= self.now);
                let list = self.remote.keys().map(|name| (name.clone(), self.shown(name))).collect();
                let seen = Observation { value: Arc::new(list), started_at: self.now };
                observed.list = Some(blind().map_or(Observed::Present(seen), Observed::Unknown));
            }
            SecretRead::Apps(_) => {
                let seen = Observation { value: Arc::new(vec![self.app_shows.clone()]), started_at: self.now };
                observed.apps = Some(Observed::Present(seen));
            }
            SecretRead::CrdTerminating => observed.crd_terminating = Some(Observed::Present(false)),
        }
    }

    /// What the service makes of a write: each secret by itself, up to the first that is not merely refused.
    fn carry_out(&mut self, write: &SecretWrite, visit: &mut Visit) -> Result<SecretResponse, ApiError> {
        let mut answer = Vec::new();
        let names: Vec<(String, Option<String>)> = match write {
            SecretWrite::Set { secrets, .. } => {
                secrets.iter().map(|set| (set.body.name.clone(), Some(set.body.value.expose().to_owned()))).collect()
            }
            SecretWrite::Delete { names, .. } => names.iter().map(|name| (name.clone(), None)).collect(),
        };
        for (name, value) in names {
            if let Some(kind) = self.refused.get(&name) {
                let error = ApiError::local(*kind, "it failed");
                if *kind != ErrorKind::Invalid && answer.is_empty() {
                    return Err(error);
                }
                answer.push((name, Err(error)));
                if *kind != ErrorKind::Invalid {
                    break;
                }
                continue;
            }
            let shown = match value {
                Some(value) => {
                    visit.set.push(name.clone());
                    self.remote.insert(name.clone(), (value, self.now.as_second()));
                    Some(self.shown(&name))
                }
                None => {
                    visit.deleted.push(name.clone());
                    self.remote.remove(&name);
                    None
                }
            };
            answer.push((name, Ok(shown)));
        }
        Ok(answer)
    }

    /// One visit, as the driver makes it.
    fn visit(&mut self) -> Visit {
        self.visit_until(usize::MAX)
    }

    /// The same, by a process that is killed right after so many writes, of either kind.
    fn visit_until(&mut self, mut writes: usize) -> Visit {
        let (mut status, mut observed) = (self.status(), SecretObserved::default());
        let quiet_since = self.now.checked_sub(self.timings.write_settle_period).unwrap();
        self.runtime_state.begin(&self.object.metadata, quiet_since);
        let outcome = Outcome::InProgress("more steps are needed than one visit takes".to_owned());
        let (reads, first, set, deleted, events) = Default::default();
        let mut visit = Visit { reads, first, set, deleted, outcome, events };
        for _ in 0..ROUNDS {
            loop {
                let reads = self.judge(&status, &observed, SpiceSecret::required_reads);
                if reads.is_empty() {
                    break;
                }
                self.runtime_state.pending_since.get_or_insert(self.now);
                for read in reads {
                    assert!(!visit.reads.contains(&read), "{read:?} twice");
                    self.observe(&read, &mut observed);
                    visit.reads.push(read);
                }
            }
            let plan = self.judge(&status, &observed, SpiceSecret::plan);
            self.check(&plan, &observed);
            status = plan.status;
            visit.outcome = plan.outcome;
            if plan.first.is_none() && plan.remote.is_none() {
                visit.events.extend(plan.events);
                break;
            }
            visit.first.extend(plan.first);
            match plan.first {
                Some(KubernetesWrite::AddFinalizer) => self.object.metadata.finalizers = Some(vec![FINALIZER.into()]),
                Some(KubernetesWrite::RemoveFinalizer) => self.object.metadata.finalizers = None,
                Some(KubernetesWrite::StoreStatus) => self.object.status = Some(status.clone()),
                None => {}
            }
            if plan.first.is_some() {
                if writes == 0 {
                    self.restart();
                    return visit;
                }
                writes -= 1;
            }
            if visit.outcome == Outcome::Finalized {
                return visit;
            }
            let Some(write) = plan.remote else { continue };
            let result = self.carry_out(&write, &mut visit);
            if writes == 0 {
                self.restart();
                return visit;
            }
            writes -= 1;
            let end = WriteResult { result, started_at: self.now };
            self.runtime_state.wrote(SpiceSecret::affected_names(&write, &end), self.now);
            SpiceSecret::apply_write_result(&mut status, &mut observed, &write, &end);
            let answer = match end.result {
                Ok(answer) => answer,
                Err(error) => {
                    visit.outcome = SpiceSecret::on_write_error(&write, &error, &self.timings).unwrap();
                    break;
                }
            };
            let (generation, pause) = (self.object.metadata.generation, self.timings.correction_loop_cooldown);
            self.runtime_state.corrections.count(
                generation,
                &SpiceSecret::corrected_paths(&write, &answer),
                self.now,
                pause,
            );
            visit.events.extend(SpiceSecret::success_events(&write, &answer).into_iter().chain(plan.events));
        }
        self.conclude(&mut visit, &status, &observed);
        visit
    }

    /// What holds of every plan: nothing is sent that is not recorded, by an object without a finalizer, or without an
    /// answer that shows whose the app is.
    fn check(&self, plan: &Plan<SpiceSecret>, observed: &SecretObserved) {
        let text = format!("{plan:?}");
        for value in self.source.iter().flat_map(|(_, held)| held.values()) {
            let value = String::from_utf8_lossy(value);
            assert!(value.len() < 8 || !text.contains(value.as_ref()), "{text}");
        }
        let Some(write) = &plan.remote else { return };
        assert!(self.object.metadata.finalizers.as_ref().is_some_and(|it| !it.is_empty()));
        let Some(Observed::Present(Observation { value: app, started_at })) = &observed.shown else {
            panic!("no evidence: {plan:?}")
        };
        assert!(app.id == write.app() && self.now.duration_since(*started_at).as_secs() <= 30);
        let stored = if plan.first == Some(KubernetesWrite::StoreStatus) { &plan.status } else { &self.status() };
        let is_recorded = |name: &String| stored.secrets.iter().any(|entry| entry.name == *name);
        match write {
            SecretWrite::Set { secrets, .. } => {
                assert!(secrets.iter().all(|set| is_recorded(&set.body.name)), "{plan:?}");
            }
            SecretWrite::Delete { names, .. } => {
                let passed_on = |name: &String| {
                    stored.conflicts.iter().any(|held| held.name == *name && held.present == Some(true))
                };
                assert!(names.iter().all(|name| is_recorded(name) || passed_on(name)), "{plan:?}");
            }
        }
    }

    fn conclude(&mut self, visit: &mut Visit, status: &SpiceSecretStatus, observed: &SecretObserved) {
        if self.runtime_state.account(&visit.outcome, self.now, &self.object.metadata) {
            self.runtime_state.retry_hold = self.judge(status, observed, |input| input.hold(&visit.outcome));
        }
        let report = self.judge(status, observed, |input| report(input, &visit.outcome));
        rulebook::broken(&report.status.conditions, self.object.metadata.generation).unwrap();
        self.object.status = Some(report.status);
        visit.events.extend(report.events);
    }

    fn ready(&self) -> (String, String, String) {
        let ready = self.status().conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
        (ready.status, ready.reason, ready.message)
    }

    /// Visits, and says what Ready tells.
    fn says(&mut self) -> (String, String) {
        self.visit();
        let (_, reason, message) = self.ready();
        (reason, message)
    }
}

impl Visit {
    /// Reads of the service.
    fn remote_reads(&self) -> Vec<&SecretRead> {
        use SecretRead::{Apps, List, RemoteApp};
        self.reads.iter().filter(|read| matches!(read, RemoteApp(..) | List(..) | Apps(_))).collect()
    }

    fn told(&self, reason: &str) -> Option<&str> {
        self.events.iter().find(|note| note.reason == reason).map(|note| note.message.as_str())
    }
}

fn one(name: &str) -> Value {
    json!({ "secretKeyRef": { "name": "source", "key": "key" }, "name": name })
}

fn all() -> Value {
    json!({ "secretRef": { "name": "source" } })
}
