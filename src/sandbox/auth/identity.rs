//! Who is asking, and whether they may (contract, sections 2, 3 and 5).
//!
//! A handler gets at the organization's data only through a [`Caller`], and a [`Caller`] only by naming the scope, so that no
//! endpoint can forget either check or change their order.

use axum::http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

use super::credentials::Credentials;
use crate::sandbox::model::profile::{Plan, Profile};
use crate::sandbox::settings::config::{Config, Credential, Organization, Role};
use crate::sandbox::wire::error::ApiError;

/// Names another organization than the one that the credential was made for.
pub(crate) const ORGANIZATION: &str = "X-Org-Name";

/// What the credential of a request turned out to be. The gateway puts it beside the request.
#[derive(Clone)]
pub(crate) enum Identity {
    /// A credential the sandbox knows.
    Known(Credential),
    /// None, or none that is of use; the text says why.
    Refused(&'static str),
}

impl Identity {
    /// Looks up the bearer token of a request.
    pub(crate) fn of(headers: &HeaderMap, credentials: &Credentials, now: Timestamp) -> Self {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Self::Refused("Missing Authorization header");
        };
        let token = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
            let token = token.trim();
            (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
        });
        let Some(token) = token else {
            return Self::Refused("Invalid token format");
        };
        match credentials.by_token(token, now) {
            Ok(credential) => Self::Known(credential),
            Err(why) => Self::Refused(why),
        }
    }

    /// The name of the credential, if it is known.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Known(credential) => Some(&credential.name),
            Self::Refused(_) => None,
        }
    }
}

/// The organizations that a credential reaches, with the role there: those of its user, or its own.
pub(crate) fn reach<'a>(config: &'a Config, credential: &Credential) -> impl Iterator<Item = (&'a Organization, Role)> {
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
            None if is_machine && organization.is_called(&own) => Role::Owner,
            None => return None,
        };
        Some((organization, role))
    })
}

/// The organization that a request acts on: the credential's own, unless the header names another within its reach.
/// The first API knows no such header.
pub(crate) fn target<'a>(
    config: &'a Config,
    credential: &Credential,
    headers: &HeaderMap,
) -> Result<(&'a Organization, Role), ApiError> {
    let mut asked = headers.get_all(ORGANIZATION).iter();
    let named = if config.switches.profile == Profile::Legacy { None } else { asked.next() };
    let Some(handle) = named else {
        let own = reach(config, credential).find(|(organization, _)| organization.is_called(&credential.organization));
        return own.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Invalid token"));
    };
    let handle = handle.to_str().map(str::trim).ok().filter(|handle| is_handle(handle));
    let (Some(handle), None) = (handle, asked.next()) else {
        let refusal = ApiError::parameter("X-Org-Name must be the handle of one organization");
        return Err(refusal.with_code("invalid_org_assertion"));
    };
    named_within_reach(config, credential, handle)
}

/// An organization that the credential reaches, by its handle.
pub(crate) fn named_within_reach<'a>(
    config: &'a Config,
    credential: &Credential,
    handle: &str,
) -> Result<(&'a Organization, Role), ApiError> {
    let found = reach(config, credential).find(|(organization, _)| organization.is_called(handle));
    // What is missing and what is invisible look alike.
    found.ok_or_else(|| match credential.user {
        None => ApiError::new(StatusCode::FORBIDDEN, "The OAuth client belongs to another organization")
            .with_code("org_assertion_mismatch"),
        Some(_) => ApiError::new(StatusCode::FORBIDDEN, format!("Organization {handle:?} is not accessible"))
            .with_code("org_forbidden"),
    })
}

fn is_handle(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|other| other.is_ascii_alphanumeric() || ".-_".contains(other))
}

/// Someone who may do what they ask for.
pub(crate) struct Caller {
    /// The organization the request acts on.
    pub(crate) organization: u64,
    /// The user behind it; none for a machine.
    pub(crate) user: Option<u64>,
    /// What the organization may have.
    pub(crate) plan: Plan,
}
