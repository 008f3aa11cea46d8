//! Identity behind a request, and the organization of the request.

use axum::http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::credentials::CredentialStore;
use crate::sandbox::model::profile::{Profile, SubscriptionPlan};
use crate::sandbox::settings::config::{CredentialConfig, OrganizationConfig, OrganizationRole, SandboxConfig};
use crate::sandbox::wire::error::ErrorResponse;

/// Request header that selects another organization of the credential.
pub(crate) const ORGANIZATION_HEADER: &str = "X-Org-Name";

/// Result of authentication. The middleware adds the identity to the request as an extension.
#[derive(Clone)]
pub(crate) enum RequestIdentity {
    /// The token belongs to a configured credential.
    Authenticated(CredentialConfig),
    /// The token is missing or invalid. The text is the message of the 401 response.
    Rejected(&'static str),
}

impl RequestIdentity {
    /// Authenticates the bearer token of a request.
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
            Err(message) => Self::Rejected(message),
        }
    }

    /// Returns the name of the credential, if authenticated.
    pub(crate) fn credential_name(&self) -> Option<&str> {
        match self {
            Self::Authenticated(credential) => Some(&credential.name),
            Self::Rejected(_) => None,
        }
    }
}

/// Returns the organizations that a credential can access, with the role in each. The list follows the memberships of
/// the user, or contains only the own organization of an OAuth client.
pub(crate) fn accessible_organizations<'a>(
    config: &'a SandboxConfig,
    credential: &CredentialConfig,
) -> impl Iterator<Item = (&'a OrganizationConfig, OrganizationRole)> {
    let user = config.users.iter().find(|user| credential.user == Some(user.id));
    let (is_oauth_client, narrowed) = (credential.user.is_none(), credential.narrowed);
    let own_organization = credential.organization.clone();
    config.organizations.iter().filter_map(move |organization| {
        let is_own = organization.is_called(&own_organization);
        let mut memberships = user.into_iter().flat_map(|user| &user.memberships);
        let membership = memberships.find(|membership| organization.is_called(&membership.organization));
        let role = match membership {
            Some(membership) => membership.role,
            None if is_oauth_client && is_own => OrganizationRole::Owner,
            None => return None,
        };
        (is_own || !narrowed).then_some((organization, role))
    })
}

/// Returns the organization that a request acts on: the own organization of the credential, or the organization in the
/// `X-Org-Name` header. The legacy API ignores the header.
pub(crate) fn target_organization<'a>(
    config: &'a SandboxConfig,
    credential: &CredentialConfig,
    headers: &HeaderMap,
) -> Result<(&'a OrganizationConfig, OrganizationRole), ErrorResponse> {
    let mut handles = headers.get_all(ORGANIZATION_HEADER).iter();
    let first_handle = if config.switches.profile == Profile::Legacy { None } else { handles.next() };
    let Some(handle) = first_handle else {
        let own_organization = accessible_organizations(config, credential)
            .find(|(organization, _)| organization.is_called(&credential.organization));
        return own_organization.ok_or_else(|| ErrorResponse::new(StatusCode::UNAUTHORIZED, "Invalid token"));
    };
    let handle = handle.to_str().map(str::trim).ok().filter(|handle| is_valid_handle(handle));
    let (Some(handle), None) = (handle, handles.next()) else {
        let response = ErrorResponse::invalid_parameter("X-Org-Name must be the handle of one organization");
        return Err(response.with_code("invalid_org_assertion"));
    };
    find_accessible_organization(config, credential, handle)
}

pub(crate) fn find_accessible_organization<'a>(
    config: &'a SandboxConfig,
    credential: &CredentialConfig,
    handle: &str,
) -> Result<(&'a OrganizationConfig, OrganizationRole), ErrorResponse> {
    let found = accessible_organizations(config, credential).find(|(organization, _)| organization.is_called(handle));
    // An unknown and an inaccessible organization give the same response.
    found.ok_or_else(|| match credential.user {
        None => ErrorResponse::new(StatusCode::FORBIDDEN, "The OAuth client belongs to another organization")
            .with_code("org_assertion_mismatch"),
        Some(_) => ErrorResponse::new(StatusCode::FORBIDDEN, format!("Organization {handle:?} is not accessible"))
            .with_code("org_forbidden"),
    })
}

fn is_valid_handle(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

/// An authenticated caller with the required scope.
pub(crate) struct Caller {
    /// ID of the organization that the request acts on.
    pub(crate) organization: u64,
    /// User behind the request. `None` for an OAuth client.
    pub(crate) user: Option<u64>,
    /// Limits of the organization.
    pub(crate) plan: SubscriptionPlan,
}
