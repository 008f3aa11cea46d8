//! Apps, which newer versions of the API call projects (contract, section 7).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::Sandbox;
use super::super::access::{APPS_DELETE, APPS_READ, APPS_WRITE, Access, CONFIG_READ, CONFIG_WRITE, Caller};
use super::super::app::{App, Changes};
use super::super::error::ApiError;
use super::parameters::{PathId, Query};

/// An app, or a list of them, as a body.
type Answer = Json<Map<String, Value>>;

/// Serves apps under a path; `key` is what the list calls them.
pub(super) fn router(path: &str, key: &'static str) -> Router<Arc<Sandbox>> {
    let list = move |state, access, query| list(key, state, access, query);
    Router::new()
        .route(path, get(list).post(create))
        .route(&format!("{path}/{{appId}}"), get(read).put(update).delete(delete))
}

async fn list(
    key: &'static str,
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    query: Query,
) -> Result<Answer, ApiError> {
    let caller = access.require(APPS_READ)?;
    let page = query.page(sandbox.config.switches)?;
    let (offset, limit) = page.map_or((0, usize::MAX), |page| (page.offset, page.limit));
    let kept = sandbox.kept();
    let apps: Vec<_> =
        kept.store.apps(&caller).skip(offset).take(limit).map(|app| Value::Object(app.summary())).collect();
    Ok(Json(Map::from_iter([(key.to_owned(), Value::Array(apps))])))
}

async fn create(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    body: Bytes,
) -> Result<(StatusCode, Answer), ApiError> {
    let caller = may_change(&sandbox, &access, &body)?;
    let switches = sandbox.config.switches;
    let (name, changes) = Changes::of_create(&body, switches)?;
    sandbox.change(|kept| {
        let app = kept.store.create_app(&caller, name, changes, switches.reactivation, Timestamp::now())?;
        Ok((StatusCode::CREATED, detail(&sandbox, &access, app)))
    })
}

async fn read(State(sandbox): State<Arc<Sandbox>>, access: Access, id: PathId) -> Result<Answer, ApiError> {
    let caller = access.require(APPS_READ)?;
    let id = id.read()?;
    Ok(detail(&sandbox, &access, sandbox.kept().store.app(&caller, id)?))
}

async fn update(
    State(sandbox): State<Arc<Sandbox>>,
    access: Access,
    id: PathId,
    body: Bytes,
) -> Result<Answer, ApiError> {
    let caller = may_change(&sandbox, &access, &body)?;
    let id = id.read()?;
    sandbox.change(|kept| {
        let app = kept.store.update_app(&caller, id, &body, sandbox.config.switches)?;
        Ok(detail(&sandbox, &access, app))
    })
}

async fn delete(State(sandbox): State<Arc<Sandbox>>, access: Access, id: PathId) -> Result<StatusCode, ApiError> {
    let caller = access.require(APPS_DELETE)?;
    let id = id.read()?;
    sandbox.change(|kept| {
        kept.store.delete_app(&caller, id, Timestamp::now())?;
        Ok(StatusCode::NO_CONTENT)
    })
}

/// The scope that a body asks for, which may depend on what it names.
fn may_change(sandbox: &Sandbox, access: &Access, body: &[u8]) -> Result<Caller, ApiError> {
    let caller = access.require(APPS_WRITE)?;
    if sandbox.config.switches.config_scopes && Changes::names_config(body) {
        access.require(CONFIG_WRITE)?;
    }
    Ok(caller)
}

fn detail(sandbox: &Sandbox, access: &Access, app: &App) -> Answer {
    let organization = sandbox.organization(app.organization).map_or("", |organization| &organization.name);
    let mut detail = app.detail_with_key(organization);
    if sandbox.config.switches.config_scopes && access.require(CONFIG_READ).is_err() {
        detail.remove("config");
    }
    Json(detail)
}
