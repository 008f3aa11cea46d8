//! State that all requests of one server share.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use super::snapshot::{PersistError, PersistedState};
use super::store::AppStore;
use crate::sandbox::auth::cli_logins::CliLogins;
use crate::sandbox::auth::credentials::CredentialStore;
use crate::sandbox::settings::config::SandboxConfig;
use crate::sandbox::traffic::faults::FaultRules;
use crate::sandbox::traffic::journal::Journal;
use crate::sandbox::traffic::rate_limits::RequestLimiter;
use crate::sandbox::wire::sync::lock;

pub(crate) struct Sandbox {
    pub(crate) config: SandboxConfig,
    state: Mutex<PersistedState>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) faults: FaultRules,
    pub(crate) request_limiter: RequestLimiter,
    pub(crate) cli_logins: CliLogins,
    /// Cancelled at shutdown. Every wait without a time limit must also watch this token.
    pub(crate) shutdown: CancellationToken,
}

impl Sandbox {
    /// Creates the state from the state file or the seed. The error describes a problem with either.
    pub(crate) fn new(config: &SandboxConfig) -> Result<Arc<Self>, String> {
        let credentials = CredentialStore::new(&config.credentials, config.token_lifetime);
        let mut state = PersistedState { store: AppStore::default(), credentials };
        let loaded = match &config.state_file {
            Some(path) => state.load(path).map_err(|error| format!("--state {}: {error}", path.display()))?,
            None => false,
        };
        if !loaded {
            state.store.load_seed_apps(config)?;
        }
        if let Some(path) = &config.state_file {
            state.save(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(Arc::new(Self {
            config: config.clone(),
            state: Mutex::new(state),
            journal: Arc::default(),
            faults: FaultRules::default(),
            request_limiter: RequestLimiter::new(config.rate_limits),
            cli_logins: CliLogins::default(),
            shutdown: CancellationToken::new(),
        }))
    }

    /// Returns the handle of an organization. Empty if a state file contains an organization that is not configured.
    pub(crate) fn organization_name(&self, id: u64) -> &str {
        let found = self.config.organizations.iter().find(|organization| organization.id == id);
        found.map_or("", |organization| &organization.name)
    }

    /// Locks the state for a read. Use [`Self::update_state`] for changes.
    pub(crate) fn state(&self) -> MutexGuard<'_, PersistedState> {
        lock(&self.state)
    }

    /// Changes the state and writes the state file. If the write fails, the change is undone.
    pub(crate) fn update_state<T, E: From<PersistError>>(
        &self,
        change: impl FnOnce(&mut PersistedState) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.state();
        let Some(path) = &self.config.state_file else { return change(&mut state) };
        let before = state.clone();
        let result = change(&mut state)?;
        if let Err(error) = state.save(path) {
            tracing::warn!(%error, "Failed to write the state file");
            *state = before;
            return Err(PersistError.into());
        }
        Ok(result)
    }
}
