//! Who is asking, and whether they may (contract, sections 2, 3 and 5).
//!
//! A handler gets at the organization's data only through a [`Caller`], and a [`Caller`] only by naming the scope, so that no
//! endpoint can forget either check or change their order.

use axum::http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::credentials::CredentialStore;
use crate::sandbox::model::profile::{Profile, SubscriptionPlan};
use crate::sandbox::settings::config::{CredentialConfig, OrganizationConfig, OrganizationRole, SandboxConfig};
use crate::sandbox::wire::error::ErrorResponse;

/// Names another organization than the one that the credential was made for.
pub(crate) const ORGANIZATION_HEADER: &str = "X-Org-Name";

/// What the credential of a request turned out to be. The gateway puts it beside the request.
#[derive(Clone)]
pub(crate) enum RequestIdentity {
    /// A credential the sandbox knows.
    Authenticated(CredentialConfig),
    /// None, or none that is of use; the text says why.
    Rejected(&'static str),
}

impl RequestIdentity {
    /// Looks up the bearer token of a request.
    pub(crate) fn from_headers(headers: &HeaderMap, credentials: &CredentialStore, now: Timestamp) -> Self {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Self::Rejected("Missing Authorization header");
        };
        let token = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
            let token = token.trim();
            (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
        });
        let Some(token) = token else {
            return Self::Rejected("Invalid token format");
        };
        match credentials.authenticate(token, now) {
            Ok(credential) => Self::Authenticated(credential),
            Err(why) => Self::Rejected(why),
        }
    }

    /// The name of the credential, if it is known.
    pub(crate) fn credential_name(&self) -> Option<&str> {
        match self {
            Self::Authenticated(credential) => Some(&credential.name),
            Self::Rejected(_) => None,
        }
    }
}

/// The organizations that a credential reaches, with the role there: those of its user, or its own.
pub(crate) fn accessible_organizations<'a>(
    config: &'a SandboxConfig,
    credential: &CredentialConfig,
) -> impl Iterator<Item = (&'a OrganizationConfig, OrganizationRole)> {
    let user = config.users.iter().find(|user| credential.user == Some(user.id));
    let is_machine = credential.user.is_none();
    let (own, narrowed) = (credential.organization.clone(), credential.narrowed);
    config.organizations.iter().filter_map(move |organization| {
        if narrowed && !organization.is_called(&own) {
            return None;
        }
        let membership =
            user.and_then(|user| user.memberships.iter().find(|member| organization.is_called(&member.organization)));
        let role = match membership {
            Some(membership) => membership.role,
            None if is_machine && organization.is_called(&own) => OrganizationRole::Owner,
            None => return None,
        };
        Some((organization, role))
    })
}

/// The organization that a request acts on: the credential's own, unless the header names another within its reach.
/// The first API knows no such header.
pub(crate) fn target_organization<'a>(
    config: &'a SandboxConfig,
    credential: &CredentialConfig,
    headers: &HeaderMap,
) -> Result<(&'a OrganizationConfig, OrganizationRole), ErrorResponse> {
    let mut asked = headers.get_all(ORGANIZATION_HEADER).iter();
    let named = if config.switches.profile == Profile::Legacy { None } else { asked.next() };
    let Some(handle) = named else {
        let own = accessible_organizations(config, credential)
            .find(|(organization, _)| organization.is_called(&credential.organization));
        return own.ok_or_else(|| ErrorResponse::new(StatusCode::UNAUTHORIZED, "Invalid token"));
    };
    let handle = handle.to_str().map(str::trim).ok().filter(|handle| is_valid_handle(handle));
    let (Some(handle), None) = (handle, asked.next()) else {
        let refusal = ErrorResponse::invalid_parameter("X-Org-Name must be the handle of one organization");
        return Err(refusal.with_code("invalid_org_assertion"));
    };
    find_accessible_organization(config, credential, handle)
}

/// An organization that the credential reaches, by its handle.
pub(crate) fn find_accessible_organization<'a>(
    config: &'a SandboxConfig,
    credential: &CredentialConfig,
    handle: &str,
) -> Result<(&'a OrganizationConfig, OrganizationRole), ErrorResponse> {
    let found = accessible_organizations(config, credential).find(|(organization, _)| organization.is_called(handle));
    // What is missing and what is invisible look alike.
    found.ok_or_else(|| match credential.user {
        None => ErrorResponse::new(StatusCode::FORBIDDEN, "The OAuth client belongs to another organization")
            .with_code("org_assertion_mismatch"),
        Some(_) => ErrorResponse::new(StatusCode::FORBIDDEN, format!("Organization {handle:?} is not accessible"))
            .with_code("org_forbidden"),
    })
}

fn is_valid_handle(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|other| other.is_ascii_alphanumeric() || ".-_".contains(other))
}

/// Someone who may do what they ask for.
pub(crate) struct Caller {
    /// The organization the request acts on.
    pub(crate) organization: u64,
    /// The user behind it; none for a machine.
    pub(crate) user: Option<u64>,
    /// What the organization may have.
    pub(crate) plan: SubscriptionPlan,
}
