//! State that all requests share, and its persistence.

pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod store;
