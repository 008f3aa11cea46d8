//! State that survives a restart, and the state file.
//!
//! With a state file, a response is sent only after the change is on disk. The file is written under a temporary name,
//! synced and renamed, so that a crash leaves either the previous or the new state.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::sandbox::auth::credentials::{CredentialStore, PersistedCredentials};
use crate::sandbox::state::store::AppStore;
use crate::sandbox::wire::error::ErrorResponse;

/// Format of the state file. Other formats are rejected.
const FORMAT: u32 = 1;

/// Apps and credentials under one lock.
#[derive(Clone)]
pub(crate) struct PersistedState {
    pub(crate) store: AppStore,
    pub(crate) credentials: CredentialStore,
}

#[derive(Serialize, Deserialize)]
struct StateFile<S> {
    format: u32,
    store: S,
    credentials: PersistedCredentials,
}

/// The state file could not be written, and the change was undone.
#[derive(Debug)]
pub(crate) struct PersistError;

impl From<PersistError> for ErrorResponse {
    fn from(PersistError: PersistError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The state could not be written")
    }
}

impl PersistedState {
    /// Loads the state file. Returns false if the file does not exist.
    pub(crate) fn load(&mut self, path: &Path) -> io::Result<bool> {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        // The content of a device may never end.
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let json = fs::read(path)?;
        let StateFile { format, store, credentials } = serde_json::from_slice::<StateFile<AppStore>>(&json)?;
        if format != FORMAT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("unsupported format {format}, expected {FORMAT}"),
            ));
        }
        self.store = store;
        self.credentials.restore(credentials);
        Ok(true)
    }

    /// Writes the state file. Blocks the thread, because the file is small and no response may precede the write.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let contents = StateFile { format: FORMAT, store: &self.store, credentials: self.credentials.to_persisted() };
        let json = serde_json::to_vec(&contents)?;
        let temporary = temporary_path(path);
        let mut file = File::create(&temporary)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The new name is durable only after a sync of the directory.
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
