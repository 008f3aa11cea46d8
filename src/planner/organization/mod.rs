//! Plans for SpiceOrganization: is the credential accepted, does it lead to the organization that the object is bound to,
//! and what does that offer?

mod lists;
mod offers;
mod pin;
#[cfg(test)]
mod tests;
mod validate;

pub use validate::organization_problem;

use std::collections::BTreeMap;
use std::time::Duration;

use super::failure;
use super::{
    Common, End, Identity, Kind, KubernetesWrite, Observed, Plan, Retry, Seen, Verdict, View, Waits, suspended,
};
use crate::api::{Reason, SourceVersion, SpiceOrganization, SpiceOrganizationStatus};
use crate::management::types::{Failure, FailureKind, Images, Limits, ListEnd, Reached, Regions};

/// What a SpiceOrganization asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct OrganizationDesired {
    endpoint: String,
    organization: Option<String>,
    secret: String,
    /// What is wrong with the spec.
    problem: Option<String>,
    suspended: bool,
    interval: Option<Duration>,
}

/// What was seen of it.
#[derive(Debug, Default)]
pub struct OrganizationObserved {
    /// The credential's Secret, in the version that the cache holds.
    pub credential: Option<Observed<SourceVersion>>,
    /// Whether that Secret is about to get our finalizer, which makes another version of it.
    pub about_to_be_held: bool,
    /// How each list ended that this process has read, by its path.
    pub lists: BTreeMap<String, ListEnd>,
    /// The organizations that it reaches.
    pub organizations: Option<Observed<Seen<Vec<Reached>>>>,
    /// Whether the API is up at all.
    pub health: Option<Observed<()>>,
    /// Where an app can be.
    pub regions: Option<Observed<Seen<Regions>>>,
    /// What an app can run with, by channel.
    pub images: BTreeMap<&'static str, Observed<Seen<Images>>>,
    /// What the plan allows.
    pub limits: Option<Observed<Seen<Limits>>>,
    /// Objects that refer to it, as `Kind name`.
    pub dependants: Option<Vec<String>>,
}

/// A read for a SpiceOrganization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationRead {
    /// The metadata of the credential's Secret, from the cache, and how lists ended that its users have read.
    Credential,
    /// The organizations that the credential reaches: the only call before it is known to lead to the right one.
    Organizations,
    /// Whether the API is up at all: tells a credential that is refused from an API that is down.
    Health,
    /// Where an app can be.
    Regions,
    /// What an app can run with, on a channel.
    Images(&'static str),
    /// What the plan allows.
    Limits,
    /// Who refers to it, from the cache.
    Dependants,
}

/// Nothing of an organization is ever written remotely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationWrite {}

impl Kind for SpiceOrganization {
    type Desired = OrganizationDesired;
    type Status = SpiceOrganizationStatus;
    type Observed = OrganizationObserved;
    type Read = OrganizationRead;
    type Write = OrganizationWrite;
    type Answer = ();

    const NAME: &'static str = "SpiceOrganization";

    fn desired(&self, _identity: &Identity) -> OrganizationDesired {
        OrganizationDesired {
            endpoint: self.spec.endpoint.clone(),
            organization: self.spec.organization.clone(),
            secret: self.spec.credentials.secret().unwrap_or_default().to_owned(),
            problem: organization_problem(&self.spec),
            suspended: suspended(self.spec.suspend, &self.metadata),
            interval: self.spec.interval.map(Duration::from),
        }
    }

    fn stored_status(&self) -> Option<&SpiceOrganizationStatus> {
        self.status.as_ref()
    }

    fn needs(view: &View<'_, Self>) -> Vec<OrganizationRead> {
        if view.deleting() && view.observed.dependants.is_none() {
            return vec![OrganizationRead::Dependants];
        }
        // One that is being deleted serves its users to the end, with whatever credential it is given meanwhile.
        let unused = view.deleting() && view.observed.dependants.as_ref().is_some_and(Vec::is_empty);
        if unused || !view.has_finalizer() || view.desired.suspended || view.desired.problem.is_some() {
            return Vec::new();
        }
        match &view.observed.credential {
            None => vec![OrganizationRead::Credential],
            Some(Observed::Present(version)) if !in_date(view, version) && !view.observed.about_to_be_held => {
                remote_needs(view)
            }
            Some(_) => Vec::new(),
        }
    }

    fn plan(view: &View<'_, Self>) -> Plan<Self> {
        let idle = |verdict| Plan::idle(view.status, verdict);
        if view.deleting() {
            return plan_deletion(view);
        }
        if !view.has_finalizer() {
            let verdict = Verdict::Working("taking the object up".to_owned());
            return Plan::kubernetes(view.status.clone(), KubernetesWrite::AddFinalizer, verdict);
        }
        if view.desired.suspended {
            return idle(Verdict::Suspended);
        }
        if let Some(words) = &view.desired.problem {
            return idle(Verdict::Stalled(Reason::InvalidSpec, words.clone()));
        }
        let Some(Observed::Present(version)) = &view.observed.credential else {
            return idle(Verdict::Failed(Reason::CredentialsMissing, missing_secret(view), Retry::Backoff));
        };
        if view.observed.organizations.is_none() && in_date(view, version) {
            return lists::tell(view, idle(Verdict::Unchanged));
        }
        if view.observed.about_to_be_held {
            let words = format!("taking Secret {} up", view.desired.secret);
            return idle(Verdict::Unseen(Reason::Progressing, words, Retry::Backoff));
        }
        match seen(view, version) {
            Ok(status) => lists::tell(view, Plan::idle(&status, Verdict::Settled)),
            Err(verdict) => idle(verdict),
        }
    }

    fn learn(_: &mut SpiceOrganizationStatus, _: &mut OrganizationObserved, write: &OrganizationWrite, _: &End<()>) {
        match *write {}
    }

    fn failed(write: &OrganizationWrite, _: &Failure, _: &Waits) -> Option<Verdict> {
        match *write {}
    }

    fn corrected(write: &OrganizationWrite, (): &()) -> Vec<String> {
        match *write {}
    }

    fn drift(_: &SpiceOrganizationStatus) -> &[String] {
        &[]
    }

    fn stored_at_once(write: &OrganizationWrite) -> bool {
        match *write {}
    }

    fn carry_facts(from: &SpiceOrganizationStatus, to: &mut SpiceOrganizationStatus) {
        let SpiceOrganizationStatus {
            observed_generation: _,
            conditions: _,
            last_handled_reconcile_at: _,
            endpoint,
            organization,
            regions,
            default_region,
            images,
            limits,
            missing,
            incomplete_lists,
            sources,
        } = from.clone();
        (to.endpoint, to.organization, to.sources) = (endpoint, organization, sources);
        (to.regions, to.default_region) = (regions, default_region);
        (to.images, to.limits, to.missing, to.incomplete_lists) = (images, limits, missing, incomplete_lists);
    }

    fn common(status: &mut SpiceOrganizationStatus) -> Common<'_> {
        Common {
            observed_generation: &mut status.observed_generation,
            conditions: &mut status.conditions,
            last_handled: &mut status.last_handled_reconcile_at,
        }
    }

    /// All that refers to it waits with it, so it is looked at as often as if nothing were amiss.
    fn longest_backoff(interval: Duration, waits: &Waits) -> Duration {
        waits.backoff_max.min(interval)
    }

    fn interval(desired: &OrganizationDesired, _: &OrganizationObserved) -> Option<Duration> {
        desired.interval
    }
}

/// Whether the last good answer was for this spec and this very version of the Secret, and no check is due.
fn in_date(view: &View<'_, SpiceOrganization>, credential: &SourceVersion) -> bool {
    (view.rests() || view.deleting())
        && !view.memory.look_again
        && view.status.sources == [credential.clone()]
        && pin::is_settled(view)
}

fn plan_deletion(view: &View<'_, SpiceOrganization>) -> Plan<SpiceOrganization> {
    if !view.has_finalizer() {
        return Plan::idle(view.status, Verdict::Gone);
    }
    match view.observed.dependants.as_deref() {
        Some([]) => Plan::kubernetes(view.status.clone(), KubernetesWrite::RemoveFinalizer, Verdict::Gone),
        Some(dependants) => Plan::idle(&status_in_use(view), Verdict::Deleting(in_use(dependants))),
        None => Plan::idle(view.status, Verdict::Deleting("looking for objects that use it".to_owned())),
    }
}

/// The status of an organization that is being deleted and in use: with what was seen of it, if anything was.
fn status_in_use(view: &View<'_, SpiceOrganization>) -> SpiceOrganizationStatus {
    match &view.observed.credential {
        Some(Observed::Present(version)) => seen(view, version).unwrap_or_else(|_| view.status.clone()),
        _ => view.status.clone(),
    }
}

/// Names a few of the users: enough to act on, and the message stays short.
fn in_use(dependants: &[String]) -> String {
    let shown = dependants.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = dependants.len().saturating_sub(3);
    if more == 0 { format!("in use by {shown}") } else { format!("in use by {shown} and {more} more") }
}

fn missing_secret(view: &View<'_, SpiceOrganization>) -> String {
    format!("Secret {} does not exist in this namespace", view.desired.secret)
}

/// The reads that need a request, in their order.
fn remote_needs(view: &View<'_, SpiceOrganization>) -> Vec<OrganizationRead> {
    let observed = view.observed;
    if observed.organizations.is_none() {
        return vec![OrganizationRead::Organizations];
    }
    // An older API has no organizations to show, and its regions tell.
    let refused = |failure: Option<&Failure>| failure.is_some_and(|it| it.kind == FailureKind::Unauthorized);
    if refused(unknown(observed.organizations.as_ref())) || refused(unknown(observed.regions.as_ref())) {
        return if observed.health.is_none() { vec![OrganizationRead::Health] } else { Vec::new() };
    }
    let pin = pin::judge(view);
    if observed.limits.is_some() || pin.is_err() {
        return Vec::new();
    }
    match (&observed.regions, pin) {
        (None, _) => vec![OrganizationRead::Regions],
        // Nothing is worth asking for where this failed.
        (Some(Observed::Unknown(failure)), Ok(pin)) if !may_lack(&pin, failure) => Vec::new(),
        _ => offers::CHANNELS.map(OrganizationRead::Images).into_iter().chain([OrganizationRead::Limits]).collect(),
    }
}

/// Why a read told nothing.
fn unknown<T>(observed: Option<&Observed<T>>) -> Option<&Failure> {
    match observed {
        Some(Observed::Unknown(failure)) => Some(failure),
        _ => None,
    }
}

/// Whether this failure to read the regions leaves a good answer. Where no organizations are told, this is the read that tells
/// whether the credential is accepted.
fn may_lack(pin: &pin::Pin, failure: &Failure) -> bool {
    pin.organization.is_some() && offers::lacks(failure)
}

/// The status after a good look, or what is in the way of one.
fn seen(view: &View<'_, SpiceOrganization>, credential: &SourceVersion) -> Result<SpiceOrganizationStatus, Verdict> {
    let pin = pin::judge(view)?;
    let unseen = |failure: &Failure| Err(unreachable_verdict(view, failure));
    match &view.observed.regions {
        Some(Observed::Present(_)) => {}
        Some(Observed::Unknown(failure)) if !may_lack(&pin, failure) => return unseen(failure),
        Some(Observed::Unknown(_)) => {}
        Some(Observed::Absent) | None => {
            return unseen(&Failure::local(FailureKind::Unexpected, "the regions were not read"));
        }
    }
    Ok(offers::discovered(view, pin, credential))
}

/// An unreachable API is told here, once, and not on every object that uses the organization.
fn unreachable_verdict(view: &View<'_, SpiceOrganization>, failure: &Failure) -> Verdict {
    let words = match (&failure.kind, &view.observed.health) {
        (FailureKind::Unauthorized, Some(Observed::Present(()))) => {
            format!("the API is up, and refuses the credential of Secret {}: {failure}", view.desired.secret)
        }
        _ => failure.to_string(),
    };
    if failure.kind == FailureKind::Invalid {
        // What was asked for with these reads comes from the spec: a handle, URLs, certificates.
        return Verdict::Failed(Reason::InvalidSpec, words, Retry::Backoff);
    }
    let failure = Failure { message: words, ..failure.clone() };
    failure::failed(&failure, failure::Call::Read, "apps:read", view.waits)
}
