//! The client of the Management API: wire types, authentication, the request budget, error classes, shared reads.
//!
//! Knows nothing of Kubernetes: no custom resource type, no condition, no object name may come in here.

mod auth;
mod client;
mod metrics;
mod pages;
mod rate_limit;
mod read_cache;
mod redact;
mod retry;
pub mod types;
mod urls;

pub use auth::Credential;
pub use client::{Client, ClientConfig, Permit, Settings};
pub use metrics::Metrics;
pub use rate_limit::{AccessMode, AccountKey, Budget, Budgets, Leave, Priority, Quota};
pub use read_cache::Reads;
pub use urls::{portal, token_endpoint};

use jiff::Timestamp;

/// What the API answered, and when the request for it was begun: what it shows may be older than its arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiResponse<T> {
    /// The decoded body.
    pub value: T,
    /// When the request was let through by the budget.
    pub started_at: Timestamp,
}
