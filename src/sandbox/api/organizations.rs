//! The organizations that a credential reaches (contract, section 12).

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::Sandbox;
use super::super::access::{APPS_READ, Access, reach};
use super::super::error::ApiError;

pub(super) fn router() -> Router<Arc<Sandbox>> {
    Router::new().route("/v1/orgs", get(list))
}

/// The same whichever of them the request names.
async fn list(State(sandbox): State<Arc<Sandbox>>, access: Access) -> Result<Json<Value>, ApiError> {
    access.require(APPS_READ)?;
    let organizations: Vec<_> = reach(&sandbox.config, access.credential())
        .map(|(organization, role)| json!({ "id": organization.id, "name": organization.name, "role": role }))
        .collect();
    Ok(Json(json!({ "orgs": organizations })))
}
