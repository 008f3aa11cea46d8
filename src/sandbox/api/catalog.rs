//! What the platform offers, and whether it is up (contract, section 12).

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::access::{APPS_READ, Access};
use super::super::error::ApiError;
use super::super::placement::{DEFAULT_REGION, REGIONS, cname_of};
use super::super::{Sandbox, time};
use super::parameters::Query;

/// Asks for no credential.
pub(super) const HEALTH: &str = "/v1/health";

pub(super) fn router() -> Router<Arc<Sandbox>> {
    Router::new().route("/v1/regions", get(regions)).route(HEALTH, get(health))
}

/// Both environments have the same regions here.
async fn regions(access: Access, query: Query) -> Result<Json<Value>, ApiError> {
    access.require(APPS_READ)?;
    if !matches!(query.get("env"), None | Some("prod" | "dev")) {
        return Err(ApiError::parameter("env must be prod or dev"));
    }
    let regions: Vec<_> = REGIONS
        .iter()
        .map(|region| {
            json!({
                "name": region.name,
                "region": region.id,
                "provider": "aws",
                "providerName": "AWS",
                "isDefault": region.id == DEFAULT_REGION,
                "disabled": false,
                "cname": cname_of(region.id),
            })
        })
        .collect();
    Ok(Json(json!({ "regions": regions, "default": DEFAULT_REGION })))
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "timestamp": time::now_text() }))
}
