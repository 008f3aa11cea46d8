//! A local Management API server that keeps everything in memory.
//!
//! It is for trying the operator, or any other client of the API, without an account: strict in what it refuses, rich in
//! what it returns. Beside the API it serves `/sandbox/`, where a test reads what arrived, asks for faults and looks at
//! what is stored.
//!
//! ```text
//! server    connections, shutdown
//! gateway   what happens to every API request: journal, body limit, rate limits, faults
//! api       the endpoints; access, error and fields are what they share
//! credentials
//!           who is known; tokens are issued, expire and are revoked here
//! store     what is kept; app, placement, spicepod, tags and runtime are the rules of an app
//! rules     what differs between one cloud and another: profile, switches, plans
//! control   /sandbox/: journal, faults, credentials, state
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
mod journal;
mod placement;
mod rates;
mod rules;
mod runtime;
mod server;
mod spicepod;
mod store;
mod tags;
#[cfg(test)]
mod tests;
mod time;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

pub use config::{Announcement, Config, Credential, CredentialKind, Membership, Organization, RateLimits, Role, User};
pub use rules::{Plan, Profile, Reactivation, Switches, TagRule};
pub use server::{Running, StartError, serve};

use credentials::Credentials;
use faults::Faults;
use journal::Journal;
use rates::Rates;
use store::Store;

/// What the requests of one server share.
struct Sandbox {
    config: Config,
    credentials: Mutex<Credentials>,
    store: Mutex<Store>,
    journal: Journal,
    faults: Faults,
    rates: Rates,
    /// Cancelled when the server is told to stop; whatever waits without an end of its own watches it.
    stopping: CancellationToken,
}

impl Sandbox {
    fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            credentials: Mutex::new(Credentials::new(&config.credentials, config.token_lifetime)),
            config: config.clone(),
            store: Mutex::default(),
            journal: Journal::default(),
            faults: Faults::default(),
            rates: Rates::new(config.rate_limits),
            stopping: CancellationToken::new(),
        })
    }

    fn organization(&self, id: u64) -> Option<&Organization> {
        self.config.organizations.iter().find(|organization| organization.id == id)
    }

    fn credentials(&self) -> MutexGuard<'_, Credentials> {
        lock(&self.credentials)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

/// Locks, also after a panic elsewhere: no critical section of the sandbox leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
