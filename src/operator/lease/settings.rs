//! Settings of the leader election.

use std::time::Duration;

/// Settings of the leader election.
#[derive(Clone, Debug)]
pub(in crate::operator) struct ElectionSettings {
    /// Namespace of the Lease.
    pub(in crate::operator) namespace: String,
    /// Name of the Lease.
    pub(in crate::operator) name: String,
    /// Holder identity of this process. Unique: a restarted process uses a new identity.
    pub(in crate::operator) identity: String,
    /// Time without a renewal after which other processes take the Lease.
    pub(in crate::operator) lease_duration: Duration,
    /// Time after its last renewal in which the holder still writes.
    pub(in crate::operator) renew_deadline: Duration,
    /// Interval at which the process reads and renews the Lease.
    pub(in crate::operator) retry_period: Duration,
}

impl ElectionSettings {
    /// The Lease as `namespace/name`, for log lines and messages.
    pub(in crate::operator) fn lease(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
