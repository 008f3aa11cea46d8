//! Input of a plan of a SpiceApp: observations, reads, and questions about both.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::api::{ConfigMapKeyRef, DEFAULT_ORGANIZATION, Reason, ResolvedOrganizationRef, SourceVersion, SpiceApp};
use crate::json::CompactJson;
use crate::management::types::{ApiError, App, ListedApps};
use crate::planner::observation::{Observation, Observed};
use crate::planner::organization_view::{OrganizationView, is_same_binding, not_ready_message};
use crate::planner::outcome::Outcome;
use crate::planner::remote_app::AppList;
use crate::planner::resource::PlanInput;
use crate::planner::{digest, errors};

/// Observations of an app and of its dependencies.
#[derive(Debug, Default)]
pub struct AppObserved {
    /// The organization, from the cache.
    pub organization: Option<Observed<OrganizationView>>,
    /// Reference to the organization, with all defaults applied.
    pub organization_ref: Option<ResolvedOrganizationRef>,
    /// Other SpiceApps of the same organization and app name, from the cache.
    pub competing_apps: Option<Vec<CompetingApp>>,
    /// Version of the ConfigMap that holds the spicepod, from the cache.
    pub source: Option<Observed<SourceVersion>>,
    /// The spicepod in the ConfigMap.
    pub spicepod: Option<Observed<LoadedSpicepod>>,
    /// True if the CustomResourceDefinition is being deleted.
    pub crd_terminating: Option<Observed<bool>>,
    /// True if this reconcile restored the owner tags.
    pub owner_tags_restored: bool,
    /// True if this reconcile removed the owner tags, or tried to.
    pub owner_tags_removed: bool,
    /// True if the API rejected a write with the owner tags in this reconcile, so that the write is repeated without.
    pub tags_rejected: bool,
    /// True if the API rejected the spicepod in this reconcile because the app has a connected repository.
    pub repository_connected: bool,
    /// True if the create of this reconcile reactivated a deleted app.
    pub reactivated: bool,
    /// True if this reconcile deleted the app.
    pub deleted: bool,
    /// The complete list of apps.
    pub list: Option<Observed<AppList>>,
    /// SpiceSecrets of the app, from the cache.
    pub secrets: Option<AppSecrets>,
    /// Recorded apps of the organization, compared with `list`.
    pub siblings: Option<Arc<RecordedApps>>,
    /// The app with the recorded ID. `Absent` is a single 404; only the list confirms the absence.
    pub app: Option<Observed<Observation<App>>>,
}

impl AppObserved {
    /// The organization, if it exists.
    pub(super) fn organization_view(&self) -> Option<&OrganizationView> {
        self.organization.as_ref().and_then(Observed::present)
    }
}

/// The SpiceSecrets of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppSecrets {
    /// Shortest interval that any object of the app requests, the SpiceApp included.
    pub interval: Option<Duration>,
    /// Names of the SpiceSecrets that are being deleted, or will be with their namespace, and that have the finalizer.
    pub terminating: Vec<String>,
    /// Number of these whose deletion fails repeatedly.
    pub stuck: usize,
    /// Names of the other SpiceSecrets that have the finalizer.
    pub remaining: Vec<String>,
    /// Names of the secrets that the SpiceSecrets have set, or were about to set.
    pub managed: BTreeSet<String>,
}

/// IDs of apps that the SpiceApps of one organization have recorded, without those of terminating objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordedApps {
    /// IDs of all these apps.
    pub all: HashSet<i64>,
    /// IDs of the apps that a complete list does not have.
    pub missing: HashSet<i64>,
}

impl RecordedApps {
    /// Compares recorded IDs with a complete list.
    pub fn new(all: HashSet<i64>, list: &ListedApps) -> Self {
        let missing = all.iter().copied().filter(|id| list.get(*id).is_none()).collect();
        Self { all, missing }
    }
}

/// A spicepod from a ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSpicepod {
    /// Version of the ConfigMap.
    pub version: SourceVersion,
    /// The spicepod, or the reason why there is none.
    pub spicepod: Result<CompactJson, SpicepodProblem>,
}

impl LoadedSpicepod {
    /// Digest of the spicepod, or of the reason why there is none. A spicepod is a mapping, and a reason is a text.
    pub(super) fn digest(&self) -> String {
        match &self.spicepod {
            Ok(spicepod) => spicepod.digest(),
            Err(SpicepodProblem::KeyMissing) => digest::of_value(&json!("")),
            Err(SpicepodProblem::Invalid(why)) => digest::of_value(&json!(why)),
        }
    }
}

/// Why a ConfigMap provides no spicepod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpicepodProblem {
    /// The ConfigMap has no such key. A later version may have.
    KeyMissing,
    /// The value is not a spicepod. The message contains no part of the value.
    Invalid(String),
}

/// Another SpiceApp for the same app name. The lowest one owns the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompetingApp {
    /// True if no ID is recorded; false sorts first.
    pub without_id: bool,
    /// Creation time of the object; the older one sorts first.
    pub created: Option<Timestamp>,
    /// UID; breaks ties.
    pub uid: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

/// A read for a SpiceApp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppRead {
    /// The organization, from the cache.
    Organization,
    /// Other SpiceApps for the name, from the cache.
    CompetingApps,
    /// Version of the ConfigMap that holds the spicepod, from the cache.
    Source(ConfigMapKeyRef),
    /// The spicepod in the ConfigMap.
    Spicepod(ConfigMapKeyRef),
    /// Read of the deletion timestamp of the CustomResourceDefinition.
    CrdTerminating,
    /// SpiceSecrets of the app, from the cache.
    Secrets,
    /// The complete list of apps, read at this time or later.
    List(Timestamp),
    /// Recorded apps of the organization, from the cache, compared with the list.
    Siblings,
    /// The app with this ID, read at this time or later.
    App(i64, Timestamp),
}

/// Input of a plan for a SpiceApp.
pub(super) type AppInput<'a> = PlanInput<'a, SpiceApp>;

pub(super) fn read_failed(error: &ApiError) -> Outcome {
    errors::read_failed(error, "apps:read")
}

/// Earliest start of a read that shows the result of everything that triggered this reconcile.
pub(super) fn min_read_time(input: &AppInput<'_>) -> Timestamp {
    let since = input.runtime_state.pending_since.unwrap_or(input.now);
    input.runtime_state.last_write.unwrap_or(since).max(since).max(input.oldest_usable_read())
}

/// Outcome that waits for the organization, if the object cannot use the organization now.
pub(super) fn organization_wait(input: &AppInput<'_>) -> Option<Outcome> {
    let organization = input.observed.organization.as_ref()?;
    if let Some(why) = organization.present().and_then(|view| view.not_allowed.as_ref()) {
        return Some(Outcome::WaitingForDependency(Reason::NamespaceNotAllowed, why.clone()));
    }
    let message = not_ready_message(organization, &organization_name(input))?;
    Some(Outcome::WaitingForDependency(Reason::DependencyNotReady, message))
}

/// Display name of the organization.
pub(super) fn organization_name(input: &AppInput<'_>) -> String {
    match &input.observed.organization_ref {
        Some(reference) => reference.display_in(input.meta.namespace.as_deref()),
        None => DEFAULT_ORGANIZATION.to_owned(),
    }
}

/// Message for an app that is recorded in another organization than the one bound now. The operator then neither reads
/// nor writes.
pub(super) fn binding_mismatch(input: &AppInput<'_>) -> Option<String> {
    let status = input.status;
    let recorded = status.organization_binding.as_deref().filter(|_| status.has_remote_state())?;
    let current = input.observed.organization_view()?.binding.as_deref()?;
    (!is_same_binding(recorded, current)).then(|| {
        format!(
            "The app is recorded in {recorded}, but SpiceOrganization \"{}\" is bound to {current}. Restore the \
             organization, or delete this object with deletionPolicy: Retain and create it again",
            organization_name(input)
        )
    })
}
