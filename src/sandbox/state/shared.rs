//! The state that the requests of one server share.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use super::snapshot::{Kept, Unsaved};
use super::store::Store;
use crate::sandbox::auth::cli_logins::Logins;
use crate::sandbox::auth::credentials::Credentials;
use crate::sandbox::settings::config::{Config, Organization};
use crate::sandbox::traffic::faults::Faults;
use crate::sandbox::traffic::journal::Journal;
use crate::sandbox::traffic::rate_limits::Rates;
use crate::sandbox::wire::sync::lock;

/// What the requests of one server share.
pub(crate) struct Sandbox {
    pub(crate) config: Config,
    kept: Mutex<Kept>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) faults: Faults,
    pub(crate) rates: Rates,
    pub(crate) logins: Logins,
    /// Cancelled when the server is told to stop; whatever waits without an end of its own watches it.
    pub(crate) stopping: CancellationToken,
}

impl Sandbox {
    /// The error says what is wrong with the state file or the seed.
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>, String> {
        let credentials = Credentials::new(&config.credentials, config.token_lifetime);
        let mut kept = Kept { store: Store::default(), credentials };
        let loaded = match &config.state {
            Some(path) => kept.load(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?,
            None => false,
        };
        if !loaded {
            kept.store.seed(config)?;
        }
        if let Some(path) = &config.state {
            kept.save(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(Arc::new(Self {
            config: config.clone(),
            kept: Mutex::new(kept),
            journal: Arc::default(),
            faults: Faults::default(),
            rates: Rates::new(config.rate_limits),
            logins: Logins::default(),
            stopping: CancellationToken::new(),
        }))
    }

    pub(crate) fn organization(&self, id: u64) -> Option<&Organization> {
        self.config.organizations.iter().find(|organization| organization.id == id)
    }

    /// To look; what changes anything is [`Self::change`].
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Changes what is kept. It is on the disk when this returns, or it did not happen.
    pub(crate) fn change<T, E: From<Unsaved>>(&self, change: impl FnOnce(&mut Kept) -> Result<T, E>) -> Result<T, E> {
        let mut kept = self.kept();
        let Some(path) = &self.config.state else { return change(&mut kept) };
        let before = kept.clone();
        let done = change(&mut kept)?;
        if let Err(error) = kept.save(path) {
            tracing::warn!(%error, "the state could not be written");
            *kept = before;
            return Err(Unsaved.into());
        }
        Ok(done)
    }
}
