//! Everything that changes while the sandbox runs, and the file that it survives in.
//!
//! With a file, a change is answered only once it is on the disk: written beside the old state, synced, and renamed over
//! it, so that a kill at any moment leaves the one or the other.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::sandbox::auth::credentials::{Credentials, Saved};
use crate::sandbox::state::store::Store;
use crate::sandbox::wire::error::ApiError;

/// Says how a file is to be read; another number is refused.
const FORMAT: u32 = 1;

/// What the sandbox holds, under one lock.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) store: Store,
    pub(crate) credentials: Credentials,
}

/// What a file contains.
#[derive(Serialize, Deserialize)]
struct Contents<S> {
    format: u32,
    store: S,
    credentials: Saved,
}

/// A change that was undone because it could not be written.
#[derive(Debug)]
pub(crate) struct Unsaved;

impl From<Unsaved> for ApiError {
    fn from(Unsaved: Unsaved) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The state could not be written")
    }
}

impl Kept {
    /// Takes over what a file holds. False: there is no such file yet.
    pub(crate) fn load(&mut self, path: &Path) -> io::Result<bool> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read?,
        };
        let Contents { format, store, credentials } = serde_json::from_slice::<Contents<Store>>(&text)?;
        if format != FORMAT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its format is {format}, not {FORMAT}")));
        }
        self.store = store;
        self.credentials.restore(credentials);
        Ok(true)
    }

    /// Writes everything. Blocks: it is a small file, and nothing may be answered before it is on the disk.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let contents = Contents { format: FORMAT, store: &self.store, credentials: self.credentials.saved() };
        let text = serde_json::to_vec(&contents)?;
        let beside = beside(path);
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The new name is on the disk only when the folder is.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
