//! Who is asking, and whether they may (contract, sections 2, 3 and 5).
//!
//! A handler gets at the organization's data only through a [`Caller`], and a [`Caller`] only by naming the scope, so that no
//! endpoint can forget either check or change their order.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::Sandbox;
use super::config::Credential;
use super::error::ApiError;

/// What an endpoint asks for: `resource:verb`.
#[derive(Clone, Copy)]
pub(super) struct Scope(&'static str);

/// Read apps, regions and the like.
pub(super) const APPS_READ: Scope = Scope("apps:read");
/// Create and update apps.
pub(super) const APPS_WRITE: Scope = Scope("apps:write");
/// Delete apps.
pub(super) const APPS_DELETE: Scope = Scope("apps:delete");

impl Scope {
    /// Only `:write` implies `:read`; deleting implies nothing.
    fn is_granted_by(self, grant: &str) -> bool {
        let by_write =
            self.0.strip_suffix("read").is_some_and(|resource| grant.strip_suffix("write") == Some(resource));
        grant == "*" || grant == self.0 || by_write
    }
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
    pub(super) fn of(headers: &HeaderMap, credentials: &[Credential]) -> Self {
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
        match credentials.iter().find(|credential| credential.token == token) {
            Some(credential) => Self::Known(credential.clone()),
            None => Self::Refused("Invalid token"),
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

/// An authenticated request whose scope has not been checked yet.
pub(super) struct Access {
    credential: Credential,
    organization: u64,
}

/// Someone who may do what they ask for.
pub(super) struct Caller {
    /// The organization the request acts on.
    pub(super) organization: u64,
    /// The user behind it; none for a machine.
    pub(super) user: Option<u64>,
}

impl Access {
    /// Lets the request pass if its credential grants the scope; otherwise 403.
    pub(super) fn require(self, scope: Scope) -> Result<Caller, ApiError> {
        if self.credential.scopes.iter().any(|grant| scope.is_granted_by(grant)) {
            return Ok(Caller { organization: self.organization, user: self.credential.user });
        }
        let message = format!("Insufficient scope. Required: {}", scope.0);
        Err(ApiError::new(StatusCode::FORBIDDEN, message).with_code("insufficient_scope"))
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
        let organization = sandbox.organizations.iter().find(|known| known.name == credential.organization);
        match organization {
            Some(organization) => Ok(Self { organization: organization.id, credential }),
            None => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Invalid token")),
        }
    }
}
