//! Stored apps and secrets. Every operation is atomic under the lock of the state.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sandbox::auth::identity::Caller;
use crate::sandbox::model::app::changes::AppChanges;
use crate::sandbox::model::app::record::{AppSettings, StoredApp};
use crate::sandbox::model::profile::{ApiSwitches, Reactivation, SubscriptionPlan, plan_limit_error};
use crate::sandbox::model::secret::{SecretContent, StoredSecret, StoredSecrets};
use crate::sandbox::settings::config::{SandboxConfig, SeedApp};
use crate::sandbox::wire::error::ErrorResponse;
use crate::sandbox::wire::request_body::RequestBody;

/// Apps of all organizations by ID, including deleted apps.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct AppStore {
    apps: BTreeMap<u64, StoredApp>,
    next_app: u64,
    #[serde(default = "first_secret_id")]
    next_secret: u64,
}

/// The first IDs differ from counts and positions, and app IDs differ from secret IDs, so that tests detect a mix-up.
const FIRST_APP_ID: u64 = 1001;
const FIRST_SECRET_ID: u64 = 5001;

fn first_secret_id() -> u64 {
    FIRST_SECRET_ID
}

impl Default for AppStore {
    fn default() -> Self {
        Self { apps: BTreeMap::new(), next_app: FIRST_APP_ID, next_secret: FIRST_SECRET_ID }
    }
}

impl AppStore {
    /// Creates the initial apps. Behaviour switches and plan limits do not apply to them.
    pub(crate) fn load_seed_apps(&mut self, config: &SandboxConfig) -> Result<(), String> {
        for SeedApp { organization, repository_connected, body, secrets } in &config.apps {
            let found = config.find_organization(organization);
            let organization = found.ok_or_else(|| format!("unknown organization {organization:?}"))?.id;
            let caller = Caller { organization, user: None, plan: SubscriptionPlan::default() };
            let request_body = RequestBody::from(Bytes::from(body.to_string()));
            let seed_error = |error: ErrorResponse| format!("the app {}: {error}", body["name"]);
            let body = request_body.read().map_err(seed_error)?;
            let (name, changes) = AppChanges::from_create_body(body, ApiSwitches::default()).map_err(seed_error)?;
            let created = self.create_app(&caller, name, changes, Reactivation::Apply, Timestamp::now());
            let id = created.map_err(seed_error)?.id;
            self.update_app(&caller, id, &request_body, ApiSwitches::default()).map_err(seed_error)?;
            self.set_repository_connected(id, *repository_connected);
            for (name, value) in secrets {
                let input = || SecretContent::from_seed(name, value);
                self.set_secret(&caller, id, input, Timestamp::now()).map_err(seed_error)?;
            }
        }
        Ok(())
    }

    /// Returns all apps, including deleted apps.
    pub(crate) fn all_apps(&self) -> impl Iterator<Item = &StoredApp> {
        self.apps.values()
    }

    /// Returns the live apps of the organization of the caller, ordered by ID.
    pub(crate) fn visible_apps<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a StoredApp> {
        self.apps.values().filter(|app| is_visible(app, caller))
    }

    /// Returns a live app of the organization of the caller, or 404. Apps of other organizations also give 404.
    pub(crate) fn find_app(&self, caller: &Caller, id: u64) -> Result<&StoredApp, ErrorResponse> {
        self.apps.get(&id).filter(|app| is_visible(app, caller)).ok_or_else(|| app_not_found(id))
    }

    /// Creates an app, or reactivates the deleted app with the same name. Returns 403 above a plan limit, and 409 if a
    /// live app has the name.
    pub(crate) fn create_app(
        &mut self,
        caller: &Caller,
        name: String,
        changes: AppChanges,
        reactivation: Reactivation,
        now: Timestamp,
    ) -> Result<&StoredApp, ErrorResponse> {
        let organization = caller.organization;
        changes.check_plan(caller.plan)?;
        let live_apps = u64::try_from(self.visible_apps(caller).count()).unwrap_or(u64::MAX);
        if caller.plan.max_apps.is_some_and(|max| live_apps >= max) {
            return Err(plan_limit_error("Organization has reached the maximum app limit"));
        }
        let namesake = |app: &&mut StoredApp| app.organization == organization && app.name.eq_ignore_ascii_case(&name);
        let id = match self.apps.values_mut().find(namesake) {
            Some(app) if app.deleted_at.is_none() => {
                let message = format!("App {name:?} already exists in this organization");
                return Err(ErrorResponse::new(StatusCode::CONFLICT, message));
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
            None => self.insert_app(caller, name, changes, now),
        };
        self.find_app(caller, id)
    }

    fn insert_app(&mut self, caller: &Caller, name: String, changes: AppChanges, now: Timestamp) -> u64 {
        let id = self.next_app;
        self.next_app += 1;
        let mut settings = AppSettings::default();
        settings.apply(changes);
        let app = StoredApp {
            id,
            organization: caller.organization,
            name,
            created_at: now,
            created_by: caller.user,
            deleted_at: None,
            key_generation: 1,
            repository_connected: false,
            secrets: StoredSecrets::default(),
            settings,
        };
        self.apps.insert(id, app);
        id
    }

    /// Updates an app. Reads the body after the check that the app exists, because 404 precedes body errors.
    pub(crate) fn update_app(
        &mut self,
        caller: &Caller,
        id: u64,
        body: &RequestBody,
        switches: ApiSwitches,
    ) -> Result<&StoredApp, ErrorResponse> {
        let app = self.find_app_mut(caller, id)?;
        let changes = AppChanges::from_update_body(body.read()?, &app.settings, switches)?;
        changes.check_plan(caller.plan)?;
        if app.repository_connected && changes.changes_spicepod() {
            let message = "The spicepod of a repository-connected app cannot be changed here";
            return Err(ErrorResponse::new(StatusCode::CONFLICT, message).with_code("github_connected"));
        }
        app.settings.apply(changes);
        Ok(app)
    }

    /// Connects an app to a repository, which then provides the spicepod, or disconnects the app. Returns false if the
    /// ID is unknown.
    pub(crate) fn set_repository_connected(&mut self, id: u64, connected: bool) -> bool {
        self.apps.get_mut(&id).map(|app| app.repository_connected = connected).is_some()
    }

    /// Marks an app as deleted.
    pub(crate) fn delete_app(&mut self, caller: &Caller, id: u64, now: Timestamp) -> Result<(), ErrorResponse> {
        self.find_app_mut(caller, id)?.deleted_at = Some(now);
        Ok(())
    }

    /// Sets a secret of an app. Reads the input after the check that the app exists, because 404 precedes body errors.
    pub(crate) fn set_secret(
        &mut self,
        caller: &Caller,
        id: u64,
        input: impl FnOnce() -> Result<SecretContent, ErrorResponse>,
        now: Timestamp,
    ) -> Result<&StoredSecret, ErrorResponse> {
        let app = self.apps.get_mut(&id).filter(|app| is_visible(app, caller)).ok_or_else(|| app_not_found(id))?;
        Ok(app.secrets.set(input()?, &mut self.next_secret, now))
    }

    /// Permanently deletes a secret of an app, or returns 404.
    pub(crate) fn delete_secret(&mut self, caller: &Caller, id: u64, name: &str) -> Result<(), ErrorResponse> {
        self.find_app_mut(caller, id)?.secrets.remove(name)
    }

    fn find_app_mut(&mut self, caller: &Caller, id: u64) -> Result<&mut StoredApp, ErrorResponse> {
        self.apps.get_mut(&id).filter(|app| is_visible(app, caller)).ok_or_else(|| app_not_found(id))
    }
}

fn is_visible(app: &StoredApp, caller: &Caller) -> bool {
    app.organization == caller.organization && app.deleted_at.is_none()
}

fn app_not_found(id: u64) -> ErrorResponse {
    ErrorResponse::new(StatusCode::NOT_FOUND, format!("App with ID {id} not found"))
}
