//! Token endpoint of OAuth clients.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paths::TOKEN_PATH;
use crate::sandbox::auth::credentials::TokenGrantError;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::state::snapshot::PersistError;
use crate::sandbox::wire::request_body::RequestBody;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(exchange_token))
}

/// Client ID and secret.
#[derive(ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "documentation of the body only, which has two encodings")]
struct OauthTokenRequest {
    /// Must be `client_credentials`.
    grant_type: String,
    client_id: String,
    client_secret: String,
    /// Space-separated scopes. Default: all scopes of the client.
    scope: Option<String>,
}

/// An access token.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
struct OauthTokenBody {
    access_token: String,
    token_type: &'static str,
    /// Lifetime in seconds.
    expires_in: i64,
    /// Space-separated scopes.
    scope: String,
}

/// Error body as defined by OAuth 2.0.
#[derive(Serialize, ToSchema)]
#[schema(as = OauthError)]
struct OauthErrorBody {
    error: &'static str,
    error_description: String,
}

/// Error response with an OAuth 2.0 error code.
struct OauthErrorResponse(StatusCode, &'static str, String);

impl IntoResponse for OauthErrorResponse {
    fn into_response(self) -> Response {
        let Self(status, error, description) = self;
        (status, Json(OauthErrorBody { error, error_description: description })).into_response()
    }
}

impl From<TokenGrantError> for OauthErrorResponse {
    fn from(denied: TokenGrantError) -> Self {
        match denied {
            TokenGrantError::InvalidClient => {
                Self(StatusCode::UNAUTHORIZED, "invalid_client", "unknown client or wrong secret".into())
            }
            TokenGrantError::InvalidScope => {
                Self(StatusCode::BAD_REQUEST, "invalid_scope", "the client lacks a requested scope".into())
            }
        }
    }
}

impl From<PersistError> for OauthErrorResponse {
    fn from(PersistError: PersistError) -> Self {
        let description = "the state could not be written".into();
        Self(StatusCode::INTERNAL_SERVER_ERROR, "server_error", description)
    }
}

/// Exchanges a client secret for an access token.
#[utoipa::path(
    post,
    path = TOKEN_PATH,
    operation_id = "create_token",
    request_body(content((OauthTokenRequest = "application/json"), (OauthTokenRequest = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "An access token", body = OauthTokenBody),
        (status = 400, description = "A field is missing or invalid, or the client lacks a scope", body = OauthErrorBody),
        (status = 401, description = "Unknown client or wrong secret", body = OauthErrorBody),
        (status = 413, description = "The body is larger than 1 MiB", body = OauthErrorBody),
        (status = 500, description = "The state could not be written", body = OauthErrorBody),
    ),
)]
async fn exchange_token(
    State(sandbox): State<Arc<Sandbox>>,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<impl IntoResponse, OauthErrorResponse> {
    let too_large =
        |_| OauthErrorResponse(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "the body is too large".into());
    let fields = read_fields(&headers, body.read().map_err(too_large)?)?;
    let field = |name: &str| fields.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let required = |name: &str| field(name).ok_or_else(|| invalid_request(format!("{name} is required")));
    let grant_type = required("grant_type")?;
    if grant_type != "client_credentials" {
        let description = "grant_type must be client_credentials".into();
        return Err(OauthErrorResponse(StatusCode::BAD_REQUEST, "unsupported_grant_type", description));
    }
    let (id, secret) = (required("client_id")?, required("client_secret")?);
    let scopes: Vec<_> = field("scope").unwrap_or_default().split_ascii_whitespace().collect();
    let grant = sandbox.update_state(|state| {
        state.credentials.issue_token(id, secret, &scopes, Timestamp::now()).map_err(OauthErrorResponse::from)
    })?;
    let token = OauthTokenBody {
        access_token: grant.token,
        token_type: "Bearer",
        expires_in: grant.lifetime.as_secs(),
        scope: grant.scopes.join(" "),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(token)))
}

/// Reads the fields of a JSON or form body. Repeated fields and fields that are not text are invalid.
fn read_fields(headers: &HeaderMap, body: &[u8]) -> Result<HashMap<String, String>, OauthErrorResponse> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => {
            serde_json::from_slice(body).map_err(|_| invalid_request("the body must be a JSON object of strings"))
        }
        "application/x-www-form-urlencoded" => {
            let mut fields = HashMap::new();
            for (name, value) in form_urlencoded::parse(body) {
                if fields.insert(name.to_string(), value.into_owned()).is_some() {
                    return Err(invalid_request(format!("{name} is given twice")));
                }
            }
            Ok(fields)
        }
        _ => Err(invalid_request("the body must be application/json or application/x-www-form-urlencoded")),
    }
}

fn invalid_request(description: impl Into<String>) -> OauthErrorResponse {
    OauthErrorResponse(StatusCode::BAD_REQUEST, "invalid_request", description.into())
}
