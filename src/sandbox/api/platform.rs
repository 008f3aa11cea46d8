//! What the platform runs apps with and on, and how much of it (contract, section 12).

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::Sandbox;
use super::super::access::{APPS_READ, Access};
use super::super::error::ApiError;
use super::super::rules::{Profile, above_plan};
use super::parameters::Query;

/// The tags of an image, the recommended one first.
const STABLE: [&str; 2] = ["2.0.1", "2.0.0"];
const ENTERPRISE: [&str; 2] = ["2.0.1-enterprise", "2.0.0-enterprise"];

pub(super) fn router(profile: Profile) -> Router<Arc<Sandbox>> {
    let router = Router::new().route("/v1/container-images", get(images));
    match profile {
        Profile::Seed => router,
        Profile::Current => router.route("/v1/limits", get(limits)).route("/v1/clusters", get(clusters)),
    }
}

async fn images(access: Access, query: Query) -> Result<Json<Value>, ApiError> {
    let caller = access.require(APPS_READ)?;
    let (channel, repository, tags) = match query.get("channel") {
        None | Some("stable") => ("stable", "spiceai/spiceai", STABLE),
        Some("enterprise") => ("enterprise", "spiceai/spiceai-enterprise", ENTERPRISE),
        Some(_) => return Err(ApiError::parameter("channel must be stable or enterprise")),
    };
    if channel == "enterprise" && !caller.plan.enterprise_images {
        return Err(above_plan("Enterprise images need a subscription"));
    }
    let image = |tag: &str| json!({ "name": format!("{repository}:{tag}"), "tag": tag, "channel": channel });
    Ok(Json(json!({ "images": tags.map(image), "default": tags[0] })))
}

/// Only apps and replicas hold here; the other numbers describe the runtime, which the sandbox does not have.
async fn limits(State(sandbox): State<Arc<Sandbox>>, access: Access) -> Result<Json<Value>, ApiError> {
    let plan = access.require(APPS_READ)?.plan;
    let apps = plan.max_apps.map_or(json!(-1), Value::from);
    let rates = sandbox.config.rate_limits;
    Ok(Json(json!({
        "apps": apps,
        "replicas": plan.max_replicas,
        "spicepods": apps,
        "users": -1,
        "api_rps": u64::from(rates.per_user) / rates.window.as_secs().max(1),
        "request_timeout_secs": 300,
        "sql_query_timeout_secs": 300,
        "sql_concurrent_queries": 64,
        "resources": null,
    })))
}

async fn clusters(access: Access) -> Result<Json<Value>, ApiError> {
    access.require(APPS_READ)?;
    const SINCE: &str = "2026-01-02T03:04:05.000Z";
    Ok(Json(json!({
        "clusters": [{
            "cluster_name": "team-cluster",
            "infra_cluster_name": "sandbox-team-cluster",
            "region": "us-west-2",
            "cloud_provider": "aws",
            "endpoint": "https://private-team-cluster-us-west-2-prod-data.spiceai.io",
            "created_at": SINCE,
            "updated_at": SINCE,
        }],
    })))
}
