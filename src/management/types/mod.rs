//! What crosses the wire, and the classes of what can go wrong. Data only: the planner may use these, and nothing else
//! of this part.

mod app;
mod failure;
mod organization;
mod region;

pub use app::{App, AppField, CreateApp, UpdateApp};
pub(crate) use app::{AppEnvelope, Listed};
pub use failure::{Class, Failure, FailureKind};
pub(crate) use organization::ReachedEnvelope;
pub use organization::{Images, Limits, Reached};
pub use region::{Region, Regions};
