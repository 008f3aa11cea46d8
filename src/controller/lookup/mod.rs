//! Answers from the caches, without a request.

pub(super) mod apps;
pub(super) mod credential;
pub(super) mod namespaces;
pub(super) mod organizations;
pub(super) mod secrets;

#[cfg(test)]
mod released_tests;
