//! Kubernetes events. Best effort: a rejected event never blocks a reconcile.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, runtime::reflector::Lookup};
use tokio::sync::mpsc;

use super::call::{format_kube_error, with_timeout};
use super::counters::Counters;
use super::leadership::Leadership;
use crate::planner::EventRecord;

/// Longest note of an event, in bytes; the API allows 1 kB.
const MAX_NOTE_LENGTH: usize = 1000;

/// Events in the queue, at most 2 MB. A change of a thousand objects emits one event each; further events are dropped,
/// and their content is also in the status of the object.
const QUEUE_LENGTH: usize = 1000;

/// Recorders that are kept, one for each note.
const MAX_RECORDERS: usize = 1000;

/// Publishes events in the background.
pub(in crate::controller) struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
    counters: Counters,
}

impl Events {
    pub(in crate::controller) fn new(client: Client, leadership: Leadership, counters: Counters) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_LENGTH);
        tokio::spawn(publish(client, leadership, counters.clone(), events));
        Self { queue, counters }
    }

    /// Queues events about an object.
    pub(in crate::controller) fn publish<K>(&self, object: &K, events: Vec<EventRecord>)
    where
        K: Resource<DynamicType = ()> + Lookup<DynamicType = ()>,
    {
        for mut record in events {
            record.message.truncate(record.message.floor_char_boundary(MAX_NOTE_LENGTH));
            let event = Event {
                type_: if record.warning { EventType::Warning } else { EventType::Normal },
                reason: record.reason,
                action: record.action.to_owned(),
                note: Some(record.message),
                secondary: None,
            };
            if self.queue.try_send((event, object.object_ref(&()))).is_err() {
                tracing::debug!("Dropped event: the queue is full");
                self.counters.event_dropped();
            }
        }
    }
}

/// Publishes the queued events one after the other.
async fn publish(
    client: Client,
    leadership: Leadership,
    counters: Counters,
    mut events: mpsc::Receiver<(Event, ObjectReference)>,
) {
    let reporter = Reporter { controller: "spice-cloud-operator".to_owned(), instance: None };
    // A recorder merges events of one object, reason and action into a series that keeps the first note. One recorder
    // for each note keeps every note.
    let mut recorders: HashMap<Option<String>, Recorder> = HashMap::new();
    while let Some((event, regarding)) = events.recv().await {
        if !leadership.may_write() {
            continue;
        }
        if recorders.len() >= MAX_RECORDERS {
            recorders.clear();
        }
        let new = || Recorder::new(client.clone(), reporter.clone());
        let recorder = recorders.entry(event.note.clone()).or_insert_with(new);
        let result = with_timeout(recorder.publish(&event, &regarding)).await;
        counters.kubernetes_write("create", "Event", &result);
        if let Err(error) = result {
            tracing::debug!(error = format_kube_error(&error), "Failed to publish event");
        }
    }
}
