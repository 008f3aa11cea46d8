//! What was asked, by whom, and what became of it. Holds no token.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::answer::time;

/// Entries kept. A test reads as it goes; a forgotten sandbox must not grow for ever.
const KEPT: usize = 100_000;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Progress {
    /// It is here.
    Received,
    /// A fault holds it; it has had no effect.
    Held,
    /// A fault withholds its answer; it has had its effect.
    AppliedHeld,
    /// It was answered.
    Answered,
    /// Its connection was closed without an answer.
    Closed,
    /// Its caller went away while it was here.
    Abandoned,
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    /// Counts requests from 1.
    pub(super) seq: u64,
    /// Counts changes of the journal; the newest of this entry.
    pub(super) revision: u64,
    at: String,
    method: String,
    path: String,
    query: Option<String>,
    route: Option<String>,
    credential: Option<String>,
    pub(super) state: Progress,
    pub(super) status: Option<u16>,
    /// Whether it changed anything.
    pub(super) applied: bool,
    body: Option<Value>,
}

/// What is known of a request when it comes in.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) route: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) body: Option<Value>,
}

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    log: Mutex<Log>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    requests: u64,
    revision: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { log: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Journal {
    /// Adds a request; returns its number.
    pub(super) fn add(&self, request: Request) -> u64 {
        let mut log = self.log();
        log.requests += 1;
        log.revision += 1;
        let Request { method, path, query, route, credential, body } = request;
        let entry = Entry {
            seq: log.requests,
            revision: log.revision,
            at: time(Timestamp::now()),
            method,
            path,
            query,
            route,
            credential,
            state: Progress::Received,
            status: None,
            applied: false,
            body,
        };
        log.entries.push_back(entry);
        if log.entries.len() > KEPT {
            log.entries.pop_front();
        }
        let (seq, revision) = (log.requests, log.revision);
        drop(log);
        self.changed.send_replace(revision);
        seq
    }

    /// Changes an entry, if it is still kept.
    pub(super) fn update(&self, seq: u64, change: impl FnOnce(&mut Entry)) {
        let mut log = self.log();
        log.revision += 1;
        let revision = log.revision;
        if let Some(entry) = log.entries.iter_mut().rev().find(|entry| entry.seq == seq) {
            change(entry);
            entry.revision = revision;
        }
        drop(log);
        self.changed.send_replace(revision);
    }

    /// What changed after a revision; waits until something did, or for this long.
    pub(super) async fn after(&self, revision: u64, wait: Duration) -> (Vec<Entry>, u64) {
        let mut changed = self.changed.subscribe();
        let news = changed.wait_for(|newest| *newest > revision);
        // Nothing new is an answer too.
        let _ = tokio::time::timeout(wait, news).await;
        let log = self.log();
        let entries = log.entries.iter().filter(|entry| entry.revision > revision).cloned().collect();
        (entries, log.revision)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
