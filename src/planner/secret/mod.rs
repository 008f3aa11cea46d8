//! Planner of SpiceSecret: secrets of an app that follow a Kubernetes Secret.

mod delete;
mod entries;
mod messages;
mod name_conflicts;
mod plan;
mod source;
mod update;
mod validate;
mod write;

#[cfg(test)]
mod tests;

pub use source::SourceValues;
pub use validate::{SecretDesired, requested_names};
pub use write::{SecretResponse, SecretWrite, SetSecret};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::errors::{self, ApiOperation};
use super::messages::list_items;
use super::organization_view::{OrganizationView, is_same_binding};
use super::plan::{EventRecord, Identity, KubernetesWrite, Observation, Observed, Outcome, Plan, PlanInput, Retry};
use super::remote_app::{AppList, Ownership, has_name};
use super::resource::{ResourcePlanner, Resync, RetryPolicy};
use super::{digest, schedule};
use crate::api::{DeletionPolicy, Reason, SecretEntry, SourceVersion, SpiceSecret, SpiceSecretStatus, StatusCore};
use crate::management::types::{ApiError, App, ErrorKind, PutSecret, RemoteSecret, SecretList};

/// Maximum number of secrets in one batch, so that the read behind the batch does not expire while the batch is sent.
const MAX_BATCH: usize = 50;

/// Maximum number of names in a message.
const MAX_SHOWN_NAMES: usize = 16;

/// Observations of secrets and of their dependencies.
#[derive(Debug, Default)]
pub struct SecretObserved {
    /// The SpiceApp, from the cache.
    pub app: Option<Observed<ParentApp>>,
    /// Other SpiceSecrets of the app, from the cache.
    pub siblings: Option<Vec<Arc<SiblingSecret>>>,
    /// Version of the Kubernetes Secret, from the cache.
    pub source: Option<Observed<SourceVersion>>,
    /// ID of the digest key; absent until the operator has read or created the key.
    pub key: Option<Observed<String>>,
    /// Content of the Kubernetes Secret.
    pub values: Option<Observed<SourceValues>>,
    /// The app as the API shows it. `Absent` is a single 404; only the app list confirms the absence.
    pub remote_app: Option<Observed<Observation<Arc<App>>>>,
    /// The app's secrets as the API lists them.
    pub list: Option<Observed<Observation<Arc<SecretList>>>>,
    /// The complete list of apps.
    pub apps: Option<Observed<AppList>>,
    /// Whether the CustomResourceDefinition is being deleted.
    pub crd_terminating: Option<Observed<bool>>,
    /// Failed writes of this reconcile, by name.
    pub failed: BTreeMap<String, ApiError>,
    /// Secrets that this reconcile set.
    pub set: BTreeSet<String>,
}

/// A SpiceApp as its SpiceSecrets observe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParentApp {
    /// UID of the object: all objects of the app resync at the same time.
    pub uid: String,
    /// Shortest interval that any object of the app requests.
    pub interval: Option<Duration>,
    /// Name of the app in Spice.ai Cloud.
    pub name: String,
    /// ID of the app, if the SpiceApp owns it.
    pub id: Option<i64>,
    /// Creation ID of the app.
    pub incarnation: Option<String>,
    /// Start of the create, if the operator created the app.
    pub created_at: Option<Timestamp>,
    /// Whether the API keeps no tags, so that the recorded ID alone shows the ownership.
    pub tags_unsupported: bool,
    /// Why secrets must not be written now.
    pub unready: Option<String>,
    /// Organization binding that the app is recorded with.
    pub organization_binding: Option<String>,
    /// Display name of the organization.
    pub organization_name: String,
    /// The organization; none if the SpiceOrganization does not exist.
    pub organization: Option<OrganizationView>,
}

/// Another SpiceSecret of the same app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiblingSecret {
    /// Name of the object.
    pub object: String,
    /// Creation time of the object; the older one takes precedence.
    pub created: Option<Timestamp>,
    /// UID; the lower one breaks ties.
    pub uid: String,
    /// Whether the object is being deleted.
    pub deleting: bool,
    /// Whether the object cannot be decoded: it keeps the secrets that it set, requests none, and acknowledges none.
    pub undecodable: bool,
    /// Names that the spec requests, as far as known without the Kubernetes Secret.
    pub requested: BTreeSet<String>,
    /// Names that the status records as set, or about to be set.
    pub managed: BTreeSet<String>,
    /// Managed names that were adopted.
    pub adopted: BTreeSet<String>,
    /// Names that the status records as set by this object or by a sibling.
    pub acknowledged: BTreeSet<String>,
}

/// A read for a SpiceSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRead {
    /// The SpiceApp, from the cache.
    App,
    /// Other SpiceSecrets of the app, from the cache.
    Siblings,
    /// Version of the Kubernetes Secret, from the cache.
    Source,
    /// ID of the digest key.
    Key,
    /// Content of the Kubernetes Secret.
    SourceValues,
    /// The app with this ID, read at this time or later.
    RemoteApp(i64, Timestamp),
    /// The secrets of the app with this ID, read at this time or later.
    List(i64, Timestamp),
    /// The complete list of apps, read at this time or later.
    Apps(Timestamp),
    /// Whether the CustomResourceDefinition is being deleted.
    CrdTerminating,
}

/// Input of a plan for a SpiceSecret.
pub(super) type SecretInput<'a> = PlanInput<'a, SpiceSecret>;

impl ResourcePlanner for SpiceSecret {
    type Desired = SecretDesired;
    type Observed = SecretObserved;
    type Read = SecretRead;
    type Write = SecretWrite;

    const NAME: &'static str = "SpiceSecret";
    /// SpiceSecrets of one app trigger each other, so every failed write is held.
    const RETRY_POLICY: RetryPolicy = RetryPolicy { holds_every_failure: true, ..RetryPolicy::DEFAULT };

    fn suspend(&self) -> Option<bool> {
        self.spec.suspend
    }

    fn desired(&self, identity: &Identity) -> SecretDesired {
        SecretDesired::of(self, identity)
    }

    fn spec_error(desired: &SecretDesired) -> Option<&str> {
        desired.spec.as_ref().err().map(String::as_str)
    }

    fn core(status: &SpiceSecretStatus) -> &StatusCore {
        &status.core
    }

    fn core_mut(status: &mut SpiceSecretStatus) -> &mut StatusCore {
        &mut status.core
    }

    fn copy_external_state(from: &SpiceSecretStatus, to: &mut SpiceSecretStatus) {
        let SpiceSecretStatus {
            core: StatusCore { observed_generation: _, conditions: _, last_handled_reconcile_at: _, observed_sources },
            app_ref,
            app_id,
            applied_secrets,
            secrets,
            conflicts,
            drift,
        } = from.clone();
        (to.app_ref, to.app_id, to.applied_secrets) = (app_ref, app_id, applied_secrets);
        (to.secrets, to.conflicts) = (secrets, conflicts);
        (to.drift, to.core.observed_sources) = (drift, observed_sources);
    }

    fn invalidate_sources(observed: &mut SecretObserved) {
        (observed.source, observed.values) = (None, None);
    }

    fn cache_reads(input: &SecretInput<'_>) -> Vec<SecretRead> {
        if input.observed.siblings.is_none() { vec![SecretRead::Siblings] } else { Vec::new() }
    }

    fn required_reads(input: &SecretInput<'_>) -> Vec<SecretRead> {
        update::next(input).into_read().into_iter().collect()
    }

    fn plan(input: &SecretInput<'_>) -> Plan<Self> {
        update::next(input).into_plan(input)
    }

    fn deletion_reads(input: &SecretInput<'_>) -> Vec<SecretRead> {
        delete::next(input).into_read().into_iter().collect()
    }

    fn plan_deletion(input: &SecretInput<'_>) -> Plan<Self> {
        delete::next(input).into_plan(input)
    }

    fn complete(input: &SecretInput<'_>, plan: Plan<Self>) -> Plan<Self> {
        update::complete(input, plan)
    }

    fn drift(status: &SpiceSecretStatus) -> &[String] {
        &status.drift
    }

    fn sources(input: &SecretInput<'_>) -> Vec<SourceVersion> {
        source::sources(input)
    }

    fn is_up_to_date(input: &SecretInput<'_>) -> bool {
        update::is_up_to_date(input)
    }

    fn in_sync_message(input: &SecretInput<'_>) -> String {
        messages::in_sync(input)
    }

    fn resync(input: &SecretInput<'_>) -> Resync {
        let app = app(input.observed);
        let resync = Resync::new(input.desired.interval, input.meta);
        app.map_or(resync, |app| Resync {
            interval: app.interval.or(resync.interval),
            offset: schedule::offset(&app.uid),
        })
    }
}

/// The next step of a plan.
enum Next {
    /// A read comes first.
    Read(SecretRead),
    /// The plan is complete.
    Plan(Box<Plan<SpiceSecret>>),
}

impl Next {
    fn into_read(self) -> Option<SecretRead> {
        match self {
            Self::Read(read) => Some(read),
            Self::Plan(_) => None,
        }
    }

    /// The plan. A read that is still missing here was requested too often without a result.
    fn into_plan(self, input: &SecretInput<'_>) -> Plan<SpiceSecret> {
        match self {
            Self::Plan(plan) => *plan,
            Self::Read(_) => Plan::no_op(input.status, Outcome::InProgress("Reading the current state".to_owned())),
        }
    }
}

impl From<Plan<SpiceSecret>> for Next {
    fn from(plan: Plan<SpiceSecret>) -> Self {
        Self::Plan(Box::new(plan))
    }
}

fn no_op(input: &SecretInput<'_>, outcome: Outcome) -> Next {
    Plan::no_op(input.status, outcome).into()
}

fn release(input: &SecretInput<'_>) -> Next {
    Plan::release(input.status).into()
}

/// The SpiceApp, if it exists.
fn app(observed: &SecretObserved) -> Option<&ParentApp> {
    match &observed.app {
        Some(Observed::Present(app)) => Some(app),
        _ => None,
    }
}

/// ID of the digest key.
fn key_id<'a>(input: &SecretInput<'a>) -> &'a str {
    match &input.observed.key {
        Some(Observed::Present(key)) => key,
        _ => "",
    }
}

/// Message for an organization that cannot be used now.
fn organization_wait(app: &ParentApp) -> Option<String> {
    let name = &app.organization_name;
    let Some(organization) = &app.organization else {
        return Some(format!("SpiceOrganization \"{name}\" not found"));
    };
    let differs = |binding: &String| {
        app.organization_binding.as_ref().is_some_and(|recorded| !is_same_binding(recorded, binding))
    };
    match organization {
        OrganizationView { suspended: true, .. } => Some(format!("SpiceOrganization \"{name}\" is suspended")),
        OrganizationView { unusable: Some(why), .. } => {
            Some(format!("SpiceOrganization \"{name}\" is not ready: {why}"))
        }
        OrganizationView { binding: Some(binding), .. } if differs(binding) => Some(format!(
            "SpiceOrganization \"{name}\" is bound to another organization than the one that the app is recorded in"
        )),
        OrganizationView { .. } => None,
    }
}

/// The read that shows the owner of the app, if recent enough for a write.
fn fresh_app<'a>(input: &SecretInput<'a>) -> Option<&'a Observed<Observation<Arc<App>>>> {
    let is_fresh = |app: &&Observed<Observation<Arc<App>>>| match app {
        Observed::Present(read) => read.started_at >= input.oldest_usable_read(),
        Observed::Absent | Observed::Unknown(_) => true,
    };
    input.observed.remote_app.as_ref().filter(is_fresh)
}

/// Whether a read shows the name and the owner tag of the app.
fn is_own_app(input: &SecretInput<'_>, app: &ParentApp, shown: &App) -> bool {
    let is_own = match Ownership::of(shown, &input.desired.owner) {
        Ownership::Own => true,
        Ownership::Unowned => app.tags_unsupported,
        Ownership::Foreign => false,
    };
    is_own && has_name(shown, &app.name)
}

fn read_failed(error: &ApiError, scope: &str) -> Outcome {
    errors::read_failed(error, scope)
}

/// Names for a message.
fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    list_items(names, MAX_SHOWN_NAMES)
}
