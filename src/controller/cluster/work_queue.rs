//! Requests for reconciles, and the loop that runs them.
//!
//! kube's `applier` is not used: each of its steps polls every running reconcile and visits every request that waits for
//! one, so that the work for n objects grows with n².

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use kube::Resource;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};

/// The reconciles that are requested, for one kind.
pub(in crate::controller) type ReconcileRequests<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

/// Delay until the next reconcile of an object. None: only a request leads to the next reconcile.
pub(in crate::controller) type RequeueAfter = Option<Duration>;

/// Longest delay, because a [`DelayQueue`] panics at about two years.
const MAX_DELAY: Duration = Duration::from_secs(180 * 24 * 60 * 60);

/// Work queue of one kind. Unbounded: the loop behind the queue keeps at most one request per object.
pub(in crate::controller) struct WorkQueue<K: Lookup> {
    sender: mpsc::UnboundedSender<ObjectRef<K>>,
}

impl<K: Lookup> WorkQueue<K> {
    pub(in crate::controller) fn new() -> (Self, ReconcileRequests<K>) {
        let (sender, requests) = mpsc::unbounded();
        (Self { sender }, requests)
    }

    /// Requests a reconcile. Without a receiver the operator is shutting down, and the request can be dropped.
    pub(in crate::controller) fn enqueue(&self, object: ObjectRef<K>) {
        let _ = self.sender.unbounded_send(object);
    }
}

/// Reconciles cached objects as requested, until shutdown; then waits for the running reconciles.
///
/// At most one reconcile of an object runs at a time. A request during a reconcile leads to one more reconcile after it.
pub(in crate::controller) async fn run<K, C, F>(
    mut requests: ReconcileRequests<K>,
    cache: Store<K>,
    context: Arc<C>,
    shutdown: CancellationToken,
    reconcile: fn(Arc<K>, Arc<C>) -> F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    F: Future<Output = RequeueAfter> + Send + 'static,
{
    // An error means that the watch has ended, which happens at shutdown only.
    let Some(Ok(())) = shutdown.run_until_cancelled(cache.wait_until_ready()).await else { return };
    let (mut schedule, mut running) = (Schedule::new(), FuturesUnordered::new());
    loop {
        tokio::select! {
            // In this order, equal requests lead to one reconcile, and of many reconciles that need no wait, one at a
            // time needs memory.
            biased;
            () = shutdown.cancelled() => break,
            Some((object, requeue_after)) = running.next() => schedule.finish(object, requeue_after),
            Some(object) = requests.next() => schedule.request(object),
            Some(expired) = schedule.delays.next() => schedule.request(expired.into_inner()),
            () = std::future::ready(()), if !schedule.due.is_empty() => {
                if let Some((object, found)) = schedule.start_next(&cache) {
                    let result = reconcile(found, Arc::clone(&context));
                    // Boxed, because the future is large, and the set keeps the allocations of its own entries.
                    running.push(result.map(|requeue_after| (object, requeue_after)).boxed());
                }
            }
        }
    }
    running.for_each(|_| std::future::ready(())).await;
}

/// The objects that are reconciled now or after a delay.
struct Schedule<K: Lookup<DynamicType = ()>> {
    objects: HashMap<ObjectRef<K>, ScheduledObject>,
    due: VecDeque<ObjectRef<K>>,
    delays: DelayQueue<ObjectRef<K>>,
}

/// State of an object in the schedule.
enum ScheduledObject {
    /// Its next reconcile starts after a delay.
    Delayed(delay_queue::Key),
    /// Its next reconcile starts in the order of the requests.
    Due,
    /// Its reconcile runs.
    Running {
        /// True if the object was requested again.
        is_requested: bool,
    },
}

impl<K: Resource<DynamicType = ()> + Clone> Schedule<K> {
    fn new() -> Self {
        Self { objects: HashMap::new(), due: VecDeque::new(), delays: DelayQueue::new() }
    }

    /// Records a request, or the end of a delay.
    fn request(&mut self, object: ObjectRef<K>) {
        match self.objects.get_mut(&object) {
            Some(ScheduledObject::Running { is_requested }) => *is_requested = true,
            Some(ScheduledObject::Due) => {}
            Some(ScheduledObject::Delayed(key)) => {
                // The queue no longer has the key of a delay that has ended.
                self.delays.try_remove(key);
                self.set_due(object);
            }
            None => self.set_due(object),
        }
    }

    fn set_due(&mut self, object: ObjectRef<K>) {
        self.objects.insert(object.clone(), ScheduledObject::Due);
        self.due.push_back(object);
    }

    /// Records the start of the next due reconcile. None if nothing is due, or if the object no longer exists.
    fn start_next(&mut self, cache: &Store<K>) -> Option<(ObjectRef<K>, Arc<K>)> {
        let object = self.due.pop_front()?;
        let Some(found) = cache.get(&object) else {
            self.objects.remove(&object);
            return None;
        };
        self.objects.insert(object.clone(), ScheduledObject::Running { is_requested: false });
        Some((object, found))
    }

    /// Records the end of a reconcile.
    fn finish(&mut self, object: ObjectRef<K>, requeue_after: RequeueAfter) {
        if let Some(ScheduledObject::Running { is_requested: true }) = self.objects.remove(&object) {
            self.set_due(object);
        } else if let Some(delay) = requeue_after {
            let key = self.delays.insert(object.clone(), delay.min(MAX_DELAY));
            self.objects.insert(object, ScheduledObject::Delayed(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{self, Poll};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector::store::{self, Writer};
    use kube::runtime::watcher::Event;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::controller::cluster::sync::lock;

    /// A delay at the end of which everything else has finished, because the clock is paused.
    const STEP: Duration = Duration::from_secs(1);

    /// Script and record of the reconciles.
    struct Script {
        started_at: Instant,
        /// Name and start time in seconds of each reconcile.
        reconciles: Mutex<Vec<(String, u64)>>,
        /// Duration of each reconcile.
        duration: Duration,
        requeue_after: Mutex<RequeueAfter>,
    }

    async fn reconcile(object: Arc<ConfigMap>, script: Arc<Script>) -> RequeueAfter {
        let name = object.metadata.name.clone().unwrap_or_default();
        lock(&script.reconciles).push((name, script.started_at.elapsed().as_secs()));
        sleep(script.duration).await;
        lock(&script.requeue_after).take()
    }

    struct Fixture {
        script: Arc<Script>,
        queue: WorkQueue<ConfigMap>,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
        _writer: Writer<ConfigMap>,
    }

    impl Fixture {
        fn start(names: &[&str], duration: Duration, requeue_after: RequeueAfter) -> Self {
            let (cache, writer) = cache_of(names.iter().map(|name| (*name).to_owned()));
            let (queue, requests) = WorkQueue::new();
            let script = Arc::new(Script {
                started_at: Instant::now(),
                reconciles: Mutex::default(),
                duration,
                requeue_after: Mutex::new(requeue_after),
            });
            let shutdown = CancellationToken::new();
            let task = tokio::spawn(run(requests, cache, Arc::clone(&script), shutdown.clone(), reconcile));
            Self { script, queue, shutdown, task, _writer: writer }
        }

        fn enqueue(&self, name: &str) {
            self.queue.enqueue(reference(name));
        }

        fn reconciles(&self) -> Vec<(String, u64)> {
            lock(&self.script.reconciles).clone()
        }
    }

    fn cache_of(names: impl Iterator<Item = String>) -> (Store<ConfigMap>, Writer<ConfigMap>) {
        let (cache, mut writer) = store::store();
        writer.apply_watcher_event(&Event::Init);
        for name in names {
            let mut object = ConfigMap::default();
            (object.metadata.name, object.metadata.namespace) = (Some(name), Some("team".to_owned()));
            writer.apply_watcher_event(&Event::InitApply(object));
        }
        writer.apply_watcher_event(&Event::InitDone);
        (cache, writer)
    }

    fn reference(name: &str) -> ObjectRef<ConfigMap> {
        ObjectRef::new(name).within("team")
    }

    fn at(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(name, second)| ((*name).to_owned(), *second)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_for_an_object_never_overlap_and_are_never_lost() {
        let fixture = Fixture::start(&["a", "b"], STEP * 10, None);
        fixture.enqueue("a");
        fixture.enqueue("a");
        fixture.enqueue("unknown");
        sleep(STEP).await;
        assert_eq!(fixture.reconciles(), at(&[("a", 0)]), "equal requests lead to one reconcile");
        fixture.enqueue("b");
        fixture.enqueue("a");
        fixture.enqueue("a");
        sleep(STEP * 60).await;
        assert_eq!(fixture.reconciles(), at(&[("a", 0), ("b", 1), ("a", 10)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_ends_with_a_reconcile_or_with_an_earlier_request() {
        let fixture = Fixture::start(&["a"], Duration::ZERO, Some(STEP * 20));
        fixture.enqueue("a");
        sleep(STEP * 30).await;
        assert_eq!(fixture.reconciles(), at(&[("a", 0), ("a", 20)]));
        *lock(&fixture.script.requeue_after) = Some(Duration::MAX);
        fixture.enqueue("a");
        sleep(STEP).await;
        *lock(&fixture.script.requeue_after) = Some(STEP * 20);
        fixture.enqueue("a");
        sleep(STEP).await;
        fixture.enqueue("a");
        sleep(STEP * 60).await;
        assert_eq!(fixture.reconciles(), at(&[("a", 0), ("a", 20), ("a", 30), ("a", 31), ("a", 32)]));
    }

    #[tokio::test]
    async fn reconciles_without_a_wait_run_one_by_one_in_the_order_of_the_requests() {
        let (cache, _writer) = cache_of((0..100).map(|number| number.to_string()));
        let (queue, requests) = WorkQueue::new();
        (0..100).for_each(|number| queue.enqueue(reference(&number.to_string())));
        /// Names in the order of the calls, and reconciles that were not polled to their end.
        type Record = Mutex<(Vec<String>, usize)>;
        let (record, shutdown): (Arc<Record>, _) = (Arc::default(), CancellationToken::new());
        let reconcile = |object: Arc<ConfigMap>, record: Arc<Record>| {
            let mut started = lock(&record);
            started.0.push(object.metadata.name.clone().unwrap_or_default());
            started.1 += 1;
            assert_eq!(started.1, 1, "one at a time");
            drop(started);
            async move {
                lock(&record).1 -= 1;
                None
            }
        };
        let task = tokio::spawn(run(requests, cache, Arc::clone(&record), shutdown.clone(), reconcile));
        while lock(&record).0.len() < 100 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
        task.await.unwrap();
        assert!(lock(&record).0.iter().map(|name| name.parse::<usize>().unwrap()).eq(0..100));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_starts_nothing_and_waits_for_the_running_reconciles() {
        let fixture = Fixture::start(&["a", "b"], STEP * 10, None);
        fixture.enqueue("a");
        sleep(STEP).await;
        fixture.enqueue("a");
        fixture.shutdown.cancel();
        fixture.enqueue("b");
        fixture.task.await.unwrap();
        assert_eq!(fixture.script.started_at.elapsed().as_secs(), 10);
        assert_eq!(lock(&fixture.script.reconciles).clone(), at(&[("a", 0)]));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_ends_the_wait_for_the_first_list() {
        let (cache, _writer) = store::store::<ConfigMap>();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        run(WorkQueue::new().1, cache, Arc::new(()), shutdown, |_, _| std::future::ready(None)).await;
    }

    /// Counts the polls of a future.
    struct CountPolls<F>(F, Arc<Mutex<usize>>);

    impl<F: Future + Unpin> Future for CountPolls<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
            *lock(&self.1) += 1;
            Pin::new(&mut self.0).poll(context)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_reconcile_costs_nothing_when_others_finish() {
        const OBJECTS: usize = 200;
        type Gate = (Notify, Arc<Mutex<usize>>);
        let (cache, _writer) = cache_of((0..OBJECTS).map(|number| number.to_string()));
        let (queue, requests) = WorkQueue::new();
        let gate: Arc<Gate> = Arc::default();
        let shutdown = CancellationToken::new();
        let wait = |_: Arc<ConfigMap>, gate: Arc<Gate>| {
            let polls = Arc::clone(&gate.1);
            CountPolls(async move { gate.0.notified().await }.map(|()| None).boxed(), polls)
        };
        let task = tokio::spawn(run(requests, cache, Arc::clone(&gate), shutdown.clone(), wait));
        (0..OBJECTS).for_each(|number| queue.enqueue(reference(&number.to_string())));
        sleep(STEP).await;
        for _ in 0..OBJECTS {
            gate.0.notify_one();
            sleep(STEP).await;
        }
        shutdown.cancel();
        task.await.unwrap();
        // One poll to start, and one to finish.
        assert_eq!(*lock(&gate.1), 2 * OBJECTS);
    }
}
