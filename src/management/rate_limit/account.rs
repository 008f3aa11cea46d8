//! The budget of one account: a token bucket, a line in front of it, and pauses that the service asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Quota;
use super::bucket::Bucket;
use super::headers::Cause;
use super::queue::{Line, Waiter};

/// A pause is waited out in line if it ends within this: one window of the service's rate limit (contract section 4).
/// For a longer one the request fails, so that its object can say why nothing happens.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Requests of an account that may be under way at once. At the default share of 800 a minute these are enough for answers
/// that take more than two seconds; an API that takes longer is not helped by more, and each costs a connection.
pub(super) const UNDER_WAY: usize = 32;

/// One account, as all its connections share it. Dropping the last handle ends the task that serves it.
#[derive(Debug)]
pub(super) struct Account {
    queue: mpsc::UnboundedSender<Waiter>,
    terms: watch::Sender<Terms>,
}

/// What holds for the account now.
#[derive(Debug, Default)]
struct Terms {
    /// What each connection says that the account is granted, by the connection's number.
    quotas: HashMap<u64, Quota>,
    connections: u64,
    paused_until: Option<Instant>,
    /// Why, as far as the end of the pause goes.
    cause: Option<Cause>,
}

impl Terms {
    /// The smallest of what is said.
    fn quota(&self) -> Option<Quota> {
        self.quotas.values().copied().reduce(Quota::smaller)
    }

    fn pause(&self) -> Option<Duration> {
        self.paused_until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl Account {
    pub(super) fn start() -> Self {
        let (queue, waiters) = mpsc::unbounded_channel();
        let (terms, seen) = watch::channel(Terms::default());
        tokio::spawn(serve(seen, waiters));
        Self { queue, terms }
    }

    /// Puts a request in line; gives it back when the account is served no more.
    pub(super) fn join(&self, waiter: Waiter) -> Result<(), Waiter> {
        self.queue.send(waiter).map_err(|unsent| unsent.0)
    }

    /// Nothing is sent for this long. Never ends a pause early: answers overtake each other.
    pub(super) fn pause(&self, wait: Duration, cause: Cause) {
        let until = Some(Instant::now() + wait);
        self.terms.send_modify(|terms| {
            if terms.paused_until < until {
                (terms.paused_until, terms.cause) = (until, Some(cause));
            }
        });
    }

    /// Why the account is, or was last, paused.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.terms.borrow().cause
    }

    /// How long the account is still paused.
    pub(super) fn paused(&self) -> Option<Duration> {
        self.terms.borrow().pause()
    }

    pub(super) fn quota(&self) -> Option<Quota> {
        self.terms.borrow().quota()
    }
}

/// What a connection says that the account is granted, for as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) account: Arc<Account>,
    number: u64,
    retired: CancellationToken,
}

impl Claim {
    pub(super) fn new(account: Arc<Account>, quota: Quota) -> Self {
        let mut number = 0;
        account.terms.send_modify(|terms| {
            terms.connections += 1;
            number = terms.connections;
            terms.quotas.insert(number, quota);
        });
        Self { account, number, retired: CancellationToken::new() }
    }

    /// What the connection says counts no more, and nobody waits for its turn.
    pub(super) fn retire(&self) {
        self.retired.cancel();
        self.account.terms.send_modify(|terms| {
            terms.quotas.remove(&self.number);
        });
    }

    /// Returns once the connection is replaced.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.retire();
    }
}

enum Turn {
    /// A token is in hand.
    Token,
    /// The account is paused for longer than anybody waits.
    Paused(Duration),
    /// Nobody uses the account any more.
    Over,
}

async fn serve(mut terms: watch::Receiver<Terms>, mut arriving: mpsc::UnboundedReceiver<Waiter>) {
    let mut bucket = None;
    let mut line = Line::default();
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    loop {
        if line.is_empty() {
            let Some(waiter) = arriving.recv().await else { return };
            line.join(waiter);
        }
        let Ok(free) = Arc::clone(&places).acquire_owned().await else { return };
        let turn = turn(&mut bucket, &mut terms).await;
        while let Ok(waiter) = arriving.try_recv() {
            line.join(waiter);
        }
        match turn {
            Turn::Over => return,
            Turn::Paused(wait) => line.send_away(wait),
            // With nobody left the token is lost, which errs on the safe side.
            Turn::Token => {
                let Some(place) = line.next() else { continue };
                place.waiter.organization.token().await;
                if terms.borrow().pause().is_some() {
                    line.put_back(place);
                } else {
                    let _ = place.waiter.grant.send(Ok(free));
                }
            }
        }
    }
}

/// Waits until the account is not paused and its bucket has a token. Another quota is another bucket, which starts
/// empty: what the old one let through counts on. So is the time after a pause: what the first answers say of the limit
/// has to be heard before many requests are on their way.
async fn turn(bucket: &mut Option<Bucket>, terms: &mut watch::Receiver<Terms>) -> Turn {
    loop {
        let (quota, pause, paused_until) = {
            let terms = terms.borrow_and_update();
            (terms.quota(), terms.pause(), terms.paused_until)
        };
        let stale =
            |bucket: &Bucket, quota| bucket.quota() != quota || paused_until.is_some_and(|end| bucket.made() < end);
        if let Some(quota) = quota.filter(|quota| bucket.as_ref().is_none_or(|bucket| stale(bucket, *quota))) {
            *bucket = Some(Bucket::empty(quota));
        }
        let wait = match (pause, bucket.as_ref()) {
            (Some(pause), _) if pause > PATIENCE => return Turn::Paused(pause),
            (Some(pause), _) => pause,
            // Whoever waited has gone, connection and all; the next connection states a quota and wakes this.
            (None, None) => PATIENCE,
            (None, Some(bucket)) => match bucket.take() {
                Ok(()) => return Turn::Token,
                Err(wait) => wait,
            },
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = terms.changed() => if changed.is_err() { return Turn::Over },
        }
    }
}
