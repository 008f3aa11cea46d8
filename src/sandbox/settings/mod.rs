//! Settings of a sandbox and the seed file.

pub(crate) mod config;
pub(crate) mod seed;
