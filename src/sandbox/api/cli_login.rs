//! Login of the Spice command line.
//!
//! The endpoints belong to the site host of the service, which is the same host as the API in the sandbox. The sandbox
//! has no login form: opening the login page approves the code.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::AuthenticatedRequest;
use super::parameters::QueryParameters;
use super::paths::BEARER_PATH;
use crate::sandbox::auth::cli_logins;
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::app::responses::AppKeyBody;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ErrorBody, ErrorResponse};
use crate::sandbox::wire::fields::{self, BodyFields};
use crate::sandbox::wire::request_body::RequestBody;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(exchange_code)).routes(routes!(get_bearer))
}

/// A code that the command line created.
#[derive(ToSchema)]
#[schema(as = LoginRequest)]
#[expect(dead_code, reason = "documentation of the body only")]
struct CliLoginRequest {
    #[schema(min_length = 8, max_length = 8, pattern = "^[A-Z0-9]+$")]
    code: String,
}

/// Result of a login. Empty while the code is not approved.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Login)]
struct CliLoginBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied: Option<bool>,
}

/// The authenticated user. Unknown fields are absent.
#[derive(Serialize, ToSchema)]
#[schema(as = Bearer)]
struct BearerBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    org: BearerOrganizationBody,
    /// The app that was requested by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<AppKeyBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BearerOrganization)]
struct BearerOrganizationBody {
    id: u64,
    name: String,
}

/// Approves a login code.
pub(super) async fn login_page(
    State(sandbox): State<Arc<Sandbox>>,
    query: QueryParameters,
) -> Result<&'static str, ErrorResponse> {
    let code = cli_logins::parse_code(query.get("code").unwrap_or_default());
    sandbox.cli_logins.approve(code.map_err(|message| ErrorResponse::invalid_parameter(format!("code {message}")))?);
    Ok("You may go back to the command line.\n")
}

/// Exchanges an approved code for the token of a session.
#[utoipa::path(
    post,
    path = "/auth/token/exchange",
    operation_id = "exchange_login",
    request_body = CliLoginRequest,
    responses(
        (status = 200, description = "The token, or a denial", body = CliLoginBody),
        (status = 202, description = "The code is not approved yet", body = CliLoginBody),
        (status = 400, description = "The body is invalid", body = ErrorBody),
        (status = 413, description = "The body is larger than 1 MiB", body = ErrorBody),
        (status = 500, description = "The state could not be written", body = ErrorBody),
    ),
)]
async fn exchange_code(
    State(sandbox): State<Arc<Sandbox>>,
    body: RequestBody,
) -> Result<impl IntoResponse, ErrorResponse> {
    let mut fields = BodyFields::parse(body.read()?)?;
    let code = fields.read_required("code", |value| cli_logins::parse_code(&fields::read_string(value)?));
    fields.finish()?;
    let (status, login) = if sandbox.cli_logins.redeem(&code.unwrap_or_default()) {
        let access_token = sandbox.update_state(|state| Ok::<_, ErrorResponse>(state.credentials.sign_in()))?;
        let access_denied = access_token.is_none().then_some(true);
        (StatusCode::OK, CliLoginBody { access_token, access_denied })
    } else {
        (StatusCode::ACCEPTED, CliLoginBody::default())
    };
    Ok((status, [(header::CACHE_CONTROL, "no-store")], Json(login)))
}

/// Returns the authenticated user, an organization and an app for the Spice command line.
#[utoipa::path(
    get,
    path = BEARER_PATH,
    operation_id = "get_bearer",
    params(
        ("org_name" = Option<String>, Query, description = "Handle of another organization"),
        ("app_name" = Option<String>, Query, description = "Name of an app in the organization"),
    ),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "The authenticated user", body = BearerBody)),
)]
async fn get_bearer(
    State(sandbox): State<Arc<Sandbox>>,
    request: AuthenticatedRequest,
    query: QueryParameters,
) -> Result<Json<BearerBody>, ErrorResponse> {
    let request = match query.get("org_name") {
        Some(handle) => request.for_organization(&sandbox.config, handle)?,
        None => request,
    };
    let caller = request.require_scope(APPS_READ)?;
    let org = BearerOrganizationBody { id: caller.organization, name: request.organization_name().to_owned() };
    let state = sandbox.state();
    let has_requested_name =
        |name: &str| query.get("app_name").is_some_and(|requested| requested.eq_ignore_ascii_case(name));
    let app = state.store.visible_apps(&caller).find(|app| has_requested_name(&app.name));
    Ok(Json(BearerBody {
        username: caller.user.map(|id| format!("user-{id}")),
        email: caller.user.map(|id| format!("user-{id}@sandbox.invalid")),
        org,
        app: app.map(|app| app.to_key_body()),
    }))
}
