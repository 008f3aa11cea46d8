//! Errors, bodies and timestamps in the wire format of the API.

pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod request_body;
pub(crate) mod sync;
pub(crate) mod timestamps;
