//! The rate limiter of one organization, above the limiters of its accounts.

use tokio::sync::Mutex;

use super::bucket::Bucket;
use super::quota::Quota;

/// A first-come, first-served limiter. Each account has already ordered its own requests.
#[derive(Debug)]
pub(super) struct OrganizationLimiter(Mutex<Bucket>);

impl OrganizationLimiter {
    pub(super) fn empty(quota: Quota) -> Self {
        Self(Mutex::new(Bucket::empty(quota)))
    }

    /// Waits for a token. The lock is held during the wait, which keeps the order of arrival.
    pub(super) async fn acquire(&self) {
        let bucket = self.0.lock().await;
        while let Err(wait) = bucket.take() {
            tokio::time::sleep(wait).await;
        }
    }
}
