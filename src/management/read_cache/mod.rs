//! A read-through cache that all objects of one connection share. Concurrent reads of one thing use one request, and
//! the operator's own writes invalidate or correct earlier reads.

mod app_entries;
mod app_entry;
mod cached;
mod priority_mutex;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::app_entries::AppEntries;
use self::app_entry::AppEntry;
use self::cached::Cached;
use self::priority_mutex::PriorityMutex;
use super::client::Client;
use super::rate_limit::Priority;
use super::types::{ApiError, ApiResponse, App, ErrorKind, ListCompleteness, ListedApps, RemoteSecret, SecretList};

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
    apps: Lock<Cached<ListedApps>>,
    /// Locked while the app list is read.
    apps_lock: PriorityMutex,
    lists: Lock<Lists>,
    entries: Lock<AppEntries>,
}

/// Completeness of the last read of each list, by path.
#[derive(Debug, Default)]
struct Lists {
    complete: HashSet<String>,
    /// Items that were read.
    incomplete: BTreeMap<String, usize>,
}

impl Lists {
    fn set(&mut self, path: &str, completeness: ListCompleteness) {
        self.complete.remove(path);
        self.incomplete.remove(path);
        match completeness {
            ListCompleteness::Complete => {
                self.complete.insert(path.to_owned());
            }
            ListCompleteness::Unknown { items_seen } => {
                self.incomplete.insert(path.to_owned(), items_seen);
            }
        }
    }

    fn retain(&mut self, is_retained: impl Fn(&str) -> bool) {
        self.complete.retain(|path| is_retained(path));
        self.incomplete.retain(|path, _| is_retained(path));
    }
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
    ) -> Result<ApiResponse<Arc<ListedApps>>, ApiError> {
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
        let result = self.client.apps(priority).await.map(|list| list.map(ListedApps::from));
        if let Some(completeness) = completeness_of(&result) {
            let mut lists = self.lists();
            lists.set(APPS_PATH, completeness);
            // The secrets of deleted apps are not read again.
            if let Ok(response) = &result {
                let existing: HashSet<String> = response.value.ids().map(secrets_path).collect();
                lists.retain(|path| path == APPS_PATH || existing.contains(path));
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
                self.lists().set(&secrets_path(app), completeness);
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
        let is_other = |listed: &App| !listed.name.eq_ignore_ascii_case(&app.name);
        apps.is_some_and(|apps| apps.get(app.id).is_some_and(is_other))
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

    /// The incomplete lists, and the state of the `reported` ones as far as known. A reported list counts as complete if
    /// its app no longer exists.
    pub fn list_completeness<'a>(
        &self,
        reported: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<String, ListCompleteness> {
        let apps = self.cached_apps().response.as_ref().map(|response| Arc::clone(&response.value));
        let is_deleted = |path: &str| {
            let exists = |apps: &ListedApps| app_of_secrets_path(path).is_some_and(|id| apps.get(id).is_some());
            path != APPS_PATH && apps.as_deref().is_some_and(|apps| !exists(apps))
        };
        let lists = self.lists();
        let complete = reported.filter(|path| lists.complete.contains(*path) || is_deleted(path));
        let complete: Vec<_> = complete.map(|path| (path.clone(), ListCompleteness::Complete)).collect();
        let unknown = |(path, items_seen): (&String, &usize)| {
            (path.clone(), ListCompleteness::Unknown { items_seen: *items_seen })
        };
        complete.into_iter().chain(lists.incomplete.iter().map(unknown)).collect()
    }

    fn cached_apps(&self) -> MutexGuard<'_, Cached<ListedApps>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: i64) -> Arc<AppEntry> {
        let oldest = Timestamp::now().checked_sub(self.ttl).unwrap_or(Timestamp::MIN);
        // An incomplete list stays recorded until the list is read again.
        let on_remove = |removed| {
            self.lists().complete.remove(&secrets_path(removed));
        };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).get(id, oldest, on_remove)
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

/// ID of the app in a path of [`secrets_path`].
fn app_of_secrets_path(path: &str) -> Option<i64> {
    path.strip_prefix(APPS_PATH)?.strip_prefix('/')?.strip_suffix("/secrets")?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_secrets_names_its_app() {
        for (path, app) in [
            (secrets_path(7), Some(7)),
            (APPS_PATH.to_owned(), None),
            ("/v1/apps/x/secrets".to_owned(), None),
            ("/v1/apps/7".to_owned(), None),
        ] {
            assert_eq!(app_of_secrets_path(&path), app, "{path}");
        }
    }

    #[test]
    fn a_list_is_complete_or_incomplete_as_read_last() {
        let mut lists = Lists::default();
        lists.set("one", ListCompleteness::Unknown { items_seen: 20 });
        lists.set("two", ListCompleteness::Unknown { items_seen: 20 });
        lists.set("one", ListCompleteness::Complete);
        assert_eq!(
            (lists.complete.contains("one"), lists.incomplete.keys().map(String::as_str).collect::<Vec<_>>()),
            (true, vec!["two"])
        );
        lists.set("one", ListCompleteness::Unknown { items_seen: 40 });
        assert_eq!((lists.complete.len(), lists.incomplete["one"]), (0, 40));
        lists.retain(|path| path == "two");
        assert_eq!(lists.incomplete.into_keys().collect::<Vec<_>>(), ["two"]);
    }
}
