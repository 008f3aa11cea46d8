//! The journal: every API request the server saw, and what became of it.
//!
//! An entry never holds a token, nor the value of a secret. It does hold the rest of the request's body, because a test has
//! to see that a value arrived.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::sandbox::wire::sync::lock;
use crate::sandbox::wire::timestamps;

/// So many entries are entries: an hour at twice the request rate the API allows an account, at a few hundred bytes each.
const MAX_ENTRIES: usize = 100_000;
/// So many bytes of bodies are entries, so that large bodies cannot use up the memory that the entries alone would not.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RequestState {
    /// It is here.
    Received,
    /// A fault holds it; nothing was done yet.
    Held,
    /// It was done, and a fault holds the answer.
    AppliedHeld,
    /// It was answered with `status`.
    Answered,
    /// Its connection was closed without an answer.
    Closed,
    /// The client went away before there was an answer.
    Abandoned,
}

/// A request.
#[derive(Clone, Serialize)]
pub(crate) struct JournalEntry {
    /// The order of request, from 1, without gaps.
    seq: u64,
    /// Grows over the whole journal with each change of state.
    revision: u64,
    at: String,
    #[serde(flatten)]
    request: ReceivedRequest,
    state: RequestState,
    status: Option<u16>,
    /// A mutation took effect.
    applied: bool,
    /// There from the first state after `received`; null if there was none or it is not JSON.
    body: Option<Value>,
    #[serde(skip)]
    body_bytes: usize,
}

/// What is known of a request when it arrives.
#[derive(Clone, Serialize)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// The pattern of the path; null where nothing is served.
    pub(crate) route: Option<String>,
    /// The name of the credential; null without one that is known.
    pub(crate) credential: Option<String>,
}

/// All entries, and a way to wait for more.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<JournalEntries>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct JournalEntries {
    /// In order of `seq`, without gaps.
    entries: VecDeque<JournalEntry>,
    /// From revision to `seq`: what changed since a revision is found without a look at every entry.
    by_revision: BTreeMap<u64, u64>,
    last_seq: u64,
    last_revision: u64,
    body_bytes: usize,
}

impl Journal {
    /// The entries that changed after a revision, in order of request, and the newest revision. If there are none it
    /// waits so long for one.
    pub(crate) async fn changes_since(&self, after: u64, wait: Duration) -> (Vec<JournalEntry>, u64) {
        let mut newest = self.newest.subscribe();
        // Out of time or not, the answer is what there is.
        let _ = tokio::time::timeout(wait, newest.wait_for(|newest| *newest > after)).await;
        let entries = lock(&self.entries);
        let mut changed: Vec<_> = entries
            .by_revision
            .range(after.saturating_add(1)..)
            .filter_map(|(_, seq)| entries.find(*seq))
            .cloned()
            .collect();
        changed.sort_by_key(|entry| entry.seq);
        (changed, entries.last_revision)
    }

    fn add_entry(&self, request: ReceivedRequest) -> u64 {
        let mut entries = lock(&self.entries);
        entries.last_seq += 1;
        let seq = entries.last_seq;
        entries.entries.push_back(JournalEntry {
            seq,
            revision: 0,
            at: timestamps::format_now(),
            request,
            state: RequestState::Received,
            status: None,
            applied: false,
            body: None,
            body_bytes: 0,
        });
        entries.evict_oldest();
        self.publish_change(&mut entries, seq);
        seq
    }

    /// Changes an entry without telling anyone: what changes with it is seen with its next state.
    fn update_entry(&self, seq: u64, change: impl FnOnce(&mut JournalEntry)) {
        let mut entries = lock(&self.entries);
        entries.change(seq, change);
    }

    fn set_state(&self, seq: u64, state: RequestState, status: Option<u16>) {
        let mut entries = lock(&self.entries);
        entries.change(seq, |entry| (entry.state, entry.status) = (state, status));
        self.publish_change(&mut entries, seq);
    }

    /// Gives an entry the next revision. Under the lock, so that no waiting reader sees revisions out of order.
    fn publish_change(&self, entries: &mut JournalEntries, seq: u64) {
        entries.last_revision += 1;
        let revision = entries.last_revision;
        let mut before = 0;
        entries.change(seq, |entry| before = std::mem::replace(&mut entry.revision, revision));
        entries.by_revision.remove(&before);
        entries.by_revision.insert(revision, seq);
        self.newest.send_replace(revision);
    }
}

impl JournalEntries {
    fn index_of(&self, seq: u64) -> Option<usize> {
        let first = self.entries.front()?.seq;
        usize::try_from(seq.checked_sub(first)?).ok()
    }

    fn find(&self, seq: u64) -> Option<&JournalEntry> {
        self.entries.get(self.index_of(seq)?)
    }

    /// Does nothing to an entry that is no longer entries.
    fn change(&mut self, seq: u64, change: impl FnOnce(&mut JournalEntry)) {
        if let Some(entry) = self.index_of(seq).and_then(|index| self.entries.get_mut(index)) {
            let before = entry.body_bytes;
            change(entry);
            self.body_bytes = self.body_bytes + entry.body_bytes - before;
        }
    }

    fn evict_oldest(&mut self) {
        while self.entries.len() > MAX_ENTRIES || self.body_bytes > MAX_BODY_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.body_bytes -= oldest.body_bytes;
            self.by_revision.remove(&oldest.revision);
        }
    }
}

/// A request under way. Dropped before it has an end, it was abandoned: that is how the server learns that the client
/// went away.
pub(crate) struct EntryRecorder {
    journal: Arc<Journal>,
    seq: u64,
    is_finished: bool,
}

impl EntryRecorder {
    /// Notes the request of a request.
    pub(crate) fn new(journal: Arc<Journal>, request: ReceivedRequest) -> Self {
        let seq = journal.add_entry(request);
        Self { journal, seq, is_finished: false }
    }

    /// Notes what may be told of the body, which takes about so many bytes at most.
    pub(crate) fn record_body(&self, body: Option<Value>, body_bytes: usize) {
        self.journal.update_entry(self.seq, |entry| {
            entry.body_bytes = if body.is_some() { body_bytes } else { 0 };
            entry.body = body;
        });
    }

    /// Notes that what the request asked for was done.
    pub(crate) fn record_applied(&self) {
        self.journal.update_entry(self.seq, |entry| entry.applied = true);
    }

    /// Notes that a fault holds the request, or its answer.
    pub(crate) fn record_held(&self, state: RequestState) {
        self.journal.set_state(self.seq, state, None);
    }

    /// The request is about to be answered.
    pub(crate) fn record_answered(self, status: u16) {
        self.finish(RequestState::Answered, Some(status));
    }

    /// The connection of the request is about to be closed.
    pub(crate) fn record_closed(self) {
        self.finish(RequestState::Closed, None);
    }

    fn finish(mut self, state: RequestState, status: Option<u16>) {
        self.is_finished = true;
        self.journal.set_state(self.seq, state, status);
    }
}

impl Drop for EntryRecorder {
    fn drop(&mut self) {
        if !self.is_finished {
            self.journal.set_state(self.seq, RequestState::Abandoned, None);
        }
    }
}
