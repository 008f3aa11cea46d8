//! What is known of one app, from reads and from our own writes: never what a write of ours has made untrue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Held;
use super::priority_mutex::Turn;
use crate::management::ApiResponse;
use crate::management::types::{ApiError, App, Secret, SecretList};

#[derive(Debug, Default)]
pub(super) struct OfApp {
    pub(super) turns: Turns,
    held: Lock<Kept>,
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    pub(super) app: Turn,
    pub(super) secrets: Turn,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) app: Held<App>,
    pub(super) secrets: Held<SecretList>,
    /// When somebody asked last.
    pub(super) used: Timestamp,
    /// When our last write to the app ended: a read that was begun before says nothing.
    app_written: Timestamp,
    /// When our last write to a secret ended whose outcome is not known.
    secrets_unknown: Timestamp,
    /// Our writes to secrets, and when they ended: a list that was begun before shows them otherwise.
    written: BTreeMap<String, (Timestamp, Option<Secret>)>,
}

impl OfApp {
    pub(super) fn held(&self) -> MutexGuard<'_, Kept> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Takes what a request for the app came to; nothing comes of it if a write of ours has ended since it was begun.
    pub(super) fn take_app(
        &mut self,
        answer: Result<ApiResponse<App>, ApiError>,
    ) -> Option<Result<ApiResponse<Arc<App>>, ApiError>> {
        let outdated = answer.as_ref().is_ok_and(|answer| answer.started_at < self.app_written);
        (!outdated).then(|| self.app.take(answer))
    }

    /// As [`Self::take_app`], for the list of its secrets. Writes whose outcome is known are put into it.
    pub(super) fn take_secrets(
        &mut self,
        list: Result<ApiResponse<Vec<Secret>>, ApiError>,
    ) -> Option<Result<ApiResponse<Arc<SecretList>>, ApiError>> {
        if list.as_ref().is_ok_and(|list| list.started_at < self.secrets_unknown) {
            return None;
        }
        let list = list.map(|ApiResponse { value, started_at }| {
            let mut secrets: SecretList = value.into_iter().map(|secret| (secret.name.clone(), secret)).collect();
            // What was begun after a write shows it; what was begun before is put right.
            self.written.retain(|_, (ended, _)| *ended >= started_at);
            for (name, (_, now_there)) in &self.written {
                put(&mut secrets, name, now_there.clone());
            }
            ApiResponse { value: secrets, started_at }
        });
        Some(self.secrets.take(list))
    }

    pub(super) fn app_written(&mut self, answer: Option<&ApiResponse<App>>, now: Timestamp) {
        self.app_written = now;
        self.app.answer = answer.map(|ApiResponse { value, started_at }| ApiResponse {
            value: Arc::new(value.clone()),
            started_at: *started_at,
        });
    }

    pub(super) fn secret_written(&mut self, name: &str, now_there: Option<Option<Secret>>, now: Timestamp) {
        let Some(now_there) = now_there else {
            (self.secrets_unknown, self.secrets.answer) = (now, None);
            return;
        };
        if let Some(ApiResponse { value, .. }) = &mut self.secrets.answer {
            put(Arc::make_mut(value), name, now_there.clone());
        }
        self.written.insert(name.to_owned(), (now, now_there));
    }
}

fn put(secrets: &mut SecretList, name: &str, now_there: Option<Secret>) {
    match now_there {
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

    fn secret(name: &str, updated_at: &str) -> Secret {
        Secret { name: name.to_owned(), updated_at: Some(updated_at.to_owned()) }
    }

    fn list(started_at: i64, names: &[&str]) -> Result<ApiResponse<Vec<Secret>>, ApiError> {
        Ok(ApiResponse { value: names.iter().map(|name| secret(name, "read")).collect(), started_at: at(started_at) })
    }

    fn shown(list: &SecretList) -> Vec<(&str, &str)> {
        list.values().map(|one| (one.name.as_str(), one.updated_at.as_deref().unwrap_or_default())).collect()
    }

    #[test]
    fn a_list_that_was_begun_before_a_write_ended_is_put_right_by_its_answer() {
        let mut kept = Kept::default();
        kept.secret_written("NEW", Some(Some(secret("NEW", "written"))), at(10));
        kept.secret_written("OLD", Some(None), at(10));
        let before = kept.take_secrets(list(9, &["OLD", "OTHER"])).unwrap().unwrap();
        assert_eq!(shown(&before.value), [("NEW", "written"), ("OTHER", "read")]);
        // One that is held is put right as well, and one that was begun later is right by itself.
        kept.secret_written("OTHER", Some(None), at(11));
        assert_eq!(shown(&kept.secrets.known(at(9), at(12)).unwrap().unwrap().value), [("NEW", "written")]);
        let after = kept.take_secrets(list(12, &["OTHER"])).unwrap().unwrap();
        assert_eq!(shown(&after.value), [("OTHER", "read")]);
        assert!(kept.written.is_empty(), "nothing is kept that no list needs");
    }

    #[test]
    fn after_a_write_of_unknown_outcome_no_list_from_before_is_served() {
        let mut kept = Kept::default();
        assert!(kept.take_secrets(list(9, &["ONE"])).is_some());
        kept.secret_written("ONE", None, at(10));
        assert!(kept.secrets.known(at(0), at(11)).is_none());
        assert_eq!(kept.take_secrets(list(9, &["ONE"])), None, "it was begun before the write ended");
        assert!(kept.secrets.known(at(0), at(11)).is_none());
        assert!(kept.take_secrets(list(11, &["ONE"])).is_some());
        assert!(kept.secrets.known(at(0), at(12)).is_some());
    }

    #[test]
    fn a_detail_that_was_begun_before_a_write_ended_is_never_served_after_it() {
        let app = |description: &str, started_at| {
            let app = serde_json::json!({ "id": 7, "name": "my-app", "description": description });
            ApiResponse { value: serde_json::from_value::<App>(app).unwrap(), started_at: at(started_at) }
        };
        let mut kept = Kept::default();
        assert!(kept.take_app(Ok(app("old", 8))).is_some());
        assert_eq!(kept.app.known(at(8), at(9)).unwrap().unwrap().value, app("old", 8).value.into());
        kept.app_written(Some(&app("new", 9)), at(10));
        assert_eq!(kept.app.known(at(9), at(11)).unwrap().unwrap().value, app("new", 9).value.into());
        assert_eq!(kept.take_app(Ok(app("old", 9))), None);
        assert_eq!(kept.app.known(at(0), at(11)).unwrap().unwrap().value, app("new", 9).value.into());
        kept.app_written(None, at(12));
        assert!(kept.app.known(at(0), at(13)).is_none(), "nothing is known of a write that failed");
    }
}
