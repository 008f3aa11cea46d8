//! How the command line of the service signs in, and asks who it is (contract, sections 2.2 and 18).
//!
//! These endpoints are on the site's host, which for a sandbox is the API's too. Whoever opens the page of a code is let in
//! as the session there is: the sandbox has nobody who would have to prove anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::parameters::Query;
use super::paths::BEARER_PATH;
use crate::sandbox::auth::cli_logins;
use crate::sandbox::auth::scopes::APPS_READ;
use crate::sandbox::model::app::responses::Keyed;
use crate::sandbox::state::shared::Sandbox;
use crate::sandbox::wire::error::{ApiError, Body};
use crate::sandbox::wire::fields::{self, Fields};
use crate::sandbox::wire::request_body::Payload;

pub(super) fn router() -> OpenApiRouter<Arc<Sandbox>> {
    OpenApiRouter::new().routes(routes!(exchange)).routes(routes!(probe))
}

/// The code that the command line made up.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct LoginRequest {
    #[schema(min_length = 8, max_length = 8, pattern = "^[A-Z0-9]+$")]
    code: String,
}

/// What came of a code; nothing yet if it is empty.
#[derive(Default, Serialize, ToSchema)]
struct Login {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied: Option<bool>,
}

/// Who the bearer is. What is not known is left out.
#[derive(Serialize, ToSchema)]
struct Bearer {
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    org: BearerOrganization,
    /// The app that was asked for by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Keyed>,
}

#[derive(Serialize, ToSchema)]
struct BearerOrganization {
    id: u64,
    name: String,
}

/// Lets in whoever made up the code.
pub(super) async fn page(State(sandbox): State<Arc<Sandbox>>, query: Query) -> Result<&'static str, ApiError> {
    let code = cli_logins::code(query.get("code").unwrap_or_default());
    sandbox.logins.open(code.map_err(|message| ApiError::parameter(format!("code {message}")))?);
    Ok("You may go back to the command line.\n")
}

/// Exchanges a code for the token of a session, once its page was opened.
#[utoipa::path(
    post,
    path = "/auth/token/exchange",
    operation_id = "exchange_login",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "The token, or that there is none", body = Login),
        (status = 202, description = "Nobody opened the page yet", body = Login),
        (status = 400, description = "The body breaks a rule", body = Body),
        (status = 413, description = "The body is larger than 1 MiB", body = Body),
        (status = 500, description = "The state could not be written", body = Body),
    ),
)]
async fn exchange(State(sandbox): State<Arc<Sandbox>>, body: Payload) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(body.read()?)?;
    let code = fields.required("code", |value| cli_logins::code(&fields::text(value)?));
    fields.finish()?;
    let (status, login) = if sandbox.logins.take(&code.unwrap_or_default()) {
        let access_token = sandbox.change(|kept| Ok::<_, ApiError>(kept.credentials.sign_in()))?;
        let access_denied = access_token.is_none().then_some(true);
        (StatusCode::OK, Login { access_token, access_denied })
    } else {
        (StatusCode::ACCEPTED, Login::default())
    };
    Ok((status, [(header::CACHE_CONTROL, "no-store")], Json(login)))
}

/// Says who the bearer is, and what a command line needs to know of an organization and an app within its reach.
#[utoipa::path(
    get,
    path = BEARER_PATH,
    operation_id = "get_bearer",
    params(
        ("org_name" = Option<String>, Query, description = "The handle of another organization"),
        ("app_name" = Option<String>, Query, description = "The name of an app in it"),
    ),
    security(("bearer" = [APPS_READ]), ("oauth" = [APPS_READ])),
    responses((status = 200, description = "Who it is", body = Bearer)),
)]
async fn probe(State(sandbox): State<Arc<Sandbox>>, access: Access, query: Query) -> Result<Json<Bearer>, ApiError> {
    let access = match query.get("org_name") {
        Some(handle) => access.on(&sandbox.config, handle)?,
        None => access,
    };
    let caller = access.require(APPS_READ)?;
    let org = BearerOrganization { id: caller.organization, name: access.organization().to_owned() };
    let kept = sandbox.kept();
    let is_asked_for = |name: &str| query.get("app_name").is_some_and(|asked| asked.eq_ignore_ascii_case(name));
    let app = kept.store.apps(&caller).find(|app| is_asked_for(&app.name));
    Ok(Json(Bearer {
        username: caller.user.map(|id| format!("user-{id}")),
        email: caller.user.map(|id| format!("user-{id}@sandbox.invalid")),
        org,
        app: app.map(|app| app.keyed()),
    }))
}
