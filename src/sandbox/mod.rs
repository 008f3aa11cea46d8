//! A local server that implements the Spice.ai Cloud Management API in memory.
//!
//! Users try the operator, or any other client of the API, against this server without an account. The server rejects
//! requests strictly and returns complete responses. In addition to the API, `/sandbox/` offers a journal of requests,
//! fault rules and the stored state for tests. The API follows <https://docs.spice.ai/api/management>.
//!
//! A folder uses only the folders above it in this list:
//!
//! ```text
//! wire      error responses, JSON fields, request bodies, timestamps
//! model     apps, secrets and the rules of their fields; profiles and plans
//! settings  settings of a sandbox, seed file
//! auth      credentials, scopes, identity of a request, logins of the command line
//! traffic   journal, fault rules, rate limits
//! state     apps and credentials, state file, the state that all requests share
//! api       endpoints of the API, one file per resource; OpenAPI document
//! http      middleware of all API requests, /sandbox/ endpoints, connections, TLS
//! ```
//!
//! The sandbox uses no other part of the crate, and no other part except the command line uses the sandbox. Two
//! separate implementations of the API contract reveal mistakes in each other.

mod api;
mod auth;
mod http;
mod model;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod traffic;
mod wire;

pub use http::server::{RunningSandbox, StartError, serve};
pub use http::tls::TlsError;
pub use model::profile::{ApiSwitches, Profile, Reactivation, ResourceLimits, SubscriptionPlan, TagRule};
pub use model::secret::ValueDigest;
pub use settings::config::{
    ConnectionInfo, CredentialConfig, CredentialKind, Membership, OrganizationConfig, OrganizationRole, RateLimits,
    SandboxConfig, SeedApp, UserConfig,
};
