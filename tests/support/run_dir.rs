//! The files of one run: `logs/` and `data/` in a temporary folder. All of it goes when the run ends well; the logs
//! stay, and their path is printed, when it fails.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::watchdog::Watched;

const DATA: &str = "data";

/// A folder that ends with its last holder. A run has failed when a holder is dropped by a panic, or somebody says so
/// with [`RunDir::keep_logs`].
pub struct RunDir {
    path: PathBuf,
    retention: Mutex<Retention>,
}

/// What is left when the run ends; the entries make it so when we are killed as well.
enum Retention {
    Nothing(Watched),
    Logs(Watched),
    Everything,
}

impl RunDir {
    /// Makes a folder; `name` is a part of its name, for people.
    pub fn new(name: &str) -> Result<Arc<Self>, String> {
        let path = tempfile::Builder::new()
            .prefix(&format!("spice-cloud-operator-{name}-"))
            .tempdir()
            .map_err(|e| format!("no temporary folder: {e}"))?
            .keep();
        let watched = Watched::folder(&path)?;
        let folder = Self { path, retention: Mutex::new(Retention::Nothing(watched)) };
        for part in [folder.logs(), folder.data()] {
            fs::create_dir(&part).map_err(|e| format!("{}: {e}", part.display()))?;
        }
        Ok(Arc::new(folder))
    }

    /// Output of processes.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// What processes whose name begins so have put out so far, by the name of the file.
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

    /// Everything that nobody wants to see after the run, credentials among it.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// The folder that has both.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of data, readable by us only.
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

    /// The run has failed: its logs stay, and the first call prints where they are.
    pub fn keep_logs(&self) {
        let mut retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        if let Retention::Nothing(_) = *retention
            && let Ok(watched) = Watched::folder(&self.data())
        {
            *retention = Retention::Logs(watched);
            #[expect(clippy::print_stderr, reason = "where the logs are, for the person who looks at the failure")]
            {
                eprintln!("logs are kept in {}", self.logs().display());
            }
        }
    }

    /// The run goes on without us: all of it stays.
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
        // The watchdog forgets the folder only after this.
        fs::remove_dir_all(removed).ok();
    }
}
