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

/// So many entries are kept: an hour at twice the request rate the API allows an account, at a few hundred bytes each.
const MAX_ENTRIES: usize = 100_000;
/// So many bytes of bodies are kept, so that large bodies cannot use up the memory that the entries alone would not.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
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
pub(crate) struct Entry {
    /// The order of arrival, from 1, without gaps.
    seq: u64,
    /// Grows over the whole journal with each change of state.
    revision: u64,
    at: String,
    #[serde(flatten)]
    arrival: Arrival,
    state: State,
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
pub(crate) struct Arrival {
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
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// In order of `seq`, without gaps.
    entries: VecDeque<Entry>,
    /// From revision to `seq`: what changed since a revision is found without a look at every entry.
    by_revision: BTreeMap<u64, u64>,
    last_seq: u64,
    last_revision: u64,
    body_bytes: usize,
}

impl Journal {
    /// The entries that changed after a revision, in order of arrival, and the newest revision. If there are none it
    /// waits so long for one.
    pub(crate) async fn since(&self, after: u64, wait: Duration) -> (Vec<Entry>, u64) {
        let mut newest = self.newest.subscribe();
        // Out of time or not, the answer is what there is.
        let _ = tokio::time::timeout(wait, newest.wait_for(|newest| *newest > after)).await;
        let kept = lock(&self.kept);
        let mut entries: Vec<_> = kept
            .by_revision
            .range(after.saturating_add(1)..)
            .filter_map(|(_, seq)| kept.entry(*seq))
            .cloned()
            .collect();
        entries.sort_by_key(|entry| entry.seq);
        (entries, kept.last_revision)
    }

    fn arrive(&self, arrival: Arrival) -> u64 {
        let mut kept = lock(&self.kept);
        kept.last_seq += 1;
        let seq = kept.last_seq;
        kept.entries.push_back(Entry {
            seq,
            revision: 0,
            at: timestamps::now_text(),
            arrival,
            state: State::Received,
            status: None,
            applied: false,
            body: None,
            body_bytes: 0,
        });
        kept.trim();
        self.announce(&mut kept, seq);
        seq
    }

    /// Changes an entry without telling anyone: what changes with it is seen with its next state.
    fn note(&self, seq: u64, change: impl FnOnce(&mut Entry)) {
        let mut kept = lock(&self.kept);
        kept.change(seq, change);
    }

    fn advance(&self, seq: u64, state: State, status: Option<u16>) {
        let mut kept = lock(&self.kept);
        kept.change(seq, |entry| (entry.state, entry.status) = (state, status));
        self.announce(&mut kept, seq);
    }

    /// Gives an entry the next revision. Under the lock, so that no waiting reader sees revisions out of order.
    fn announce(&self, kept: &mut Kept, seq: u64) {
        kept.last_revision += 1;
        let revision = kept.last_revision;
        let mut before = 0;
        kept.change(seq, |entry| before = std::mem::replace(&mut entry.revision, revision));
        kept.by_revision.remove(&before);
        kept.by_revision.insert(revision, seq);
        self.newest.send_replace(revision);
    }
}

impl Kept {
    fn index(&self, seq: u64) -> Option<usize> {
        let first = self.entries.front()?.seq;
        usize::try_from(seq.checked_sub(first)?).ok()
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(self.index(seq)?)
    }

    /// Does nothing to an entry that is no longer kept.
    fn change(&mut self, seq: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.index(seq).and_then(|index| self.entries.get_mut(index)) {
            let before = entry.body_bytes;
            change(entry);
            self.body_bytes = self.body_bytes + entry.body_bytes - before;
        }
    }

    fn trim(&mut self) {
        while self.entries.len() > MAX_ENTRIES || self.body_bytes > MAX_BODY_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.body_bytes -= oldest.body_bytes;
            self.by_revision.remove(&oldest.revision);
        }
    }
}

/// A request under way. Dropped before it has an end, it was abandoned: that is how the server learns that the client
/// went away.
pub(crate) struct Ticket {
    journal: Arc<Journal>,
    seq: u64,
    ended: bool,
}

impl Ticket {
    /// Notes the arrival of a request.
    pub(crate) fn new(journal: Arc<Journal>, arrival: Arrival) -> Self {
        let seq = journal.arrive(arrival);
        Self { journal, seq, ended: false }
    }

    /// Notes what may be told of the body, which takes about so many bytes at most.
    pub(crate) fn body(&self, body: Option<Value>, most_bytes: usize) {
        self.journal.note(self.seq, |entry| {
            entry.body_bytes = if body.is_some() { most_bytes } else { 0 };
            entry.body = body;
        });
    }

    /// Notes that what the request asked for was done.
    pub(crate) fn applied(&self) {
        self.journal.note(self.seq, |entry| entry.applied = true);
    }

    /// Notes that a fault holds the request, or its answer.
    pub(crate) fn held(&self, state: State) {
        self.journal.advance(self.seq, state, None);
    }

    /// The request is about to be answered.
    pub(crate) fn answered(self, status: u16) {
        self.end(State::Answered, Some(status));
    }

    /// The connection of the request is about to be closed.
    pub(crate) fn closed(self) {
        self.end(State::Closed, None);
    }

    fn end(mut self, state: State, status: Option<u16>) {
        self.ended = true;
        self.journal.advance(self.seq, state, status);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            self.journal.advance(self.seq, State::Abandoned, None);
        }
    }
}
