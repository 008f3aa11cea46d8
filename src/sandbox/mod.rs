//! A local Management API server, for the demo, for tests, and for trying manifests out without an account.
//!
//! Real HTTP, strict in what it takes, rich in what it returns, as the contract has it. Shares no logic with the planner
//! or the client, so that one cannot hide the other's mistakes.

mod answer;
mod apps;
mod auth;
mod control;
mod faults;
mod fields;
mod gate;
mod journal;
mod reads;
mod server;
mod state;

#[cfg(test)]
mod tests;

pub use auth::Credential;
pub use server::{Running, serve};
pub use state::{Config, Organization};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faults::Faults;
use journal::Journal;
use state::State;

/// What every request has at hand.
#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    state: Arc<Mutex<State>>,
    journal: Arc<Journal>,
    faults: Arc<Faults>,
}

impl Shared {
    fn new(config: Config) -> Self {
        Self { config: Arc::new(config), state: Arc::default(), journal: Arc::default(), faults: Arc::default() }
    }

    /// The state. A request holds it once, for all that it changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
