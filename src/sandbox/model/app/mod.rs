//! Apps: records, changes by requests, and bodies of requests and responses.

pub(crate) mod changes;
pub(crate) mod record;
pub(crate) mod requests;
pub(crate) mod responses;
