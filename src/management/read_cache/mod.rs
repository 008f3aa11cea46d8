//! A read-through cache that all objects of one connection share. Concurrent reads of one thing use one request, and
//! the operator's own writes invalidate or correct earlier reads.

mod app_entry;
mod cached;
mod priority_mutex;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::app_entry::AppEntry;
use self::cached::Cached;
use self::priority_mutex::PriorityMutex;
use super::client::Client;
use super::rate_limit::Priority;
use super::types::{ApiError, ApiResponse, App, ErrorKind, ListCompleteness, RemoteSecret, SecretList};

/// Number of entries from which a new entry removes all unused entries, including recent ones.
const MAX_APPS: usize = 1000;
/// Attempts of a read that starts before the end of an own write. More are needed only if the clock was set back.
const MAX_ATTEMPTS: usize = 3;
/// Path of the app list.
pub const APPS_PATH: &str = "/v1/apps";

/// The cache of one connection: the app list, and the details and secrets of recently used apps.
#[derive(Debug)]
pub struct ReadCache {
    client: Arc<Client>,
    min_list_interval: Duration,
    ttl: Duration,
    apps: Lock<Cached<Vec<App>>>,
    /// Locked while the app list is read.
    apps_lock: PriorityMutex,
    /// Completeness of the last read of each list, by path.
    lists: Lock<BTreeMap<String, ListCompleteness>>,
    /// Entries by app ID.
    entries: Lock<HashMap<i64, Arc<AppEntry>>>,
}

impl ReadCache {
    /// An empty cache. Callers within `min_list_interval` after the start of an app list share the next list. `ttl` is
    /// the time for which the reads of an unused app stay in the cache.
    pub fn new(client: Arc<Client>, min_list_interval: Duration, ttl: Duration) -> Self {
        let (apps, apps_lock, lists, entries) = Default::default();
        Self { client, min_list_interval, ttl, apps, apps_lock, lists, entries }
    }

    /// The complete list of apps, as of `not_before` or later.
    ///
    /// # Errors
    /// See [`Client::apps`].
    pub async fn apps(
        &self,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<ApiResponse<Arc<Vec<App>>>, ApiError> {
        let requested_at = Timestamp::now();
        let _guard = self.apps_lock.lock(priority).await;
        if let Some(result) = self.cached_apps().get_fresh(not_before, requested_at) {
            return result;
        }
        let last_start = self.cached_apps().response.as_ref().map(|response| response.started_at);
        if let Some(last_start) = last_start {
            let elapsed = Duration::try_from(Timestamp::now().duration_since(last_start)).unwrap_or_default();
            tokio::time::sleep(self.min_list_interval.saturating_sub(elapsed)).await;
            if let Some(result) = self.cached_apps().get_fresh(not_before, requested_at) {
                return result;
            }
        }
        let result = self.client.apps(priority).await;
        if let Some(completeness) = completeness_of(&result) {
            let mut lists = self.lists();
            lists.insert(APPS_PATH.to_owned(), completeness);
            // The secrets of deleted apps are not read again.
            if let Ok(response) = &result {
                let existing: BTreeSet<String> = response.value.iter().map(|app| secrets_path(app.id)).collect();
                lists.retain(|path, _| path == APPS_PATH || existing.contains(path));
            }
        }
        self.cached_apps().store(result)
    }

    /// An app as of `not_before` or later, or the response of an own write since then.
    ///
    /// # Errors
    /// See [`Client::app`]; [`ErrorKind::InvalidResponse`] if every read started before the end of an own write.
    pub async fn app(
        &self,
        id: i64,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<ApiResponse<Arc<App>>, ApiError> {
        let requested_at = Timestamp::now();
        let entry = self.entry(id);
        let _guard = entry.app_lock.lock(priority).await;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(result) = entry.state().app.get_fresh(not_before, requested_at) {
                return result;
            }
            let result = self.client.app(id, priority).await;
            if let Some(result) = entry.state().store_app(result) {
                return result;
            }
        }
        Err(stale_read_error())
    }

    /// The complete list of an app's secrets, as of `not_before` or later, with the results of own writes.
    ///
    /// # Errors
    /// See [`Client::secrets`]; [`ErrorKind::InvalidResponse`] if every read started before the end of an own write.
    pub async fn secrets(
        &self,
        app: i64,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<ApiResponse<Arc<SecretList>>, ApiError> {
        let requested_at = Timestamp::now();
        let entry = self.entry(app);
        let _guard = entry.secrets_lock.lock(priority).await;
        for _ in 0..MAX_ATTEMPTS {
            if let Some(result) = entry.state().secrets.get_fresh(not_before, requested_at) {
                return result;
            }
            let result = self.client.secrets(app, priority).await;
            if let Some(completeness) = completeness_of(&result) {
                self.lists().insert(secrets_path(app), completeness);
            }
            if let Some(result) = entry.state().store_secrets(result) {
                return result;
            }
        }
        Err(stale_read_error())
    }

    /// Returns true if the last app list has this ID under another name.
    pub fn is_listed_under_another_name(&self, app: &App) -> bool {
        let apps = self.cached_apps().response.as_ref().map(|response| Arc::clone(&response.value));
        let is_other = |listed: &App| listed.id == app.id && !listed.name.eq_ignore_ascii_case(&app.name);
        apps.is_some_and(|apps| apps.iter().any(is_other))
    }

    /// Records the end of a write to an app, with its response if the write succeeded.
    pub fn on_app_write(&self, id: i64, response: Option<&ApiResponse<App>>) {
        self.entry(id).state().on_app_write(response, Timestamp::now());
    }

    /// Records the end of a write to a secret. `current` is the secret after the write (`Some(None)`: deleted), or
    /// `None` if the outcome is unknown.
    pub fn on_secret_write(&self, app: i64, name: &str, current: Option<Option<RemoteSecret>>) {
        self.entry(app).state().on_secret_write(name, current, Timestamp::now());
    }

    /// Completeness of the lists that were read, by path. A path of `reported` counts as complete if its app no longer
    /// exists.
    pub fn list_completeness<'a>(
        &self,
        reported: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<String, ListCompleteness> {
        let mut lists = self.lists().clone();
        let apps = self.cached_apps().response.as_ref().map(|response| Arc::clone(&response.value));
        for path in reported {
            let is_deleted =
                |apps: &Vec<App>| path != APPS_PATH && !apps.iter().any(|app| secrets_path(app.id) == *path);
            if !lists.contains_key(path) && apps.as_deref().is_some_and(is_deleted) {
                lists.insert(path.clone(), ListCompleteness::Complete);
            }
        }
        lists
    }

    fn cached_apps(&self) -> MutexGuard<'_, Cached<Vec<App>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists(&self) -> MutexGuard<'_, BTreeMap<String, ListCompleteness>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of an app. A new entry removes expired entries that no caller uses.
    fn entry(&self, id: i64) -> Arc<AppEntry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(&id) {
            self.remove_expired(&mut entries);
        }
        let entry = Arc::clone(entries.entry(id).or_default());
        entry.state().last_used = Timestamp::now();
        entry
    }

    fn remove_expired(&self, entries: &mut HashMap<i64, Arc<AppEntry>>) {
        let oldest = Timestamp::now().checked_sub(self.ttl).unwrap_or(Timestamp::MIN);
        let is_full = entries.len() >= MAX_APPS;
        let mut lists = self.lists();
        entries.retain(|id, entry| {
            let is_in_use = Arc::strong_count(entry) > 1;
            let is_retained = is_in_use || (!is_full && entry.state().last_used >= oldest);
            let path = secrets_path(*id);
            // An incomplete list stays recorded until the list is read again.
            if !is_retained && lists.get(&path) == Some(&ListCompleteness::Complete) {
                lists.remove(&path);
            }
            is_retained
        });
    }
}

fn stale_read_error() -> ApiError {
    let message = "Every read started before the end of the last write; check whether the system clock was set back";
    ApiError::local(ErrorKind::InvalidResponse, message)
}

/// Path of the list of an app's secrets.
pub fn secrets_path(app: i64) -> String {
    format!("{APPS_PATH}/{app}/secrets")
}

/// Completeness of a list, or `None` if the read failed for another reason.
fn completeness_of<T>(result: &Result<ApiResponse<T>, ApiError>) -> Option<ListCompleteness> {
    match result {
        Ok(_) => Some(ListCompleteness::Complete),
        Err(ApiError { kind: ErrorKind::IncompleteList { items_seen }, .. }) => {
            Some(ListCompleteness::Unknown { items_seen: *items_seen })
        }
        Err(_) => None,
    }
}
