//! Which organization an object is bound to: found at its first good answer, and from then on the only one that is
//! called. A credential or an endpoint that leads elsewhere changes nothing anywhere until a person means it.

use super::{Observed, View, unreachable_verdict};
use crate::api::{ACCEPT_ORGANIZATION, OrganizationStatus, Reason, SpiceOrganization};
use crate::management::types::{Failure, FailureKind, Reached};
use crate::planner::{Retry, Verdict};

/// Path of the identity read, as `status.missing` names it.
pub(super) const ORGANIZATIONS: &str = "/v1/orgs";
/// Names of organizations shown in a message.
const SHOWN: usize = 10;

/// What an object may be bound to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) endpoint: String,
    /// None where the API does not tell.
    pub(super) organization: Option<OrganizationStatus>,
}

/// What the object is bound to with this answer to the identity read, or why nothing else may be called.
pub(super) fn judge(view: &View<'_, SpiceOrganization>) -> Result<Pin, Verdict> {
    let organization = match view.observed.organizations.as_ref() {
        Some(Observed::Present(seen)) => Some(chosen(&seen.value, view.desired.organization.as_deref())?),
        // An older API lacks this read. Where it has answered before, something in between may answer for it.
        Some(Observed::Unknown(Failure { kind: FailureKind::NotFound { json }, .. })) if *json || !has_told(view) => {
            None
        }
        Some(Observed::Unknown(failure)) => return Err(unreachable_verdict(view, failure)),
        Some(Observed::Absent) | None => {
            let nothing = Failure::local(FailureKind::Unexpected, "the organizations were not read");
            return Err(unreachable_verdict(view, &nothing));
        }
    };
    let found = Pin { endpoint: normal(&view.desired.endpoint).to_owned(), organization };
    match differs(view, &found) {
        Some(_) if accepted(view, &found) => Ok(found),
        Some(words) => Err(Verdict::Stalled(Reason::OrganizationMismatch, words)),
        None => Ok(found),
    }
}

/// Whether the API at this endpoint has told which organization it is.
fn has_told(view: &View<'_, SpiceOrganization>) -> bool {
    view.status.organization.is_some()
        && view.status.endpoint.as_deref().map(normal) == Some(normal(&view.desired.endpoint))
}

/// Whether nothing is open between what the spec asks for and what the object is bound to, as far as can be told
/// without a call.
pub(super) fn is_settled(view: &View<'_, SpiceOrganization>) -> bool {
    let bound = view.status.endpoint.as_deref().map(normal);
    let answered = view.meta.annotations.as_ref().is_some_and(|them| them.contains_key(ACCEPT_ORGANIZATION));
    bound == Some(normal(&view.desired.endpoint)) && (!answered || view.achieved() || view.deleting())
}

/// The organization that the object stands for, of those that the credential reaches.
fn chosen(reached: &[Reached], wanted: Option<&str>) -> Result<OrganizationStatus, Verdict> {
    let named = |one: &&Reached| match (wanted, &one.name) {
        (Some(wanted), Some(name)) => name.eq_ignore_ascii_case(wanted),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let found: Vec<&Reached> = reached.iter().filter(named).collect();
    let stalled = |words: String| Err(Verdict::Stalled(Reason::InvalidSpec, words));
    match (found.as_slice(), wanted) {
        ([one], _) => Ok(OrganizationStatus { id: one.id.clone(), name: one.name.clone() }),
        ([], None) => {
            let words = "the credential is accepted and reaches no organization".to_owned();
            Err(Verdict::Failed(Reason::Forbidden, words, Retry::Backoff))
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

fn names(reached: &[Reached]) -> String {
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
fn differs(view: &View<'_, SpiceOrganization>, found: &Pin) -> Option<String> {
    let bound = view.status.endpoint.as_deref()?;
    let (id, name) = (|one: &OrganizationStatus| one.id.clone(), described);
    let same = match (&view.status.organization, &found.organization) {
        (Some(bound), Some(found)) => id(bound) == id(found),
        // An API that tells its organizations now and did not before is a newer version of it.
        (None, _) => true,
        (Some(_), None) => false,
    };
    if normal(bound) == found.endpoint && same {
        return None;
    }
    let was = view.status.organization.as_ref().map_or_else(|| "an organization".to_owned(), name);
    let is = found.organization.as_ref().map_or_else(|| "an organization that the API does not name".to_owned(), name);
    let (endpoint, value) = (&found.endpoint, accepting(found));
    let way_out =
        format!("put back what changed, or annotate with {ACCEPT_ORGANIZATION}={value} to go on with the other");
    Some(format!("bound to {was} at {bound}, and this is {is} at {endpoint}: {way_out}"))
}

fn described(organization: &OrganizationStatus) -> String {
    match &organization.name {
        Some(name) => format!("organization {name} (id {})", organization.id),
        None => format!("organization {}", organization.id),
    }
}

/// Whether a person has accepted what was found.
fn accepted(view: &View<'_, SpiceOrganization>, found: &Pin) -> bool {
    let value = view.meta.annotations.as_ref().and_then(|annotations| annotations.get(ACCEPT_ORGANIZATION));
    value.is_some_and(|value| normal(value.trim()) == accepting(found))
}

/// The value of the annotation that accepts what was found.
fn accepting(found: &Pin) -> &str {
    found.organization.as_ref().map_or(&found.endpoint, |organization| &organization.id)
}

/// A slash at the end makes no other endpoint.
fn normal(endpoint: &str) -> &str {
    endpoint.trim_end_matches('/')
}
