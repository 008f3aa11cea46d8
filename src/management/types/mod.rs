//! What crosses the wire, and the classes of what can go wrong. Data only: the planner may use these, and nothing else
//! of this part.

mod app;
mod failure;
mod region;

pub use app::{App, AppField, CreateApp, UpdateApp};
pub(crate) use app::{AppEnvelope, Listed};
pub use failure::{Class, Failure, FailureKind};
pub use region::{Region, Regions};
