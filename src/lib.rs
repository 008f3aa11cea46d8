//! Kubernetes operator for Spice.ai Cloud: reconciles SpiceOrganization, SpiceApp and SpiceSecret objects against the
//! [Management API](https://docs.spice.ai/api/management).
//!
//! | part           | content                                                        | may use                           |
//! |----------------|----------------------------------------------------------------|-----------------------------------|
//! | [`cli`]        | subcommands `run`, `crds` and `sandbox`                        | `operator`, `sandbox`, `api`      |
//! | [`operator`]   | the process: settings, logs, admin server, leader election     | `controller`, `management`        |
//! | [`controller`] | Kubernetes: watches, reconcile loop, status writes, events     | `planner`, `management`, `api`, `visits` |
//! | [`planner`]    | decisions: pure functions from observed state to a plan        | `api`, `management::types`, `json` |
//! | [`management`] | client of the Management API: authentication, rate limits      | `json`, `visits`                  |
//! | [`api`]        | types of the custom resources                                  | `json`                            |
//! | [`json`]       | JSON values as compact text                                    |                                   |
//! | `visits`       | counts visited entries in tests                                |                                   |
//! | `sandbox`      | local Management API server for tests                          |                                   |
//!
//! `tests/architecture` checks the last column.

pub mod api;
pub mod cli;
pub mod controller;
pub mod json;
pub mod management;
pub mod operator;
pub mod planner;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod visits;
