//! Test harness of the integration tests, the demo and the benchmark. The harness depends on no test framework and
//! contains no expectations about the operator, except the condition invariants.
//!
//! | Module | Purpose |
//! |---|---|
//! | [`watchdog`] | cleanup of child processes and directories after a crash of this process |
//! | [`run_dir`] | logs and data of one run; the logs of a failed run are kept |
//! | [`process`] | child process with log files, startup line, signals and deadlines |
//! | [`control_plane`] | kube-apiserver with etcd, or an existing cluster |
//! | [`namespace_controller`] | deletion of the objects in a terminating namespace |
//! | [`definitions`] | installation of the CustomResourceDefinitions |
//! | [`eventually`] | polling until a condition holds |
//! | [`sandbox`] | local Management API: journal, fault rules, API clients |
//! | [`operator`] | operator process: readiness, metrics, signals |
//! | [`proxy`] | proxy that counts the operator's calls and can stop them at any call |
//! | [`hostile`] | Management API endpoint with chosen raw answers |
//! | [`admission`] | admission policies that refuse writes in the namespace of one test |
//! | [`webhook`] | admission webhook that refuses writes with any status code |
//! | [`canary`] | detection of secret values in text |
//! | [`condition_invariants`] | rules for the conditions of every status |
//! | [`status_checker`] | check of every written status against the condition invariants |
//! | [`test_env`] | environment of one test: namespace, sandbox and operator |
#![allow(dead_code, unreachable_pub, reason = "each binary that includes this module uses a part of it")]

pub mod admission;
pub mod canary;
pub mod condition_invariants;
pub mod control_plane;
pub mod definitions;
pub mod eventually;
pub mod hostile;
pub mod namespace_controller;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod run_dir;
pub mod sandbox;
pub mod status_checker;
pub mod test_env;
pub mod watchdog;
pub mod webhook;
