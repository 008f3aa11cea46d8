//! What the platform runs apps with and on, and how much of it (contract, section 12).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::parameters::{Page, Query};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::images::{ENTERPRISE, STABLE};
use crate::sandbox::model::profile::above_plan;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(images))
}

/// Where an image comes from.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Channel {
    Stable,
    /// Needs a subscription.
    Enterprise,
}

#[derive(Serialize, ToSchema)]
struct Images {
    images: Vec<Image>,
    /// The `tag` that is recommended.
    default: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Image {
    /// The repository and the tag.
    name: String,
    tag: &'static str,
    channel: Channel,
}

/// Lists the images of a channel.
#[utoipa::path(
    get,
    path = "/v1/container-images",
    operation_id = "list_container_images",
    params(("channel" = inline(Option<Channel>), Query, description = "`stable` if absent"), Page),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The images", body = Images), (status = 400, description = "A parameter breaks its rule", body = Body)),
)]
async fn images(State(sandbox): State<Arc<Sandbox>>, access: Access, query: Query) -> Result<Json<Images>, ApiError> {
    let caller = access.require(APPS_READ)?;
    let asked = query.word("channel").map_err(|_| ApiError::parameter("channel must be stable or enterprise"))?;
    let page = query.page(sandbox.config.switches)?;
    let channel = asked.unwrap_or(Channel::Stable);
    let (repository, tags) = match channel {
        Channel::Stable => ("spiceai/spiceai", STABLE),
        Channel::Enterprise if caller.plan.enterprise_images => ("spiceai/spiceai-enterprise", ENTERPRISE),
        Channel::Enterprise => return Err(above_plan("Enterprise images need a subscription")),
    };
    let images = tags.map(|tag| Image { name: format!("{repository}:{tag}"), tag, channel });
    Ok(Json(Images { images: page.of(images), default: tags[0] }))
}
