//! The planner of apps against a model of the remote side: no mocks, no clock, no I/O.

mod absence;
mod adoption;
mod deletion;
mod keeping;
mod model;
mod reactivation;
mod repository;
mod rulebook;
mod settling;
mod source;
mod tags;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::super::{EventRecord, RuntimeState, report};
use super::*;
use crate::api::{FINALIZER, SpiceAppSpec};
use crate::management::types::ErrorKind;
use model::Remote;

/// As in the driver.
const ROUNDS: usize = 8;

/// The read that a failure is planted in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Source,
    Definition,
    List,
    App,
}

/// One object, the remote side, and a process that visits the object.
struct World {
    object: SpiceApp,
    remote: Remote,
    runtime_state: RuntimeState,
    timings: Timings,
    organization: Observed<OrganizationView>,
    claims: Vec<CompetingApp>,
    siblings: Vec<i64>,
    secrets: AppSecrets,
    definition: Observed<bool>,
    /// The ConfigMap that holds the spicepod: its version and its text; the key is missing where there is none.
    config_map: Option<(u32, Option<String>)>,
    blind: Option<(At, ApiError)>,
    now: Timestamp,
    ids: u32,
}

/// What a visit did.
#[derive(Debug)]
struct Visit {
    reads: Vec<AppRead>,
    first: Vec<KubernetesWrite>,
    writes: Vec<AppWrite>,
    /// Rounds that were not Kubernetes writes alone.
    rounds: usize,
    outcome: Outcome,
    events: Vec<EventRecord>,
    requeue_after: Option<Duration>,
}

impl World {
    fn new(spec: Value) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let mut object = SpiceApp::new("my-object", SpiceAppSpec::default());
        object.metadata.namespace = Some("team".into());
        object.metadata.uid = Some("uid-of-my-object".into());
        object.metadata.creation_timestamp = Some(Time(now));
        object.metadata.generation = Some(0);
        let organization = OrganizationView {
            adoption_allowed: true,
            default_region: Some("us-west-2".into()),
            pin: Some("https://api.example#1".into()),
            ..OrganizationView::default()
        };
        let mut world = Self {
            object,
            remote: Remote::default(),
            runtime_state: RuntimeState::new(now),
            timings: Timings::default(),
            organization: Observed::Present(organization),
            claims: Vec::new(),
            siblings: Vec::new(),
            secrets: AppSecrets::default(),
            definition: Observed::Present(false),
            config_map: None,
            blind: None,
            now,
            ids: 0,
        };
        world.edit(spec);
        world
    }

    /// One that settled on its spec.
    fn settled(spec: Value) -> Self {
        let mut world = Self::new(spec);
        let visit = world.visit();
        assert_eq!(visit.outcome, Outcome::InSync, "{visit:?}");
        // So long that a check is due, and none was missed.
        world.pass(660);
        world
    }

    fn identity() -> Identity {
        Identity { cluster_id: "cluster".into() }
    }

    fn owner(&self) -> String {
        self.object.desired(&Self::identity()).owner
    }

    /// Another spec, with all that an apiserver does about it. The app's name is `my-app`.
    fn edit(&mut self, mut spec: Value) {
        spec["name"] = json!("my-app");
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

    /// A new process, which knows nothing but what is stored.
    fn restart(&mut self) {
        self.runtime_state = RuntimeState::new(self.now);
    }

    fn status(&self) -> SpiceAppStatus {
        self.object.status.clone().unwrap_or_default()
    }

    fn with_status(mut self, status: SpiceAppStatus) -> Self {
        self.object.metadata.finalizers = Some(vec![FINALIZER.into()]);
        self.object.status = Some(status);
        self
    }

    fn has_finalizer(&self) -> bool {
        self.object.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
    }

    fn ready(&self) -> (String, String) {
        let status = self.status();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        ready.map(|ready| (ready.status.clone(), ready.reason.clone())).unwrap_or_default()
    }

    fn judge<T>(
        &self,
        status: &SpiceAppStatus,
        observed: &AppObserved,
        look: impl FnOnce(&PlanInput<'_, SpiceApp>) -> T,
    ) -> T {
        look(&PlanInput {
            meta: &self.object.metadata,
            desired: &self.object.desired(&Self::identity()),
            status,
            runtime_state: &self.runtime_state,
            observed,
            timings: &self.timings,
            fresh_id: &format!("{:032x}", self.ids),
            now: self.now,
        })
    }

    fn observe(&self, read: &AppRead, observed: &mut AppObserved) {
        let blind = |at| self.blind.as_ref().filter(|(where_, _)| *where_ == at).map(|(_, error)| error.clone());
        match read {
            AppRead::Organization => observed.organization = Some(self.organization.clone()),
            AppRead::CompetingApps => observed.claims = Some(self.claims.clone()),
            AppRead::Source(_) => {
                let version = self.config_map.as_ref().map(|(version, _)| model::source(*version));
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            AppRead::Spicepod(_) => {
                let sourced = self.config_map.as_ref().map(|(version, text)| LoadedSpicepod {
                    version: model::source(*version),
                    spicepod: text.as_deref().map_or(Err("no such key".to_owned()), parse_spicepod),
                });
                let present = sourced.map_or(Observed::Absent, Observed::Present);
                observed.spicepod = Some(blind(At::Source).map_or(present, Observed::Unknown));
            }
            AppRead::Siblings => observed.siblings = Some(self.siblings.clone()),
            AppRead::CrdTerminating => {
                let seen = blind(At::Definition).map_or(self.definition.clone(), Observed::Unknown);
                observed.crd_terminating = Some(seen);
            }
            AppRead::List(not_before) => {
                assert!(*not_before <= self.now, "a list of the future is asked for");
                let list =
                    || Observed::Present(Observation { value: Arc::new(self.remote.list()), started_at: self.now });
                observed.list = Some(blind(At::List).map_or_else(list, model::read_failed));
            }
            AppRead::Secrets => observed.secrets = Some(self.secrets.clone()),
            AppRead::App(id, _) => {
                let app = || match self.remote.get(*id) {
                    Some(app) => Observed::Present(Observation { value: app, started_at: self.now }),
                    None => Observed::Absent,
                };
                observed.app = Some(blind(At::App).map_or_else(app, model::read_failed));
            }
        }
    }

    /// One visit, as the driver makes it.
    fn visit(&mut self) -> Visit {
        let (mut status, mut observed) = (self.status(), AppObserved::default());
        self.runtime_state.begin(&self.object.metadata, self.now);
        let mut visit = Visit {
            reads: Vec::new(),
            first: Vec::new(),
            writes: Vec::new(),
            rounds: 0,
            outcome: Outcome::InProgress("more steps are needed than one visit takes".to_owned()),
            events: Vec::new(),
            requeue_after: None,
        };
        for _ in 0..ROUNDS {
            for _ in 0..ROUNDS {
                let reads = self.judge(&status, &observed, SpiceApp::required_reads);
                if reads.is_empty() {
                    break;
                }
                self.runtime_state.pending_since.get_or_insert(self.now);
                reads.iter().for_each(|read| self.observe(read, &mut observed));
                // Known in every visit, and without a request.
                visit.reads.extend(reads.into_iter().filter(|read| *read != AppRead::Secrets));
            }
            assert_eq!(self.judge(&status, &observed, SpiceApp::required_reads), [], "reads do not end");
            self.ids += 1;
            let plan = self.judge(&status, &observed, SpiceApp::plan);
            self.check_evidence(&plan, &observed);
            status = plan.status;
            visit.outcome = plan.outcome;
            visit.rounds += usize::from(plan.first.is_none() || plan.remote.is_some());
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
            if visit.outcome == Outcome::Finalized {
                break;
            }
            let Some(write) = plan.remote else {
                visit.events.extend(plan.events);
                continue;
            };
            assert!(self.has_finalizer(), "a remote write before the finalizer");
            self.remote.now = Some(self.now);
            let end = WriteResult { result: self.remote.carry_out(&write), started_at: self.now };
            self.runtime_state.wrote(SpiceApp::affected_names(&write, &end), self.now);
            SpiceApp::apply_write_result(&mut status, &mut observed, &write, &end);
            if SpiceApp::must_persist_immediately(&write) {
                self.object.status = Some(status.clone());
            }
            visit.writes.push(write.clone());
            let answer = match end.result {
                Ok(answer) => answer,
                Err(error) => match SpiceApp::on_write_error(&write, &error, &self.timings) {
                    Some(outcome) => {
                        visit.outcome = outcome;
                        break;
                    }
                    None => continue,
                },
            };
            let (generation, pause) = (self.object.metadata.generation, self.timings.correction_loop_cooldown);
            self.runtime_state.corrections.count(
                generation,
                &SpiceApp::corrected_paths(&write, &answer),
                self.now,
                pause,
            );
            visit.events.extend(plan.events);
        }
        self.conclude(&mut visit, &status, &observed);
        visit
    }

    /// A write by id rests on an answer of at most 30 s before that showed our name, and our owner or nobody's.
    fn check_evidence(&self, plan: &Plan<SpiceApp>, observed: &AppObserved) {
        let (id, tag) = match &plan.remote {
            Some(AppWrite::Update { id, .. }) => (*id, None),
            Some(AppWrite::RemoveOwnerTags { id, .. }) => (*id, Some(self.owner())),
            Some(AppWrite::Delete { id, .. }) => (*id, Some(self.owner())),
            Some(AppWrite::Create { .. }) => {
                assert!(matches!(observed.list, Some(Observed::Present(_))), "a create without a list");
                assert_eq!(plan.first, Some(KubernetesWrite::StoreStatus), "a create without an intent that is stored");
                assert!(plan.status.create_intent.is_some());
                return;
            }
            None => return,
        };
        let Some(Observed::Present(Observation { value: app, started_at })) = &observed.app else {
            panic!("a write without an answer: {plan:?}")
        };
        assert!(app.id == id && app.name.eq_ignore_ascii_case("my-app"), "{plan:?} rests on {app:?}");
        assert!(self.now.duration_since(*started_at).as_secs() <= 30, "{plan:?} rests on an old answer");
        let shown = app.tag(OWNER_TAG).map(str::to_owned);
        let keeps_none = self.remote.drops_tags || self.remote.rejects_tags;
        let tags_unsupported = (tag.is_none() || keeps_none) && shown.is_none();
        let desired = self.object.desired(&Self::identity());
        let taken_over = desired.adopts && shown.is_some() && shown == desired.take_over;
        let came_back = plan.status.create_intent.as_ref().and_then(|intent| intent.reactivated_owner_tag.clone());
        let made = shown.is_some() && shown == came_back;
        assert!(shown == Some(self.owner()) || tags_unsupported || taken_over || made, "{plan:?} rests on {app:?}");
    }

    fn conclude(&mut self, visit: &mut Visit, status: &SpiceAppStatus, observed: &AppObserved) {
        if self.runtime_state.account(&visit.outcome, self.now, &self.object.metadata) {
            self.runtime_state.retry_hold = self.judge(status, observed, |input| input.hold(&visit.outcome));
        }
        if visit.outcome == Outcome::Finalized {
            return;
        }
        let report = self.judge(status, observed, |input| report(input, &visit.outcome));
        rulebook::holds(&report.status.conditions, self.object.metadata.generation);
        self.object.status = Some(report.status);
        visit.events.extend(report.events);
        visit.requeue_after = report.requeue_after;
    }
}

impl Visit {
    fn remote_reads(&self) -> usize {
        self.reads.iter().filter(|read| matches!(read, AppRead::List(_) | AppRead::App(..))).count()
    }

    /// The API's names of what the one PUT of this visit carried.
    fn put(&self) -> BTreeSet<String> {
        assert_eq!(self.writes.len(), 1, "not one PUT: {:?}", self.writes);
        self.put_of(0)
    }

    /// The API's names of what this write of the visit carried, which is a PUT.
    fn put_of(&self, index: usize) -> BTreeSet<String> {
        match &self.writes[index] {
            AppWrite::Update { body, .. } => body.0.keys().map(|field| field.wire_name().to_owned()).collect(),
            other => panic!("not a PUT: {other:?}"),
        }
    }

    fn stalled(&self) -> Option<Reason> {
        match &self.outcome {
            Outcome::Stalled(reason, _) => Some(*reason),
            _ => None,
        }
    }

    fn deletes(&self) -> Vec<i64> {
        let id = |write: &AppWrite| if let AppWrite::Delete { id, .. } = write { Some(*id) } else { None };
        self.writes.iter().filter_map(id).collect()
    }
}

/// Every way a read or a write can fail.
fn failures() -> Vec<ApiError> {
    use ErrorKind::*;
    let kinds = [
        Connect,
        OutcomeUnknown,
        Invalid,
        Unauthorized,
        Forbidden,
        NotFound { json: true },
        NotFound { json: false },
        Conflict,
        RateLimited { retry_after: None },
        Server,
        InvalidResponse,
        IncompleteList { items_seen: 20 },
        CredentialMissing,
    ];
    kinds.into_iter().map(|kind| ApiError::local(kind, "it failed")).collect()
}
