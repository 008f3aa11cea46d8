//! The order of requests.

/// Urgency of a request; the most urgent request is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A user changed an object and waits for the result.
    Edit,
    /// An object is being deleted.
    Delete,
    /// A resync: no change is known.
    Check,
}

/// Direction of a request. At equal priority, a write is sent before a read, because the data that the write
/// is based on expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessMode {
    /// A create, an update or a delete.
    Write,
    /// A read.
    Read,
}
