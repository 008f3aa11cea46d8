//! Planner of SpiceApp: one object, one app, as declared.

mod delete;
mod fields;
mod locate;
mod owner_tags;
mod ownership;
mod plan;
mod update;
mod validate;
mod write;

#[cfg(test)]
mod tests;

pub use fields::ManagedField;
pub use validate::{AppDesired, parse_spicepod};
pub use write::AppWrite;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use self::ownership::{AbsenceCheck, absence, is_reactivated_foreign, ownership, record_app, recorded_id, was_created};
use super::errors;
use super::organization_view::{OrganizationView, is_same_binding, organization_blocker};
use super::plan::{EventRecord, Identity, KubernetesWrite, Observation, Observed, Outcome, Plan, PlanInput, Retry};
use super::remote_app::{AppList, INCARNATION_TAG, OWNER_TAG, Ownership, has_name};
use super::resource::{ResourcePlanner, Resync};
use crate::api::{
    ACCEPT_MISSING_APPS, ConfigMapKeyRef, DEFAULT_ORGANIZATION, Reason, ResolvedOrganizationRef, SourceVersion,
    SpiceApp, SpiceAppStatus, StatusCore,
};
use crate::management::types::{ApiError, App, AppField, CreateApp, UpdateApp};

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
    /// Whether the CustomResourceDefinition is being deleted.
    pub crd_terminating: Option<Observed<bool>>,
    /// Whether this reconcile restored the owner tags.
    pub owner_tags_restored: bool,
    /// Whether this reconcile removed the owner tags, or tried to.
    pub owner_tags_removed: bool,
    /// Whether the API rejected a write with the owner tags in this reconcile, so that the write is repeated without.
    pub tags_rejected: bool,
    /// Whether the API rejected the spicepod in this reconcile because the app has a connected repository.
    pub repository_connected: bool,
    /// Whether the create of this reconcile reactivated a deleted app.
    pub reactivated: bool,
    /// The complete list of apps.
    pub list: Option<Observed<AppList>>,
    /// SpiceSecrets of the app, from the cache.
    pub secrets: Option<AppSecrets>,
    /// IDs that other SpiceApps of the organization have recorded, without terminating ones.
    pub sibling_ids: Option<Vec<i64>>,
    /// The app with the recorded ID. `Absent` is a single 404; only the list confirms the absence.
    pub app: Option<Observed<Observation<App>>>,
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
}

/// A spicepod from a ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSpicepod {
    /// Version of the ConfigMap.
    pub version: SourceVersion,
    /// The spicepod, or the reason why there is none.
    pub spicepod: Result<Map<String, Value>, SpicepodProblem>,
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
    /// Whether no ID is recorded; false sorts first.
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
    /// Whether the CustomResourceDefinition is being deleted.
    CrdTerminating,
    /// SpiceSecrets of the app, from the cache.
    Secrets,
    /// IDs that other SpiceApps of the organization have recorded, from the cache.
    Siblings,
    /// The complete list of apps, read at this time or later.
    List(Timestamp),
    /// The app with this ID, read at this time or later.
    App(i64, Timestamp),
}

/// Input of a plan for a SpiceApp.
pub(super) type AppInput<'a> = PlanInput<'a, SpiceApp>;

impl ResourcePlanner for SpiceApp {
    type Desired = AppDesired;
    type Observed = AppObserved;
    type Read = AppRead;
    type Write = AppWrite;

    const NAME: &'static str = "SpiceApp";

    fn suspend(&self) -> Option<bool> {
        self.spec.suspend
    }

    fn desired(&self, identity: &Identity) -> AppDesired {
        AppDesired::of(self, identity)
    }

    fn spec_error(desired: &AppDesired) -> Option<&str> {
        desired.spec.as_ref().err().map(String::as_str)
    }

    fn core(status: &SpiceAppStatus) -> &StatusCore {
        &status.core
    }

    fn core_mut(status: &mut SpiceAppStatus) -> &mut StatusCore {
        &mut status.core
    }

    fn copy_external_state(from: &SpiceAppStatus, to: &mut SpiceAppStatus) {
        let SpiceAppStatus {
            core: StatusCore { observed_generation: _, conditions: _, last_handled_reconcile_at: _, observed_sources },
            id,
            organization_binding,
            organization_ref,
            incarnation,
            created_at,
            endpoint,
            url,
            region,
            create_intent,
            last_applied,
            drift,
            tags_unsupported,
        } = from.clone();
        (to.id, to.organization_binding, to.organization_ref) = (id, organization_binding, organization_ref);
        (to.incarnation, to.created_at) = (incarnation, created_at);
        (to.endpoint, to.url) = (endpoint, url);
        (to.region, to.create_intent, to.last_applied) = (region, create_intent, last_applied);
        (to.drift, to.tags_unsupported, to.core.observed_sources) = (drift, tags_unsupported, observed_sources);
    }

    fn invalidate_sources(observed: &mut AppObserved) {
        (observed.source, observed.spicepod) = (None, None);
    }

    fn cache_reads(input: &AppInput<'_>) -> Vec<AppRead> {
        if input.observed.secrets.is_none() { vec![AppRead::Secrets] } else { Vec::new() }
    }

    fn required_reads(input: &AppInput<'_>) -> Vec<AppRead> {
        update::required_reads(input)
    }

    fn plan(input: &AppInput<'_>) -> Plan<Self> {
        update::plan(input)
    }

    fn deletion_reads(input: &AppInput<'_>) -> Vec<AppRead> {
        delete::required_reads(input)
    }

    fn plan_deletion(input: &AppInput<'_>) -> Plan<Self> {
        delete::plan(input)
    }

    fn drift(status: &SpiceAppStatus) -> &[String] {
        &status.drift
    }

    fn sources(input: &AppInput<'_>) -> Vec<SourceVersion> {
        update::sources(input)
    }

    fn in_sync_message(input: &AppInput<'_>) -> String {
        let id = input.status.id.unwrap_or_default();
        let exception = if input.status.drift.is_empty() { "" } else { ", except for the fields in status.drift" };
        format!("App {id} is in sync with the spec{exception}")
    }

    fn resync(input: &AppInput<'_>) -> Resync {
        let interval = input.observed.secrets.as_ref().map_or(input.desired.interval, |secrets| secrets.interval);
        Resync::new(interval, input.meta)
    }
}

fn read_failed(error: &ApiError) -> Outcome {
    errors::read_failed(error, "apps:read")
}

/// Earliest start of a read that shows the result of everything that triggered this reconcile.
fn min_read_time(input: &AppInput<'_>) -> Timestamp {
    let since = input.runtime_state.pending_since.unwrap_or(input.now);
    input.runtime_state.last_write.unwrap_or(since).max(since).max(input.oldest_usable_read())
}

/// Outcome that waits for the organization, if the object cannot use the organization now.
fn organization_wait(input: &AppInput<'_>) -> Option<Outcome> {
    organization_blocker(input.observed.organization.as_ref(), &organization_name(input))
}

/// Display name of the organization.
fn organization_name(input: &AppInput<'_>) -> String {
    match &input.observed.organization_ref {
        Some(reference) => display_organization(input, reference),
        None => DEFAULT_ORGANIZATION.to_owned(),
    }
}

/// Display name of an organization: with the namespace if that is another one.
fn display_organization(input: &AppInput<'_>, reference: &ResolvedOrganizationRef) -> String {
    let ResolvedOrganizationRef { namespace, name } = reference;
    if input.meta.namespace.as_ref() == Some(namespace) { name.clone() } else { format!("{namespace}/{name}") }
}

/// Message for an app that is recorded in another organization than the one bound now. The operator then neither reads
/// nor writes.
fn binding_mismatch(input: &AppInput<'_>) -> Option<String> {
    let status = input.status;
    let has_remote_state = status.id.is_some() || status.create_intent.is_some();
    let recorded = status.organization_binding.as_deref().filter(|_| has_remote_state)?;
    let Some(Observed::Present(organization)) = &input.observed.organization else { return None };
    let current = organization.binding.as_deref()?;
    (!is_same_binding(recorded, current)).then(|| {
        format!(
            "The app is recorded in {recorded}, but SpiceOrganization \"{}\" is bound to {current}. Restore the \
             organization, or delete this object with deletionPolicy: Retain and create it again",
            organization_name(input)
        )
    })
}
