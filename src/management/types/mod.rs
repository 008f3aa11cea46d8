//! What crosses the wire, and the classes of what can go wrong. Data only: the planner may use these, and nothing else
//! of this part.

mod app;
mod error;
mod list;
mod organization;
mod region;
mod secret;

pub(crate) use app::AppEnvelope;
pub use app::{App, AppField, CreateApp, UpdateApp};
pub use error::{ApiError, ErrorClass, ErrorKind};
pub use list::ListCompleteness;
pub(crate) use list::Listed;
pub(crate) use organization::AccessibleOrganizationEnvelope;
pub use organization::{AccessibleOrganization, Images, Limits};
pub use region::{Region, Regions};
pub(crate) use secret::SecretEnvelope;
pub use secret::{PutSecret, Secret, SecretList, SecretValue};
