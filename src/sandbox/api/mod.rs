//! The endpoints of the API: one file a resource, each with its own router.
//!
//! A handler checks in the order of the contract (section 5): `Access` is extracted first (401, then the organization's
//! header), `require` names the scope (403), then come path id (400), existence (404), body (413, 400), plan (403) and
//! conflict (409). Extractors that can fail later than that order allows keep their result instead of rejecting.
//!
//! A route is registered together with what the document says of it; `document` adds what holds for all of them.

mod apps;
mod catalog;
mod cli;
mod document;
mod metrics;
mod oauth;
mod organizations;
mod parameters;
mod platform;
mod secrets;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::Sandbox;
use super::error::ApiError;
use super::rules::Profile;
use super::secret;

use oauth::PATH as TOKEN_PATH;

/// Whether the rate limits are for a path: they are where a credential is asked for.
pub(super) fn is_limited(path: &str) -> bool {
    let is_open = path == catalog::HEALTH || document::PATHS.contains(&path);
    path == cli::PROBE || path.starts_with("/v1/") && !is_open
}

/// What may be told of a body: nothing of what asks for a token, which is a secret and nothing else; of a secret of an app,
/// and where nothing is served and so nobody knows what it is, only what is no value. `None`: it is not JSON either.
pub(super) fn journaled(route: Option<&str>, body: &[u8]) -> Option<Value> {
    match route {
        Some(TOKEN_PATH) => None,
        Some(route) if !route.contains(secrets::BELOW) => serde_json::from_slice(body).ok(),
        _ => secret::redacted(body),
    }
}

/// Everything the API serves, and its refusals where it serves nothing.
pub(super) fn router(profile: Profile) -> Router<Arc<Sandbox>> {
    let (router, _) = routes(profile).split_for_parts();
    let router = router.route(cli::PAGE, get(cli::page));
    router.fallback(async || ApiError::no_route()).method_not_allowed_fallback(async || ApiError::no_method())
}

/// The description of everything the API serves.
fn document(profile: Profile) -> OpenApi {
    document::complete(routes(profile).into_openapi(), profile)
}

/// Every route, with what the document says of it.
pub(super) fn routes(profile: Profile) -> OpenApiRouter<Arc<Sandbox>> {
    let newer = match profile {
        Profile::Seed => OpenApiRouter::new(),
        Profile::Current => apps::projects().merge(organizations::router()),
    };
    document::router()
        .merge(newer)
        .merge(apps::apps(profile))
        .merge(platform::router(profile))
        .merge(catalog::router())
        .merge(oauth::router())
        .merge(cli::router())
}
