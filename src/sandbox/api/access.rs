//! Extractor that authenticates a request and checks its scope.
//!
//! A handler can access the data of an organization only with a [`Caller`], and obtains a [`Caller`] only for a scope.
//! No handler can skip a check or change the order of the checks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::sandbox::auth::identity::{Caller, RequestIdentity, find_accessible_organization, target_organization};
use crate::sandbox::auth::scopes::grants;
use crate::sandbox::settings::config::{CredentialConfig, OrganizationConfig, OrganizationRole, SandboxConfig};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

/// An authenticated request before the scope check.
pub(super) struct AuthenticatedRequest {
    credential: CredentialConfig,
    organization: OrganizationConfig,
    role: OrganizationRole,
}

impl AuthenticatedRequest {
    /// Returns the caller if the credential has the scope and the role allows the action, otherwise 403.
    pub(super) fn require_scope(&self, scope: &str) -> Result<Caller, ErrorResponse> {
        if !self.credential.scopes.iter().any(|grant| grants(grant, scope)) {
            let message = format!("Insufficient scope. Required: {scope}");
            return Err(ErrorResponse::new(StatusCode::FORBIDDEN, message).with_code("insufficient_scope"));
        }
        if self.role == OrganizationRole::Viewer && !scope.ends_with(":read") {
            let message = "Viewers cannot change anything in this organization";
            return Err(ErrorResponse::new(StatusCode::FORBIDDEN, message).with_code("forbidden"));
        }
        let OrganizationConfig { id, plan, .. } = self.organization;
        Ok(Caller { organization: id, user: self.credential.user, plan })
    }

    /// Selects another accessible organization.
    pub(super) fn for_organization(self, config: &SandboxConfig, handle: &str) -> Result<Self, ErrorResponse> {
        let (organization, role) = find_accessible_organization(config, &self.credential, handle)?;
        Ok(Self { organization: organization.clone(), role, ..self })
    }

    /// Returns the handle of the organization that the request acts on.
    pub(super) fn organization_name(&self) -> &str {
        &self.organization.name
    }

    pub(super) fn credential(&self) -> &CredentialConfig {
        &self.credential
    }
}

impl FromRequestParts<Arc<Sandbox>> for AuthenticatedRequest {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Arc<Sandbox>) -> Result<Self, ErrorResponse> {
        let credential = match parts.extensions.get::<RequestIdentity>() {
            Some(RequestIdentity::Authenticated(credential)) => credential.clone(),
            Some(RequestIdentity::Rejected(message)) => {
                return Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, *message));
            }
            None => return Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, "Missing Authorization header")),
        };
        let (organization, role) = target_organization(&sandbox.config, &credential, &parts.headers)?;
        Ok(Self { organization: organization.clone(), role, credential })
    }
}
