//! Everything that the requests of one server share.

pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod store;
