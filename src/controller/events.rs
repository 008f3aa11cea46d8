//! Kubernetes events. Best effort: an event that is refused never holds anything up.

use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, runtime::reflector::Lookup};

use crate::planner::Note;

/// Longest note of an event, in bytes; the API allows 1 kB.
const LONGEST: usize = 1000;

pub(super) struct Events {
    recorder: Recorder,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "spice-cloud-operator".to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes notes about an object, in the background.
    pub(super) fn publish<K>(&self, object: &K, notes: Vec<Note>)
    where
        K: Resource<DynamicType = ()> + Lookup<DynamicType = ()>,
    {
        if notes.is_empty() {
            return;
        }
        let (recorder, regarding) = (self.recorder.clone(), object.object_ref(&()));
        tokio::spawn(async move {
            for note in notes {
                let event = Event {
                    type_: if note.warning { EventType::Warning } else { EventType::Normal },
                    reason: note.reason,
                    note: Some(shortened(note.message)),
                    action: "Reconcile".to_owned(),
                    secondary: None,
                };
                if let Err(error) = recorder.publish(&event, &regarding).await {
                    tracing::debug!(%error, "event not stored");
                }
            }
        });
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
