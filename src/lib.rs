//! A Kubernetes operator that keeps Spice.ai Cloud equal to the custom resources in a cluster.
//!
//! The map of the crate, and which part may use which (held by `tests/architecture.rs`):
//!
//! ```text
//! main -> cli -> { operator, sandbox, api }
//!                  operator -> { controller, management }
//!                              controller -> { planner, management, api }
//!                                            planner -> { api, management::types }
//! ```
//!
//! `api`, `management` and `sandbox` use nothing else of ours.

pub mod api;
pub mod cli;
pub mod controller;
pub mod management;
pub mod operator;
pub mod planner;
#[cfg(feature = "sandbox")]
pub mod sandbox;
