//! Plans for SpiceApp: one object, one app, as declared.

mod delete;
mod fields;
mod locate;
mod ownership;
mod update;
mod validate;

#[cfg(test)]
mod tests;

pub use fields::ManagedField;
pub use validate::{AppDesired, parse_spicepod};

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use self::ownership::{
    AbsenceCheck, Ownership, absence, attach, came_back, created, learn_tags, owner, recorded, same_name,
};
use super::errors::{self, ApiOperation};
use super::{
    CommonStatus, Identity, KubernetesWrite, Observation, Observed, Outcome, Plan, PlanInput, ResourcePlanner, Retry,
    Timings, WriteResult,
};
use crate::api::{ACCEPT_MISSING_APPS, ConfigMapKeyRef, Reason, SourceVersion, SpiceApp, SpiceAppStatus};
use crate::management::types::{ApiError, App, AppField, CreateApp, ErrorKind, UpdateApp};

/// Tag that says whose the app is.
pub(super) const OWNER_TAG: &str = "spice-operator-owner";
/// Tag that says which create made the app.
const INCARNATION_TAG: &str = "spice-operator-incarnation";

/// What was seen of an app and of what it depends on.
#[derive(Debug, Default)]
pub struct AppObserved {
    /// The organization it refers to, from the cache.
    pub organization: Option<Observed<OrganizationView>>,
    /// Other SpiceApps of the same organization and name, from the cache.
    pub claims: Option<Vec<CompetingApp>>,
    /// The ConfigMap that holds the spicepod, in the version that the cache shows.
    pub source: Option<Observed<SourceVersion>>,
    /// The spicepod that it holds.
    pub spicepod: Option<Observed<LoadedSpicepod>>,
    /// Whether our CustomResourceDefinition is being deleted.
    pub crd_terminating: Option<Observed<bool>>,
    /// Whether our tag was put back in this visit.
    pub retagged: bool,
    /// Whether our tag was taken away in this visit, or could not be.
    pub owner_tags_removed: bool,
    /// Whether a write with our tags was refused in this visit, so that it is repeated without them.
    pub tags_refused: bool,
    /// Whether the spicepod was refused in this visit, because it comes from a connected repository.
    pub repository_connected: bool,
    /// Whether the app that was created in this visit had been deleted before and came back.
    pub reactivated: bool,
    /// The complete list of apps.
    pub list: Option<Observed<Observation<Arc<Vec<App>>>>>,
    /// Its SpiceSecrets, from the cache.
    pub secrets: Option<AppSecrets>,
    /// Ids that other SpiceApps of the organization have recorded; not of those that are being deleted.
    pub siblings: Option<Vec<i64>>,
    /// The app of the recorded id. Absent here is one 404: it takes the list to make it an absence.
    pub app: Option<Observed<Observation<App>>>,
}

/// What an app has to know of its SpiceSecrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppSecrets {
    /// The shortest interval that any object of the app asks for, this one included.
    pub interval: Option<Duration>,
    /// Those that are being deleted, or will be with their namespace, and hold secrets of the app.
    pub going: Vec<String>,
    /// Of those, the ones whose deletion is held up by something.
    pub stuck: usize,
}

/// A spicepod that was read from another object.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSpicepod {
    /// The version that was read.
    pub version: SourceVersion,
    /// What it holds; otherwise what is wrong with it.
    pub spicepod: Result<Map<String, Value>, String>,
}

/// What an app needs to know of its organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationView {
    /// Why it cannot be used now, if it cannot.
    pub unusable: Option<String>,
    /// Why this object may not use it, if it may not. One that is being deleted may.
    pub not_allowed: Option<String>,
    /// Whether this object may adopt apps of it.
    pub adoption_allowed: bool,
    /// Whether the stop button is pressed.
    pub suspended: bool,
    /// What it is bound to: its endpoint, and `#` and its id where the API tells it; none before its first good answer.
    /// One without an id becomes one with an id when the API tells it: that is the same organization.
    pub pin: Option<String>,
    /// So many recorded apps may be missing from its list at once.
    pub accepted_missing_apps: usize,
    /// Region of an app that names no placement.
    pub default_region: Option<String>,
    /// Page of the app in the portal, where that is known.
    pub portal: Option<String>,
    /// Whether an app of it has shown that it keeps no tags of ours.
    pub tags_unsupported: bool,
}

/// Another SpiceApp that stands for an app of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompetingApp {
    /// False sorts first: a recorded id goes before none.
    pub without_id: bool,
    /// When the object was made: the older goes first.
    pub created: Option<Timestamp>,
    /// The last resort: the lower uid.
    pub uid: String,
    /// `namespace/name`, for the message.
    pub object: String,
}

/// A read for a SpiceApp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppRead {
    /// The organization, from the cache.
    Organization,
    /// Other claims to the name, from the cache.
    CompetingApps,
    /// The version of the ConfigMap that holds the spicepod, from the cache.
    Source(ConfigMapKeyRef),
    /// The spicepod in it.
    Spicepod(ConfigMapKeyRef),
    /// Whether our CustomResourceDefinition is being deleted.
    CrdTerminating,
    /// Its SpiceSecrets, from the cache.
    Secrets,
    /// What other SpiceApps of the organization have recorded, from the cache.
    Siblings,
    /// The complete list, as it was at this time or later.
    List(Timestamp),
    /// One app, as it was at this time or later.
    App(i64, Timestamp),
}

/// A remote write for a SpiceApp.
#[derive(Clone, Debug, PartialEq)]
pub enum AppWrite {
    /// `POST`: makes the app, or brings a deleted one of that name back.
    Create {
        /// What is sent.
        body: CreateApp,
        /// The managed fields that it carries.
        managed: Vec<ManagedField>,
        /// Whether an earlier attempt under the same intent may have taken effect, so that no refusal proves otherwise.
        repeated: bool,
        /// Whether it is the first attempt that carries no tags of ours.
        first_untagged: bool,
        /// Our owner tag, whether it is carried or not.
        owner: String,
        /// When it was decided on: what is recorded of it says so.
        intended_at: Timestamp,
        /// When the list was begun that showed the name absent.
        based_on: Timestamp,
        /// An app that is older than this had been deleted and came back.
        reactivated_if_before: Timestamp,
    },
    /// `PUT`: a merge of what differs.
    Update {
        /// The app.
        id: i64,
        /// When the answer was begun that it rests on.
        based_on: Timestamp,
        /// What is sent.
        body: UpdateApp,
        /// The managed fields that it carries.
        managed: Vec<ManagedField>,
        /// Fields that are no longer managed once it is done.
        released: Vec<String>,
        /// Fields that somebody else changed and that it puts back.
        corrects: Vec<String>,
        /// Whether it sets our tags on an app that shows none.
        marks: bool,
    },
    /// `PUT` of all tags but our own, before the object goes and the app stays. Best effort.
    RemoveOwnerTags {
        /// The app.
        id: i64,
        /// When the answer was begun that it rests on.
        based_on: Timestamp,
        /// The tags of others.
        body: UpdateApp,
    },
    /// `DELETE`.
    Delete {
        /// The app.
        id: i64,
        /// When the answer was begun that it rests on.
        based_on: Timestamp,
    },
}

impl AppWrite {
    /// When the answer was begun that showed whose the app is, or that there is none.
    pub fn based_on(&self) -> Timestamp {
        match self {
            Self::Create { based_on, .. }
            | Self::Update { based_on, .. }
            | Self::RemoveOwnerTags { based_on, .. }
            | Self::Delete { based_on, .. } => *based_on,
        }
    }

    /// The app that it is about, where that has an id.
    pub fn id(&self) -> Option<i64> {
        match self {
            Self::Create { .. } => None,
            Self::Update { id, .. } | Self::RemoveOwnerTags { id, .. } | Self::Delete { id, .. } => Some(*id),
        }
    }

    fn sends_spicepod(&self) -> bool {
        matches!(self, Self::Update { body, .. } if body.0.contains_key(&AppField::Spicepod))
    }

    /// Whether it sets our tags where there were none.
    fn marks(&self) -> bool {
        match self {
            Self::Create { body, .. } => body.tags.contains_key(OWNER_TAG),
            Self::Update { marks, .. } => *marks,
            Self::RemoveOwnerTags { .. } | Self::Delete { .. } => false,
        }
    }
}

impl ResourcePlanner for SpiceApp {
    type Desired = AppDesired;
    type Status = SpiceAppStatus;
    type Observed = AppObserved;
    type Read = AppRead;
    type Write = AppWrite;
    /// The app as the API showed it; nothing after a delete.
    type Response = Option<App>;

    const NAME: &'static str = "SpiceApp";

    fn desired(&self, identity: &Identity) -> AppDesired {
        AppDesired::of(self, identity)
    }

    fn stored_status(&self) -> Option<&SpiceAppStatus> {
        self.status.as_ref()
    }

    fn required_reads(input: &PlanInput<'_, Self>) -> Vec<AppRead> {
        if input.deleting() { delete::required_reads(input) } else { update::required_reads(input) }
    }

    fn plan(input: &PlanInput<'_, Self>) -> Plan<Self> {
        if input.deleting() { delete::plan(input) } else { update::plan(input) }
    }

    fn apply_write_result(
        status: &mut SpiceAppStatus,
        observed: &mut AppObserved,
        write: &AppWrite,
        end: &WriteResult<Option<App>>,
    ) {
        match (write, &end.result) {
            (AppWrite::Create { managed, reactivated_if_before, owner, .. }, Ok(Some(app))) => {
                let others = app.tag(OWNER_TAG).filter(|tag| owner != tag).map(str::to_owned);
                status.create_intent = status.create_intent.take().filter(|_| others.is_some());
                if let Some(intent) = &mut status.create_intent {
                    // What our own create has brought back is ours, whosever it was; until it shows our tag, this tells so.
                    intent.reactivated_owner_tag = others;
                }
                status.last_applied = fields::taken(managed, app);
                observed.reactivated = app.created_at().is_some_and(|at| at < *reactivated_if_before);
                let incarnation = status.incarnation.clone();
                attach(status, observed, app);
                // One that it had before says nothing of this one.
                status.incarnation = incarnation.or(status.incarnation.take());
                learn_tags(status, observed, write, app);
                observed.app = Some(Observed::Present(Observation { value: app.clone(), started_at: end.started_at }));
            }
            (AppWrite::Update { managed, released, .. }, Ok(Some(app))) => {
                status.last_applied.retain(|path, _| !released.contains(path));
                status.last_applied.extend(fields::echoed(managed, app));
                if !came_back(status, app) {
                    status.create_intent = None;
                }
                attach(status, observed, app);
                learn_tags(status, observed, write, app);
                observed.retagged = true;
                observed.app = Some(Observed::Present(Observation { value: app.clone(), started_at: end.started_at }));
            }
            (AppWrite::RemoveOwnerTags { .. }, _) => observed.owner_tags_removed = true,
            (AppWrite::Delete { .. }, Ok(_)) => {
                status.id = None;
                status.create_intent = None;
            }
            (_, Err(error)) => {
                if write.marks() && may_be_about_tags(error) {
                    observed.tags_refused = true;
                }
                observed.repository_connected |= write.sends_spicepod() && errors::is_repository_error(error);
                if let AppWrite::Create { repeated, first_untagged, .. } = write
                    && proves_not_created(error)
                {
                    // Nothing was made, so nothing is to be looked for when the object is deleted.
                    if !repeated {
                        status.create_intent = None;
                    }
                    // Nor was anything made without tags: whether they are kept is not known.
                    if !repeated || *first_untagged {
                        status.tags_unsupported = None;
                    }
                }
                if let (AppWrite::Create { repeated: false, .. }, ErrorKind::Conflict) = (write, error.kind)
                    && let Some(intent) = &mut status.create_intent
                {
                    intent.name_conflict = Some(true);
                }
            }
            (_, Ok(None)) => {}
        }
    }

    fn on_write_error(write: &AppWrite, error: &ApiError, timings: &Timings) -> Option<Outcome> {
        let goes_on =
            write.marks() && may_be_about_tags(error) || write.sends_spicepod() && errors::is_repository_error(error);
        if goes_on {
            return None;
        }
        match write {
            AppWrite::Create { .. } | AppWrite::Update { .. } => {
                Some(errors::call_failed(error, ApiOperation::Write, "apps:write", timings))
            }
            AppWrite::RemoveOwnerTags { .. } => None,
            AppWrite::Delete { .. } => Some(errors::call_failed(error, ApiOperation::Delete, "apps:delete", timings)),
        }
    }

    fn corrected_paths(write: &AppWrite, _: &Option<App>) -> Vec<String> {
        match write {
            AppWrite::Update { corrects, .. } => corrects.clone(),
            AppWrite::Create { .. } | AppWrite::RemoveOwnerTags { .. } | AppWrite::Delete { .. } => Vec::new(),
        }
    }

    fn drift(status: &SpiceAppStatus) -> &[String] {
        &status.drift
    }

    fn must_persist_immediately(write: &AppWrite) -> bool {
        matches!(write, AppWrite::Create { .. })
    }

    fn copy_external_state(from: &SpiceAppStatus, to: &mut SpiceAppStatus) {
        let SpiceAppStatus {
            observed_generation: _,
            conditions: _,
            last_handled_reconcile_at: _,
            id,
            organization_binding,
            incarnation,
            created_at,
            endpoint,
            url,
            region,
            create_intent,
            last_applied,
            drift,
            tags_unsupported,
            observed_sources,
        } = from.clone();
        (to.id, to.organization_binding) = (id, organization_binding);
        (to.incarnation, to.created_at) = (incarnation, created_at);
        (to.endpoint, to.url) = (endpoint, url);
        (to.region, to.create_intent, to.last_applied) = (region, create_intent, last_applied);
        (to.drift, to.tags_unsupported, to.observed_sources) = (drift, tags_unsupported, observed_sources);
    }

    fn common(status: &mut SpiceAppStatus) -> CommonStatus<'_> {
        CommonStatus {
            observed_generation: &mut status.observed_generation,
            conditions: &mut status.conditions,
            last_handled: &mut status.last_handled_reconcile_at,
        }
    }

    fn sources(input: &PlanInput<'_, Self>) -> Vec<SourceVersion> {
        update::sources(input)
    }

    fn interval(desired: &AppDesired, observed: &AppObserved) -> Option<Duration> {
        observed.secrets.as_ref().map_or(desired.interval, |secrets| secrets.interval)
    }

    fn observed_sources(status: &SpiceAppStatus) -> &[SourceVersion] {
        &status.observed_sources
    }
}

/// Whether a create that ended like this certainly made nothing. A taken name does not say by whom it was taken: a
/// proxy may have sent the request twice.
fn proves_not_created(error: &ApiError) -> bool {
    error.proves_not_applied() && !matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound { .. })
}

/// A refusal that may be about our tags and not about the rest: the write is repeated once without them. One about a
/// scope or a role is not.
fn may_be_about_tags(error: &ApiError) -> bool {
    match error.kind {
        ErrorKind::Invalid => true,
        ErrorKind::Forbidden => !errors::is_authorization_error(error),
        _ => false,
    }
}

fn read_failed(error: &ApiError) -> Outcome {
    errors::read_failed(error, "apps:read")
}

/// A list from before this time says nothing of what is wanted now.
fn pending_since(input: &PlanInput<'_, SpiceApp>) -> Timestamp {
    let since = input.runtime_state.pending_since.unwrap_or(input.now);
    let oldest = input.now.checked_sub(input.timings.max_read_age).unwrap_or(since);
    input.runtime_state.last_write.unwrap_or(since).max(since).max(oldest)
}

/// Why the organization cannot be used, if it cannot.
fn unusable(input: &PlanInput<'_, SpiceApp>) -> Option<Outcome> {
    let name = &input.desired.organization;
    let because = |message: String| Some(Outcome::WaitingForDependency(Reason::DependencyNotReady, message));
    match input.observed.organization.as_ref()? {
        Observed::Present(OrganizationView { not_allowed: Some(why), .. }) => {
            Some(Outcome::WaitingForDependency(Reason::NamespaceNotAllowed, why.clone()))
        }
        Observed::Present(OrganizationView { suspended: true, .. }) => {
            because(format!("SpiceOrganization {name} is suspended"))
        }
        Observed::Present(OrganizationView { unusable: Some(why), .. }) => {
            because(format!("SpiceOrganization {name} is not ready: {why}"))
        }
        Observed::Present(_) => None,
        Observed::Absent => because(if name.contains('/') {
            format!("SpiceOrganization {name} does not exist")
        } else {
            format!("SpiceOrganization {name} does not exist in this namespace")
        }),
        Observed::Unknown(error) => because(error.to_string()),
    }
}

/// What is recorded, in another organization than the one that is reached now: nothing of it may be read or written.
fn mismatch(input: &PlanInput<'_, SpiceApp>) -> Option<String> {
    let status = input.status;
    let then =
        status.organization_binding.as_deref().filter(|_| status.id.is_some() || status.create_intent.is_some())?;
    let Some(Observed::Present(organization)) = &input.observed.organization else { return None };
    let now = organization.pin.as_deref()?;
    (!same_pin(then, now)).then(|| {
        format!(
            "this app was recorded in {then}, and SpiceOrganization {} leads to {now}: lead it back, or delete this \
             object with deletionPolicy Retain and make it anew",
            input.desired.organization
        )
    })
}

/// Whether what was recorded under one pin is reached under another. One whose id was not known then is the same one. So is
/// one of the same id at another endpoint, because a person has said so on the SpiceOrganization.
pub(super) fn same_pin(then: &str, now: &str) -> bool {
    let id = |pin: &str| pin.rsplit_once('#').map(|(_, id)| id.to_owned());
    now.strip_prefix(then).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        || id(then).is_some_and(|then| id(now) == Some(then))
}
