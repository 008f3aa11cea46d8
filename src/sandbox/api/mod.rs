//! The endpoints of the API: one file a resource, each with its own router.
//!
//! A handler checks in the order of the contract (section 5): `Access` is extracted first (401, then the organization's
//! header), `require` names the scope (403), then come path id (400), existence (404), body (400) and conflict (409). Extractors that can fail later than that
//! order allows keep their result instead of rejecting.

mod apps;
mod catalog;
mod oauth;
mod organizations;
mod parameters;
mod platform;

use std::sync::Arc;

use axum::Router;

use super::Sandbox;
use super::error::ApiError;
use super::rules::Profile;

pub(super) use oauth::PATH as TOKEN_PATH;

/// Whether the rate limits are for a path: the token endpoint is not part of the API, and health is for anybody.
pub(super) fn is_limited(path: &str) -> bool {
    path.starts_with("/v1/") && path != catalog::HEALTH
}

/// Everything the API serves, and its refusals where it serves nothing.
pub(super) fn router(profile: Profile) -> Router<Arc<Sandbox>> {
    let newer = match profile {
        Profile::Seed => Router::new(),
        Profile::Current => apps::router("/v1/projects", "projects").merge(organizations::router()),
    };
    Router::new()
        .merge(newer)
        .merge(apps::router("/v1/apps", "apps"))
        .merge(platform::router(profile))
        .merge(catalog::router())
        .merge(oauth::router())
        .fallback(async || ApiError::no_route())
        .method_not_allowed_fallback(async || ApiError::no_method())
}
