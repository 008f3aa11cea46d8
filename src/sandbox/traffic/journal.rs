//! Journal of all API requests and their outcomes.
//!
//! An entry never contains a token or the value of a secret. An entry contains the other parts of the body, so that
//! tests can check the values that a client sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::sandbox::wire::sync::lock;
use crate::sandbox::wire::timestamps;

/// Maximum number of entries: one hour at twice the rate limit of the API, with a few hundred bytes per entry.
const MAX_ENTRIES: usize = 100_000;
/// Maximum total size of bodies, because large bodies could exhaust the memory before the number of entries reaches its
/// limit.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// State of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RequestState {
    Received,
    /// A fault delays the request before the request takes effect.
    Held,
    /// The request took effect, and a fault delays the response.
    AppliedHeld,
    /// The response was sent with `status`.
    Answered,
    /// The connection was closed without a response.
    Closed,
    /// The client disconnected before the response.
    Abandoned,
}

/// A request and its outcome.
#[derive(Clone, Serialize)]
pub(crate) struct JournalEntry {
    /// Sequence number, from 1, without gaps.
    seq: u64,
    /// Revision of the journal at the last change of the state.
    revision: u64,
    at: String,
    #[serde(flatten)]
    request: ReceivedRequest,
    state: RequestState,
    status: Option<u16>,
    /// True if a change of stored state took effect.
    applied: bool,
    /// Body of the request, available from the first state after `received`. Null if the body is empty, hidden or not
    /// JSON.
    body: Option<Value>,
    #[serde(skip)]
    body_bytes: usize,
}

/// Properties of a request on arrival.
#[derive(Clone, Serialize)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// Pattern of the path. Null if no route matches.
    pub(crate) route: Option<String>,
    /// Name of the credential. Null if the request is not authenticated.
    pub(crate) credential: Option<String>,
}

/// All entries, with notification of changes.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<JournalEntries>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct JournalEntries {
    /// Ordered by `seq`, without gaps.
    entries: VecDeque<JournalEntry>,
    /// Maps a revision to the `seq` of the changed entry, so that a reader finds changes without a scan.
    by_revision: BTreeMap<u64, u64>,
    last_seq: u64,
    last_revision: u64,
    body_bytes: usize,
}

impl Journal {
    /// Returns the entries that changed after a revision, ordered by `seq`, and the newest revision. Waits up to `wait`
    /// for a change.
    pub(crate) async fn changes_since(&self, after: u64, wait: Duration) -> (Vec<JournalEntry>, u64) {
        let mut newest = self.newest.subscribe();
        // After a timeout the list of changes is empty.
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

    /// Changes an entry without a new revision. Readers see the change with the next state.
    fn update_entry(&self, seq: u64, change: impl FnOnce(&mut JournalEntry)) {
        let mut entries = lock(&self.entries);
        entries.change(seq, change);
    }

    fn set_state(&self, seq: u64, state: RequestState, status: Option<u16>) {
        let mut entries = lock(&self.entries);
        entries.change(seq, |entry| (entry.state, entry.status) = (state, status));
        self.publish_change(&mut entries, seq);
    }

    /// Assigns the next revision to an entry. Requires the lock, so that readers see revisions in order.
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

    /// Ignores an evicted entry.
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

/// Records the outcome of one request. A drop without an outcome records that the client disconnected.
pub(crate) struct EntryRecorder {
    journal: Arc<Journal>,
    seq: u64,
    is_finished: bool,
}

impl EntryRecorder {
    /// Adds an entry for a received request.
    pub(crate) fn new(journal: Arc<Journal>, request: ReceivedRequest) -> Self {
        let seq = journal.add_entry(request);
        Self { journal, seq, is_finished: false }
    }

    pub(crate) fn record_body(&self, body: Option<Value>, body_bytes: usize) {
        self.journal.update_entry(self.seq, |entry| {
            entry.body_bytes = if body.is_some() { body_bytes } else { 0 };
            entry.body = body;
        });
    }

    /// Records that the request took effect.
    pub(crate) fn record_applied(&self) {
        self.journal.update_entry(self.seq, |entry| entry.applied = true);
    }

    /// Records that a fault delays the request or the response.
    pub(crate) fn record_held(&self, state: RequestState) {
        self.journal.set_state(self.seq, state, None);
    }

    pub(crate) fn record_answered(self, status: u16) {
        self.finish(RequestState::Answered, Some(status));
    }

    /// Records that the connection is closed without a response.
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
