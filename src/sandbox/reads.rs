//! Regions and health (contract section 12).

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Refusal, time};
use super::auth::authorized;

#[derive(Debug, Deserialize)]
pub(super) struct Environment {
    env: Option<String>,
}

pub(super) async fn regions(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Query(Environment { env }): Query<Environment>,
) -> Result<Json<Value>, Refusal> {
    authorized(&shared, &headers, "apps:read")?;
    if env.is_some_and(|env| env != "prod" && env != "dev") {
        return Err(Refusal::bad_request("Invalid env"));
    }
    let default = shared.config.regions.first();
    let region = |id: &String| {
        json!({
            "name": format!("AWS {id}"),
            "region": id,
            "provider": "aws",
            "providerName": "AWS",
            "isDefault": Some(id) == default,
            "disabled": false,
            "cname": format!("{id}-prod-aws-data"),
        })
    };
    let regions: Vec<Value> = shared.config.regions.iter().map(region).collect();
    Ok(Json(json!({ "regions": regions, "default": default })))
}

pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "timestamp": time(Timestamp::now()) }))
}

pub(super) async fn no_such_route() -> Refusal {
    Refusal::not_found("Not found")
}
