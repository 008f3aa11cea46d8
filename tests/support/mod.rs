//! What the integration tests and the demo share. Nothing here knows of a test framework, and nothing here decides
//! what the product should do.
//!
//! | module | what it is for |
//! |---|---|
//! | [`watchdog`] | what we started ends with us, also when we are killed |
//! | [`run_dir`] | logs and data of one run; kept when it failed |
//! | [`process`] | a child process with a log file, an announcement, signals and a deadline to end by |
//! | [`control_plane`] | a real kube-apiserver with etcd, or an existing cluster |
//! | [`namespace_controller`] | what empties namespaces that are deleted |
//! | [`definitions`] | our custom resource definitions, installed once a control plane |
//! | [`eventually`] | waiting for a condition instead of for a time |
//! | [`sandbox`] | the local Management API: its journal, its faults, and a person who uses it |
//! | [`operator`] | the operator as a process: readiness, metrics, being killed |
//! | [`proxy`] | counts what the operator does for an object, and stops the env at any of it |
//! | [`canary`] | recognizes a secret in every encoding |
//! | [`condition_invariants`] | what holds of the conditions of every status |
//! | [`checker`] | sees every status that is written, and holds it against the rulebook |
//! | [`env`] | all of it around one namespace, for a test of the operator |
#![allow(dead_code, unreachable_pub, reason = "each binary that includes this tree uses its own part of it")]

pub mod canary;
pub mod condition_invariants;
pub mod control_plane;
pub mod definitions;
pub mod eventually;
pub mod namespace_controller;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod run_dir;
pub mod sandbox;
pub mod status_checker;
pub mod test_env;
pub mod watchdog;
