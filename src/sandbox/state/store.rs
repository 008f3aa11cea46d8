//! What the sandbox keeps. Every operation is whole: it happens under one lock or not at all.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sandbox::auth::identity::Caller;
use crate::sandbox::model::app::changes::Changes;
use crate::sandbox::model::app::record::{App, Settings};
use crate::sandbox::model::profile::{Plan, Reactivation, Switches, above_plan};
use crate::sandbox::model::secret::{Assignment, Secret, Secrets};
use crate::sandbox::settings::config::{Config, SeedApp};
use crate::sandbox::wire::error::ApiError;
use crate::sandbox::wire::request_body::Payload;

/// All apps of all organizations, by id, the deleted ones too.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Store {
    apps: BTreeMap<u64, App>,
    next_app: u64,
    #[serde(default = "first_secret")]
    next_secret: u64,
}

/// Ids begin here, so that none is mistaken for a position or a count, or one of an app for one of a secret.
const FIRST_APP: u64 = 1001;
const FIRST_SECRET: u64 = 5001;

fn first_secret() -> u64 {
    FIRST_SECRET
}

impl Default for Store {
    fn default() -> Self {
        Self { apps: BTreeMap::new(), next_app: FIRST_APP, next_secret: FIRST_SECRET }
    }
}

impl Store {
    /// Creates the apps of the configuration. Whatever the switches and plans say of clients does not hold for them.
    pub(crate) fn seed(&mut self, config: &Config) -> Result<(), String> {
        for SeedApp { organization, repository_connected, body, secrets } in &config.apps {
            let known = config.organizations.iter().find(|known| known.is_called(organization));
            let known = known.ok_or_else(|| format!("there is no organization {organization:?}"))?;
            let caller = Caller { organization: known.id, user: None, plan: Plan::default() };
            let payload = Payload::from(Bytes::from(body.to_string()));
            let refused = |error: ApiError| format!("the app {}: {error}", body["name"]);
            let body = payload.read().map_err(refused)?;
            let (name, changes) = Changes::of_create(body, Switches::default()).map_err(refused)?;
            let created = self.create_app(&caller, name, changes, Reactivation::Apply, Timestamp::now());
            let id = created.map_err(refused)?.id;
            self.update_app(&caller, id, &payload, Switches::default()).map_err(refused)?;
            self.connect(id, *repository_connected);
            for (name, value) in secrets {
                let wanted = || Assignment::seeded(name, value);
                self.set_secret(&caller, id, wanted, Timestamp::now()).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Every app, deleted or not.
    pub(crate) fn everything(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// The live apps of the caller's organization, in ascending order of id.
    pub(crate) fn apps<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a App> {
        self.apps.values().filter(|app| is_visible(app, caller))
    }

    /// A live app of the caller's organization; 404 also for one of another organization.
    pub(crate) fn app(&self, caller: &Caller, id: u64) -> Result<&App, ApiError> {
        self.apps.get(&id).filter(|app| is_visible(app, caller)).ok_or_else(|| missing(id))
    }

    /// Creates an app, or brings back the deleted one of that name with what it had. More than the plan has room for is
    /// refused, and a live app of that name is a conflict.
    pub(crate) fn create_app(
        &mut self,
        caller: &Caller,
        name: String,
        changes: Changes,
        reactivation: Reactivation,
        now: Timestamp,
    ) -> Result<&App, ApiError> {
        let organization = caller.organization;
        changes.within(caller.plan)?;
        let live = u64::try_from(self.apps(caller).count()).unwrap_or(u64::MAX);
        if caller.plan.max_apps.is_some_and(|most| live >= most) {
            return Err(above_plan("Organization has reached the maximum app limit"));
        }
        let namesake = |app: &&mut App| app.organization == organization && app.name.eq_ignore_ascii_case(&name);
        let id = match self.apps.values_mut().find(namesake) {
            Some(app) if app.deleted_at.is_none() => {
                let message = format!("App {name:?} already exists in this organization");
                return Err(ApiError::new(StatusCode::CONFLICT, message));
            }
            Some(app) => {
                app.name = name;
                app.deleted_at = None;
                app.key_generation += 1;
                if reactivation == Reactivation::Apply {
                    app.settings.apply(changes);
                }
                app.id
            }
            None => {
                let id = self.next_app;
                self.next_app += 1;
                let mut settings = Settings::default();
                settings.apply(changes);
                let app = App {
                    id,
                    organization,
                    name,
                    created_at: now,
                    created_by: caller.user,
                    deleted_at: None,
                    key_generation: 1,
                    repository_connected: false,
                    secrets: Secrets::default(),
                    settings,
                };
                self.apps.insert(id, app);
                id
            }
        };
        self.app(caller, id)
    }

    /// Changes an app by a body that is read only once the app is known to exist.
    pub(crate) fn update_app(
        &mut self,
        caller: &Caller,
        id: u64,
        body: &Payload,
        switches: Switches,
    ) -> Result<&App, ApiError> {
        let app = self.app_mut(caller, id)?;
        let changes = Changes::of_update(body.read()?, &app.settings, switches)?;
        changes.within(caller.plan)?;
        if app.repository_connected && changes.touch_spicepod() {
            let message = "The spicepod of a repository-connected app cannot be changed here";
            return Err(ApiError::new(StatusCode::CONFLICT, message).with_code("github_connected"));
        }
        app.settings.apply(changes);
        Ok(app)
    }

    /// Connects an app with a repository, which has its spicepod from then on, or disconnects it. False: there is no app
    /// of that id, not even a deleted one.
    pub(crate) fn connect(&mut self, id: u64, connected: bool) -> bool {
        self.apps.get_mut(&id).map(|app| app.repository_connected = connected).is_some()
    }

    /// Deletes an app softly.
    pub(crate) fn delete_app(&mut self, caller: &Caller, id: u64, now: Timestamp) -> Result<(), ApiError> {
        self.app_mut(caller, id)?.deleted_at = Some(now);
        Ok(())
    }

    /// Sets a secret of an app. What it shall be is asked only once the app is known to exist.
    pub(crate) fn set_secret(
        &mut self,
        caller: &Caller,
        id: u64,
        wanted: impl FnOnce() -> Result<Assignment, ApiError>,
        now: Timestamp,
    ) -> Result<&Secret, ApiError> {
        let app = self.apps.get_mut(&id).filter(|app| is_visible(app, caller)).ok_or_else(|| missing(id))?;
        Ok(app.secrets.set(wanted()?, &mut self.next_secret, now))
    }

    /// Deletes a secret of an app for good; 404 also if there is none of that name.
    pub(crate) fn delete_secret(&mut self, caller: &Caller, id: u64, name: &str) -> Result<(), ApiError> {
        self.app_mut(caller, id)?.secrets.remove(name)
    }

    fn app_mut(&mut self, caller: &Caller, id: u64) -> Result<&mut App, ApiError> {
        self.apps.get_mut(&id).filter(|app| is_visible(app, caller)).ok_or_else(|| missing(id))
    }
}

fn is_visible(app: &App, caller: &Caller) -> bool {
    app.organization == caller.organization && app.deleted_at.is_none()
}

fn missing(id: u64) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("App with ID {id} not found"))
}
