//! Decides what a reconcile does. Given the desired state, the recorded state and the observations, the planner returns
//! the next reads and the next writes.
//!
//! The planner is pure: no I/O, clock, randomness, async code, Kubernetes client or HTTP. The current time and random
//! IDs are arguments.
//!
//! | module | content |
//! |---|---|
//! | [`resource`] | the interface that a kind implements; input and output of a plan |
//! | [`input`] | questions about the input of a plan |
//! | [`observation`], [`outcome`] | results of reads, of writes and of a reconcile |
//! | [`requeue`] | time of the next reconcile |
//! | [`lifecycle`] | rules of every kind: suspend, finalizer, deletion, report |
//! | [`steps`] | one reconcile as a sequence of steps |
//! | [`status`], [`conditions`], [`schedule`], [`runtime_state`] | status, conditions, timing and in-memory state of every kind |
//! | [`organization_view`], [`remote_app`] | observations of an organization and of an app that several kinds use |
//! | [`errors`], [`messages`] | from an API error to a reason; parts of messages |
//! | `app`, `secret`, `organization` | the kinds |
//! | [`credential_finalizer`] | the finalizer on credential Secrets |

mod app;
mod conditions;
mod credential_finalizer;
mod digest;
mod errors;
mod input;
mod lifecycle;
mod messages;
mod observation;
mod organization;
mod organization_view;
mod outcome;
mod remote_app;
mod requeue;
mod resource;
mod runtime_state;
mod schedule;
mod secret;
mod status;
mod steps;

#[cfg(test)]
#[path = "../../tests/support/condition_invariants.rs"]
mod condition_invariants;
#[cfg(test)]
mod deletion_order_tests;
#[cfg(test)]
mod model;

pub use app::{
    AppDesired, AppObserved, AppRead, AppSecrets, AppWrite, CompetingApp, LoadedSpicepod, ManagedField, RecordedApps,
    SpicepodProblem, parse_spicepod,
};
pub use conditions::undecodable_conditions;
pub use credential_finalizer::{CredentialSecretState, FinalizerAction, kept_secret_warning};
pub use digest::{DigestKey, DigestKeyFailure, Identity};
pub use messages::{credential_not_found_message, display_object};
pub use observation::{Observation, Observed, WriteResult};
pub use organization::{OrganizationDesired, OrganizationObserved, OrganizationRead, organization_problem};
pub use organization_view::{OrganizationView, binding_text};
pub use outcome::{EventRecord, KubernetesWrite, Outcome, Retry, finalizer_rejected};
pub use resource::{NoRemoteWrite, Plan, PlanInput, RemoteWrite, ResourcePlanner};
pub use runtime_state::{Corrections, RetryHold, RuntimeState, StoreFailure, UnstoredReport};
pub use schedule::{Resync, Timings, display_duration};
pub(crate) use schedule::{doubled_delay, elapsed};
pub use secret::{
    ParentApp, SecretDesired, SecretObserved, SecretRead, SecretResponse, SecretWrite, SetSecret, SiblingSecret,
    SourceValues, WrittenSecret, requested_names,
};
pub(crate) use status::{find_condition, has_finalizer, is_released, is_suspended, remaining_finalizers};
pub use steps::{Step, StepContext, Steps};
