//! Plans for SpiceSecret: secrets of an app that follow a Kubernetes Secret.

mod delete;
mod entries;
mod messages;
mod name_conflicts;
mod plan;
mod source;
mod update;
mod validate;

#[cfg(test)]
mod tests;

pub use source::SourceValues;
pub use validate::{SecretDesired, requested_names};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::app::{OWNER_TAG, OrganizationView};
use super::errors::{self, ApiOperation};
use super::{
    CommonStatus, EventRecord, Identity, KubernetesWrite, Observation, Observed, Outcome, Plan, PlanInput,
    ResourcePlanner, Retry, Timings, WriteResult,
};
use super::{digest, schedule};
use crate::api::{DeletionPolicy, Reason, SecretEntry, SourceVersion, SpiceSecret, SpiceSecretStatus};
use crate::management::types::{ApiError, App, ErrorKind, PutSecret, RemoteSecret, SecretList};

/// Secrets that one batch sets or deletes at most: what it rests on must not grow old while it is sent.
const LARGEST_BATCH: usize = 50;

/// What was seen of secrets and of what they depend on.
#[derive(Debug, Default)]
pub struct SecretObserved {
    /// The app that they are in, from the cache.
    pub app: Option<Observed<ParentApp>>,
    /// Other SpiceSecrets of the app, from the cache.
    pub others: Option<Vec<Arc<SiblingSecret>>>,
    /// The Kubernetes Secret, in the version that the cache shows.
    pub source: Option<Observed<SourceVersion>>,
    /// The id of the key of digests; absent as long as it could be neither read nor made.
    pub key: Option<Observed<String>>,
    /// What the Kubernetes Secret holds.
    pub values: Option<Observed<SourceValues>>,
    /// The app as the API shows it. Absent here is one 404: it takes the list of apps to make it an absence.
    pub shown: Option<Observed<Observation<Arc<App>>>>,
    /// The app's secrets as the API lists them.
    pub list: Option<Observed<Observation<Arc<SecretList>>>>,
    /// The complete list of apps.
    pub apps: Option<Observed<Observation<Arc<Vec<App>>>>>,
    /// Whether our CustomResourceDefinition is being deleted.
    pub crd_terminating: Option<Observed<bool>>,
    /// Writes of this visit that did not end well, by name.
    pub failed: BTreeMap<String, ApiError>,
    /// Secrets that were set in this visit.
    pub set: BTreeSet<String>,
}

/// What is to be known of an app by its secrets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParentApp {
    /// The object's uid: all objects of the app are checked at the same time.
    pub uid: String,
    /// The shortest interval that any object of the app asks for.
    pub interval: Option<Duration>,
    /// The app's name in Spice.ai Cloud.
    pub name: String,
    /// Its id, as far as it is ours.
    pub id: Option<i64>,
    /// Its incarnation.
    pub incarnation: Option<String>,
    /// When the create was begun that made it, if we have made it.
    pub created_at: Option<Timestamp>,
    /// Whether its recorded id alone tells that it is ours.
    pub tags_unsupported: bool,
    /// Why nothing is to be set in it now, if so.
    pub unready: Option<String>,
    /// The organization that it is recorded in.
    pub recorded_in: Option<String>,
    /// How the organization is called.
    pub organization_name: String,
    /// Its organization; none if that is gone.
    pub organization: Option<OrganizationView>,
}

/// Another SpiceSecret of the same app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiblingSecret {
    /// Its name.
    pub object: String,
    /// When the object was made: the older goes first.
    pub created: Option<Timestamp>,
    /// The last resort: the lower uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it cannot be decoded: it keeps what it has set, and can ask for nothing and take note of nothing.
    pub undecodable: bool,
    /// Names that its spec asks for, as far as that can be told without its source.
    pub named: BTreeSet<String>,
    /// Names that its status says it has set, or is about to.
    pub set: BTreeSet<String>,
    /// Of these, the ones that it took over.
    pub adopted: BTreeSet<String>,
    /// Names of which its status says that one of ours has set them: itself, or the one that it waits for.
    pub knows: BTreeSet<String>,
}

/// A read for a SpiceSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRead {
    /// The app, from the cache.
    App,
    /// Other SpiceSecrets of the app, from the cache.
    Siblings,
    /// The version of the Kubernetes Secret, from the cache.
    Source,
    /// The id of the key of digests.
    Key,
    /// What the Kubernetes Secret holds.
    SourceValues,
    /// The app of this id, as it was at this time or later.
    RemoteApp(i64, Timestamp),
    /// The secrets of the app of this id, as they were at this time or later.
    List(i64, Timestamp),
    /// The complete list of apps, as it was at this time or later.
    Apps(Timestamp),
    /// Whether our CustomResourceDefinition is being deleted.
    CrdTerminating,
}

/// A secret that is to be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// What is sent.
    pub body: PutSecret,
    /// What is recorded of it then; the answer tells when it was set.
    pub entry: SecretEntry,
    /// Whether nothing of ours can be there yet: it was recorded in this very plan.
    pub first: bool,
}

/// A remote write for a SpiceSecret: a batch of idempotent ones.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretWrite {
    /// `POST` for each.
    Set {
        /// The app.
        app: i64,
        /// When the answer was begun that showed whose the app is.
        based_on: Timestamp,
        /// What is to be set.
        secrets: Vec<Set>,
        /// Names of those that somebody else has changed and that are put back.
        corrects: Vec<String>,
    },
    /// `DELETE` for each.
    Delete {
        /// The app.
        app: i64,
        /// When the answer was begun that showed whose the app is.
        based_on: Timestamp,
        /// The names.
        names: Vec<String>,
    },
}

impl SecretWrite {
    /// The app that it is about.
    pub fn app(&self) -> i64 {
        match self {
            Self::Set { app, .. } | Self::Delete { app, .. } => *app,
        }
    }

    /// The name that a batch begins with.
    fn first(&self) -> Option<&str> {
        match self {
            Self::Set { secrets, .. } => secrets.first().map(|set| set.body.name.as_str()),
            Self::Delete { names, .. } => names.first().map(String::as_str),
        }
    }

    /// When the answer was begun that showed whose the app is.
    pub fn based_on(&self) -> Timestamp {
        match self {
            Self::Set { based_on, .. } | Self::Delete { based_on, .. } => *based_on,
        }
    }
}

/// How each write of a batch ended, by name, as far as the batch went: what a set secret is since, nothing after a delete.
pub type SecretResponse = Vec<(String, Result<Option<RemoteSecret>, ApiError>)>;

impl ResourcePlanner for SpiceSecret {
    type Desired = SecretDesired;
    type Status = SpiceSecretStatus;
    type Observed = SecretObserved;
    type Read = SecretRead;
    type Write = SecretWrite;
    type Response = SecretResponse;

    const NAME: &'static str = "SpiceSecret";

    fn desired(&self, identity: &Identity) -> SecretDesired {
        SecretDesired::of(self, identity)
    }

    fn stored_status(&self) -> Option<&SpiceSecretStatus> {
        self.status.as_ref()
    }

    fn required_reads(input: &PlanInput<'_, Self>) -> Vec<SecretRead> {
        match next(input) {
            Next::Read(read) => vec![read],
            Next::Do(_) => Vec::new(),
        }
    }

    fn plan(input: &PlanInput<'_, Self>) -> Plan<Self> {
        match next(input) {
            Next::Do(plan) => *plan,
            Next::Read(read) => Plan::no_op(input.status, Outcome::InProgress(format!("waiting for {read:?}"))),
        }
    }

    fn apply_write_result(
        status: &mut SpiceSecretStatus,
        observed: &mut SecretObserved,
        write: &SecretWrite,
        end: &WriteResult<SecretResponse>,
    ) {
        let answer = match &end.result {
            Ok(answer) => answer.clone(),
            Err(error) => write.first().map(|name| (name.to_owned(), Err(error.clone()))).into_iter().collect(),
        };
        for (name, result) in &answer {
            match (write, result) {
                (SecretWrite::Set { app, secrets, .. }, Ok(Some(shown))) => {
                    let Some(set) = secrets.iter().find(|set| set.body.name == *name) else { continue };
                    status.app_id = Some(*app);
                    let entry = SecretEntry { updated_at: shown.updated_at.clone(), ..set.entry.clone() };
                    entries::record(&mut status.secrets, entry);
                    status.drift.retain(|drifted| drifted != name);
                    observed.set.insert(name.clone());
                }
                (SecretWrite::Delete { .. }, Ok(_)) => {
                    status.secrets.retain(|entry| entry.name != *name);
                    status.conflicts.retain(|held| held.name != *name);
                }
                (SecretWrite::Set { .. }, Ok(None)) => {}
                (write, Err(error)) => {
                    if let SecretWrite::Set { secrets, .. } = write {
                        let first = secrets.iter().any(|set| set.first && set.body.name == *name);
                        if !error.proves_not_applied() {
                            // It may be there with another value than is recorded: it is set again, whatever that is by then.
                            let known = status.secrets.iter_mut().filter(|entry| entry.name == *name);
                            known.for_each(|entry| entry.digest = None);
                        } else if first {
                            // Nothing of ours is there, so nothing is to be taken for ours.
                            status.secrets.retain(|entry| entry.name != *name);
                        }
                    }
                    observed.failed.insert(name.clone(), error.clone());
                }
            }
        }
        // What was recorded in this plan and not reached stays to be set, and nothing of it can be there.
        if let SecretWrite::Set { secrets, .. } = write {
            let reached = |name: &String| answer.iter().any(|(reached, _)| reached == name);
            let unreached = secrets.iter().filter(|set| set.first && !reached(&set.body.name));
            for set in unreached {
                status.secrets.retain(|entry| entry.name != set.body.name);
            }
        }
    }

    fn on_write_error(write: &SecretWrite, error: &ApiError, timings: &Timings) -> Option<Outcome> {
        let call = match write {
            SecretWrite::Set { .. } => ApiOperation::Write,
            SecretWrite::Delete { .. } => ApiOperation::Delete,
        };
        let outcome = errors::call_failed(error, call, "secrets:write", timings);
        Some(match write.first() {
            Some(name) => messages::about(name, outcome),
            None => outcome,
        })
    }

    fn corrected_paths(write: &SecretWrite, answer: &SecretResponse) -> Vec<String> {
        let SecretWrite::Set { corrects, .. } = write else { return Vec::new() };
        let put_back = answer.iter().filter(|(name, result)| result.is_ok() && corrects.contains(name));
        put_back.map(|(name, _)| name.clone()).collect()
    }

    fn affected_names(write: &SecretWrite, end: &WriteResult<SecretResponse>) -> Vec<String> {
        match &end.result {
            Ok(answer) => answer.iter().map(|(name, _)| name.clone()).collect(),
            Err(_) => write.first().map(str::to_owned).into_iter().collect(),
        }
    }

    fn success_events(write: &SecretWrite, answer: &SecretResponse) -> Vec<EventRecord> {
        messages::success_events(write, answer)
    }

    fn drift(status: &SpiceSecretStatus) -> &[String] {
        &status.drift
    }

    fn must_persist_immediately(_: &SecretWrite) -> bool {
        false
    }

    fn copy_external_state(from: &SpiceSecretStatus, to: &mut SpiceSecretStatus) {
        let SpiceSecretStatus {
            observed_generation: _,
            conditions: _,
            last_handled_reconcile_at: _,
            app_id,
            secrets,
            conflicts,
            drift,
            observed_sources,
        } = from.clone();
        (to.app_id, to.secrets, to.conflicts) = (app_id, secrets, conflicts);
        (to.drift, to.observed_sources) = (drift, observed_sources);
    }

    fn common(status: &mut SpiceSecretStatus) -> CommonStatus<'_> {
        CommonStatus {
            observed_generation: &mut status.observed_generation,
            conditions: &mut status.conditions,
            last_handled: &mut status.last_handled_reconcile_at,
        }
    }

    fn sources(input: &PlanInput<'_, Self>) -> Vec<SourceVersion> {
        update::sources(input)
    }

    fn observed_sources(status: &SpiceSecretStatus) -> &[SourceVersion] {
        &status.observed_sources
    }

    /// Objects of one app wake each other: one that fails is not to be tried as often as others change.
    fn holds_back(_: Retry) -> bool {
        true
    }

    fn interval(desired: &SecretDesired, observed: &SecretObserved) -> Option<Duration> {
        app(observed).and_then(|app| app.interval).or(desired.interval)
    }

    fn phase(meta: &ObjectMeta, observed: &SecretObserved) -> u64 {
        app(observed).map_or_else(|| schedule::phase(meta), |app| digest::number(&app.uid))
    }

    fn sources_unchanged(input: &PlanInput<'_, Self>) -> bool {
        update::is_up_to_date(input)
    }
}

type SecretInput<'a> = PlanInput<'a, SpiceSecret>;

/// What comes next.
enum Next {
    /// Something is to be read first.
    Read(SecretRead),
    /// This is to be done.
    Do(Box<Plan<SpiceSecret>>),
}

impl From<Plan<SpiceSecret>> for Next {
    fn from(plan: Plan<SpiceSecret>) -> Self {
        Self::Do(Box::new(plan))
    }
}

fn next(input: &SecretInput<'_>) -> Next {
    if input.deleting() { delete::next(input) } else { update::next(input) }
}

fn no_op(input: &SecretInput<'_>, outcome: Outcome) -> Next {
    Plan::no_op(input.status, outcome).into()
}

/// The app, if it is there.
fn app(observed: &SecretObserved) -> Option<&ParentApp> {
    match &observed.app {
        Some(Observed::Present(app)) => Some(app),
        _ => None,
    }
}

/// The id of the key of digests.
fn key<'a>(input: &SecretInput<'a>) -> &'a str {
    match &input.observed.key {
        Some(Observed::Present(key)) => key,
        _ => "",
    }
}

/// Why nothing may be set in the app by objects of this namespace, if so. What was set is still deleted.
fn not_admitted(app: &ParentApp) -> Option<&String> {
    app.organization.as_ref()?.not_allowed.as_ref()
}

/// Why the organization of the app cannot be used, if it cannot.
fn no_organization(app: &ParentApp) -> Option<String> {
    let name = &app.organization_name;
    let Some(organization) = &app.organization else {
        return Some(format!("SpiceOrganization {name} does not exist"));
    };
    let bound = |pin: &String| app.recorded_in.as_ref().is_some_and(|recorded| !super::app::same_pin(recorded, pin));
    match organization {
        OrganizationView { suspended: true, .. } => Some(format!("SpiceOrganization {name} is suspended")),
        OrganizationView { unusable: Some(why), .. } => Some(format!("SpiceOrganization {name} is not ready: {why}")),
        OrganizationView { pin: Some(pin), .. } if bound(pin) => {
            Some(format!("SpiceOrganization {name} leads to another organization than the app was recorded in"))
        }
        OrganizationView { .. } => None,
    }
}

/// The earliest time at which an answer may have been begun that a write rests on.
fn max_read_age(input: &SecretInput<'_>) -> Timestamp {
    input.now.checked_sub(input.timings.max_read_age).unwrap_or(Timestamp::MIN)
}

/// The answer that shows whose the app is, if it is fresh enough.
fn shown<'a>(input: &SecretInput<'a>) -> Option<&'a Observed<Observation<Arc<App>>>> {
    let fresh = |shown: &&Observed<Observation<Arc<App>>>| match shown {
        Observed::Present(seen) => seen.started_at >= max_read_age(input),
        Observed::Absent | Observed::Unknown(_) => true,
    };
    input.observed.shown.as_ref().filter(fresh)
}

/// Whether an answer shows our name and our owner.
fn is_ours(input: &SecretInput<'_>, app: &ParentApp, shown: &App) -> bool {
    let owner = shown.tag(OWNER_TAG);
    let ours = owner == Some(input.desired.owner.as_str()) || (owner.is_none() && app.tags_unsupported);
    ours && shown.name.eq_ignore_ascii_case(&app.name)
}

fn read_failed(error: &ApiError, scope: &str) -> Outcome {
    errors::read_failed(error, scope)
}
