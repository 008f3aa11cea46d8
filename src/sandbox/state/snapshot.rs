//! Everything that changes while the sandbox runs, and the file that it survives in.
//!
//! With a file, a change is answered only once it is on the disk: written temporary_path the old state, synced, and renamed over
//! it, so that a kill at any moment leaves the one or the other.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::sandbox::auth::credentials::{CredentialStore, PersistedCredentials};
use crate::sandbox::state::store::AppStore;
use crate::sandbox::wire::error::ErrorResponse;

/// Says how a file is to be read; another number is refused.
const FORMAT: u32 = 1;

/// What the sandbox holds, under one lock.
#[derive(Clone)]
pub(crate) struct PersistedState {
    pub(crate) store: AppStore,
    pub(crate) credentials: CredentialStore,
}

/// What a file contains.
#[derive(Serialize, Deserialize)]
struct StateFile<S> {
    format: u32,
    store: S,
    credentials: PersistedCredentials,
}

/// A change that was undone because it could not be written.
#[derive(Debug)]
pub(crate) struct PersistError;

impl From<PersistError> for ErrorResponse {
    fn from(PersistError: PersistError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The state could not be written")
    }
}

impl PersistedState {
    /// Takes over what a file holds. False: there is no such file yet.
    pub(crate) fn load(&mut self, path: &Path) -> io::Result<bool> {
        let json = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read?,
        };
        let StateFile { format, store, credentials } = serde_json::from_slice::<StateFile<AppStore>>(&json)?;
        if format != FORMAT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its format is {format}, not {FORMAT}")));
        }
        self.store = store;
        self.credentials.restore(credentials);
        Ok(true)
    }

    /// Writes everything. Blocks: it is a small file, and nothing may be answered before it is on the disk.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let contents = StateFile { format: FORMAT, store: &self.store, credentials: self.credentials.to_persisted() };
        let json = serde_json::to_vec(&contents)?;
        let temporary = temporary_path(path);
        let mut file = File::create(&temporary)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The new name is on the disk only when the directory is.
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
