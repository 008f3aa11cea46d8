//! Input of a plan of a SpiceSecret: observations, reads, and questions about both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::source::SourceValues;
use crate::api::{SourceVersion, SpiceSecret};
use crate::management::types::{ApiError, App, SecretList};
use crate::planner::digest::DigestKeyFailure;
use crate::planner::observation::{Observation, Observed};
use crate::planner::organization_view::{OrganizationView, is_same_binding, not_ready_message};
use crate::planner::remote_app::{AppList, Ownership, has_name};
use crate::planner::resource::PlanInput;

/// Observations of secrets and of their dependencies.
#[derive(Debug, Default)]
pub struct SecretObserved {
    /// The SpiceApp, from the cache.
    pub app: Option<Observed<ParentApp>>,
    /// True if the SpiceApp is absent because the operator has released it, while Kubernetes still shows the object.
    pub app_is_released: bool,
    /// Other SpiceSecrets of the app, from the cache.
    pub siblings: Option<Vec<Arc<SiblingSecret>>>,
    /// Version of the Kubernetes Secret, from the cache.
    pub source: Option<Observed<SourceVersion>>,
    /// ID of the digest key; absent until the operator has read or created the key.
    pub key: Option<Observed<String>>,
    /// Why the key is absent, once known.
    pub key_failure: Option<DigestKeyFailure>,
    /// Content of the Kubernetes Secret.
    pub values: Option<Observed<SourceValues>>,
    /// The app as the API shows it. `Absent` is a single 404; only the app list confirms the absence.
    pub remote_app: Option<Observed<Observation<Arc<App>>>>,
    /// The app's secrets as the API lists them.
    pub list: Option<Observed<Observation<Arc<SecretList>>>>,
    /// The complete list of apps.
    pub apps: Option<Observed<AppList>>,
    /// True if the CustomResourceDefinition is being deleted.
    pub crd_terminating: Option<Observed<bool>>,
    /// Failed writes of this reconcile, by name.
    pub failed: BTreeMap<String, ApiError>,
    /// Secrets that this reconcile set.
    pub set: BTreeSet<String>,
    /// True if this reconcile deleted a secret.
    pub deleted: bool,
}

/// A SpiceApp as its SpiceSecrets observe it.
#[derive(Clone, Debug, PartialEq)]
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
    /// Time, by the clock of the API, at which that create reactivated a deleted app, if known.
    pub reactivated_at: Option<Timestamp>,
    /// True if the API keeps no tags, so that the recorded ID alone shows the ownership.
    pub tags_unsupported: bool,
    /// Why secrets must not be written now.
    pub unready: Option<String>,
    /// Organization binding that the app is recorded with.
    pub organization_binding: Option<String>,
    /// Display name of the organization: with its namespace if that is not the namespace of the app.
    pub organization_name: String,
    /// The organization, from the cache.
    pub organization: Observed<OrganizationView>,
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
    /// True if the object is being deleted.
    pub deleting: bool,
    /// True if the object cannot be decoded: it keeps the secrets that it set, requests none, and acknowledges none.
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
    /// Read of the deletion timestamp of the CustomResourceDefinition.
    CrdTerminating,
}

/// Input of a plan for a SpiceSecret.
pub(super) type SecretInput<'a> = PlanInput<'a, SpiceSecret>;

/// The SpiceApp, if it exists.
pub(super) fn app(observed: &SecretObserved) -> Option<&ParentApp> {
    observed.app.as_ref().and_then(Observed::present)
}

/// ID of the digest key.
pub(super) fn key_id<'a>(input: &SecretInput<'a>) -> &'a str {
    input.observed.key.as_ref().and_then(Observed::present).map_or("", String::as_str)
}

/// Message for an organization that cannot be used now.
pub(super) fn organization_wait(app: &ParentApp) -> Option<String> {
    let name = &app.organization_name;
    let rebound = || {
        let current = app.organization.present()?.binding.as_ref()?;
        let recorded = app.organization_binding.as_ref()?;
        (!is_same_binding(recorded, current)).then(|| {
            format!(
                "SpiceOrganization \"{name}\" is bound to another organization than the one that the app is recorded in"
            )
        })
    };
    not_ready_message(&app.organization, name).or_else(rebound)
}

/// The read that shows the owner of the app, if recent enough for a write.
pub(super) fn fresh_app<'a>(input: &SecretInput<'a>) -> Option<&'a Observed<Observation<Arc<App>>>> {
    let is_fresh = |app: &&Observed<Observation<Arc<App>>>| match app {
        Observed::Present(read) => read.started_at >= input.oldest_usable_read(),
        Observed::Absent | Observed::Unknown(_) => true,
    };
    input.observed.remote_app.as_ref().filter(is_fresh)
}

/// Returns true if a read shows the name and the owner tag of the app.
pub(super) fn is_own_app(input: &SecretInput<'_>, app: &ParentApp, shown: &App) -> bool {
    let is_own = match Ownership::of(shown, &input.desired.owner) {
        Ownership::Own => true,
        Ownership::Unowned => app.tags_unsupported,
        Ownership::Foreign => false,
    };
    is_own && has_name(shown, &app.name)
}

/// Version of the Kubernetes Secret: as read, with the digest of the selected content, or else as cached.
pub(super) fn sources(input: &SecretInput<'_>) -> Vec<SourceVersion> {
    match (&input.observed.values, &input.observed.source) {
        (Some(Observed::Present(values)), _) => {
            let digest = input.desired.spec.as_ref().ok().map(|selection| values.digest(selection));
            vec![SourceVersion { digest, ..values.version.clone() }]
        }
        (_, Some(Observed::Present(version))) => vec![version.clone()],
        _ => Vec::new(),
    }
}
