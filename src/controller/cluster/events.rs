//! Kubernetes events. Best effort: a rejected event never blocks a reconcile. A lost event is counted, and logged once
//! for each object and cause.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Error, Resource};
use serde_json::json;
use tokio::sync::mpsc;

use super::call::{format_kube_error, has_code, with_timeout};
use super::counters::{Counters, EventLoss};
use super::leadership::Leadership;
use super::sync::lock;
use crate::planner::EventRecord;

/// Reporting controller of every event.
const CONTROLLER: &str = "spice-cloud-operator";

/// Longest note of an event, in bytes; the API allows 1 kB.
const MAX_NOTE_LENGTH: usize = 1000;

/// Longest name of an object, in bytes.
const MAX_NAME_LENGTH: usize = 253;

/// Events in the queue, at most 2 MB. A change of a thousand objects emits one event each; further events are dropped,
/// and their content is also in the status of the object.
const QUEUE_LENGTH: usize = 1000;

/// Events that a repetition can count up, and logged losses. The oldest are less useful than bounded memory.
const MAX_REMEMBERED: usize = 1000;

/// Time for which a repeated event counts up the earlier event. The API server deletes an event after an hour.
const SERIES_DURATION: SignedDuration = SignedDuration::from_mins(6);

/// Publishes events in the background.
pub(in crate::controller) struct Events {
    queue: mpsc::Sender<(EventRecord, ObjectReference)>,
    losses: Arc<LossReporter>,
}

impl Events {
    pub(in crate::controller) fn new(client: Client, leadership: Leadership, counters: Counters) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_LENGTH);
        let losses = Arc::new(LossReporter { counters, logged: Mutex::default() });
        let publisher = Publisher { client, leadership, losses: Arc::clone(&losses), published: HashMap::new() };
        tokio::spawn(publisher.run(events));
        Self { queue, losses }
    }

    /// Queues events about an object.
    pub(in crate::controller) fn publish(&self, object: &impl Resource<DynamicType = ()>, events: Vec<EventRecord>) {
        for record in events {
            if let Err(rejected) = self.queue.try_send((record, object.object_ref(&()))) {
                let (_, regarding) = rejected.into_inner();
                self.losses.report(&regarding, EventLoss::QueueFull, "the queue is full");
            }
        }
    }
}

/// Counts and logs lost events.
struct LossReporter {
    counters: Counters,
    /// Losses that were logged, by UID of the object.
    logged: Mutex<HashSet<(String, EventLoss)>>,
}

impl LossReporter {
    fn report(&self, regarding: &ObjectReference, cause: EventLoss, error: &str) {
        self.counters.event_dropped(cause);
        let mut logged = lock(&self.logged);
        if logged.len() >= MAX_REMEMBERED {
            logged.clear();
        }
        let is_new = logged.insert((regarding.uid.clone().unwrap_or_default(), cause));
        let (kind, namespace, name) = (&regarding.kind, &regarding.namespace, &regarding.name);
        if is_new && cause != EventLoss::NamespaceTerminating {
            tracing::warn!(kind, namespace, name, error, "Failed to publish event");
        }
    }
}

/// Identity of an event: a repetition counts up the earlier event. The note belongs to the identity, so that every note
/// is kept.
#[derive(Clone, PartialEq, Eq, Hash)]
struct EventKey {
    uid: Option<String>,
    warning: bool,
    reason: String,
    action: &'static str,
    note: String,
}

/// An event that this process published.
struct Published {
    name: String,
    count: i32,
    at: Timestamp,
}

struct Publisher {
    client: Client,
    leadership: Leadership,
    losses: Arc<LossReporter>,
    published: HashMap<EventKey, Published>,
}

impl Publisher {
    /// Publishes the queued events one after the other.
    async fn run(mut self, mut events: mpsc::Receiver<(EventRecord, ObjectReference)>) {
        while let Some((record, regarding)) = events.recv().await {
            if !self.leadership.may_write() {
                self.losses.report(&regarding, EventLoss::NotLeader, "this process is not the leader");
                continue;
            }
            if let Err(error) = self.publish(record, &regarding, Timestamp::now()).await {
                let cause = match &error {
                    Error::Api(status) if status.message.contains("because it is being terminated") => {
                        EventLoss::NamespaceTerminating
                    }
                    Error::Api(_) => EventLoss::Rejected,
                    _ => EventLoss::NoResponse,
                };
                self.losses.report(&regarding, cause, &format_kube_error(&error));
            }
        }
    }

    /// Counts up the earlier event, or creates an event.
    async fn publish(&mut self, record: EventRecord, regarding: &ObjectReference, now: Timestamp) -> Result<(), Error> {
        self.published.retain(|_, published| published.at + SERIES_DURATION > now);
        if self.published.len() >= MAX_REMEMBERED {
            self.published.clear();
        }
        let EventRecord { warning, action, reason, message: mut note } = record;
        note.truncate(note.floor_char_boundary(MAX_NOTE_LENGTH));
        let key = EventKey { uid: regarding.uid.clone(), warning, reason, action, note };
        let events = Api::namespaced(self.client.clone(), regarding.namespace.as_deref().unwrap_or_default());
        if let Some(published) = self.published.get_mut(&key) {
            let count = published.count.saturating_add(1);
            let series = EventSeries { count, last_observed_time: MicroTime(now) };
            let (patch, params) = (Patch::Merge(json!({ "series": series })), PatchParams::default());
            let result: Result<Event, Error> = with_timeout(events.patch(&published.name, &params, &patch)).await;
            self.losses.counters.kubernetes_write("patch", "Event", &result);
            match result {
                // Another client deleted the event.
                Err(error) if has_code(&error, 404) => {}
                result => {
                    result?;
                    (published.count, published.at) = (count, now);
                    return Ok(());
                }
            }
        }
        let event = new_event(&key, regarding, now);
        let result = with_timeout(events.create(&PostParams::default(), &event)).await;
        self.losses.counters.kubernetes_write("create", "Event", &result);
        let name = result?.metadata.name.unwrap_or_default();
        self.published.insert(key, Published { name, count: 1, at: now });
        Ok(())
    }
}

fn new_event(key: &EventKey, regarding: &ObjectReference, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(regarding.name.as_deref().unwrap_or_default(), now)),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some(key.action.to_owned()),
        reason: Some(key.reason.clone()),
        event_time: Some(MicroTime(now)),
        regarding: Some(regarding.clone()),
        note: Some(key.note.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        type_: Some(if key.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// Unique name of an event: the name of the object, cut if necessary, and the time.
fn event_name(object: &str, now: Timestamp) -> String {
    let suffix = format!(".{:x}", now.as_nanosecond());
    let start = &object[..object.floor_char_boundary(MAX_NAME_LENGTH - suffix.len())];
    // A part of a name must not end with a hyphen, and no part is empty.
    format!("{}{suffix}", start.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_is_valid_for_every_name_of_an_object() {
        let now: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        let time = format!("{:x}", now.as_nanosecond());
        let long = "a".repeat(250);
        let cut_at_hyphen = format!("{}-{}", "a".repeat(235), "b".repeat(17));
        let cut_at_dot = format!("{}-.{}", "a".repeat(234), "b".repeat(17));
        for (object, start) in [
            ("my-app", "my-app"),
            (long.as_str(), &long[..236]),
            (cut_at_hyphen.as_str(), &long[..235]),
            (cut_at_dot.as_str(), &long[..234]),
            (&"ü".repeat(200), &"ü".repeat(118)),
        ] {
            let name = event_name(object, now);
            assert_eq!(name, format!("{start}.{time}"));
            assert!(name.len() <= MAX_NAME_LENGTH, "{name}");
        }
    }
}
