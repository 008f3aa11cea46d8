//! Endpoints of the API, one file per resource.
//!
//! Handlers check in this order: credential (401), organization header (400, 403), scope and role (403), path ID (400),
//! existence (404), body size (413), body (400), plan (403), conflict (409). Rate limits (429) come after the
//! credential, in the middleware. An extractor whose check comes later in this order keeps its error until the handler
//! reads the value.
//!
//! Each route is registered with its documentation. `openapi` adds the parts that all endpoints share.

mod access;
mod apps;
mod cli_login;
mod clusters;
mod container_images;
mod health;
mod limits;
mod metrics;
mod oauth;
mod openapi;
mod organizations;
mod parameters;
pub(crate) mod paths;
mod regions;
mod secrets;

use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use utoipa_axum::router::OpenApiRouter;

use self::paths::LOGIN_PAGE_PATH;
use crate::sandbox::model::profile::Profile;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::ErrorResponse;

/// Routes of the API, with 404 and 405 responses for all other requests.
pub(crate) fn router(profile: Profile) -> Router<Arc<Sandbox>> {
    let (router, document) = routes(profile).split_for_parts();
    let document = openapi::complete_document(document, profile);
    let router = router.layer(Extension(Arc::new(document))).route(LOGIN_PAGE_PATH, get(cli_login::login_page));
    router
        .fallback(async || ErrorResponse::route_not_found())
        .method_not_allowed_fallback(async || ErrorResponse::method_not_allowed())
}

/// Routes of the API with their documentation.
pub(crate) fn routes(profile: Profile) -> OpenApiRouter<Arc<Sandbox>> {
    let newer = match profile {
        Profile::Legacy => OpenApiRouter::new(),
        Profile::Current => {
            apps::projects_router().merge(organizations::router()).merge(limits::router()).merge(clusters::router())
        }
    };
    openapi::router()
        .merge(newer)
        .merge(apps::apps_router(profile))
        .merge(container_images::router())
        .merge(regions::router())
        .merge(health::router())
        .merge(oauth::router())
        .merge(cli_login::router())
}
