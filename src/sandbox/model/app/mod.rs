//! An app: its record, the changes that a request body makes, and the bodies of its responses.

pub(crate) mod changes;
pub(crate) mod record;
pub(crate) mod requests;
pub(crate) mod responses;
