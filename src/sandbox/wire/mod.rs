//! Errors, bodies and timestamps as they appear on the wire.

pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod request_body;
pub(crate) mod sync;
pub(crate) mod timestamps;
