//! The budget of an organization at the service, above those of the accounts that act in it.

use tokio::sync::Mutex;

use super::Quota;
use super::bucket::Bucket;

/// First come, first served: the order among the requests of an account was settled before.
#[derive(Debug)]
pub(super) struct Organization(Mutex<Bucket>);

impl Organization {
    pub(super) fn empty(quota: Quota) -> Self {
        Self(Mutex::new(Bucket::empty(quota)))
    }

    /// Waits for a token. Held while waiting, so that nobody overtakes.
    pub(super) async fn token(&self) {
        let bucket = self.0.lock().await;
        while let Err(wait) = bucket.take() {
            tokio::time::sleep(wait).await;
        }
    }
}
