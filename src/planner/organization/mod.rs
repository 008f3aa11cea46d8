//! Planner of SpiceOrganization: checks the credential, binds the object to an organization, and discovers the offers
//! of that organization.

mod binding;
mod discovery;
mod input;
mod list_completeness;
#[cfg(test)]
mod tests;
mod validate;

pub use input::{OrganizationDesired, OrganizationObserved, OrganizationRead};
pub use validate::organization_problem;

use std::time::Duration;

use crate::api::{Reason, SourceVersion, SpiceOrganization, SpiceOrganizationStatus, StatusCore};
use crate::management::types::{ApiError, ErrorKind};
use crate::planner::digest::Identity;
use crate::planner::messages::{credential_not_found_message, list_items};
use crate::planner::observation::Observed;
use crate::planner::outcome::{EventRecord, Outcome, Retry};
use crate::planner::resource::{NoRemoteWrite, Plan, ResourcePlanner};
use crate::planner::schedule::Resync;
use input::{OrganizationInput, unreachable};

/// Maximum number of dependents in a message.
const MAX_SHOWN_DEPENDENTS: usize = 3;

impl ResourcePlanner for SpiceOrganization {
    type Desired = OrganizationDesired;
    type Spec = ();
    type Observed = OrganizationObserved;
    type Read = OrganizationRead;
    type Write = NoRemoteWrite;

    const NAME: &'static str = "SpiceOrganization";
    /// A failed check is repeated at its retry time, or with another credential.
    const HOLDS_EVERY_FAILED_WRITE: bool = true;
    /// All dependents wait for the organization, so failures delay no check.
    const RETRIES_WITHIN_INTERVAL: bool = true;

    fn suspend(&self) -> Option<bool> {
        self.spec.suspend
    }

    fn desired(&self, _identity: &Identity) -> OrganizationDesired {
        OrganizationDesired {
            endpoint: self.spec.endpoint.clone(),
            organization: self.spec.organization.clone(),
            secret: self.spec.credentials.secret_name().unwrap_or_default().to_owned(),
            problem: organization_problem(&self.spec),
            interval: self.spec.interval.map(Duration::from),
        }
    }

    fn spec(desired: &OrganizationDesired) -> Result<&(), &str> {
        desired.problem.as_deref().map_or(Ok(&()), Err)
    }

    fn core(status: &SpiceOrganizationStatus) -> &StatusCore {
        &status.core
    }

    fn core_mut(status: &mut SpiceOrganizationStatus) -> &mut StatusCore {
        &mut status.core
    }

    fn copy_external_state(from: &SpiceOrganizationStatus, to: &mut SpiceOrganizationStatus) {
        let SpiceOrganizationStatus {
            core: StatusCore { observed_generation: _, conditions: _, last_handled_reconcile_at: _, observed_sources },
            endpoint,
            organization,
            regions,
            default_region,
            images,
            limits,
            unavailable_paths,
            incomplete_lists,
            apps,
        } = from.clone();
        (to.endpoint, to.organization, to.core.observed_sources) = (endpoint, organization, observed_sources);
        (to.regions, to.default_region, to.apps) = (regions, default_region, apps);
        (to.images, to.limits) = (images, limits);
        (to.unavailable_paths, to.incomplete_lists) = (unavailable_paths, incomplete_lists);
    }

    fn cache_reads(input: &OrganizationInput<'_>) -> Vec<OrganizationRead> {
        match input.observed.apps {
            None => vec![OrganizationRead::Apps, OrganizationRead::SecretDeletion],
            Some(_) => Vec::new(),
        }
    }

    fn required_reads(input: &OrganizationInput<'_>, (): &()) -> Vec<OrganizationRead> {
        match &input.observed.credential {
            None => vec![OrganizationRead::Credential],
            Some(Observed::Present(version))
                if !is_checked(input, version) && !input.observed.finalizer_add_pending =>
            {
                remote_reads(input)
            }
            Some(_) => Vec::new(),
        }
    }

    fn plan(input: &OrganizationInput<'_>, (): &()) -> Plan<Self> {
        let Some(Observed::Present(version)) = &input.observed.credential else {
            let message = credential_not_found_message(&input.desired.secret);
            return input.no_op(Outcome::WriteFailed(Reason::CredentialsMissing, message, Retry::Backoff));
        };
        if input.observed.organizations.is_none() && is_checked(input, version) {
            return list_completeness::record_incomplete_lists(input, input.no_op(Outcome::Skipped));
        }
        if input.observed.finalizer_add_pending {
            let message = format!("Adding the finalizer to Secret \"{}\"", input.desired.secret);
            return input.no_op(Outcome::ReadFailed(Reason::Progressing, message, Retry::Backoff));
        }
        match verified_status(input, version) {
            Ok(status) => list_completeness::record_incomplete_lists(input, Plan::no_op(&status, Outcome::InSync)),
            Err(outcome) => input.no_op(outcome),
        }
    }

    fn deletion_reads(input: &OrganizationInput<'_>) -> Vec<OrganizationRead> {
        match input.observed.dependents.as_deref() {
            None => vec![OrganizationRead::Dependents, OrganizationRead::Apps],
            Some([]) => Vec::new(),
            // A terminating organization serves its dependents to the end, also with a changed credential.
            Some(_) if input.suspended || input.desired.problem.is_some() => Vec::new(),
            Some(_) => Self::required_reads(input, &()),
        }
    }

    fn plan_deletion(input: &OrganizationInput<'_>) -> Plan<Self> {
        match input.observed.dependents.as_deref() {
            Some([]) => input.release(),
            Some(dependents) => Self::complete(input, plan_in_use(input, dependents)),
            None => {
                let message = "Looking for dependents".to_owned();
                input.no_op(Outcome::Terminating(message))
            }
        }
    }

    fn complete(input: &OrganizationInput<'_>, mut plan: Plan<Self>) -> Plan<Self> {
        plan.status.apps = input.observed.apps.or(input.status.apps);
        if let Some(Observed::Present(version)) = &input.observed.credential
            && input.observed.credential_unchanged
        {
            plan.status.core.observed_sources = vec![version.clone()];
        }
        plan
    }

    fn attempted_sources(input: &OrganizationInput<'_>) -> Vec<SourceVersion> {
        input.observed.first_credential.iter().cloned().collect()
    }

    fn notice(input: &OrganizationInput<'_>) -> Option<EventRecord> {
        input.observed.kept_secret_warning.clone()
    }

    fn in_sync_message(input: &OrganizationInput<'_>) -> String {
        match input.status.organization.as_ref().map(|bound| bound.name.as_ref().unwrap_or(&bound.id)) {
            Some(name) => format!("Organization \"{name}\" is reachable"),
            None => "The organization is reachable".to_owned(),
        }
    }

    fn resync(input: &OrganizationInput<'_>) -> Resync {
        Resync::new(input.desired.interval, input.meta)
    }
}

/// Returns true if the last check was for this spec and this credential, and no other check is due.
fn is_checked(input: &OrganizationInput<'_>, credential: &SourceVersion) -> bool {
    let repeats_failed_check = || !input.is_ready() && input.can_skip() && input.repeats_content();
    is_verified(input, credential) || repeats_failed_check()
}

/// Returns true if the last successful check was for this spec and this version of the Secret, and no resync is due.
fn is_verified(input: &OrganizationInput<'_>, credential: &SourceVersion) -> bool {
    (input.can_skip() || input.is_deleting())
        && !input.runtime_state.force_resync
        && (input.observed.credential_unchanged || input.status.core.observed_sources == [credential.clone()])
        && binding::is_bound(input)
}

/// Plans an organization that is being deleted and in use. Records a successful check of the credential, and reports a
/// failed one, because the dependents need the credential for their deletion.
fn plan_in_use(input: &OrganizationInput<'_>, dependents: &[String]) -> Plan<SpiceOrganization> {
    let in_use = format!("In use by {}", list_items(dependents.iter().map(String::as_str), MAX_SHOWN_DEPENDENTS));
    let checked = match &input.observed.credential {
        Some(Observed::Present(version)) if input.observed.organizations.is_some() => verified_status(input, version),
        _ => Ok(input.status.clone()),
    };
    let message = match &checked {
        Err(
            Outcome::WriteFailed(reason, error, _)
            | Outcome::ReadFailed(reason, error, _)
            | Outcome::Stalled(reason, error),
        ) => format!("{in_use}. The credential check failed ({}): {error}", reason.as_str()),
        Ok(_) | Err(_) => in_use,
    };
    Plan::no_op(checked.as_ref().unwrap_or(input.status), Outcome::Terminating(message))
}

/// The reads from the API, in their order.
fn remote_reads(input: &OrganizationInput<'_>) -> Vec<OrganizationRead> {
    let observed = input.observed;
    if observed.organizations.is_none() {
        return vec![OrganizationRead::Organizations];
    }
    // An older API has no organizations endpoint; its regions show whether the credential is accepted.
    let is_rejected = |error: Option<&ApiError>| error.is_some_and(|error| error.kind == ErrorKind::Unauthorized);
    let organizations_error = observed.organizations.as_ref().and_then(Observed::error);
    let regions_error = observed.regions.as_ref().and_then(Observed::error);
    if is_rejected(organizations_error) || is_rejected(regions_error) {
        return if observed.health.is_none() { vec![OrganizationRead::Health] } else { Vec::new() };
    }
    let binding = binding::check(input);
    if observed.limits.is_some() || binding.is_err() {
        return Vec::new();
    }
    match (&observed.regions, binding) {
        (None, _) => vec![OrganizationRead::Regions],
        // Without the regions, the other offers are not read.
        (Some(Observed::Unknown(error)), Ok(binding)) if !can_lack_regions(&binding, error) => Vec::new(),
        _ => {
            let images = discovery::CHANNELS.map(OrganizationRead::Images);
            images.into_iter().chain([OrganizationRead::Limits]).collect()
        }
    }
}

/// Returns true if a failed read of the regions leaves a successful check. Without an organization in the binding, the
/// regions are the read that shows whether the credential is accepted.
fn can_lack_regions(binding: &binding::OrganizationBinding, error: &ApiError) -> bool {
    binding.organization.is_some() && discovery::is_unsupported(error)
}

/// Status after a successful check, or the outcome of a failed one.
fn verified_status(
    input: &OrganizationInput<'_>,
    credential: &SourceVersion,
) -> Result<SpiceOrganizationStatus, Outcome> {
    let binding = binding::check(input)?;
    match &input.observed.regions {
        Some(Observed::Unknown(error)) if !can_lack_regions(&binding, error) => return Err(unreachable(input, error)),
        Some(Observed::Present(_) | Observed::Unknown(_)) => {}
        Some(Observed::Absent) | None => {
            let error = ApiError::local(ErrorKind::InvalidResponse, "The regions were not read");
            return Err(unreachable(input, &error));
        }
    }
    Ok(discovery::discovered_status(input, binding, credential))
}
