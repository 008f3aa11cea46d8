//! Watches. A watch updates the cache before it calls the event handler, so that a reconcile never reads less than the
//! change that triggered it.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Error, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::format_kube_error;
use super::readiness::HealthCheck;

/// Maps watch events to reconcile requests.
pub(in crate::controller) trait EventHandler<K>: Send + 'static {
    /// Runs before the cache is updated, to update the indexes by which the object is found there.
    fn before_cache_update(&mut self, _object: &K) {}
    /// Runs after the cache has an added or a changed object.
    fn on_change(&mut self, object: &K);
    /// Runs after the cache lost a deleted object.
    fn on_delete(&mut self, object: &K);
    /// Runs for an object of a list that was interrupted, if the next list lacks the object and the cache never had it.
    /// Removes the object from the indexes.
    fn on_never_cached(&mut self, _namespace: &str, _name: &str) {}
}

/// Events of a watch.
pub(in crate::controller) type WatchEvents<K> = BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

/// Watches objects, starting with a list. If the watch returns an error and then nothing for `relist_after`, a new list
/// starts: only a list shows whether a silent watch still works.
pub(in crate::controller) fn watch_with_relist<K>(
    api: Api<K>,
    config: watcher::Config,
    relist_after: Duration,
) -> WatchEvents<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    restart_if_silent(move || watcher(api.clone(), config.clone()).default_backoff().boxed(), relist_after)
}

fn restart_if_silent<K: Send + 'static>(
    start: impl Fn() -> WatchEvents<K> + Send + 'static,
    relist_after: Duration,
) -> WatchEvents<K> {
    let watch = RestartingWatch { events: start(), start, relist_after, is_listing: false, relist_at: None };
    stream::unfold(watch, |mut watch| async move { Some((watch.next().await?, watch)) }).boxed()
}

struct RestartingWatch<K, F> {
    start: F,
    events: WatchEvents<K>,
    relist_after: Duration,
    /// True if a list is in progress; the list ends with an event or an error.
    is_listing: bool,
    /// Time at which a watch that returned an error is restarted, unless an event arrives before.
    relist_at: Option<Instant>,
}

impl<K, F: Fn() -> WatchEvents<K>> RestartingWatch<K, F> {
    async fn next(&mut self) -> Option<Result<watcher::Event<K>, watcher::Error>> {
        loop {
            let next = match self.relist_at {
                Some(at) => tokio::time::timeout_at(at, self.events.next()).await,
                None => Ok(self.events.next().await),
            };
            let Ok(event) = next else {
                (self.events, self.is_listing, self.relist_at) = ((self.start)(), true, None);
                continue;
            };
            match &event {
                Some(Ok(event)) => {
                    self.is_listing = matches!(event, watcher::Event::Init | watcher::Event::InitApply(_));
                    self.relist_at = None;
                }
                Some(Err(_)) if !self.is_listing => {
                    self.relist_at.get_or_insert_with(|| Instant::now() + self.relist_after);
                }
                Some(Err(_)) | None => {}
            }
            return event;
        }
    }
}

/// Objects of lists that are not in the cache yet: the cache takes a list as a whole at its end.
struct PendingLists<K: Resource<DynamicType = ()>> {
    current: HashSet<ObjectRef<K>>,
    /// Of lists that were interrupted.
    interrupted: HashSet<ObjectRef<K>>,
}

impl<K: Resource<DynamicType = ()>> PendingLists<K> {
    fn new() -> Self {
        Self { current: HashSet::new(), interrupted: HashSet::new() }
    }

    /// Records an event. At the end of a list, returns the objects that only interrupted lists contained.
    fn record(&mut self, event: &watcher::Event<K>) -> Vec<ObjectRef<K>> {
        match event {
            watcher::Event::Init => self.interrupted.extend(self.current.drain()),
            watcher::Event::InitApply(object) => drop(self.current.insert(ObjectRef::from_obj(object))),
            watcher::Event::InitDone => {
                let Self { current, interrupted } = std::mem::replace(self, Self::new());
                return interrupted.into_iter().filter(|object| !current.contains(object)).collect();
            }
            watcher::Event::Apply(_) | watcher::Event::Delete(_) => {}
        }
        Vec::new()
    }
}

/// Updates a cache with the events of a watch, and calls the event handler, until `shutdown`.
pub(in crate::controller) async fn run_reflector<K>(
    events: WatchEvents<K>,
    mut writer: Writer<K>,
    mut health: HealthCheck,
    shutdown: CancellationToken,
    strip: fn(&mut K),
    mut handler: impl EventHandler<K>,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (mut events, mut lists) = (Box::pin(events.take_until(shutdown.cancelled())), PendingLists::new());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event.modify(strip),
            Err(error) => {
                let error = format_watch_error(&error);
                tracing::warn!(error, kind = %<K as Resource>::kind(&()), "Watch interrupted; retrying");
                health.report_failure();
                continue;
            }
        };
        // Objects that were deleted while the watch was down are missing from the new list, without an event.
        let before = if matches!(event, watcher::Event::InitDone) { writer.as_reader().state() } else { Vec::new() };
        if let watcher::Event::Apply(object) | watcher::Event::InitApply(object) = &event {
            handler.before_cache_update(object);
        }
        // Before the cache is complete, because a reconcile may count objects of an index from then on.
        for gone in lists.record(&event) {
            if writer.as_reader().get(&gone).is_none() {
                handler.on_never_cached(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
            }
        }
        writer.apply_watcher_event(&event);
        match event {
            // `Init` is sent before the list is requested, and the cache takes a list as a whole at its end.
            watcher::Event::Init | watcher::Event::InitApply(_) => {}
            watcher::Event::Apply(object) => {
                health.report_success();
                handler.on_change(&object);
            }
            watcher::Event::Delete(object) => {
                health.report_success();
                handler.on_delete(&object);
            }
            watcher::Event::InitDone => {
                health.report_success();
                let now = writer.as_reader().state();
                let uids: HashSet<_> = now.iter().map(|object| object.meta().uid.as_ref()).collect();
                for deleted in before.iter().filter(|object| !uids.contains(&object.meta().uid.as_ref())) {
                    handler.on_delete(deleted);
                }
                for object in now {
                    handler.on_change(&object);
                }
            }
        }
    }
}

/// Short text of an error with its causes. The library's text names neither the cause of a failed connection nor the text
/// of the apiserver.
fn format_watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => format_kube_error(error),
        watcher::Error::WatchError(status) => format_kube_error(&Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Strips metadata of the operator's own objects that is large and not used.
pub(in crate::controller) fn strip_managed_fields<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Strips all metadata of a foreign object but its identity and version: the annotations of a Secret may hold its data.
pub(in crate::controller) fn strip_all_but_version<K: Resource>(object: &mut K) {
    strip_all_but_labels(object);
    object.meta_mut().labels = None;
}

/// Like [`strip_all_but_version`], but keeps the labels for selectors.
pub(in crate::controller) fn strip_all_but_labels<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    (meta.managed_fields, meta.annotations, meta.owner_references) = (None, None, None);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kube::core::Status;

    use super::*;

    const RELIST_AFTER: Duration = Duration::from_secs(60);

    fn event(word: &str) -> Result<watcher::Event<()>, watcher::Error> {
        match word {
            "init" => Ok(watcher::Event::Init),
            "object" => Ok(watcher::Event::InitApply(())),
            "done" => Ok(watcher::Event::InitDone),
            "change" => Ok(watcher::Event::Apply(())),
            _ => Err(watcher::Error::NoResourceVersion),
        }
    }

    /// Up to `count` events of watches that return these events and then nothing, each with the seconds before it.
    async fn received(watches: &[&[&str]], count: usize) -> Vec<(&'static str, u64)> {
        let mut watches: Vec<Vec<_>> =
            watches.iter().rev().map(|events| events.iter().map(|word| event(word)).collect()).collect();
        let next = Mutex::new(std::mem::take(&mut watches));
        let begin = move || {
            let events = next.lock().unwrap().pop().unwrap_or_default();
            stream::iter(events).chain(stream::pending()).boxed()
        };
        let (mut events, mut received) = (restart_if_silent(begin, RELIST_AFTER), Vec::new());
        for _ in 0..count {
            let before = Instant::now();
            let Ok(Some(event)) = tokio::time::timeout(2 * RELIST_AFTER, events.next()).await else { break };
            let word = match event {
                Ok(watcher::Event::Init) => "init",
                Ok(watcher::Event::InitApply(())) => "object",
                Ok(watcher::Event::InitDone) => "done",
                Ok(_) => "change",
                Err(_) => "error",
            };
            received.push((word, before.elapsed().as_secs()));
        }
        received
    }

    #[test]
    fn a_failed_watch_is_logged_with_its_cause() {
        let refused = || Error::Service(Box::new(std::io::Error::other(std::io::Error::other("Connection refused"))));
        let expired = Status { code: 410, message: "too old resource version".to_owned(), ..Status::default() };
        let cases = [
            (watcher::Error::InitialListFailed(refused()), "Connection refused"),
            (watcher::Error::WatchStartFailed(refused()), "Connection refused"),
            (watcher::Error::WatchFailed(refused()), "Connection refused"),
            (watcher::Error::WatchError(Box::new(expired)), "“too old resource version” (410)"),
        ];
        for (error, cause) in cases {
            let text = format_watch_error(&error);
            assert!(text.contains(cause), "{error}: {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_silent_after_an_error_restarts() {
        let events = received(&[&["init", "done", "error", "error"], &["init", "done"]], 9).await;
        assert_eq!(
            events,
            [("init", 0), ("done", 0), ("error", 0), ("error", 0), ("init", 60), ("done", 0)],
            "counted from the first failure"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_with_an_event_after_an_error_continues() {
        let events = received(&[&["init", "done", "error", "change"], &["init"]], 9).await;
        assert_eq!(events, [("init", 0), ("done", 0), ("error", 0), ("change", 0)]);
        // Its listing ends one way or the other.
        let events = received(&[&["init", "error", "init", "object"], &["init"]], 9).await;
        assert_eq!(events, [("init", 0), ("error", 0), ("init", 0), ("object", 0)]);
    }
}
