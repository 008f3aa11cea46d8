//! Plans for SpiceOrganization: is the credential accepted, does it lead to the organization that the object is bound to,
//! and what does that offer?

mod binding;
mod discovery;
mod list_completeness;
#[cfg(test)]
mod tests;
mod validate;

pub use validate::organization_problem;

use std::collections::BTreeMap;
use std::time::Duration;

use super::errors;
use super::{
    CommonStatus, Identity, KubernetesWrite, Observation, Observed, Outcome, Plan, PlanInput, ResourcePlanner, Retry,
    Timings, WriteResult, suspended,
};
use crate::api::{Reason, SourceVersion, SpiceOrganization, SpiceOrganizationStatus};
use crate::management::types::{
    AccessibleOrganization, ApiError, ErrorKind, Images, Limits, ListCompleteness, Regions,
};

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
    pub lists: BTreeMap<String, ListCompleteness>,
    /// The organizations that it reaches.
    pub organizations: Option<Observed<Observation<Vec<AccessibleOrganization>>>>,
    /// Whether the API is up at all.
    pub health: Option<Observed<()>>,
    /// Where an app can be.
    pub regions: Option<Observed<Observation<Regions>>>,
    /// What an app can run with, by channel.
    pub images: BTreeMap<&'static str, Observed<Observation<Images>>>,
    /// What the plan allows.
    pub limits: Option<Observed<Observation<Limits>>>,
    /// Objects that refer to it, as `ResourcePlanner name`.
    pub dependents: Option<Vec<String>>,
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
    Dependents,
}

/// Nothing of an organization is ever written remotely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationWrite {}

impl ResourcePlanner for SpiceOrganization {
    type Desired = OrganizationDesired;
    type Status = SpiceOrganizationStatus;
    type Observed = OrganizationObserved;
    type Read = OrganizationRead;
    type Write = OrganizationWrite;
    type Response = ();

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

    fn required_reads(input: &PlanInput<'_, Self>) -> Vec<OrganizationRead> {
        if input.deleting() && input.observed.dependents.is_none() {
            return vec![OrganizationRead::Dependents];
        }
        // One that is being deleted serves its users to the end, with whatever credential it is given meanwhile.
        let unused = input.deleting() && input.observed.dependents.as_ref().is_some_and(Vec::is_empty);
        if unused || !input.has_finalizer() || input.desired.suspended || input.desired.problem.is_some() {
            return Vec::new();
        }
        match &input.observed.credential {
            None => vec![OrganizationRead::Credential],
            Some(Observed::Present(version)) if !is_up_to_date(input, version) && !input.observed.about_to_be_held => {
                remote_reads(input)
            }
            Some(_) => Vec::new(),
        }
    }

    fn plan(input: &PlanInput<'_, Self>) -> Plan<Self> {
        let no_op = |outcome| Plan::no_op(input.status, outcome);
        if input.deleting() {
            return plan_deletion(input);
        }
        if !input.has_finalizer() {
            let outcome = Outcome::InProgress("taking the object up".to_owned());
            return Plan::kubernetes(input.status.clone(), KubernetesWrite::AddFinalizer, outcome);
        }
        if input.desired.suspended {
            return no_op(Outcome::Suspended);
        }
        if let Some(message) = &input.desired.problem {
            return no_op(Outcome::Stalled(Reason::InvalidSpec, message.clone()));
        }
        let Some(Observed::Present(version)) = &input.observed.credential else {
            return no_op(Outcome::WriteFailed(Reason::CredentialsMissing, missing_secret(input), Retry::Backoff));
        };
        if input.observed.organizations.is_none() && is_up_to_date(input, version) {
            return list_completeness::tell(input, no_op(Outcome::Skipped));
        }
        if input.observed.about_to_be_held {
            let message = format!("taking Secret {} up", input.desired.secret);
            return no_op(Outcome::ReadFailed(Reason::Progressing, message, Retry::Backoff));
        }
        match seen(input, version) {
            Ok(status) => list_completeness::tell(input, Plan::no_op(&status, Outcome::InSync)),
            Err(outcome) => no_op(outcome),
        }
    }

    fn apply_write_result(
        _: &mut SpiceOrganizationStatus,
        _: &mut OrganizationObserved,
        write: &OrganizationWrite,
        _: &WriteResult<()>,
    ) {
        match *write {}
    }

    fn on_write_error(write: &OrganizationWrite, _: &ApiError, _: &Timings) -> Option<Outcome> {
        match *write {}
    }

    fn corrected_paths(write: &OrganizationWrite, (): &()) -> Vec<String> {
        match *write {}
    }

    fn drift(_: &SpiceOrganizationStatus) -> &[String] {
        &[]
    }

    fn must_persist_immediately(write: &OrganizationWrite) -> bool {
        match *write {}
    }

    fn copy_external_state(from: &SpiceOrganizationStatus, to: &mut SpiceOrganizationStatus) {
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
            unavailable_paths,
            incomplete_lists,
            observed_sources,
        } = from.clone();
        (to.endpoint, to.organization, to.observed_sources) = (endpoint, organization, observed_sources);
        (to.regions, to.default_region) = (regions, default_region);
        (to.images, to.limits, to.unavailable_paths, to.incomplete_lists) =
            (images, limits, unavailable_paths, incomplete_lists);
    }

    fn common(status: &mut SpiceOrganizationStatus) -> CommonStatus<'_> {
        CommonStatus {
            observed_generation: &mut status.observed_generation,
            conditions: &mut status.conditions,
            last_handled: &mut status.last_handled_reconcile_at,
        }
    }

    /// All that refers to it waits with it, so it is looked at as often as if nothing were amiss.
    fn longest_backoff(interval: Duration, timings: &Timings) -> Duration {
        timings.max_retry_delay.min(interval)
    }

    fn interval(desired: &OrganizationDesired, _: &OrganizationObserved) -> Option<Duration> {
        desired.interval
    }
}

/// Whether the last good answer was for this spec and this very version of the Secret, and no check is due.
fn is_up_to_date(input: &PlanInput<'_, SpiceOrganization>, credential: &SourceVersion) -> bool {
    (input.can_skip() || input.deleting())
        && !input.runtime_state.force_resync
        && input.status.observed_sources == [credential.clone()]
        && binding::is_settled(input)
}

fn plan_deletion(input: &PlanInput<'_, SpiceOrganization>) -> Plan<SpiceOrganization> {
    if !input.has_finalizer() {
        return Plan::no_op(input.status, Outcome::Finalized);
    }
    match input.observed.dependents.as_deref() {
        Some([]) => Plan::kubernetes(input.status.clone(), KubernetesWrite::RemoveFinalizer, Outcome::Finalized),
        Some(dependents) => Plan::no_op(&status_in_use(input), Outcome::Terminating(in_use(dependents))),
        None => Plan::no_op(input.status, Outcome::Terminating("looking for objects that use it".to_owned())),
    }
}

/// The status of an organization that is being deleted and in use: with what was seen of it, if anything was.
fn status_in_use(input: &PlanInput<'_, SpiceOrganization>) -> SpiceOrganizationStatus {
    match &input.observed.credential {
        Some(Observed::Present(version)) => seen(input, version).unwrap_or_else(|_| input.status.clone()),
        _ => input.status.clone(),
    }
}

/// Names a few of the users: enough to act on, and the message stays short.
fn in_use(dependents: &[String]) -> String {
    let shown = dependents.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = dependents.len().saturating_sub(3);
    if more == 0 { format!("in use by {shown}") } else { format!("in use by {shown} and {more} more") }
}

fn missing_secret(input: &PlanInput<'_, SpiceOrganization>) -> String {
    format!("Secret {} does not exist in this namespace", input.desired.secret)
}

/// The reads that need a request, in their order.
fn remote_reads(input: &PlanInput<'_, SpiceOrganization>) -> Vec<OrganizationRead> {
    let observed = input.observed;
    if observed.organizations.is_none() {
        return vec![OrganizationRead::Organizations];
    }
    // An older API has no organizations to show, and its regions tell.
    let refused = |error: Option<&ApiError>| error.is_some_and(|it| it.kind == ErrorKind::Unauthorized);
    if refused(unknown(observed.organizations.as_ref())) || refused(unknown(observed.regions.as_ref())) {
        return if observed.health.is_none() { vec![OrganizationRead::Health] } else { Vec::new() };
    }
    let pin = binding::judge(input);
    if observed.limits.is_some() || pin.is_err() {
        return Vec::new();
    }
    match (&observed.regions, pin) {
        (None, _) => vec![OrganizationRead::Regions],
        // Nothing is worth asking for where this failed.
        (Some(Observed::Unknown(error)), Ok(pin)) if !may_lack(&pin, error) => Vec::new(),
        _ => discovery::CHANNELS.map(OrganizationRead::Images).into_iter().chain([OrganizationRead::Limits]).collect(),
    }
}

/// Why a read told nothing.
fn unknown<T>(observed: Option<&Observed<T>>) -> Option<&ApiError> {
    match observed {
        Some(Observed::Unknown(error)) => Some(error),
        _ => None,
    }
}

/// Whether this failure to read the regions leaves a good answer. Where no organizations are told, this is the read that tells
/// whether the credential is accepted.
fn may_lack(pin: &binding::OrganizationBinding, error: &ApiError) -> bool {
    pin.organization.is_some() && discovery::lacks(error)
}

/// The status after a good look, or what is in the way of one.
fn seen(
    input: &PlanInput<'_, SpiceOrganization>,
    credential: &SourceVersion,
) -> Result<SpiceOrganizationStatus, Outcome> {
    let pin = binding::judge(input)?;
    let read_failed = |error: &ApiError| Err(unreachable_verdict(input, error));
    match &input.observed.regions {
        Some(Observed::Present(_)) => {}
        Some(Observed::Unknown(error)) if !may_lack(&pin, error) => return read_failed(error),
        Some(Observed::Unknown(_)) => {}
        Some(Observed::Absent) | None => {
            return read_failed(&ApiError::local(ErrorKind::InvalidResponse, "the regions were not read"));
        }
    }
    Ok(discovery::discovered(input, pin, credential))
}

/// An unreachable API is told here, once, and not on every object that uses the organization.
fn unreachable_verdict(input: &PlanInput<'_, SpiceOrganization>, error: &ApiError) -> Outcome {
    let message = match (&error.kind, &input.observed.health) {
        (ErrorKind::Unauthorized, Some(Observed::Present(()))) => {
            format!("the API is up, and refuses the credential of Secret {}: {error}", input.desired.secret)
        }
        _ => error.to_string(),
    };
    if error.kind == ErrorKind::Invalid {
        // What was asked for with these reads comes from the spec: a handle, URLs, certificates.
        return Outcome::WriteFailed(Reason::InvalidSpec, message, Retry::Backoff);
    }
    let error = ApiError { message, ..error.clone() };
    errors::call_failed(&error, errors::ApiOperation::Read, "apps:read", input.timings)
}
