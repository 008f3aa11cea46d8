//! The client of the Management API (<https://docs.spice.ai/api/management>): wire types, authentication, request
//! budget, errors and a read cache.
//!
//! This part must not use Kubernetes: no custom resource type, no condition and no object name. A module uses only
//! modules before it in this order: `types`, `credential`, `urls`, `pages`, `retry`, `tls`, `http`, `metrics`,
//! `rate_limit`, `auth`, `client`, `read_cache`.

mod auth;
mod client;
mod credential;
mod http;
mod metrics;
mod pages;
mod rate_limit;
mod read_cache;
mod retry;
mod tls;
pub mod types;
mod urls;

pub use client::{Client, ClientConfig, ManagementSettings, RequestPermit};
pub use credential::Credential;
pub use metrics::ApiMetrics;
pub use rate_limit::{AccessMode, AccountKey, Budget, Budgets, Priority, Quota, RateLimitPermit};
pub use read_cache::{APPS_PATH, ReadCache, secrets_path};
pub use types::ApiResponse;
pub use urls::{portal_url, token_endpoint};
