//! The planner of apps on a model of the API: no mocks, no clock, no I/O.

mod absence;
mod adoption;
mod bounds;
mod conditions;
mod create;
mod creation_id;
mod deletion;
mod name_conflicts;
mod preconditions;
mod reactivation;
pub(in crate::planner) mod remote;
mod repository;
mod settling;
mod source;
mod tags;
mod update;

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::api::{FINALIZER, Reason, ResolvedOrganizationRef, SpiceAppSpec};
use crate::management::types::{ApiError, App, ErrorKind, ResponseText};
use crate::planner::model::{Model, Reconciled, Subject, identity, reconcile};
use crate::planner::remote_app::{INCARNATION_TAG, OWNER_TAG};
use crate::planner::{KubernetesWrite, Observation, Observed, OrganizationView, Outcome, RecordedApps, Retry};
use remote::Remote;

/// The read that fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FailingRead {
    Source,
    CrdTerminating,
    List,
    App,
}

/// One object, a model of the API, and the state of a process.
struct Fixture {
    subject: Subject<SpiceApp>,
    remote: Remote,
    organization: Observed<OrganizationView>,
    organization_ref: ResolvedOrganizationRef,
    competing_apps: Vec<CompetingApp>,
    siblings: Vec<i64>,
    siblings_are_read: bool,
    secrets: AppSecrets,
    crd_terminating: Observed<bool>,
    /// Version and text of the ConfigMap that holds the spicepod; no text if the key is missing.
    config_map: Option<(u32, Option<String>)>,
    read_error: Option<(FailingRead, ApiError)>,
    /// Server time of a create.
    server_time: Option<Timestamp>,
    ids: u32,
}

impl Fixture {
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
            binding: Some("https://api.example#1".into()),
            ..OrganizationView::default()
        };
        let mut fixture = Self {
            subject: Subject::new(object, now),
            remote: Remote::default(),
            organization: Observed::Present(organization),
            organization_ref: organization_ref("team", "default"),
            competing_apps: Vec::new(),
            siblings: Vec::new(),
            siblings_are_read: true,
            secrets: AppSecrets::default(),
            crd_terminating: Observed::Present(false),
            config_map: None,
            read_error: None,
            server_time: None,
            ids: 0,
        };
        fixture.edit(spec);
        fixture
    }

    fn with_object(object: SpiceApp) -> Self {
        let mut fixture = Self::new(json!({}));
        fixture.object = object;
        fixture
    }

    /// An object that is in sync with its spec; its next resync is due.
    fn settled(spec: Value) -> Self {
        let mut fixture = Self::new(spec);
        let result = fixture.reconcile();
        assert_eq!(result.outcome, Outcome::InSync, "{result:?}");
        // One interval of 10 min and a part of the next: a resync is due, and none was missed.
        fixture.advance(660);
        fixture
    }

    fn owner(&self) -> String {
        self.object.desired(&identity()).owner
    }

    /// Changes the spec and the generation. The name of the app is `my-app`.
    fn edit(&mut self, mut spec: Value) {
        spec["name"] = json!("my-app");
        self.object.spec = serde_json::from_value(spec).unwrap();
        self.increment_generation();
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
        let ready = status.core.conditions.iter().find(|condition| condition.type_ == "Ready");
        ready.map(|ready| (ready.status.clone(), ready.reason.clone())).unwrap_or_default()
    }

    fn observe(&self, read: &AppRead, observed: &mut AppObserved) {
        let read_error =
            |at| self.read_error.as_ref().filter(|(failing, _)| *failing == at).map(|(_, error)| error.clone());
        match read {
            AppRead::Organization => {
                observed.organization = Some(self.organization.clone());
                observed.organization_ref = Some(self.organization_ref.clone());
            }
            AppRead::CompetingApps => observed.competing_apps = Some(self.competing_apps.clone()),
            AppRead::Source(_) => {
                let version = self.config_map.as_ref().map(|(version, _)| remote::source(*version));
                observed.source = Some(version.map_or(Observed::Absent, Observed::Present));
            }
            AppRead::Spicepod(_) => {
                let loaded = self.config_map.as_ref().map(|(version, text)| LoadedSpicepod {
                    version: remote::source(*version),
                    spicepod: text.as_deref().map_or(Err(SpicepodProblem::KeyMissing), |text| {
                        parse_spicepod(text).map_err(SpicepodProblem::Invalid)
                    }),
                });
                let present = loaded.map_or(Observed::Absent, Observed::Present);
                observed.spicepod = Some(read_error(FailingRead::Source).map_or(present, Observed::Unknown));
            }
            AppRead::Siblings if !self.siblings_are_read => {}
            AppRead::Siblings => {
                let Some(Observed::Present(list)) = &observed.list else { return };
                let siblings = RecordedApps::new(self.siblings.iter().copied().collect(), &list.value);
                observed.siblings = Some(Arc::new(siblings));
            }
            AppRead::CrdTerminating => {
                let terminating =
                    read_error(FailingRead::CrdTerminating).map_or(self.crd_terminating.clone(), Observed::Unknown);
                observed.crd_terminating = Some(terminating);
            }
            AppRead::List(not_before) => {
                assert!(*not_before <= self.now, "a list must not start in the future");
                let list = || {
                    Observed::Present(Observation { value: Arc::new(self.remote.list().into()), started_at: self.now })
                };
                observed.list = Some(read_error(FailingRead::List).map_or_else(list, remote::read_failed));
            }
            AppRead::Secrets => observed.secrets = Some(self.secrets.clone()),
            AppRead::App(id, _) => {
                let app = || match self.remote.get(*id) {
                    Some(app) => Observed::Present(Observation { value: app, started_at: self.now }),
                    None => Observed::Absent,
                };
                observed.app = Some(read_error(FailingRead::App).map_or_else(app, remote::read_failed));
            }
        }
    }

    /// One reconcile.
    fn reconcile(&mut self) -> Reconciled<SpiceApp> {
        let mut done = reconcile(self);
        // Every reconcile reads these from the cache.
        done.reads.retain(|read| *read != AppRead::Secrets);
        done
    }

    /// Checks that a write by ID is based on a response of the last 30 s that shows the name of the app, and the owner
    /// tag of the object or none.
    fn check_base(&self, plan: &Plan<SpiceApp>, observed: &AppObserved) {
        let (id, tag) = match &plan.remote {
            Some(AppWrite::Update { id, .. }) => (*id, None),
            Some(AppWrite::RemoveOwnerTags { id, .. }) => (*id, Some(self.owner())),
            Some(AppWrite::Delete { id, .. }) => (*id, Some(self.owner())),
            Some(AppWrite::Create { .. }) => {
                assert!(matches!(observed.list, Some(Observed::Present(_))), "a create without a list");
                assert_eq!(plan.first, Some(KubernetesWrite::StoreStatus), "a create without a stored intent");
                assert!(plan.status.create_intent.is_some());
                return;
            }
            None => return,
        };
        let Some(Observed::Present(Observation { value: app, started_at })) = &observed.app else {
            panic!("a write without a read: {plan:?}")
        };
        assert!(app.id == id && app.name.eq_ignore_ascii_case("my-app"), "{plan:?} is based on {app:?}");
        assert!(self.now.duration_since(*started_at).as_secs() <= 30, "{plan:?} is based on an old response");
        let shown = app.tag(OWNER_TAG).map(str::to_owned);
        let keeps_no_tags = self.remote.drops_tags || self.remote.rejects_tags;
        let tags_unsupported = (tag.is_none() || keeps_no_tags) && shown.is_none();
        let desired = self.object.desired(&identity());
        let takes_ownership = desired.may_adopt && shown.is_some() && shown == desired.take_ownership_from;
        let reactivated_tag =
            plan.status.create_intent.as_ref().and_then(|intent| intent.reactivated_owner_tag.clone());
        let is_reactivated = shown.is_some() && shown == reactivated_tag;
        assert!(
            shown == Some(self.owner()) || tags_unsupported || takes_ownership || is_reactivated,
            "{plan:?} is based on {app:?}"
        );
    }
}

impl Deref for Fixture {
    type Target = Subject<SpiceApp>;

    fn deref(&self) -> &Self::Target {
        &self.subject
    }
}

impl DerefMut for Fixture {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.subject
    }
}

impl Model<SpiceApp> for Fixture {
    fn observe(&mut self, read: &AppRead, observed: &mut AppObserved) {
        Fixture::observe(self, read, observed);
    }

    fn carry_out(&mut self, write: &AppWrite) -> Result<Option<App>, ApiError> {
        self.remote.now = Some(self.now);
        self.remote.carry_out(write)
    }

    fn check(&mut self, _: &SpiceApp, plan: &Plan<SpiceApp>, observed: &AppObserved) {
        self.check_base(plan, observed);
    }

    fn server_time(&self) -> Option<Timestamp> {
        self.server_time
    }

    fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("{:032x}", self.ids)
    }
}

impl Reconciled<SpiceApp> {
    fn remote_reads(&self) -> usize {
        self.reads.iter().filter(|read| matches!(read, AppRead::List(_) | AppRead::App(..))).count()
    }

    /// Wire names of the fields in the only write, which is a PUT.
    fn put(&self) -> BTreeSet<String> {
        assert_eq!(self.writes.len(), 1, "not one PUT: {:?}", self.writes);
        self.put_of(0)
    }

    /// Wire names of the fields in this write, which is a PUT.
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

/// Errors of reads and writes, one of each kind.
fn errors() -> Vec<ApiError> {
    use ErrorKind::*;
    let kinds = [
        Connect,
        OutcomeUnknown,
        Invalid,
        Unauthorized,
        PaymentRequired,
        Forbidden,
        NotFound { json: true },
        NotFound { json: false },
        Conflict,
        RateLimited { retry_after: None },
        Rejected,
        Server,
        InvalidResponse,
        IncompleteList { items_seen: 20 },
        CredentialMissing,
    ];
    kinds.into_iter().map(|kind| ApiError::local(kind, "it failed")).collect()
}

fn organization_ref(namespace: &str, name: &str) -> ResolvedOrganizationRef {
    ResolvedOrganizationRef { namespace: namespace.to_owned(), name: name.to_owned() }
}
