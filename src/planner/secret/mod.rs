//! Plans for SpiceSecret: secrets of an app that follow a Kubernetes Secret.

mod claims;
mod content;
mod delete;
mod entries;
mod judge;
mod keep;
mod tell;
mod validate;

#[cfg(test)]
mod tests;

pub use content::Values;
pub use validate::{SecretDesired, names_asked_for};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::app::{OWNER_TAG, Organization};
use super::failure::{self, Call};
use super::{Common, End, Identity, Kind, KubernetesWrite, Note, Observed, Plan, Retry, Seen, Verdict, View, Waits};
use super::{digest, schedule};
use crate::api::{DeletionPolicy, Reason, SecretEntry, SourceVersion, SpiceSecret, SpiceSecretStatus};
use crate::management::types::{App, Failure, FailureKind, PutSecret, Secret, SecretList};

/// Secrets that one batch sets or deletes at most: what it rests on must not grow old while it is sent.
const LARGEST_BATCH: usize = 50;

/// What was seen of secrets and of what they depend on.
#[derive(Debug, Default)]
pub struct SecretObserved {
    /// The app that they are in, from the cache.
    pub app: Option<Observed<AppFacts>>,
    /// Other SpiceSecrets of the app, from the cache.
    pub others: Option<Vec<Arc<OtherSecret>>>,
    /// The Kubernetes Secret, in the version that the cache shows.
    pub source: Option<Observed<SourceVersion>>,
    /// The id of the key of digests; absent as long as it could be neither read nor made.
    pub key: Option<Observed<String>>,
    /// What the Kubernetes Secret holds.
    pub values: Option<Observed<Values>>,
    /// The app as the API shows it. Absent here is one 404: it takes the list of apps to make it an absence.
    pub shown: Option<Observed<Seen<Arc<App>>>>,
    /// The app's secrets as the API lists them.
    pub list: Option<Observed<Seen<Arc<SecretList>>>>,
    /// The complete list of apps.
    pub apps: Option<Observed<Seen<Arc<Vec<App>>>>>,
    /// Whether our CustomResourceDefinition is being deleted.
    pub definition_deleting: Option<Observed<bool>>,
    /// Writes of this visit that did not end well, by name.
    pub failed: BTreeMap<String, Failure>,
    /// Secrets that were set in this visit.
    pub set: BTreeSet<String>,
}

/// What is to be known of an app by its secrets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AppFacts {
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
    pub untagged: bool,
    /// Why nothing is to be set in it now, if so.
    pub unready: Option<String>,
    /// The organization that it is recorded in.
    pub recorded_in: Option<String>,
    /// How the organization is called.
    pub organization_name: String,
    /// Its organization; none if that is gone.
    pub organization: Option<Organization>,
}

/// Another SpiceSecret of the same app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherSecret {
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
    Others,
    /// The version of the Kubernetes Secret, from the cache.
    Source,
    /// The id of the key of digests.
    Key,
    /// What the Kubernetes Secret holds.
    Values,
    /// The app of this id, as it was at this time or later.
    Shown(i64, Timestamp),
    /// The secrets of the app of this id, as they were at this time or later.
    List(i64, Timestamp),
    /// The complete list of apps, as it was at this time or later.
    Apps(Timestamp),
    /// Whether our CustomResourceDefinition is being deleted.
    Definition,
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
        rests_on: Timestamp,
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
        rests_on: Timestamp,
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
    pub fn rests_on(&self) -> Timestamp {
        match self {
            Self::Set { rests_on, .. } | Self::Delete { rests_on, .. } => *rests_on,
        }
    }
}

/// How each write of a batch ended, by name, as far as the batch went: what a set secret is since, nothing after a delete.
pub type SecretAnswer = Vec<(String, Result<Option<Secret>, Failure>)>;

impl Kind for SpiceSecret {
    type Desired = SecretDesired;
    type Status = SpiceSecretStatus;
    type Observed = SecretObserved;
    type Read = SecretRead;
    type Write = SecretWrite;
    type Answer = SecretAnswer;

    const NAME: &'static str = "SpiceSecret";

    fn desired(&self, identity: &Identity) -> SecretDesired {
        SecretDesired::of(self, identity)
    }

    fn stored_status(&self) -> Option<&SpiceSecretStatus> {
        self.status.as_ref()
    }

    fn needs(view: &View<'_, Self>) -> Vec<SecretRead> {
        match next(view) {
            Next::Read(read) => vec![read],
            Next::Do(_) => Vec::new(),
        }
    }

    fn plan(view: &View<'_, Self>) -> Plan<Self> {
        match next(view) {
            Next::Do(plan) => *plan,
            Next::Read(read) => Plan::idle(view.status, Verdict::Working(format!("waiting for {read:?}"))),
        }
    }

    fn learn(
        status: &mut SpiceSecretStatus,
        observed: &mut SecretObserved,
        write: &SecretWrite,
        end: &End<SecretAnswer>,
    ) {
        let answer = match &end.result {
            Ok(answer) => answer.clone(),
            Err(failure) => write.first().map(|name| (name.to_owned(), Err(failure.clone()))).into_iter().collect(),
        };
        for (name, result) in &answer {
            match (write, result) {
                (SecretWrite::Set { app, secrets, .. }, Ok(Some(shown))) => {
                    let Some(set) = secrets.iter().find(|set| set.body.name == *name) else { continue };
                    status.app_id = Some(*app);
                    let entry = SecretEntry { updated_at: shown.updated_at.clone(), ..set.entry.clone() };
                    entries::record(&mut status.entries, entry);
                    status.drift.retain(|drifted| drifted != name);
                    observed.set.insert(name.clone());
                }
                (SecretWrite::Delete { .. }, Ok(_)) => {
                    status.entries.retain(|entry| entry.name != *name);
                    status.held.retain(|held| held.name != *name);
                }
                (SecretWrite::Set { .. }, Ok(None)) => {}
                (write, Err(failure)) => {
                    if let SecretWrite::Set { secrets, .. } = write {
                        let first = secrets.iter().any(|set| set.first && set.body.name == *name);
                        if !failure.proves_not_applied() {
                            // It may be there with another value than is recorded: it is set again, whatever that is by then.
                            let known = status.entries.iter_mut().filter(|entry| entry.name == *name);
                            known.for_each(|entry| entry.digest = None);
                        } else if first {
                            // Nothing of ours is there, so nothing is to be taken for ours.
                            status.entries.retain(|entry| entry.name != *name);
                        }
                    }
                    observed.failed.insert(name.clone(), failure.clone());
                }
            }
        }
        // What was recorded in this plan and not reached stays to be set, and nothing of it can be there.
        if let SecretWrite::Set { secrets, .. } = write {
            let reached = |name: &String| answer.iter().any(|(reached, _)| reached == name);
            let unreached = secrets.iter().filter(|set| set.first && !reached(&set.body.name));
            for set in unreached {
                status.entries.retain(|entry| entry.name != set.body.name);
            }
        }
    }

    fn failed(write: &SecretWrite, failure: &Failure, waits: &Waits) -> Option<Verdict> {
        let call = match write {
            SecretWrite::Set { .. } => Call::Write,
            SecretWrite::Delete { .. } => Call::Delete,
        };
        let verdict = failure::failed(failure, call, "secrets:write", waits);
        Some(match write.first() {
            Some(name) => tell::about(name, verdict),
            None => verdict,
        })
    }

    fn corrected(write: &SecretWrite, answer: &SecretAnswer) -> Vec<String> {
        let SecretWrite::Set { corrects, .. } = write else { return Vec::new() };
        let put_back = answer.iter().filter(|(name, result)| result.is_ok() && corrects.contains(name));
        put_back.map(|(name, _)| name.clone()).collect()
    }

    fn touched(write: &SecretWrite, end: &End<SecretAnswer>) -> Vec<String> {
        match &end.result {
            Ok(answer) => answer.iter().map(|(name, _)| name.clone()).collect(),
            Err(_) => write.first().map(str::to_owned).into_iter().collect(),
        }
    }

    fn done(write: &SecretWrite, answer: &SecretAnswer) -> Vec<Note> {
        tell::done(write, answer)
    }

    fn drift(status: &SpiceSecretStatus) -> &[String] {
        &status.drift
    }

    fn stored_at_once(_: &SecretWrite) -> bool {
        false
    }

    fn carry_facts(from: &SpiceSecretStatus, to: &mut SpiceSecretStatus) {
        let SpiceSecretStatus {
            observed_generation: _,
            conditions: _,
            last_handled_reconcile_at: _,
            app_id,
            entries,
            held,
            drift,
            sources,
        } = from.clone();
        (to.app_id, to.entries, to.held) = (app_id, entries, held);
        (to.drift, to.sources) = (drift, sources);
    }

    fn common(status: &mut SpiceSecretStatus) -> Common<'_> {
        Common {
            observed_generation: &mut status.observed_generation,
            conditions: &mut status.conditions,
            last_handled: &mut status.last_handled_reconcile_at,
        }
    }

    fn sources(view: &View<'_, Self>) -> Vec<SourceVersion> {
        keep::sources(view)
    }

    fn taken_up(status: &SpiceSecretStatus) -> &[SourceVersion] {
        &status.sources
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

    fn in_date(view: &View<'_, Self>) -> bool {
        keep::in_date(view)
    }
}

type SecretView<'a> = View<'a, SpiceSecret>;

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

fn next(view: &SecretView<'_>) -> Next {
    if view.deleting() { delete::next(view) } else { keep::next(view) }
}

fn idle(view: &SecretView<'_>, verdict: Verdict) -> Next {
    Plan::idle(view.status, verdict).into()
}

/// The app, if it is there.
fn app(observed: &SecretObserved) -> Option<&AppFacts> {
    match &observed.app {
        Some(Observed::Present(app)) => Some(app),
        _ => None,
    }
}

/// The id of the key of digests.
fn key<'a>(view: &SecretView<'a>) -> &'a str {
    match &view.observed.key {
        Some(Observed::Present(key)) => key,
        _ => "",
    }
}

/// Why nothing may be set in the app by objects of this namespace, if so. What was set is still deleted.
fn not_admitted(app: &AppFacts) -> Option<&String> {
    app.organization.as_ref()?.not_allowed.as_ref()
}

/// Why the organization of the app cannot be used, if it cannot.
fn no_organization(app: &AppFacts) -> Option<String> {
    let name = &app.organization_name;
    let Some(organization) = &app.organization else {
        return Some(format!("SpiceOrganization {name} does not exist"));
    };
    let bound = |pin: &String| app.recorded_in.as_ref().is_some_and(|recorded| !super::app::same_pin(recorded, pin));
    match organization {
        Organization { suspended: true, .. } => Some(format!("SpiceOrganization {name} is suspended")),
        Organization { unusable: Some(why), .. } => Some(format!("SpiceOrganization {name} is not ready: {why}")),
        Organization { pin: Some(pin), .. } if bound(pin) => {
            Some(format!("SpiceOrganization {name} leads to another organization than the app was recorded in"))
        }
        Organization { .. } => None,
    }
}

/// The earliest time at which an answer may have been begun that a write rests on.
fn evidence(view: &SecretView<'_>) -> Timestamp {
    view.now.checked_sub(view.waits.evidence).unwrap_or(Timestamp::MIN)
}

/// The answer that shows whose the app is, if it is fresh enough.
fn shown<'a>(view: &SecretView<'a>) -> Option<&'a Observed<Seen<Arc<App>>>> {
    let fresh = |shown: &&Observed<Seen<Arc<App>>>| match shown {
        Observed::Present(seen) => seen.begun >= evidence(view),
        Observed::Absent | Observed::Unknown(_) => true,
    };
    view.observed.shown.as_ref().filter(fresh)
}

/// Whether an answer shows our name and our owner.
fn is_ours(view: &SecretView<'_>, app: &AppFacts, shown: &App) -> bool {
    let owner = shown.tag(OWNER_TAG);
    let ours = owner == Some(view.desired.owner.as_str()) || (owner.is_none() && app.untagged);
    ours && shown.name.eq_ignore_ascii_case(&app.name)
}

fn unseen(failure: &Failure, scope: &str) -> Verdict {
    failure::unseen(failure, scope)
}
