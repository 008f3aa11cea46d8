//! The organization that an object is bound to. The first successful identity read binds the object. From then on, the
//! operator calls no other organization: a credential or an endpoint of another organization changes nothing until a
//! user accepts the change.

use super::input::{OrganizationInput, unreachable};
use crate::api::{ACCEPT_ORGANIZATION, OrganizationStatus, Reason};
use crate::management::types::{AccessibleOrganization, ApiError, ErrorKind, canonical_endpoint};
use crate::planner::messages::list_items;
use crate::planner::observation::Observed;
use crate::planner::outcome::{Outcome, Retry};
use crate::planner::status::annotation;

/// Path of the identity read, as in `status.unavailablePaths`.
pub(super) const ORGANIZATIONS: &str = "/v1/orgs";
/// Maximum number of organizations in a message.
const MAX_SHOWN_ORGANIZATIONS: usize = 10;

/// An organization at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OrganizationBinding {
    /// In its canonical form.
    pub(super) endpoint: String,
    /// None if the API returns no organizations.
    pub(super) organization: Option<OrganizationStatus>,
}

/// The binding that follows from the identity read, or the outcome that prevents every other read.
pub(super) fn check(input: &OrganizationInput<'_>) -> Result<OrganizationBinding, Outcome> {
    let organization = match input.observed.organizations.as_ref() {
        Some(Observed::Present(read)) => Some(select_organization(&read.value, input.desired.organization.as_deref())?),
        Some(Observed::Unknown(error)) if lacks_identity_read(input, error) => None,
        Some(Observed::Unknown(error)) => return Err(unreachable(input, error)),
        Some(Observed::Absent) | None => {
            let error = ApiError::local(ErrorKind::InvalidResponse, "The organizations were not read");
            return Err(unreachable(input, &error));
        }
    };
    let found = OrganizationBinding { endpoint: canonical_endpoint(&input.desired.endpoint), organization };
    match mismatch(input, &found).filter(|_| !is_accepted(input, &found)) {
        Some(message) => Err(Outcome::Stalled(Reason::OrganizationMismatch, message)),
        None => Ok(found),
    }
}

/// Returns true if the API has no identity read, as in older versions. If the endpoint had the read before, a 404 of a
/// proxy does not count.
fn lacks_identity_read(input: &OrganizationInput<'_>, error: &ApiError) -> bool {
    let ErrorKind::NotFound { json } = error.kind else { return false };
    let had_read = input.status.organization.is_some() && is_endpoint_bound(input);
    json || !had_read
}

/// Returns true if the object is bound to the endpoint of the spec and no acceptance is pending, as far as is known
/// without a request.
pub(super) fn is_bound(input: &OrganizationInput<'_>) -> bool {
    let has_acceptance = annotation(input.meta, ACCEPT_ORGANIZATION).is_some();
    is_endpoint_bound(input) && (!has_acceptance || input.is_ready() || input.is_deleting())
}

/// Returns true if the object is bound to the endpoint of the spec.
fn is_endpoint_bound(input: &OrganizationInput<'_>) -> bool {
    let bound = input.status.endpoint.as_deref().map(canonical_endpoint);
    bound == Some(canonical_endpoint(&input.desired.endpoint))
}

/// The one accessible organization, or the one that the spec names.
fn select_organization(
    accessible: &[AccessibleOrganization],
    requested: Option<&str>,
) -> Result<OrganizationStatus, Outcome> {
    let is_requested = |one: &&AccessibleOrganization| match (requested, &one.name) {
        (Some(requested), Some(name)) => name.eq_ignore_ascii_case(requested),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let found: Vec<&AccessibleOrganization> = accessible.iter().filter(is_requested).collect();
    let stalled = |message: String| Err(Outcome::Stalled(Reason::InvalidSpec, message));
    match (found.as_slice(), requested) {
        ([one], _) => Ok(OrganizationStatus { id: one.id.clone(), name: one.name.clone() }),
        ([], None) => {
            let message = "The credential is valid but has no access to any organization. Replace the credential, or \
                           grant access to its user or client";
            Err(Outcome::WriteFailed(Reason::Forbidden, message.to_owned(), Retry::Backoff))
        }
        ([], Some(requested)) => stalled(format!(
            "The credential has no access to organization \"{requested}\". Correct spec.organization or the credential. \
             Accessible organizations: {}",
            names(accessible)
        )),
        // Requests name the organization by its handle, so an ID cannot select one of them.
        (several, Some(requested)) => stalled(format!(
            "The credential has access to several organizations named \"{requested}\": {}. Use a credential with access \
             to only one of them",
            ids(several)
        )),
        (_, None) => stalled(format!(
            "The credential has access to several organizations. Set spec.organization to one of: {}",
            names(accessible)
        )),
    }
}

fn names(accessible: &[AccessibleOrganization]) -> String {
    let mut names: Vec<&str> = accessible.iter().map(|one| one.name.as_deref().unwrap_or(&one.id)).collect();
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { list_items(names, MAX_SHOWN_ORGANIZATIONS) }
}

fn ids(organizations: &[&AccessibleOrganization]) -> String {
    let mut ids: Vec<String> = organizations.iter().map(|one| format!("id {}", one.id)).collect();
    ids.sort_unstable();
    list_items(ids.iter().map(String::as_str), MAX_SHOWN_ORGANIZATIONS)
}

/// Message if the object is bound to another organization or endpoint than the one found.
fn mismatch(input: &OrganizationInput<'_>, found: &OrganizationBinding) -> Option<String> {
    let bound_endpoint = input.status.endpoint.as_deref()?;
    let bound_organization = input.status.organization.as_ref();
    let is_same_organization = match (bound_organization, &found.organization) {
        (Some(bound), Some(found)) => bound.id == found.id,
        // A newer version of the API returns its organizations.
        (None, _) => true,
        (Some(_), None) => false,
    };
    let is_same_endpoint = is_endpoint_bound(input);
    if is_same_endpoint && is_same_organization {
        return None;
    }
    let (found_name, bound_name) =
        (display_organization(found.organization.as_ref()), display_organization(bound_organization));
    let acceptance = format!("set annotation {ACCEPT_ORGANIZATION}={} to accept the change", acceptance_value(found));
    Some(if is_same_endpoint {
        format!(
            "The credential now resolves to {found_name}, but this object is bound to {bound_name}. Restore the \
             credential, or {acceptance}"
        )
    } else {
        format!(
            "spec.endpoint now resolves to {found_name} at {}, but this object is bound to {bound_name} at \
             {bound_endpoint}. Restore spec.endpoint, or {acceptance}",
            found.endpoint
        )
    })
}

fn display_organization(organization: Option<&OrganizationStatus>) -> String {
    match organization {
        Some(OrganizationStatus { id, name: Some(name) }) => format!("organization \"{name}\" (id {id})"),
        Some(OrganizationStatus { id, name: None }) => format!("the organization with id {id}"),
        None => "an organization that the API does not name".to_owned(),
    }
}

/// Returns true if a user accepted the binding found.
fn is_accepted(input: &OrganizationInput<'_>, found: &OrganizationBinding) -> bool {
    annotation(input.meta, ACCEPT_ORGANIZATION).map(str::trim).is_some_and(|value| match &found.organization {
        Some(organization) => value == organization.id,
        None => canonical_endpoint(value) == found.endpoint,
    })
}

/// Value of the annotation that accepts the binding found: its organization ID, or else its endpoint.
fn acceptance_value(found: &OrganizationBinding) -> &str {
    found.organization.as_ref().map_or(&found.endpoint, |organization| &organization.id)
}
