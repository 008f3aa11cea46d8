//! Kubernetes events. Best effort: an event that is refused never holds anything up.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, runtime::reflector::Lookup};
use tokio::sync::mpsc;

use super::leadership::Leadership;
use super::metrics::Metrics;
use super::store::bounded;
use crate::planner::EventRecord;

/// Longest note of an event, in bytes; the API allows 1 kB.
const LONGEST_NOTE: usize = 1000;
/// Longest action of an event, in bytes; the API allows 128.
const LONGEST_ACTION: usize = 120;

/// Events that wait to be published, at most 2 MB of them. A thousand objects that change at once tell one thing each; what
/// goes beyond is lost, and stands in the status of its object.
const WAITING: usize = 1000;

pub(super) struct Events {
    waiting: mpsc::Sender<(Event, ObjectReference)>,
    metrics: Metrics,
}

impl Events {
    pub(super) fn new(client: Client, leadership: Leadership, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: "spice-cloud-operator".to_owned(), instance: None };
        let (waiting, events) = mpsc::channel(WAITING);
        tokio::spawn(publish(Recorder::new(client, reporter), leadership, metrics.clone(), events));
        Self { waiting, metrics }
    }

    /// Publishes notes about an object, in the background.
    pub(super) fn publish<K>(&self, object: &K, events: Vec<EventRecord>)
    where
        K: Resource<DynamicType = ()> + Lookup<DynamicType = ()>,
    {
        for note in events {
            let event = Event {
                type_: if note.warning { EventType::Warning } else { EventType::Normal },
                reason: note.reason,
                // The recorder counts events of one action and reason as one, and keeps the first one's note.
                action: shortened(&note.message, LONGEST_ACTION),
                note: Some(shortened(&note.message, LONGEST_NOTE)),
                secondary: None,
            };
            if self.waiting.try_send((event, object.object_ref(&()))).is_err() {
                tracing::debug!("too many events wait; one is left out");
                self.metrics.event_dropped();
            }
        }
    }
}

/// Publishes one event after the other, for as long as there may be more.
async fn publish(
    recorder: Recorder,
    leadership: Leadership,
    metrics: Metrics,
    mut events: mpsc::Receiver<(Event, ObjectReference)>,
) {
    while let Some((event, regarding)) = events.recv().await {
        if !leadership.may_write() {
            continue;
        }
        let result = bounded(recorder.publish(&event, &regarding)).await;
        metrics.wrote("create", "Event", &result);
        if let Err(error) = result {
            tracing::debug!(%error, "event not stored");
        }
    }
}

fn shortened(text: &str, longest: usize) -> String {
    let end = (0..=longest.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_owned()
}
