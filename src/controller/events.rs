//! Kubernetes events. Best effort: an event that is refused never holds anything up.

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, runtime::reflector::Lookup};

use super::leadership::Leadership;
use crate::planner::Note;

/// Longest note of an event, in bytes; the API allows 1 kB.
const LONGEST_NOTE: usize = 1000;
/// Longest action of an event, in bytes; the API allows 128.
const LONGEST_ACTION: usize = 120;

pub(super) struct Events {
    recorder: Recorder,
    leadership: Leadership,
}

impl Events {
    pub(super) fn new(client: Client, leadership: Leadership) -> Self {
        let reporter = Reporter { controller: "spice-cloud-operator".to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter), leadership }
    }

    /// Publishes notes about an object, in the background.
    pub(super) fn publish<K>(&self, object: &K, notes: Vec<Note>)
    where
        K: Resource<DynamicType = ()> + Lookup<DynamicType = ()>,
    {
        if notes.is_empty() {
            return;
        }
        let (recorder, leadership) = (self.recorder.clone(), self.leadership.clone());
        let regarding = object.object_ref(&());
        tokio::spawn(async move {
            for note in notes {
                let event = Event {
                    type_: if note.warning { EventType::Warning } else { EventType::Normal },
                    reason: note.reason,
                    // The recorder counts events of one action and reason as one, and keeps the first one's note.
                    action: shortened(&note.message, LONGEST_ACTION),
                    note: Some(shortened(&note.message, LONGEST_NOTE)),
                    secondary: None,
                };
                if !leadership.may_write() {
                    return;
                }
                if let Err(error) = recorder.publish(&event, &regarding).await {
                    tracing::debug!(%error, "event not stored");
                }
            }
        });
    }
}

fn shortened(text: &str, longest: usize) -> String {
    let end = (0..=longest.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_owned()
}
