//! Which organization an object is bound to: found at its first good answer, and from then on the only one that is
//! called. A credential or an endpoint that leads elsewhere changes nothing anywhere until a person means it.

use super::{Observed, PlanInput, unreachable};
use crate::api::{ACCEPT_ORGANIZATION, OrganizationStatus, Reason, SpiceOrganization};
use crate::management::types::{AccessibleOrganization, ApiError, ErrorKind};
use crate::planner::{Outcome, Retry};

/// Path of the identity read, as `status.unavailable_paths` names it.
pub(super) const ORGANIZATIONS: &str = "/v1/orgs";
/// Names of organizations shown in a message.
const SHOWN: usize = 10;

/// What an object may be bound to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrganizationBinding {
    pub(super) endpoint: String,
    /// None where the API does not tell.
    pub(super) organization: Option<OrganizationStatus>,
}

/// What the object is bound to with this answer to the identity read, or why nothing else may be called.
pub(super) fn check(input: &PlanInput<'_, SpiceOrganization>) -> Result<OrganizationBinding, Outcome> {
    let organization = match input.observed.organizations.as_ref() {
        Some(Observed::Present(seen)) => Some(select_organization(&seen.value, input.desired.organization.as_deref())?),
        // An older API lacks this read. Where it has answered before, something in between may answer for it.
        Some(Observed::Unknown(ApiError { kind: ErrorKind::NotFound { json }, .. })) if *json || !is_known(input) => {
            None
        }
        Some(Observed::Unknown(error)) => return Err(unreachable(input, error)),
        Some(Observed::Absent) | None => {
            let nothing = ApiError::local(ErrorKind::InvalidResponse, "the organizations were not read");
            return Err(unreachable(input, &nothing));
        }
    };
    let found = OrganizationBinding { endpoint: normal(&input.desired.endpoint).to_owned(), organization };
    match mismatch(input, &found) {
        Some(_) if accepted(input, &found) => Ok(found),
        Some(message) => Err(Outcome::Stalled(Reason::OrganizationMismatch, message)),
        None => Ok(found),
    }
}

/// Whether the API at this endpoint has told which organization it is.
fn is_known(input: &PlanInput<'_, SpiceOrganization>) -> bool {
    input.status.organization.is_some()
        && input.status.endpoint.as_deref().map(normal) == Some(normal(&input.desired.endpoint))
}

/// Whether nothing is open between what the spec asks for and what the object is bound to, as far as can be told
/// without a call.
pub(super) fn is_bound(input: &PlanInput<'_, SpiceOrganization>) -> bool {
    let bound = input.status.endpoint.as_deref().map(normal);
    let answered = input.meta.annotations.as_ref().is_some_and(|them| them.contains_key(ACCEPT_ORGANIZATION));
    bound == Some(normal(&input.desired.endpoint)) && (!answered || input.is_ready() || input.is_deleting())
}

/// The organization that the object stands for, of those that the credential reaches.
fn select_organization(
    reached: &[AccessibleOrganization],
    wanted: Option<&str>,
) -> Result<OrganizationStatus, Outcome> {
    let named = |one: &&AccessibleOrganization| match (wanted, &one.name) {
        (Some(wanted), Some(name)) => name.eq_ignore_ascii_case(wanted),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let found: Vec<&AccessibleOrganization> = reached.iter().filter(named).collect();
    let stalled = |message: String| Err(Outcome::Stalled(Reason::InvalidSpec, message));
    match (found.as_slice(), wanted) {
        ([one], _) => Ok(OrganizationStatus { id: one.id.clone(), name: one.name.clone() }),
        ([], None) => {
            let message = "the credential is accepted and reaches no organization".to_owned();
            Err(Outcome::WriteFailed(Reason::Forbidden, message, Retry::Backoff))
        }
        ([], Some(wanted)) => {
            stalled(format!("the credential reaches no organization {wanted}, but {}", names(reached)))
        }
        (_, _) => stalled(format!(
            "the credential reaches several organizations: set spec.organization to one of {}",
            names(reached)
        )),
    }
}

fn names(reached: &[AccessibleOrganization]) -> String {
    let mut names: Vec<&str> = reached.iter().map(|one| one.name.as_deref().unwrap_or(&one.id)).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// How what was found differs from what the object is bound to, and what a person can do.
fn mismatch(input: &PlanInput<'_, SpiceOrganization>, found: &OrganizationBinding) -> Option<String> {
    let bound = input.status.endpoint.as_deref()?;
    let (id, name) = (|one: &OrganizationStatus| one.id.clone(), display_organization);
    let same = match (&input.status.organization, &found.organization) {
        (Some(bound), Some(found)) => id(bound) == id(found),
        // An API that tells its organizations now and did not before is a newer version of it.
        (None, _) => true,
        (Some(_), None) => false,
    };
    if normal(bound) == found.endpoint && same {
        return None;
    }
    let was = input.status.organization.as_ref().map_or_else(|| "an organization".to_owned(), name);
    let is = found.organization.as_ref().map_or_else(|| "an organization that the API does not name".to_owned(), name);
    let (endpoint, value) = (&found.endpoint, acceptance_value(found));
    let way_out =
        format!("put back what changed, or annotate with {ACCEPT_ORGANIZATION}={value} to go on with the other");
    Some(format!("bound to {was} at {bound}, and this is {is} at {endpoint}: {way_out}"))
}

fn display_organization(organization: &OrganizationStatus) -> String {
    match &organization.name {
        Some(name) => format!("organization {name} (id {})", organization.id),
        None => format!("organization {}", organization.id),
    }
}

/// Whether a person has accepted what was found.
fn accepted(input: &PlanInput<'_, SpiceOrganization>, found: &OrganizationBinding) -> bool {
    let value = input.meta.annotations.as_ref().and_then(|annotations| annotations.get(ACCEPT_ORGANIZATION));
    value.is_some_and(|value| normal(value.trim()) == acceptance_value(found))
}

/// The value of the annotation that accepts what was found.
fn acceptance_value(found: &OrganizationBinding) -> &str {
    found.organization.as_ref().map_or(&found.endpoint, |organization| &organization.id)
}

/// A slash at the end makes no other endpoint.
fn normal(endpoint: &str) -> &str {
    endpoint.trim_end_matches('/')
}
