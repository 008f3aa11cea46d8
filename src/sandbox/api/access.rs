//! The extractor by which a handler gets at the data of an organization.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::sandbox::auth::identity::{Caller, RequestIdentity, find_accessible_organization, target_organization};
use crate::sandbox::auth::scopes::{Scope, grants};
use crate::sandbox::settings::config::{CredentialConfig, OrganizationConfig, OrganizationRole, SandboxConfig};
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

/// An authenticated request whose scope has not been checked yet.
pub(super) struct AuthenticatedRequest {
    credential: CredentialConfig,
    organization: OrganizationConfig,
    role: OrganizationRole,
}

impl AuthenticatedRequest {
    /// Lets the request pass if its credential grants the scope and its role allows it; otherwise 403.
    pub(super) fn require_scope(&self, scope: Scope) -> Result<Caller, ErrorResponse> {
        if !self.credential.scopes.iter().any(|grant| grants(grant, scope.0)) {
            let message = format!("Insufficient scope. Required: {scope}");
            return Err(ErrorResponse::new(StatusCode::FORBIDDEN, message).with_code("insufficient_scope"));
        }
        if self.role == OrganizationRole::Viewer && !scope.0.ends_with(":read") {
            let message = "Viewers cannot change anything in this organization";
            return Err(ErrorResponse::new(StatusCode::FORBIDDEN, message).with_code("forbidden"));
        }
        let OrganizationConfig { id, plan, .. } = self.organization;
        Ok(Caller { organization: id, user: self.credential.user, plan })
    }

    /// The same request on another organization within reach.
    pub(super) fn for_organization(self, config: &SandboxConfig, handle: &str) -> Result<Self, ErrorResponse> {
        let (organization, role) = find_accessible_organization(config, &self.credential, handle)?;
        Ok(Self { organization: organization.clone(), role, ..self })
    }

    /// The handle of the organization that the request acts on.
    pub(super) fn organization_name(&self) -> &str {
        &self.organization.name
    }

    /// The credential that the request came with.
    pub(super) fn credential(&self) -> &CredentialConfig {
        &self.credential
    }
}

impl FromRequestParts<Arc<Sandbox>> for AuthenticatedRequest {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Arc<Sandbox>) -> Result<Self, ErrorResponse> {
        let credential = match parts.extensions.get::<RequestIdentity>() {
            Some(RequestIdentity::Authenticated(credential)) => credential.clone(),
            Some(RequestIdentity::Rejected(why)) => return Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, *why)),
            None => return Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, "Missing Authorization header")),
        };
        let (organization, role) = target_organization(&sandbox.config, &credential, &parts.headers)?;
        Ok(Self { organization: organization.clone(), role, credential })
    }
}
