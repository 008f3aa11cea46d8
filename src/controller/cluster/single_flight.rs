//! ReadCache of Kubernetes that serve all who wait for them: of each thing one at a time, and of all things not too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// ReadCache under way at once. Each costs a connection, and the apiserver answers in milliseconds.
const MAX_CONCURRENT_READS: usize = 16;

/// ReadCache of one sort. Nothing is kept of what nobody waits for.
#[derive(Debug)]
pub(in crate::controller) struct SingleFlight<T> {
    read_semaphore: Arc<Semaphore>,
    in_flight: Lock<InFlightCalls<T>>,
}

/// By what is read; and how many wait for it.
type InFlightCalls<T> = HashMap<String, (Arc<InFlightCall<T>>, usize)>;

/// The last answer, and when its read was begun. Held while one is under way.
type InFlightCall<T> = Mutex<Option<(Instant, T)>>;

/// What all sorts of reads have in common: how many may be under way.
pub(in crate::controller) fn read_semaphore() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CONCURRENT_READS))
}

impl<T: Clone> SingleFlight<T> {
    pub(in crate::controller) fn new(read_semaphore: &Arc<Semaphore>) -> Self {
        Self { read_semaphore: Arc::clone(read_semaphore), in_flight: Lock::default() }
    }

    /// What a read comes to that is begun from now on: of several who wait for one thing, one does it for all.
    pub(in crate::controller) async fn run(&self, what: String, read: impl AsyncFnOnce() -> T) -> T {
        let asked = Instant::now();
        let seat = self.seat(what);
        let mut last = seat.flight.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(started_at, _)| *started_at >= asked) {
            return answer.clone();
        }
        let _permit = self.read_semaphore.acquire().await;
        let started_at = Instant::now();
        // Boxed: those who wait need no room for it.
        let answer = Box::pin(read()).await;
        *last = Some((started_at, answer.clone()));
        answer
    }

    fn seat(&self, what: String) -> WaiterGuard<'_, T> {
        let mut in_flight = self.in_flight();
        let (flight, seats) = in_flight.entry(what.clone()).or_default();
        *seats += 1;
        WaiterGuard { flight: Arc::clone(flight), what, flights: self }
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlightCalls<T>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits. With the last one goes what was read.
struct WaiterGuard<'a, T: Clone> {
    flights: &'a SingleFlight<T>,
    what: String,
    flight: Arc<InFlightCall<T>>,
}

impl<T: Clone> Drop for WaiterGuard<'_, T> {
    fn drop(&mut self) {
        let mut in_flight = self.flights.in_flight();
        let Some((_, seats)) = in_flight.get_mut(&self.what) else { return };
        *seats -= 1;
        if *seats == 0 {
            in_flight.remove(&self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_while_a_read_is_in_flight_shares_the_next_one() {
        let (flights, reads) = (SingleFlight::new(&read_semaphore()), AtomicUsize::new(0));
        let join = |what: &str| {
            flights.run(what.to_owned(), async || {
                let number = reads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                number
            })
        };
        let others = join_all((0..1000).map(|_| async {
            // Those who come while the first read is under way do not know whether it shows what woke them.
            tokio::time::sleep(std::time::Duration::from_micros(1)).await;
            join("one").await
        }));
        let (first, others, other) = tokio::join!(join("one"), others, join("other"));
        assert_eq!((first, other), (0, 1), "another thing is read beside it");
        assert!(others.iter().all(|number| *number == 2), "{others:?}");
        assert!(flights.in_flight().is_empty(), "nothing is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_given_up_holds_nobody_up() {
        let flights = SingleFlight::new(&read_semaphore());
        let given_up = flights.run("one".to_owned(), async || std::future::pending::<u32>().await);
        let given_up = tokio::time::timeout(std::time::Duration::from_secs(1), given_up);
        let (given_up, waited) = tokio::join!(given_up, flights.run("one".to_owned(), async || 7));
        assert!(given_up.is_err() && waited == 7);
        assert!(flights.in_flight().is_empty());
    }
}
