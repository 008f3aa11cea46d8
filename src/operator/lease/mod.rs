//! Leader election with a Kubernetes Lease (`coordination.k8s.io/v1`). Only the process that holds the Lease writes.
//!
//! Every write of the Lease carries the resourceVersion that the decision is based on. If two processes try to take the
//! Lease, the API server accepts one of them. [`election_state`] decides and explains why no two processes write at the
//! same time; [`elector`] sends the requests.

mod election_state;
mod elector;
#[cfg(test)]
mod model;

use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::OperatorError;
pub(super) use elector::{ElectionTelemetry, Elector};

/// Settings of the leader election.
#[derive(Clone, Debug)]
pub(super) struct ElectionSettings {
    /// Namespace of the Lease.
    pub(super) namespace: String,
    /// Name of the Lease.
    pub(super) name: String,
    /// Holder identity of this process. Unique: a restarted process uses a new identity.
    pub(super) identity: String,
    /// Time without a renewal after which other processes take the Lease.
    pub(super) lease_duration: Duration,
    /// Time after its last renewal in which the holder still writes.
    pub(super) renew_deadline: Duration,
    /// Interval at which the process reads and renews the Lease.
    pub(super) retry_period: Duration,
}

impl ElectionSettings {
    /// The Lease as `namespace/name`, for log lines and messages.
    pub(super) fn lease(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Reason why this process lost the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseLossReason {
    /// Another process holds the Lease.
    TakenByOtherProcess {
        /// Holder identity of the other process.
        holder: String,
    },
    /// A user or another client deleted the Lease or removed its holder.
    DeletedOrHolderChanged,
    /// No renewal succeeded in time.
    NotRenewed {
        /// Renew deadline of this process.
        deadline: Duration,
    },
}

impl LeaseLossReason {
    /// The reason as one word, for the field `reason` of log lines.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::TakenByOtherProcess { .. } => "taken_by_other_process",
            Self::DeletedOrHolderChanged => "deleted_or_holder_changed",
            Self::NotRenewed { .. } => "not_renewed",
        }
    }
}

impl fmt::Display for LeaseLossReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakenByOtherProcess { holder } => write!(formatter, "another process took the lease: {holder}"),
            Self::DeletedOrHolderChanged => formatter.write_str("the lease was deleted, or the holder was changed"),
            Self::NotRenewed { deadline } => write!(formatter, "no renewal within the deadline of {deadline:?}"),
        }
    }
}

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
