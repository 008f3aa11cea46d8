//! The endpoints of the API: one file a resource, each with its own router.
//!
//! A handler checks in the order of the contract (section 5): `AuthenticatedRequest` is extracted first (401, then the organization's
//! header), `require` names the scope (403), then come path id (400), existence (404), body (413, 400), plan (403) and
//! conflict (409). Extractors that can fail later than that order allows keep their result instead of rejecting.
//!
//! A route is registered together with what the document says of it; `document` adds what holds for all of them.

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

/// Everything the API serves, and its refusals where it serves nothing.
pub(crate) fn router(profile: Profile) -> Router<Arc<Sandbox>> {
    let (router, document) = routes(profile).split_for_parts();
    let document = openapi::complete_document(document, profile);
    let router = router.layer(Extension(Arc::new(document))).route(LOGIN_PAGE_PATH, get(cli_login::login_page));
    router
        .fallback(async || ErrorResponse::route_not_found())
        .method_not_allowed_fallback(async || ErrorResponse::method_not_allowed())
}

/// Every route, with what the document says of it.
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
