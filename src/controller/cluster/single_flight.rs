//! Deduplication of concurrent reads of the Kubernetes API: waiters for the same key share one read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock};

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::sync::lock;

/// Maximum number of concurrent reads. Each costs a connection, and the apiserver responds in milliseconds.
const MAX_CONCURRENT_READS: usize = 16;

/// Reads of one sort, by key. The result of a read is dropped with its last waiter.
#[derive(Debug)]
pub(in crate::controller) struct SingleFlight<T> {
    read_semaphore: Arc<Semaphore>,
    in_flight: Lock<InFlightCalls<T>>,
}

/// Call and number of waiters, by key.
type InFlightCalls<T> = HashMap<String, (Arc<InFlightCall<T>>, usize)>;

/// Last result and the start of its read. Locked while a read runs.
type InFlightCall<T> = Mutex<Option<(Instant, T)>>;

/// The limit that all sorts of reads share.
pub(in crate::controller) fn read_semaphore() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CONCURRENT_READS))
}

impl<T: Clone> SingleFlight<T> {
    pub(in crate::controller) fn new(read_semaphore: &Arc<Semaphore>) -> Self {
        Self { read_semaphore: Arc::clone(read_semaphore), in_flight: Lock::default() }
    }

    /// Runs `read`, or waits for a concurrent call with the same key. The result always comes from a read that started
    /// after this call.
    pub(in crate::controller) async fn run(&self, key: String, read: impl AsyncFnOnce() -> T) -> T {
        let called_at = Instant::now();
        let waiter = self.add_waiter(key);
        let mut last = waiter.call.lock().await;
        if let Some((_, result)) = last.as_ref().filter(|(started_at, _)| *started_at >= called_at) {
            return result.clone();
        }
        let _permit = self.read_semaphore.acquire().await;
        let started_at = Instant::now();
        // Boxed: waiters need no memory for the read.
        let result = Box::pin(read()).await;
        *last = Some((started_at, result.clone()));
        result
    }

    fn add_waiter(&self, key: String) -> WaiterGuard<'_, T> {
        let mut in_flight = lock(&self.in_flight);
        let (call, waiters) = in_flight.entry(key.clone()).or_default();
        *waiters += 1;
        WaiterGuard { call: Arc::clone(call), key, reads: self }
    }
}

/// Counts a waiter until dropped. The last waiter of a key removes the call.
struct WaiterGuard<'a, T: Clone> {
    reads: &'a SingleFlight<T>,
    key: String,
    call: Arc<InFlightCall<T>>,
}

impl<T: Clone> Drop for WaiterGuard<'_, T> {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.reads.in_flight);
        let Some((_, waiters)) = in_flight.get_mut(&self.key) else { return };
        *waiters -= 1;
        if *waiters == 0 {
            in_flight.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_during_a_read_share_the_next_read() {
        let (flight, count) = (SingleFlight::new(&read_semaphore()), AtomicUsize::new(0));
        let run = |key: &str| {
            flight.run(key.to_owned(), async || {
                let number = count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                number
            })
        };
        let others = join_all((0..1000).map(|_| async {
            // The first read may be older than the change that triggered these calls.
            tokio::time::sleep(std::time::Duration::from_micros(1)).await;
            run("one").await
        }));
        let (first, others, other) = tokio::join!(run("one"), others, run("other"));
        assert_eq!((first, other), (0, 1), "another key is read concurrently");
        assert!(others.iter().all(|number| *number == 2), "{others:?}");
        assert!(lock(&flight.in_flight).is_empty(), "the last waiter removes the call");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_read_does_not_block_other_waiters() {
        let flight = SingleFlight::new(&read_semaphore());
        let cancelled = flight.run("one".to_owned(), async || std::future::pending::<u32>().await);
        let cancelled = tokio::time::timeout(std::time::Duration::from_secs(1), cancelled);
        let (cancelled, result) = tokio::join!(cancelled, flight.run("one".to_owned(), async || 7));
        assert!(cancelled.is_err() && result == 7);
        assert!(lock(&flight.in_flight).is_empty());
    }
}
