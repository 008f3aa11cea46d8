//! The cached reads of one app, corrected by the operator's own writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::cached::Cached;
use super::priority_mutex::PriorityMutex;
use crate::management::types::{ApiError, ApiResponse, App, RemoteSecret, SecretList};

/// The cache entry of one app.
#[derive(Debug, Default)]
pub(super) struct AppEntry {
    /// Locked while the app is read.
    pub(super) app_lock: PriorityMutex,
    /// Locked while the list of secrets is read.
    pub(super) secrets_lock: PriorityMutex,
    state: Lock<CacheState>,
}

#[derive(Debug, Default)]
pub(super) struct CacheState {
    pub(super) app: Cached<App>,
    pub(super) secrets: Cached<SecretList>,
    pub(super) last_used: Timestamp,
    /// End of the operator's last write to the app. A read that started earlier may be stale.
    app_written_at: Timestamp,
    /// End of the operator's last secret write with an unknown outcome. A list that started earlier may be stale.
    unknown_write_at: Timestamp,
    /// End and result of the operator's secret writes, by name. They correct a list that started earlier.
    secret_writes: BTreeMap<String, (Timestamp, Option<RemoteSecret>)>,
}

impl AppEntry {
    pub(super) fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheState {
    /// Stores a read of the app. Returns `None` if the read started before the end of the operator's last write.
    pub(super) fn store_app(
        &mut self,
        result: Result<ApiResponse<App>, ApiError>,
    ) -> Option<Result<ApiResponse<Arc<App>>, ApiError>> {
        let is_stale = result.as_ref().is_ok_and(|response| response.started_at < self.app_written_at);
        (!is_stale).then(|| self.app.store(result))
    }

    /// Stores a list of secrets, corrected by the writes whose outcome is known. Returns `None` if the list started
    /// before the end of a write with an unknown outcome.
    pub(super) fn store_secrets(
        &mut self,
        result: Result<ApiResponse<Vec<RemoteSecret>>, ApiError>,
    ) -> Option<Result<ApiResponse<Arc<SecretList>>, ApiError>> {
        if result.as_ref().is_ok_and(|list| list.started_at < self.unknown_write_at) {
            return None;
        }
        let result = result.map(|ApiResponse { value, started_at }| {
            let mut secrets: SecretList = value.into_iter().map(|secret| (secret.name.clone(), secret)).collect();
            // A list that started after a write shows its result.
            self.secret_writes.retain(|_, (ended_at, _)| *ended_at >= started_at);
            for (name, (_, current)) in &self.secret_writes {
                apply_write(&mut secrets, name, current.clone());
            }
            ApiResponse { value: secrets, started_at }
        });
        Some(self.secrets.store(result))
    }

    /// Records the end of a write to the app, with its response if the write succeeded.
    pub(super) fn on_app_write(&mut self, response: Option<&ApiResponse<App>>, now: Timestamp) {
        self.app_written_at = now;
        self.app.response = response.map(|response| response.clone().map(Arc::new));
    }

    /// Records the end of a write to a secret. `current` is the secret after the write (`Some(None)`: deleted), or
    /// `None` if the outcome is unknown.
    pub(super) fn on_secret_write(&mut self, name: &str, current: Option<Option<RemoteSecret>>, now: Timestamp) {
        let Some(current) = current else {
            (self.unknown_write_at, self.secrets.response) = (now, None);
            return;
        };
        if let Some(ApiResponse { value, .. }) = &mut self.secrets.response {
            apply_write(Arc::make_mut(value), name, current.clone());
        }
        self.secret_writes.insert(name.to_owned(), (now, current));
    }
}

fn apply_write(secrets: &mut SecretList, name: &str, current: Option<RemoteSecret>) {
    match current {
        Some(secret) => drop(secrets.insert(name.to_owned(), secret)),
        None => drop(secrets.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn secret(name: &str, updated_at: &str) -> RemoteSecret {
        RemoteSecret { name: name.to_owned(), updated_at: Some(updated_at.to_owned()) }
    }

    fn list(started_at: i64, names: &[&str]) -> Result<ApiResponse<Vec<RemoteSecret>>, ApiError> {
        Ok(ApiResponse { value: names.iter().map(|name| secret(name, "read")).collect(), started_at: at(started_at) })
    }

    fn names_and_times(list: &SecretList) -> Vec<(&str, &str)> {
        list.values().map(|secret| (secret.name.as_str(), secret.updated_at.as_deref().unwrap_or_default())).collect()
    }

    #[test]
    fn a_list_that_started_before_the_end_of_a_write_is_corrected_by_its_result() {
        let mut state = CacheState::default();
        state.on_secret_write("NEW", Some(Some(secret("NEW", "written"))), at(10));
        state.on_secret_write("OLD", Some(None), at(10));
        let before = state.store_secrets(list(9, &["OLD", "OTHER"])).unwrap().unwrap();
        assert_eq!(names_and_times(&before.value), [("NEW", "written"), ("OTHER", "read")]);
        // A cached list is corrected as well, and a list that started later needs no correction.
        state.on_secret_write("OTHER", Some(None), at(11));
        assert_eq!(
            names_and_times(&state.secrets.get_fresh(at(9), at(12)).unwrap().unwrap().value),
            [("NEW", "written")]
        );
        let after = state.store_secrets(list(12, &["OTHER"])).unwrap().unwrap();
        assert_eq!(names_and_times(&after.value), [("OTHER", "read")]);
        assert!(state.secret_writes.is_empty(), "writes before the list are removed");
    }

    #[test]
    fn after_a_write_with_unknown_outcome_no_earlier_list_is_served() {
        let mut state = CacheState::default();
        assert!(state.store_secrets(list(9, &["ONE"])).is_some());
        state.on_secret_write("ONE", None, at(10));
        assert!(state.secrets.get_fresh(at(0), at(11)).is_none());
        assert_eq!(state.store_secrets(list(9, &["ONE"])), None, "the list started before the end of the write");
        assert!(state.secrets.get_fresh(at(0), at(11)).is_none());
        assert!(state.store_secrets(list(11, &["ONE"])).is_some());
        assert!(state.secrets.get_fresh(at(0), at(12)).is_some());
    }

    #[test]
    fn an_app_that_was_read_before_the_end_of_a_write_is_never_served_after_it() {
        let app = |description: &str, started_at| {
            let app = serde_json::json!({ "id": 7, "name": "my-app", "description": description });
            ApiResponse { value: serde_json::from_value::<App>(app).unwrap(), started_at: at(started_at) }
        };
        let mut state = CacheState::default();
        assert!(state.store_app(Ok(app("old", 8))).is_some());
        assert_eq!(state.app.get_fresh(at(8), at(9)).unwrap().unwrap().value, app("old", 8).value.into());
        state.on_app_write(Some(&app("new", 9)), at(10));
        assert_eq!(state.app.get_fresh(at(9), at(11)).unwrap().unwrap().value, app("new", 9).value.into());
        assert_eq!(state.store_app(Ok(app("old", 9))), None);
        assert_eq!(state.app.get_fresh(at(0), at(11)).unwrap().unwrap().value, app("new", 9).value.into());
        state.on_app_write(None, at(12));
        assert!(state.app.get_fresh(at(0), at(13)).is_none(), "the result of a failed write is unknown");
    }
}
