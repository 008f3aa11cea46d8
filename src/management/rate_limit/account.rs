//! The rate limiter of one account: a token bucket behind a priority queue, and pauses that the service requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::Bucket;
use super::headers::PauseCause;
use super::queue::{QueuedRequest, RequestQueue};
use super::quota::Quota;
use crate::management::types::ApiError;

/// Longest pause that a queued request waits for: one rate-limit window of the API. During a longer pause the request
/// fails, so that the object's status can show the reason.
pub(super) const MAX_QUEUE_WAIT: Duration = Duration::from_secs(60);

/// Concurrent requests of one account. At the default share of 800 requests per minute, 32 requests are enough for
/// responses that take more than two seconds. More requests would not help a slower API, and each one costs a
/// connection.
pub(super) const MAX_IN_FLIGHT: usize = 32;

/// The limiter that all connections of one account share. Its task ends when the last handle is dropped.
#[derive(Debug)]
pub(super) struct AccountLimiter {
    queue: mpsc::UnboundedSender<QueuedRequest>,
    state: watch::Sender<LimiterState>,
}

#[derive(Debug, Default)]
struct LimiterState {
    /// Quota of each connection, by the connection's number.
    quotas: HashMap<u64, Quota>,
    connections: u64,
    paused_until: Option<Instant>,
    /// Cause of the pause that ends at `paused_until`.
    pause_cause: Option<PauseCause>,
    token_pause: Option<TokenPause>,
}

/// A pause that a token endpoint requested. The access tokens of the account remain valid, so that only token requests
/// pause.
#[derive(Clone, Debug)]
pub(super) struct TokenPause {
    /// URL of the token endpoint.
    pub(super) url: String,
    pub(super) until: Instant,
    /// The error of the response that requested the pause.
    pub(super) error: ApiError,
}

impl LimiterState {
    /// The strictest quota of all connections.
    fn quota(&self) -> Option<Quota> {
        self.quotas.values().copied().reduce(Quota::strictest)
    }

    fn remaining_pause(&self) -> Option<Duration> {
        self.paused_until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl AccountLimiter {
    pub(super) fn start() -> Self {
        let (queue, arriving) = mpsc::unbounded_channel();
        let (state, receiver) = watch::channel(LimiterState::default());
        tokio::spawn(serve(receiver, arriving));
        Self { queue, state }
    }

    /// Queues a request, or returns it if the limiter's task has ended.
    pub(super) fn enqueue(&self, request: QueuedRequest) -> Result<(), QueuedRequest> {
        self.queue.send(request).map_err(|unsent| unsent.0)
    }

    /// Sends no request for this time. Never shortens a pause, because responses may arrive out of order.
    pub(super) fn pause(&self, pause: Duration, cause: PauseCause) {
        let until = Some(Instant::now() + pause);
        self.state.send_modify(|state| {
            if state.paused_until < until {
                (state.paused_until, state.pause_cause) = (until, Some(cause));
            }
        });
    }

    /// Sends no token request during this pause.
    pub(super) fn pause_token_requests(&self, pause: TokenPause) {
        self.state.send_modify(|state| state.token_pause = Some(pause));
    }

    /// The current pause of token requests.
    pub(super) fn token_pause(&self) -> Option<TokenPause> {
        self.state.borrow().token_pause.clone().filter(|pause| Instant::now() < pause.until)
    }

    /// Returns true if a pause of the account has not ended.
    pub(super) fn is_paused(&self) -> bool {
        self.remaining_pause().is_some() || self.token_pause().is_some()
    }

    /// Cause of the current or the last pause.
    pub(super) fn pause_cause(&self) -> Option<PauseCause> {
        self.state.borrow().pause_cause
    }

    pub(super) fn remaining_pause(&self) -> Option<Duration> {
        self.state.borrow().remaining_pause()
    }

    pub(super) fn quota(&self) -> Option<Quota> {
        self.state.borrow().quota()
    }
}

/// One connection's share of an account limiter. The connection's quota counts until the handle is closed or dropped.
#[derive(Debug)]
pub(super) struct LimiterHandle {
    pub(super) account: Arc<AccountLimiter>,
    connection: u64,
    closed: CancellationToken,
}

impl LimiterHandle {
    pub(super) fn new(account: Arc<AccountLimiter>, quota: Quota) -> Self {
        let mut connection = 0;
        account.state.send_modify(|state| {
            state.connections += 1;
            connection = state.connections;
            state.quotas.insert(connection, quota);
        });
        Self { account, connection, closed: CancellationToken::new() }
    }

    /// Removes the connection's quota and cancels its queued requests.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.account.state.send_modify(|state| {
            state.quotas.remove(&self.connection);
        });
    }

    /// Returns after [`Self::close`].
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl Drop for LimiterHandle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Result of the wait for a token.
enum Grant {
    Token,
    /// The account is paused for longer than [`MAX_QUEUE_WAIT`].
    Paused(Duration),
    /// No connection uses the account.
    Closed,
}

async fn serve(mut state: watch::Receiver<LimiterState>, mut arriving: mpsc::UnboundedReceiver<QueuedRequest>) {
    let mut bucket = None;
    let mut queue = RequestQueue::default();
    let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    loop {
        if queue.is_empty() {
            let Some(request) = arriving.recv().await else { return };
            queue.push(request);
        }
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let grant = wait_for_token(&mut bucket, &mut state).await;
        while let Ok(request) = arriving.try_recv() {
            queue.push(request);
        }
        match grant {
            Grant::Closed => return,
            Grant::Paused(pause) => queue.reject_all(pause),
            Grant::Token => {
                // If all requests were cancelled, the token is lost: the limiter then sends less than the quota.
                let Some((position, request)) = queue.pop() else { continue };
                request.organization.acquire().await;
                if state.borrow().remaining_pause().is_some() {
                    queue.requeue(position, request);
                } else {
                    let _ = request.reply.send(Ok(permit));
                }
            }
        }
    }
}

/// Waits until the account is not paused and its bucket has a token.
///
/// A changed quota, or the end of a pause, creates a new, empty bucket. The requests that the old bucket allowed still
/// count, and after a pause the first responses must arrive before more requests are sent.
async fn wait_for_token(bucket: &mut Option<Bucket>, state: &mut watch::Receiver<LimiterState>) -> Grant {
    loop {
        let (quota, pause, paused_until) = {
            let state = state.borrow_and_update();
            (state.quota(), state.remaining_pause(), state.paused_until)
        };
        let is_stale = |bucket: &Bucket, quota| {
            bucket.quota() != quota || paused_until.is_some_and(|end| bucket.created_at() < end)
        };
        if let Some(quota) = quota.filter(|quota| bucket.as_ref().is_none_or(|bucket| is_stale(bucket, *quota))) {
            *bucket = Some(Bucket::empty(quota));
        }
        let wait = match (pause, bucket.as_ref()) {
            (Some(pause), _) if pause > MAX_QUEUE_WAIT => return Grant::Paused(pause),
            (Some(pause), _) => pause,
            // The connections of all queued requests are closed. The quota of the next connection ends this wait.
            (None, None) => MAX_QUEUE_WAIT,
            (None, Some(bucket)) => match bucket.take() {
                Ok(()) => return Grant::Token,
                Err(wait) => wait,
            },
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = state.changed() => if changed.is_err() { return Grant::Closed },
        }
    }
}
