//! The extractor by which a handler gets at the data of an organization.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::sandbox::auth::identity::{Caller, Identity, named_within_reach, target};
use crate::sandbox::auth::scopes::{Scope, covers};
use crate::sandbox::settings::config::{Config, Credential, Organization, Role};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ApiError;

/// An authenticated request whose scope has not been checked yet.
pub(super) struct Access {
    credential: Credential,
    organization: Organization,
    role: Role,
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
