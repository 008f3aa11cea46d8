//! Errors that end the process.

use std::net::SocketAddr;

use thiserror::Error;

use super::lease::LeaseLossReason;

/// Reason why the operator cannot start, or stops.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The async runtime or the signal handlers cannot start.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The admin server cannot listen.
    #[error("--admin-address: cannot listen on {address}: {error}")]
    AdminAddress {
        /// Value of the flag.
        address: SocketAddr,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// The process has no usable kubeconfig and no service account.
    #[error("cannot configure the Kubernetes client: {0}")]
    Kubernetes(String),
    /// A controller task stopped before the shutdown.
    #[error("a controller ended unexpectedly: {0}")]
    Controllers(String),
    /// This process lost the Lease that all writes require.
    #[error("lost leader lease {lease}: {reason}")]
    LeaseLost {
        /// The Lease as `namespace/name`.
        lease: String,
        /// Cause of the loss.
        reason: LeaseLossReason,
    },
    /// The flags of the leader election contradict each other.
    #[error("{0}")]
    ElectionSettings(String),
    /// The value of `--log-filter` is invalid.
    #[error("--log-filter: {0}")]
    LogFilter(String),
}
