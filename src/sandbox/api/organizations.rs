//! Organizations that a credential can access.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::{PageRange, QueryParameters};
use crate::sandbox::auth::identity::accessible_organizations;
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::settings::config::OrganizationRole;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list_organizations))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Organizations)]
struct OrganizationListBody {
    orgs: Vec<OrganizationBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
struct OrganizationBody {
    id: u64,
    /// Handle for the header `X-Org-Name`.
    name: String,
    /// Highest role of the user. `owner` for an OAuth client.
    role: OrganizationRole,
}

/// Lists the organizations that the credential can access. The result does not depend on `X-Org-Name`.
#[utoipa::path(
    get,
    path = "/v1/orgs",
    operation_id = "list_organizations",
    params(PageRange),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The accessible organizations", body = OrganizationListBody)),
)]
async fn list_organizations(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<OrganizationListBody>, ErrorResponse> {
    request.require_scope(APPS_READ)?;
    let page = query.parse_page(sandbox.config.switches)?;
    let accessible_organizations = accessible_organizations(&sandbox.config, request.credential());
    let mut orgs: Vec<_> = accessible_organizations
        .map(|(organization, role)| OrganizationBody { id: organization.id, name: organization.name.clone(), role })
        .collect();
    orgs.sort_unstable_by_key(|organization| organization.id);
    Ok(Json(OrganizationListBody { orgs: page.slice(orgs) }))
}
