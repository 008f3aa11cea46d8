//! A local Management API server that keeps everything in memory.
//!
//! It is for trying the operator, or any other client of the API, without an account: strict in what it refuses, rich in
//! what it returns. Beside the API it serves `/sandbox/`, where a test reads what arrived, asks for faults and looks at
//! what is stored.
//!
//! ```text
//! server    connections, shutdown; tls is its certificate
//! gateway   what happens to every API request: journal, body limit, rate limits, faults
//! api       the endpoints, and the document that describes them; access, payload, fields and error are what they share
//! credentials
//!           who is known; tokens are issued, expire and are revoked here; logins is how a command line gets one
//! store     what is kept; app, placement, spicepod, tags, images and runtime are the rules of an app, secret those of
//!           its secrets, whose values are not kept
//! kept      what changes, and the file it survives in; seed is what it begins with
//! rules     what differs between one cloud and another: profile, switches, plans
//! control   /sandbox/: journal, faults, credentials, state, and what only the portal does to an app
//! ```
//!
//! Nothing of the operator may be used here, and nothing here by the operator: two readings of one contract check each
//! other only while they are separate.

mod access;
mod api;
mod app;
mod config;
mod control;
mod credentials;
mod error;
mod faults;
mod fields;
mod gateway;
mod images;
mod journal;
mod kept;
mod logins;
mod payload;
mod placement;
mod rates;
mod rules;
mod runtime;
mod secret;
mod seed;
mod server;
mod spicepod;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod time;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

pub use config::{
    Announcement, Config, Credential, CredentialKind, Membership, Organization, RateLimits, Role, SeedApp, User,
};
pub use rules::{Plan, Profile, Reactivation, ResourceLimits, Switches, TagRule};
pub use secret::ValueDigest;
pub use server::{Running, StartError, serve};
pub use tls::TlsError;

use credentials::Credentials;
use faults::Faults;
use journal::Journal;
use kept::{Kept, Unsaved};
use logins::Logins;
use rates::Rates;
use store::Store;

/// What the requests of one server share.
struct Sandbox {
    config: Config,
    kept: Mutex<Kept>,
    journal: Journal,
    faults: Faults,
    rates: Rates,
    logins: Logins,
    /// Cancelled when the server is told to stop; whatever waits without an end of its own watches it.
    stopping: CancellationToken,
}

impl Sandbox {
    /// The error says what is wrong with the state file or the seed.
    fn new(config: &Config) -> Result<Arc<Self>, String> {
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
            journal: Journal::default(),
            faults: Faults::default(),
            rates: Rates::new(config.rate_limits),
            logins: Logins::default(),
            stopping: CancellationToken::new(),
        }))
    }

    fn organization(&self, id: u64) -> Option<&Organization> {
        self.config.organizations.iter().find(|organization| organization.id == id)
    }

    /// To look; what changes anything is [`Self::change`].
    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Changes what is kept. It is on the disk when this returns, or it did not happen.
    fn change<T, E: From<Unsaved>>(&self, change: impl FnOnce(&mut Kept) -> Result<T, E>) -> Result<T, E> {
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

/// Locks, also after a panic elsewhere: no critical section of the sandbox leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
