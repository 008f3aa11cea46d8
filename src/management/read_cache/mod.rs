//! Reads that many objects share: one request serves all who can use its answer, and a write of our own ends what was
//! read before it.

mod app_entry;
mod priority_mutex;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::app_entry::OfApp;
use self::priority_mutex::Turn;
use super::types::{ApiError, App, ErrorKind, ListCompleteness, Secret, SecretList};
use super::{ApiResponse, Client, Priority};

/// Apps of which something is kept; more are not, and are read again.
const MOST_APPS: usize = 1000;
/// How often a read is made anew because a write of ours has ended since it was begun. More often it is only where the clock
/// was set back.
const ATTEMPTS: usize = 3;

/// The shared reads of one connection. Holds at most one app list, and of so many apps as were read lately their details
/// and secrets.
#[derive(Debug)]
pub struct Reads {
    client: Arc<Client>,
    /// Least time between the begins of two lists of apps.
    gap: Duration,
    /// How long what was read of an app is kept.
    keep: Duration,
    apps: Lock<Held<Vec<App>>>,
    apps_turn: Turn,
    /// How each list ended last, by its path.
    ended: Lock<BTreeMap<String, ListCompleteness>>,
    /// By the app's id.
    of_app: Lock<HashMap<i64, Arc<OfApp>>>,
}

/// The last answer to a question, and the last failure.
#[derive(Debug)]
struct Held<T> {
    answer: Option<ApiResponse<Arc<T>>>,
    /// The last failure, and when its request ended.
    failed: Option<(Timestamp, ApiError)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { answer: None, failed: None }
    }
}

impl<T> Held<T> {
    /// What can be answered without a request to one who asks at `asked` for what is true since `not_before`.
    fn known(&self, not_before: Timestamp, asked: Timestamp) -> Option<Result<ApiResponse<Arc<T>>, ApiError>> {
        // What is said to have been read in the future was read before the clock was set back.
        let is_fresh =
            |answer: &&ApiResponse<Arc<T>>| answer.started_at >= not_before && answer.started_at <= Timestamp::now();
        if let Some(answer) = self.answer.as_ref().filter(is_fresh) {
            return Some(Ok(answer.clone()));
        }
        // Who waited for a request that failed has its answer too: a queue must not fail one by one.
        let failed = self.failed.as_ref().filter(|(ended, _)| *ended >= asked);
        failed.map(|(_, error)| Err(error.clone()))
    }

    /// Takes what a request came to.
    fn take(&mut self, result: Result<ApiResponse<T>, ApiError>) -> Result<ApiResponse<Arc<T>>, ApiError> {
        match result {
            Ok(ApiResponse { value, started_at }) => {
                // One that was more urgent may have overtaken it.
                let newer = self
                    .answer
                    .take()
                    .filter(|known| known.started_at > started_at && known.started_at <= Timestamp::now());
                let answer = newer.unwrap_or_else(|| ApiResponse { value: Arc::new(value), started_at });
                Ok(self.answer.insert(answer).clone())
            }
            Err(error) => {
                self.failed = Some((Timestamp::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// The path of the list of apps.
const APPS: &str = "/v1/apps";

impl Reads {
    /// Shared reads through this client. `gap`: least time between the begins of two lists of apps, in which more readers
    /// gather. `keep`: how long what was read of an app is kept.
    pub fn new(client: Arc<Client>, gap: Duration, keep: Duration) -> Self {
        let (apps, apps_turn, ended, of_app) = Default::default();
        Self { client, gap, keep, apps, apps_turn, ended, of_app }
    }

    /// The complete list of apps, as it was at `not_before` or later.
    ///
    /// # Errors
    /// What the client says; [`ErrorKind::IncompleteList`] when the end of the list cannot be told.
    pub async fn apps(
        &self,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<ApiResponse<Arc<Vec<App>>>, ApiError> {
        let asked = Timestamp::now();
        let _turn = self.apps_turn.wait(priority).await;
        if let Some(known) = self.held().known(not_before, asked) {
            return known;
        }
        let last = self.held().answer.as_ref().map(|answer| answer.started_at);
        if let Some(started_at) = last {
            let since = Duration::try_from(Timestamp::now().duration_since(started_at)).unwrap_or_default();
            tokio::time::sleep(self.gap.saturating_sub(since)).await;
            if let Some(known) = self.held().known(not_before, asked) {
                return known;
            }
        }
        let list = self.client.apps(priority).await;
        if let Some(end) = end(&list) {
            let mut ended = self.ended();
            ended.insert(APPS.to_owned(), end);
            // Of an app that is gone nobody reads a list again.
            if let Ok(ApiResponse { value, .. }) = &list {
                let alive: BTreeSet<String> = value.iter().map(|app| secrets_path(app.id)).collect();
                ended.retain(|path, _| path == APPS || alive.contains(path));
            }
        }
        self.held().take(list)
    }

    /// One app, as it was at `not_before` or later, or as a write of ours showed it since.
    ///
    /// # Errors
    /// What the client says.
    pub async fn app(
        &self,
        id: i64,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<ApiResponse<Arc<App>>, ApiError> {
        let asked = Timestamp::now();
        let of_app = self.of_app(id);
        let _turn = of_app.turns.app.wait(priority).await;
        for _ in 0..ATTEMPTS {
            if let Some(known) = of_app.held().app.known(not_before, asked) {
                return known;
            }
            let answer = self.client.app(id, priority).await;
            if let Some(answer) = of_app.held().take_app(answer) {
                return answer;
            }
        }
        Err(overtaken())
    }

    /// The complete list of an app's secrets, as it was at `not_before` or later but for what we have written since.
    ///
    /// # Errors
    /// What the client says; [`ErrorKind::IncompleteList`] when the end of the list cannot be told.
    pub async fn secrets(
        &self,
        app: i64,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<ApiResponse<Arc<SecretList>>, ApiError> {
        let asked = Timestamp::now();
        let of_app = self.of_app(app);
        let _turn = of_app.turns.secrets.wait(priority).await;
        for _ in 0..ATTEMPTS {
            if let Some(known) = of_app.held().secrets.known(not_before, asked) {
                return known;
            }
            let list = self.client.secrets(app, priority).await;
            if let Some(end) = end(&list) {
                self.ended().insert(secrets_path(app), end);
            }
            if let Some(list) = of_app.held().take_secrets(list) {
                return list;
            }
        }
        Err(overtaken())
    }

    /// Takes note of a write to an app that has just ended: what its answer shows, if it ended well.
    pub fn app_written(&self, id: i64, answer: Option<&ApiResponse<App>>) {
        self.of_app(id).held().app_written(answer, Timestamp::now());
    }

    /// Takes note of a write to a secret that has just ended, and of what is there since, if that is known.
    pub fn secret_written(&self, app: i64, name: &str, now_there: Option<Option<Secret>>) {
        self.of_app(app).held().secret_written(name, now_there, Timestamp::now());
    }

    /// How each list ended that was read lately, and each whose end cannot be told, by its path. One of `asked` counts as
    /// complete where the app that it is about is gone.
    pub fn ends<'a>(&self, asked: impl Iterator<Item = &'a String>) -> BTreeMap<String, ListCompleteness> {
        let mut ends = self.ended().clone();
        let apps = self.held().answer.as_ref().map(|answer| Arc::clone(&answer.value));
        for path in asked {
            let is_gone = |apps: &Vec<App>| path != APPS && !apps.iter().any(|app| secrets_path(app.id) == *path);
            if !ends.contains_key(path) && apps.as_deref().is_some_and(is_gone) {
                ends.insert(path.clone(), ListCompleteness::Complete);
            }
        }
        ends
    }

    fn held(&self) -> MutexGuard<'_, Held<Vec<App>>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, ListCompleteness>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of an app. What nobody has asked for lately goes, and nothing that somebody waits for.
    fn of_app(&self, id: i64) -> Arc<OfApp> {
        let mut all = self.of_app.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = Timestamp::now().checked_sub(self.keep).unwrap_or(Timestamp::MIN);
        if !all.contains_key(&id) {
            let full = all.len() >= MOST_APPS;
            let mut ended = self.ended();
            all.retain(|id, one| {
                let kept = Arc::strong_count(one) > 1 || (!full && one.held().used >= oldest);
                let path = secrets_path(*id);
                if !kept && ended.get(&path) == Some(&ListCompleteness::Complete) {
                    ended.remove(&path);
                }
                kept
            });
        }
        let one = Arc::clone(all.entry(id).or_default());
        one.held().used = Timestamp::now();
        one
    }
}

/// Each answer was begun before a write of ours had ended.
fn overtaken() -> ApiError {
    let message = "every answer was begun before our last write had ended: was the clock of this machine set back?";
    ApiError::local(ErrorKind::InvalidResponse, message)
}

/// The path of the list of an app's secrets.
fn secrets_path(app: i64) -> String {
    format!("{APPS}/{app}/secrets")
}

/// How a list ended, if that was told at all.
fn end<T>(list: &Result<ApiResponse<T>, ApiError>) -> Option<ListCompleteness> {
    match list {
        Ok(_) => Some(ListCompleteness::Complete),
        Err(ApiError { kind: ErrorKind::IncompleteList { seen }, .. }) => {
            Some(ListCompleteness::Unknown { seen: *seen })
        }
        Err(_) => None,
    }
}
