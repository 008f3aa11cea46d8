//! Why a process loses the Lease.

use std::fmt;
use std::time::Duration;

use crate::controller::display_duration;

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
    pub(in crate::operator) fn label(&self) -> &'static str {
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
            Self::NotRenewed { deadline } => {
                write!(formatter, "no renewal within the deadline of {}", display_duration(*deadline))
            }
        }
    }
}
