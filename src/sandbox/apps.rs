//! Apps, also called projects (contract section 7).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Shared;
use super::answer::Refusal;
use super::auth::authorized;
use super::fields;
use super::state::App;

/// `limit` and `offset` of a list; applied only when a caller sends either.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    limit: Option<String>,
    offset: Option<String>,
}

impl Page {
    fn bounds(&self) -> Result<(usize, usize), Refusal> {
        let number = |text: &Option<String>, default: usize, least: usize, most: usize, name: &str| match text {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number))
                .ok_or_else(|| Refusal::bad_request(format!("Invalid {name}"))),
        };
        if self.limit.is_none() && self.offset.is_none() {
            return Ok((0, usize::MAX));
        }
        Ok((number(&self.offset, 0, 0, usize::MAX, "offset")?, number(&self.limit, 20, 1, 100, "limit")?))
    }
}

pub(super) async fn list(
    State(shared): State<Shared>,
    headers: HeaderMap,
    uri: Uri,
    Query(page): Query<Page>,
) -> Result<Response, Refusal> {
    let caller = authorized(&shared, &headers, "apps:read")?;
    let (offset, limit) = page.bounds()?;
    let state = shared.state();
    let apps: Vec<_> = state.live(&caller.organization).skip(offset).take(limit).map(App::summary).collect();
    let envelope = if uri.path().starts_with("/v1/projects") { "projects" } else { "apps" };
    Ok(Json(serde_json::json!({ envelope: apps })).into_response())
}

pub(super) async fn create(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    let caller = authorized(&shared, &headers, "apps:write")?;
    let body = object(&body)?;
    let name = fields::name(&body)?;
    fields::placement(&body)?;
    let mut state = shared.state();
    let fresh = App {
        id: state.fresh_id(),
        organization: caller.organization.clone(),
        name: name.to_owned(),
        created_at: now(),
        visibility: "private".to_owned(),
        ..App::default()
    };
    // A deleted name comes back as the app it was; only what the request says is new.
    let mut app = match state.named(&caller.organization, name) {
        Some(app) if app.deleted_at.is_none() => {
            let error = format!("App \"{}\" already exists in this organization", app.name);
            return Err(Refusal::new(StatusCode::CONFLICT, error));
        }
        Some(app) => app.clone(),
        None => fresh,
    };
    fields::apply(&mut app, &body, &shared.config.regions)?;
    app.deleted_at = None;
    app.key_generation += 1;
    let shown = app.detail();
    state.apps.insert(app.id, app);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

pub(super) async fn read(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let caller = authorized(&shared, &headers, "apps:read")?;
    let id = app_id(&id)?;
    let mut state = shared.state();
    let app = state.app(&caller.organization, id).ok_or_else(|| missing(id))?;
    Ok(Json(app.detail()).into_response())
}

pub(super) async fn update(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let caller = authorized(&shared, &headers, "apps:write")?;
    let id = app_id(&id)?;
    let mut state = shared.state();
    let app = state.app(&caller.organization, id).ok_or_else(|| missing(id))?;
    let mut body = object(&body)?;
    // Fixed at creation (contract section 7.4 lists what an update takes).
    body.remove("cname");
    fields::apply(app, &body, &shared.config.regions)?;
    Ok(Json(app.detail()).into_response())
}

pub(super) async fn delete(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let caller = authorized(&shared, &headers, "apps:delete")?;
    let id = app_id(&id)?;
    let mut state = shared.state();
    let app = state.app(&caller.organization, id).ok_or_else(|| missing(id))?;
    app.deleted_at = Some(now());
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn app_id(text: &str) -> Result<i64, Refusal> {
    text.parse().ok().filter(|id| *id > 0).ok_or_else(|| Refusal::bad_request("Invalid app ID"))
}

fn missing(id: i64) -> Refusal {
    Refusal::not_found(format!("App with ID {id} not found"))
}

fn object(body: &Bytes) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Refusal::bad_request("Request body must be a JSON object")),
        Err(_) => Err(Refusal::bad_request("Request body is not valid JSON")),
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}
