//! What crosses the wire, and the classes of what can go wrong. Data only: the planner may use these, and nothing else
//! of this part.

mod app;
mod failure;
mod list;
mod organization;
mod region;
mod secret;

pub(crate) use app::AppEnvelope;
pub use app::{App, AppField, CreateApp, UpdateApp};
pub use failure::{Class, Failure, FailureKind};
pub use list::ListEnd;
pub(crate) use list::Listed;
pub(crate) use organization::ReachedEnvelope;
pub use organization::{Images, Limits, Reached};
pub use region::{Region, Regions};
pub(crate) use secret::SecretEnvelope;
pub use secret::{PutSecret, Secret, SecretList, SecretValue};
