//! Reads that many objects share: one request serves all who can use its answer, and a write of our own ends what was
//! read before it.

mod of_app;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use self::of_app::OfApp;
use super::types::{App, Failure, FailureKind, ListEnd, Secret, SecretList};
use super::{Answer, Client, Priority};

/// Apps of which something is kept; more are not, and are read again.
const MOST_APPS: usize = 1000;

/// The shared reads of one connection. Holds at most one app list, and of so many apps as were read lately their details
/// and secrets.
#[derive(Debug)]
pub struct Reads {
    client: Arc<Client>,
    /// Least time between the begins of two lists of apps.
    gap: Duration,
    /// How long what was read of an app is kept.
    keep: Duration,
    /// Held while the request runs, so that a second reader waits for the first one's answer.
    apps: Mutex<Held<Vec<App>>>,
    /// How each list ended last, by its path.
    ended: Lock<BTreeMap<String, ListEnd>>,
    /// By the app's id.
    of_app: Lock<HashMap<i64, Arc<OfApp>>>,
}

/// The last answer to a question, and the last failure.
#[derive(Debug)]
struct Held<T> {
    answer: Option<Answer<Arc<T>>>,
    /// The last failure, and when its request ended.
    failed: Option<(Timestamp, Failure)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { answer: None, failed: None }
    }
}

impl<T> Held<T> {
    /// What can be answered without a request to one who asks at `asked` for what is true since `not_before`.
    fn known(&self, not_before: Timestamp, asked: Timestamp) -> Option<Result<Answer<Arc<T>>, Failure>> {
        if let Some(answer) = self.answer.as_ref().filter(|answer| answer.begun >= not_before) {
            return Some(Ok(answer.clone()));
        }
        // Who waited for a request that failed has its answer too: a queue must not fail one by one.
        let failed = self.failed.as_ref().filter(|(ended, _)| *ended >= asked);
        failed.map(|(_, failure)| Err(failure.clone()))
    }

    /// Takes what a request came to.
    fn take(&mut self, result: Result<Answer<T>, Failure>) -> Result<Answer<Arc<T>>, Failure> {
        match result {
            Ok(Answer { value, begun }) => Ok(self.answer.insert(Answer { value: Arc::new(value), begun }).clone()),
            Err(failure) => {
                self.failed = Some((Timestamp::now(), failure.clone()));
                Err(failure)
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
        let (apps, ended, of_app) = (Mutex::default(), Lock::default(), Lock::default());
        Self { client, gap, keep, apps, ended, of_app }
    }

    /// The complete list of apps, as it was at `not_before` or later.
    ///
    /// # Errors
    /// What the client says; [`FailureKind::IncompleteList`] when the end of the list cannot be told.
    pub async fn apps(&self, not_before: Timestamp, priority: Priority) -> Result<Answer<Arc<Vec<App>>>, Failure> {
        let asked = Timestamp::now();
        let mut held = self.apps.lock().await;
        if let Some(known) = held.known(not_before, asked) {
            return known;
        }
        if let Some(Answer { begun, .. }) = &held.answer {
            let since = Duration::try_from(Timestamp::now().duration_since(*begun)).unwrap_or_default();
            tokio::time::sleep(self.gap.saturating_sub(since)).await;
        }
        let list = self.client.apps(priority).await;
        if let Some(end) = end(&list) {
            self.ended().insert(APPS.to_owned(), end);
        }
        held.take(list)
    }

    /// One app, as it was at `not_before` or later, or as a write of ours showed it since.
    ///
    /// # Errors
    /// What the client says.
    pub async fn app(&self, id: i64, not_before: Timestamp, priority: Priority) -> Result<Answer<Arc<App>>, Failure> {
        let asked = Timestamp::now();
        let of_app = self.of_app(id);
        let _turn = of_app.turns.app.lock().await;
        loop {
            if let Some(known) = of_app.held().app.known(not_before, asked) {
                return known;
            }
            let answer = self.client.app(id, priority).await;
            if let Some(answer) = of_app.held().take_app(answer) {
                return answer;
            }
        }
    }

    /// The complete list of an app's secrets, as it was at `not_before` or later but for what we have written since.
    ///
    /// # Errors
    /// What the client says; [`FailureKind::IncompleteList`] when the end of the list cannot be told.
    pub async fn secrets(
        &self,
        app: i64,
        not_before: Timestamp,
        priority: Priority,
    ) -> Result<Answer<Arc<SecretList>>, Failure> {
        let asked = Timestamp::now();
        let of_app = self.of_app(app);
        let _turn = of_app.turns.secrets.lock().await;
        loop {
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
    }

    /// Takes note of a write to an app that has just ended: what its answer shows, if it ended well.
    pub fn app_written(&self, id: i64, answer: Option<&Answer<App>>) {
        self.of_app(id).held().app_written(answer, Timestamp::now());
    }

    /// Takes note of a write to a secret that has just ended, and of what is there since, if that is known.
    pub fn secret_written(&self, app: i64, name: &str, now_there: Option<Option<Secret>>) {
        self.of_app(app).held().secret_written(name, now_there, Timestamp::now());
    }

    /// How each list ended that was read lately, and each whose end cannot be told, by its path.
    pub fn ends(&self) -> BTreeMap<String, ListEnd> {
        self.ended().clone()
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, ListEnd>> {
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
                if !kept && ended.get(&path) == Some(&ListEnd::Complete) {
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

/// The path of the list of an app's secrets.
fn secrets_path(app: i64) -> String {
    format!("{APPS}/{app}/secrets")
}

/// How a list ended, if that was told at all.
fn end<T>(list: &Result<Answer<T>, Failure>) -> Option<ListEnd> {
    match list {
        Ok(_) => Some(ListEnd::Complete),
        Err(Failure { kind: FailureKind::IncompleteList { seen }, .. }) => Some(ListEnd::Unknown { seen: *seen }),
        Err(_) => None,
    }
}
