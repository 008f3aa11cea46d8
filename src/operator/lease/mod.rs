//! Leader election with a Kubernetes Lease (`coordination.k8s.io/v1`). Only the process that holds the Lease writes.
//!
//! Every write of the Lease carries the resourceVersion that the decision is based on. If two processes try to take the
//! Lease, the API server accepts one of them. [`election_state`] decides and explains why no two processes write at the
//! same time; [`elector`] sends the requests.

mod election_state;
mod elector;
mod loss;
#[cfg(test)]
mod model;
mod settings;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::OperatorError;
pub(super) use elector::{ElectionTelemetry, Elector};
pub use loss::LeaseLossReason;
pub(super) use settings::ElectionSettings;

/// The task that takes part in the leader election.
pub(super) struct ElectionTask {
    stop: CancellationToken,
    /// `None` if leader election is off, or if the lease was lost.
    task: Option<JoinHandle<(Elector, Option<LeaseLossReason>)>>,
    /// The Lease as `namespace/name`.
    lease: String,
}

impl ElectionTask {
    /// A task that does nothing, for a process without leader election.
    pub(super) fn disabled() -> Self {
        Self { stop: CancellationToken::new(), task: None, lease: String::new() }
    }

    /// Starts the election.
    pub(super) fn spawn(mut elector: Elector) -> Self {
        let (stop, lease) = (CancellationToken::new(), elector.lease());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let loss = elector.run(&stopped).await;
            (elector, loss)
        });
        Self { stop, task: Some(task), lease }
    }

    /// Returns when this process has lost a lease that it held. Otherwise never returns.
    pub(super) async fn wait_for_loss(&mut self) -> OperatorError {
        if let Some(task) = &mut self.task {
            // An error means that the task panicked. Then nothing renews the lease.
            let loss = task.await.ok().and_then(|(_, loss)| loss);
            self.task = None;
            let reason = loss.unwrap_or(LeaseLossReason::DeletedOrHolderChanged);
            return OperatorError::LeaseLost { lease: self.lease.clone(), reason };
        }
        std::future::pending().await
    }

    /// Stops the election and releases the lease if this process holds it.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Ok((elector, None)) = task.await
        {
            elector.release().await;
        }
    }
}
