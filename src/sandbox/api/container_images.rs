//! Container images of the runtime.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::{PageRange, QueryParameters};
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::images::{ENTERPRISE_TAGS, STABLE_TAGS};
use crate::sandbox::model::profile::plan_limit_error;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(list_images))
}

/// Release channel of an image.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[schema(as = Channel)]
#[serde(rename_all = "snake_case")]
enum ImageChannel {
    Stable,
    /// Requires a subscription.
    Enterprise,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Images)]
struct ImageListBody {
    images: Vec<ImageBody>,
    /// The recommended `tag`.
    default: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Image)]
struct ImageBody {
    /// Repository and tag.
    name: String,
    tag: &'static str,
    channel: ImageChannel,
}

/// Lists the images of a channel.
#[utoipa::path(
    get,
    path = "/v1/container-images",
    operation_id = "list_container_images",
    params(("channel" = inline(Option<ImageChannel>), Query, description = "Release channel. Default: `stable`"), PageRange),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The images", body = ImageListBody)),
)]
async fn list_images(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<ImageListBody>, ErrorResponse> {
    let caller = request.require_scope(APPS_READ)?;
    let channel = query.parse_choice("channel", "stable or enterprise")?.unwrap_or(ImageChannel::Stable);
    let page = query.parse_page(sandbox.config.switches)?;
    let (repository, tags) = match channel {
        ImageChannel::Stable => ("spiceai/spiceai", STABLE_TAGS),
        ImageChannel::Enterprise if caller.plan.enterprise_images => ("spiceai/spiceai-enterprise", ENTERPRISE_TAGS),
        ImageChannel::Enterprise => return Err(plan_limit_error("Enterprise images need a subscription")),
    };
    let images = tags.map(|tag| ImageBody { name: format!("{repository}:{tag}"), tag, channel });
    Ok(Json(ImageListBody { images: page.slice(images), default: tags[0] }))
}
