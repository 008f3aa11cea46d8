//! Who is asking, and whether they may (contract, sections 2, 3 and 5).
//!
//! A handler gets at the organization's data only through a [`Caller`], and a [`Caller`] only by naming the scope, so that no
//! endpoint can forget either check or change their order.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::Sandbox;
use super::config::{Config, Credential, Organization, Role};
use super::credentials::Credentials;
use super::error::ApiError;
use super::rules::{Plan, Profile};

/// Names another organization than the one that the credential was made for.
pub(super) const ORGANIZATION: &str = "X-Org-Name";

/// What an endpoint asks for: `resource:verb`.
#[derive(Clone, Copy)]
pub(super) struct Scope(&'static str);

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Read apps, regions and the like.
pub(super) const APPS_READ: Scope = Scope("apps:read");
/// Create and update apps.
pub(super) const APPS_WRITE: Scope = Scope("apps:write");
/// Delete apps.
pub(super) const APPS_DELETE: Scope = Scope("apps:delete");
/// Read the configuration of an app, where that is a scope of its own.
pub(super) const CONFIG_READ: Scope = Scope("config:read");
/// Change it.
pub(super) const CONFIG_WRITE: Scope = Scope("config:write");
/// Read which secrets there are.
pub(super) const SECRETS_READ: Scope = Scope("secrets:read");
/// Create, update and delete secrets.
pub(super) const SECRETS_WRITE: Scope = Scope("secrets:write");

/// Every scope there is, but for `*`.
pub(super) const SCOPES: [&str; 16] = [
    "apps:read",
    "apps:write",
    "apps:delete",
    "deployments:read",
    "deployments:write",
    "secrets:read",
    "secrets:write",
    "config:read",
    "config:write",
    "members:read",
    "members:write",
    "members:delete",
    "monitors:read",
    "monitors:write",
    "reactions:read",
    "reactions:write",
];

/// Whether a granted scope gives another one. Only `:write` implies `:read`; deleting implies nothing.
pub(super) fn covers(grant: &str, scope: &str) -> bool {
    let by_write = scope.strip_suffix("read").is_some_and(|resource| grant.strip_suffix("write") == Some(resource));
    (grant == "*" && (scope == "*" || SCOPES.contains(&scope))) || grant == scope || by_write
}

/// What the credential of a request turned out to be. The gateway puts it beside the request.
#[derive(Clone)]
pub(super) enum Identity {
    /// A credential the sandbox knows.
    Known(Credential),
    /// None, or none that is of use; the text says why.
    Refused(&'static str),
}

impl Identity {
    /// Looks up the bearer token of a request.
    pub(super) fn of(headers: &HeaderMap, credentials: &Credentials, now: Timestamp) -> Self {
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
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Known(credential) => Some(&credential.name),
            Self::Refused(_) => None,
        }
    }
}

/// The organizations that a credential reaches, with the role there: those of its user, or its own.
pub(super) fn reach<'a>(config: &'a Config, credential: &Credential) -> impl Iterator<Item = (&'a Organization, Role)> {
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
pub(super) fn target<'a>(
    config: &'a Config,
    credential: &Credential,
    headers: &HeaderMap,
) -> Result<(&'a Organization, Role), ApiError> {
    let mut asked = headers.get_all(ORGANIZATION).iter();
    let named = if config.switches.profile == Profile::Seed { None } else { asked.next() };
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
fn named_within_reach<'a>(
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

/// The header, as the document of the API has it.
pub(super) fn organization_header() -> Parameter {
    let handle = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-zA-Z0-9._-]+$"));
    ParameterBuilder::new()
        .name(ORGANIZATION)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The handle of another organization that the credential reaches"))
        .schema(Some(handle))
        .build()
}

fn is_handle(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|other| other.is_ascii_alphanumeric() || ".-_".contains(other))
}

/// An authenticated request whose scope has not been checked yet.
pub(super) struct Access {
    credential: Credential,
    organization: Organization,
    role: Role,
}

/// Someone who may do what they ask for.
pub(super) struct Caller {
    /// The organization the request acts on.
    pub(super) organization: u64,
    /// The user behind it; none for a machine.
    pub(super) user: Option<u64>,
    /// What the organization may have.
    pub(super) plan: Plan,
}

impl Access {
    /// Lets the request pass if its credential grants the scope and its role allows it; otherwise 403.
    pub(super) fn require(&self, scope: Scope) -> Result<Caller, ApiError> {
        if !self.credential.scopes.iter().any(|grant| covers(grant, scope.0)) {
            let message = format!("Insufficient scope. Required: {scope}");
            return Err(ApiError::new(StatusCode::FORBIDDEN, message).with_code("insufficient_scope"));
        }
        if self.role == Role::Viewer && !scope.0.ends_with(":read") {
            let message = "Viewers cannot change anything in this organization";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message).with_code("forbidden"));
        }
        let Organization { id, plan, .. } = self.organization;
        Ok(Caller { organization: id, user: self.credential.user, plan })
    }

    /// The same request on another organization within reach.
    pub(super) fn on(self, config: &Config, handle: &str) -> Result<Self, ApiError> {
        let (organization, role) = named_within_reach(config, &self.credential, handle)?;
        Ok(Self { organization: organization.clone(), role, ..self })
    }

    /// The handle of the organization that the request acts on.
    pub(super) fn organization(&self) -> &str {
        &self.organization.name
    }

    /// The credential that the request came with.
    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }
}

impl FromRequestParts<Arc<Sandbox>> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Arc<Sandbox>) -> Result<Self, ApiError> {
        let credential = match parts.extensions.get::<Identity>() {
            Some(Identity::Known(credential)) => credential.clone(),
            Some(Identity::Refused(why)) => return Err(ApiError::new(StatusCode::UNAUTHORIZED, *why)),
            None => return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Missing Authorization header")),
        };
        let (organization, role) = target(&sandbox.config, &credential, &parts.headers)?;
        Ok(Self { organization: organization.clone(), role, credential })
    }
}
