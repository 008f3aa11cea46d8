//! The request budget: the one gate that every request passes, and the order in which they pass.
//!
//! A token bucket that starts empty, with a priority queue in front of it. A waiter that is dropped leaves the queue.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::types::{Failure, FailureKind};

/// How urgent a request is; the first is let through first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody changed an object and waits for it.
    Edit,
    /// A deployment under way is followed.
    Progress,
    /// An object is being deleted.
    Delete,
    /// Nothing is known to have changed.
    Check,
}

/// What a request is for. Of equal urgency, acting goes before looking: a write rests on an answer that grows old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It writes, on the strength of what was read.
    Act,
    /// It reads.
    Look,
}

/// How many requests may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests that may pass at once after a pause.
    pub burst: u32,
    /// Requests a minute that come back.
    pub refill_per_minute: u32,
}

impl Quota {
    /// The quota of an account that is granted `requests_per_minute`, less the share left to others.
    ///
    /// Any window of 60 s sees at most burst + one minute's refill, so both together are the share.
    pub fn of_account(requests_per_minute: u32, reserve_percent: u32) -> Self {
        let kept = u64::from(requests_per_minute) * u64::from(100 - reserve_percent.min(99)) / 100;
        let share = u32::try_from(kept).unwrap_or(u32::MAX).max(2);
        // A twentieth: a visit of an app takes a few calls, and more at once would only bring forward what is due later.
        let burst = (share / 20).max(1);
        Self { burst, refill_per_minute: share - burst }
    }
}

/// Every `FAIR_SHARE`th token goes to the least urgent waiter, so that checks go on under a storm of edits.
const FAIR_SHARE: u64 = 8;

/// The gate. Dropping it ends the task that serves it.
#[derive(Debug)]
pub struct Budget {
    queue: mpsc::UnboundedSender<Waiter>,
}

impl Budget {
    /// A budget of its own, starting empty: a restart must not grant the same minute twice.
    pub fn start(quota: Quota) -> Self {
        let (queue, waiters) = mpsc::unbounded_channel();
        tokio::spawn(serve(quota, waiters));
        Self { queue }
    }

    /// Waits for a token and returns when it was granted.
    ///
    /// # Errors
    /// Fails only when the process is going down.
    pub async fn token(&self, priority: Priority, stage: Stage) -> Result<Timestamp, Failure> {
        let closed = || Failure::local(FailureKind::Connect, "the operator is shutting down");
        let (grant, granted) = oneshot::channel();
        self.queue.send(Waiter { priority, stage, number: 0, grant }).map_err(|_| closed())?;
        granted.await.map_err(|_| closed())?;
        Ok(Timestamp::now())
    }
}

#[derive(Debug)]
struct Waiter {
    priority: Priority,
    stage: Stage,
    /// Order of arrival.
    number: u64,
    grant: oneshot::Sender<()>,
}

async fn serve(quota: Quota, mut arriving: mpsc::UnboundedReceiver<Waiter>) {
    let bucket = Bucket::empty(quota);
    let mut waiting = BinaryHeap::<Reverse<Waiter>>::new();
    let (mut arrived, mut granted) = (0, 0);
    loop {
        if waiting.is_empty() {
            let Some(waiter) = arriving.recv().await else { return };
            arrived += 1;
            waiting.push(Reverse(Waiter { number: arrived, ..waiter }));
        }
        bucket.token().await;
        while let Ok(waiter) = arriving.try_recv() {
            arrived += 1;
            waiting.push(Reverse(Waiter { number: arrived, ..waiter }));
        }
        // The token goes to the first who still waits; with nobody left it is lost, which errs on the safe side.
        waiting.retain(|Reverse(waiter)| !waiter.grant.is_closed());
        granted += 1;
        if let Some(waiter) = next(&mut waiting, granted % FAIR_SHARE == 0) {
            let _ = waiter.grant.send(());
        }
    }
}

fn next(waiting: &mut BinaryHeap<Reverse<Waiter>>, least_urgent: bool) -> Option<Waiter> {
    if !least_urgent {
        return waiting.pop().map(|Reverse(waiter)| waiter);
    }
    let mut all: Vec<Waiter> = std::mem::take(waiting).into_iter().map(|Reverse(waiter)| waiter).collect();
    let key = |waiter: &Waiter| (Reverse(waiter.priority), waiter.stage, waiter.number);
    let index = all.iter().enumerate().min_by_key(|(_, waiter)| key(waiter)).map(|(index, _)| index);
    let chosen = index.map(|index| all.swap_remove(index));
    *waiting = all.into_iter().map(Reverse).collect();
    chosen
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.priority, self.stage, self.number).cmp(&(other.priority, other.stage, other.number))
    }
}

/// A token bucket on tokio's clock, so that tests can drive it.
struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    clock: TokioClock,
}

impl Bucket {
    fn empty(quota: Quota) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let burst = at_least_one(quota.burst);
        let clock = TokioClock(Instant::now());
        let rate = governor::Quota::per_minute(at_least_one(quota.refill_per_minute)).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(rate, clock.clone());
        let _ = limiter.check_n(burst);
        Self { limiter, clock }
    }

    async fn token(&self) {
        while let Err(not_until) = self.limiter.check() {
            tokio::time::sleep(not_until.wait_time_from(self.clock.now())).await;
        }
    }
}

#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_window_sees_no_more_than_the_share() {
        for (granted, reserve) in [(1000, 20), (10, 0), (10, 90), (1_000_000, 50)] {
            let quota = Quota::of_account(granted, reserve);
            let share = (granted * (100 - reserve) / 100).max(2);
            assert!(quota.burst + quota.refill_per_minute <= share, "{quota:?}");
            assert!(quota.burst >= 1 && quota.refill_per_minute >= 1, "{quota:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn any_minute_from_the_first_second_on_stays_in_budget() {
        let quota = Quota { burst: 5, refill_per_minute: 55 };
        let budget = Budget::start(quota);
        let start = Instant::now();
        let mut grants = Vec::new();
        while start.elapsed() < Duration::from_secs(200) {
            // A pause lets the bucket fill, so that a burst follows.
            if grants.len() == 70 {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            budget.token(Priority::Check, Stage::Look).await.unwrap();
            grants.push(start.elapsed());
        }
        for from in &grants {
            let window = grants.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(60)).count();
            assert!(window <= 60, "{window} in the minute from {from:?}");
        }
        assert!(grants[0] >= Duration::from_secs(1), "it starts empty");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_goes_before_the_reads_that_queued_before_it() {
        let budget = Arc::new(Budget::start(Quota { burst: 1, refill_per_minute: 60 }));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for stage in [Stage::Look, Stage::Look, Stage::Look, Stage::Act] {
            let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
            tasks.spawn(async move {
                budget.token(Priority::Delete, stage).await.unwrap();
                order.lock().unwrap().push(stage);
            });
        }
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), [Stage::Act, Stage::Look, Stage::Look, Stage::Look]);
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_requests_go_first_and_none_starves() {
        let budget = Arc::new(Budget::start(Quota { burst: 1, refill_per_minute: 60 }));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for priority in std::iter::repeat_n(Priority::Check, 2).chain(std::iter::repeat_n(Priority::Edit, 10)) {
            let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
            tasks.spawn(async move {
                budget.token(priority, Stage::Look).await.unwrap();
                order.lock().unwrap().push(priority);
            });
        }
        tasks.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(order[..7], [Priority::Edit; 7]);
        assert_eq!(order[7], Priority::Check, "the eighth token is the least urgent waiter's");
        assert_eq!(order[8..11], [Priority::Edit; 3]);
        assert_eq!(order[11], Priority::Check);
    }
}
