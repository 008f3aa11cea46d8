//! A local Management API server that keeps everything in memory.
//!
//! It is for trying the operator, or any other client of the API, without an account: strict in what it refuses, rich in
//! what it returns. Beside the API it serves `/sandbox/`, where a test reads what arrived, asks for faults and looks at
//! what is stored.
//!
//! ```text
//! server    connections, shutdown; tls is its certificate
//! gateway   what happens to every API request: journal, body limit, rate limits, faults
//! api       the endpoints, and the document that describes them; access, payload, fields and error are what they share
//! credentials
//!           who is known; tokens are issued, expire and are revoked here; logins is how a command line gets one
//! store     what is kept; app, placement, spicepod, tags, images and runtime are the rules of an app, secret those of
//!           its secrets, whose values are not kept
//! kept      what changes, and the file it survives in; seed is what it begins with
//! rules     what differs between one cloud and another: profile, switches, plans
//! control   /sandbox/: journal, faults, credentials, state, and what only the portal does to an app
//! ```
//!
//! Nothing of the operator may be used here, and nothing here by the operator: two readings of one contract check each
//! other only while they are separate.

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
