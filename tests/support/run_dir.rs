//! Files of one run: `logs/` and `data/` in a temporary directory. A successful run removes the directory. A failed run
//! keeps the logs and prints their path.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::watchdog::Watched;

const DATA: &str = "data";

/// A temporary directory, removed at the last drop. A run counts as failed after a drop during a panic or a call of
/// [`RunDir::keep_logs`].
pub struct RunDir {
    path: PathBuf,
    retention: Mutex<Retention>,
}

/// Files that remain after the run. The watchdog entries apply the policy if this process is killed.
enum Retention {
    Nothing(Watched),
    Logs(Watched),
    Everything,
}

impl RunDir {
    /// Creates the directory. Its name contains `name`.
    pub fn new(name: &str) -> Result<Arc<Self>, String> {
        let path = tempfile::Builder::new()
            .prefix(&format!("spice-cloud-operator-{name}-"))
            .tempdir()
            .map_err(|e| format!("cannot create a temporary directory: {e}"))?
            .keep();
        let watched = Watched::directory(&path)?;
        let directory = Self { path, retention: Mutex::new(Retention::Nothing(watched)) };
        for part in [directory.logs(), directory.data()] {
            fs::create_dir(&part).map_err(|e| format!("{}: {e}", part.display()))?;
        }
        Ok(Arc::new(directory))
    }

    /// Returns the directory for the output of processes.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Returns the output of the processes whose name starts with `process`: file name and content.
    pub fn logs_of(&self, process: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", self.logs().display());
        let mut found = Vec::new();
        for entry in fs::read_dir(self.logs()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(process) {
                found.push((name, fs::read(entry.path()).map_err(failed)?));
            }
        }
        Ok(found)
    }

    /// Returns the directory for all other files, including credentials. Every run removes it.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Returns the parent directory of logs and data.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a data file that only the current user can read.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        use std::{io::Write, os::unix::fs::OpenOptionsExt};
        let path = self.data().join(name);
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Marks the run as failed: keeps the logs. The first call prints their path.
    pub fn keep_logs(&self) {
        let mut retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        if let Retention::Nothing(_) = *retention
            && let Ok(watched) = Watched::directory(&self.data())
        {
            *retention = Retention::Logs(watched);
            #[expect(clippy::print_stderr, reason = "the path of the logs of a failed run")]
            {
                eprintln!("logs are kept in {}", self.logs().display());
            }
        }
    }

    /// Keeps all files, for processes that run on after the end of this process.
    pub fn keep_everything(&self) {
        *self.retention.lock().unwrap_or_else(PoisonError::into_inner) = Retention::Everything;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_logs();
        }
        let removed = match self.retention.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Retention::Nothing(_) => self.path.clone(),
            Retention::Logs(_) => self.path.join(DATA),
            Retention::Everything => return,
        };
        // The drop of the watchdog entry follows this removal.
        fs::remove_dir_all(removed).ok();
    }
}
