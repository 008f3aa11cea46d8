//! Paths that the middleware treats in a special way.

use serde_json::Value;

use crate::sandbox::model::secret;

/// Requires no credential.
pub(super) const HEALTH_PATH: &str = "/v1/health";
/// Paths of the OpenAPI document. Require no credential.
pub(super) const DOCUMENT_PATHS: [&str; 3] = ["/v1/docs", "/v1/docs/openapi.json", "/openapi.json"];
/// Token endpoint. Belongs to the site host of the service, which is the same host in the sandbox.
pub(super) const TOKEN_PATH: &str = "/api/oauth/token";
/// Login page for a browser. Not part of the API and its document.
pub(super) const LOGIN_PAGE_PATH: &str = "/auth/token";
/// Returns the authenticated user to the Spice command line.
pub(super) const BEARER_PATH: &str = "/api/spice-cli/auth";
/// Part of every route of secrets, and of no other route.
const SECRETS_PATH: &str = "/{appId}/secrets";

/// Returns whether rate limits apply to a path. They apply to all paths that require a credential.
pub(crate) fn is_rate_limited(path: &str) -> bool {
    let is_open = path == HEALTH_PATH || DOCUMENT_PATHS.contains(&path);
    path == BEARER_PATH || path.starts_with("/v1/") && !is_open
}

/// Returns the part of a body that the journal may contain. A token request is hidden completely. Every value of a
/// secret request, and of a request without a route, is masked. `None`: hidden or not JSON.
pub(crate) fn journal_body(route: Option<&str>, body: &[u8]) -> Option<Value> {
    match route {
        Some(TOKEN_PATH) => None,
        Some(route) if !route.contains(SECRETS_PATH) => serde_json::from_slice(body).ok(),
        _ => secret::redact_body(body),
    }
}
