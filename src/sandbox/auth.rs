//! Who calls, and what they may do (contract sections 2 and 3).

use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use super::Shared;
use super::answer::Refusal;

/// What a caller may present. Tokens say themselves that they are fake.
#[derive(Clone, Debug, Serialize)]
pub struct Credential {
    /// The kind of credential.
    pub kind: &'static str,
    /// What the journal calls its bearer.
    pub name: String,
    /// The bearer token.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Handle of the organization it was made for.
    pub organization: String,
}

impl Credential {
    pub(super) fn personal_access_token(name: &str, scopes: &[&str], organization: &str) -> Self {
        Self {
            kind: "personal_access_token",
            name: name.to_owned(),
            token: format!("sandbox-fake-token-{name}"),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            organization: organization.to_owned(),
        }
    }

    /// Whether it may do this. Only `:write` implies `:read`.
    fn has(&self, scope: &str) -> bool {
        let write = scope.strip_suffix(":read").map(|area| format!("{area}:write"));
        self.scopes.iter().any(|has| has == "*" || has == scope || Some(has) == write.as_ref())
    }
}

/// The bearer of a known token, whatever it may do.
pub(super) fn bearer<'a>(shared: &'a Shared, headers: &HeaderMap) -> Result<&'a Credential, Refusal> {
    let refused = |error: &str| Refusal::new(StatusCode::UNAUTHORIZED, error);
    let header = headers.get(header::AUTHORIZATION).ok_or_else(|| refused("Missing Authorization header"))?;
    let (scheme, token) = header.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(refused("Invalid token format"));
    }
    let known = shared.config.credentials.iter().find(|credential| credential.token == token);
    known.ok_or_else(|| refused("Invalid or expired token"))
}

/// A caller who may do this.
pub(super) fn authorized<'a>(
    shared: &'a Shared,
    headers: &HeaderMap,
    scope: &'static str,
) -> Result<&'a Credential, Refusal> {
    let credential = bearer(shared, headers)?;
    if credential.has(scope) {
        return Ok(credential);
    }
    let error = format!("Insufficient scope. Required: {scope}");
    Err(Refusal::new(StatusCode::FORBIDDEN, error).code("insufficient_scope"))
}
