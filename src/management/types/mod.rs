//! The wire types and the error type of the Management API (<https://docs.spice.ai/api/management>). Data without I/O:
//! the planner may use this module, and no other module of the client.

mod app;
mod app_list;
mod ca_bundle;
mod endpoint;
mod error;
mod error_body;
mod list;
mod organization;
mod region;
mod response;
mod secret;
mod server_text;

pub(crate) use app::AppEnvelope;
pub use app::{App, AppField, CreateApp, CreatedApp, UpdateApp};
pub use app_list::ListedApps;
pub use ca_bundle::parse_ca_bundle;
pub use endpoint::canonical_endpoint;
pub use error::{ApiError, ErrorKind};
pub use error_body::ResponseText;
#[cfg(test)]
pub(in crate::management) use error_body::{CODES, SCOPES};
pub use list::ListCompleteness;
pub(crate) use list::ListPage;
pub(crate) use organization::OrganizationEnvelope;
pub use organization::{AccessibleOrganization, Images, Limits};
pub use region::{Region, Regions};
pub use response::ApiResponse;
pub(crate) use secret::SecretEnvelope;
pub use secret::{PutSecret, RemoteSecret, SecretList, SecretValue};
pub use server_text::{MAX_RECORDED_LENGTH, quote_server_text, without_server_text};
