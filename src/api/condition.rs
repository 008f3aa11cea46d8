//! Condition types and the closed set of reasons. What they mean together is decided in the planner.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The types of condition that a status may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The one summary: the remote side is as the current spec wants it.
    Ready,
    /// Present and True only while work towards Ready goes on (kstatus).
    Reconciling,
    /// Present and True only while nothing goes on without a person (kstatus).
    Stalled,
    /// Present and True only while fields differ from the spec that the policy leaves as they are.
    Drifted,
}

impl ConditionType {
    /// The name as it stands in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Drifted => "Drifted",
        }
    }
}

/// Why a condition is as it is. Closed and documented: alerts and scripts may match on these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// Everything the spec asks for is so.
    Succeeded,
    /// Work goes on.
    Progressing,
    /// Suspended by `spec.suspend` or by the annotation; no remote call is made.
    Suspended,
    /// A referenced object is missing or not ready.
    DependencyNotReady,
    /// The Secret that is to hold the credential, or its key, is missing or empty.
    CredentialsMissing,
    /// The Management API does not accept the credential.
    Unauthorized,
    /// The credential is accepted but lacks a scope or a role.
    Forbidden,
    /// The organization does not admit objects of this namespace.
    NamespaceNotAllowed,
    /// The credential or the endpoint leads to another organization than before.
    OrganizationMismatch,
    /// The spec cannot be carried out as it is.
    InvalidSpec,
    /// An app of this name exists and is not ours.
    NameTaken,
    /// The remote object carries another owner's tag.
    OwnedElsewhere,
    /// The project's spicepod comes from a connected repository.
    RepositoryConnected,
    /// The remote object was deleted outside.
    DeletedExternally,
    /// Fields differ from the spec and are left so, as the policy asks.
    DriftDetected,
    /// The same fields were put back again and again: somebody else writes them too.
    CorrectionLoop,
    /// The account's plan does not allow it.
    PlanLimit,
    /// The Management API asks for fewer requests.
    RateLimited,
    /// The Management API cannot be reached or fails.
    RemoteUnavailable,
}

impl Reason {
    /// The word as it stands in `status.conditions[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Progressing => "Progressing",
            Self::Suspended => "Suspended",
            Self::DependencyNotReady => "DependencyNotReady",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::OrganizationMismatch => "OrganizationMismatch",
            Self::InvalidSpec => "InvalidSpec",
            Self::NameTaken => "NameTaken",
            Self::OwnedElsewhere => "OwnedElsewhere",
            Self::RepositoryConnected => "RepositoryConnected",
            Self::DeletedExternally => "DeletedExternally",
            Self::DriftDetected => "DriftDetected",
            Self::CorrectionLoop => "CorrectionLoop",
            Self::PlanLimit => "PlanLimit",
            Self::RateLimited => "RateLimited",
            Self::RemoteUnavailable => "RemoteUnavailable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
