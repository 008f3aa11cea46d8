//! Paths with rules of their own.

use serde_json::Value;

use crate::sandbox::model::secret;

/// Asks for no credential.
pub(super) const HEALTH_PATH: &str = "/v1/health";
/// Where the document is; asks for no credential.
pub(super) const DOCUMENT_PATHS: [&str; 3] = ["/v1/docs", "/v1/docs/openapi.json", "/openapi.json"];
/// Where the endpoint is: on the site's host, which for a sandbox is the API's too.
pub(super) const TOKEN_PATH: &str = "/api/oauth/token";
/// The page for a browser. It is no part of the API, nor of its document.
pub(super) const LOGIN_PAGE_PATH: &str = "/auth/token";
/// Says who the bearer is.
pub(super) const BEARER_PATH: &str = "/api/spice-cli/auth";
/// Part of every route of a secret, and of no other.
const SECRETS_PATH: &str = "/{appId}/secrets";

/// Whether the rate limits are for a path: they are where a credential is asked for.
pub(crate) fn is_rate_limited(path: &str) -> bool {
    let is_open = path == HEALTH_PATH || DOCUMENT_PATHS.contains(&path);
    path == BEARER_PATH || path.starts_with("/v1/") && !is_open
}

/// What may be told of a body: nothing of what asks for a token, which is a secret and nothing else; of a secret of an app,
/// and where nothing is served and so nobody knows what it is, only what is no value. `None`: it is not JSON either.
pub(crate) fn journal_body(route: Option<&str>, body: &[u8]) -> Option<Value> {
    match route {
        Some(TOKEN_PATH) => None,
        Some(route) if !route.contains(SECRETS_PATH) => serde_json::from_slice(body).ok(),
        _ => secret::redact_body(body),
    }
}
