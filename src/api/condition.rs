//! Condition types and the closed set of reasons. The planner decides how they are combined.

use serde::Deserialize;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The types of condition that a status may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The one summary: the remote side is in sync with the current spec.
    Ready,
    /// Present and True only while the operator works or will retry (kstatus).
    Reconciling,
    /// Present and True only while the object requires user action (kstatus).
    Stalled,
    /// Present and True only while fields differ from the spec and the policy does not correct them.
    Drifted,
}

impl ConditionType {
    /// The value of `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Drifted => "Drifted",
        }
    }
}

/// Why a condition has its status. A closed set: alerts and scripts can match the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Reason {
    /// The remote side is in sync with the spec.
    Succeeded,
    /// Work is in progress.
    Progressing,
    /// `spec.suspend` or the annotation suspends the object; the operator makes no remote call.
    Suspended,
    /// A referenced object is missing or not ready.
    DependencyNotReady,
    /// The Secret of a credential, or its key, is missing or empty.
    CredentialsMissing,
    /// The Secret or ConfigMap that holds a value, or its key, is missing.
    SourceNotFound,
    /// The Management API rejects the credential.
    Unauthorized,
    /// The Management API accepts the credential, but it lacks a scope or a role.
    Forbidden,
    /// The SpiceOrganization does not allow objects of this namespace.
    NamespaceNotAllowed,
    /// The credential, the endpoint or the reference resolves to another organization than before.
    OrganizationMismatch,
    /// The spec cannot be applied.
    InvalidSpec,
    /// An app or a secret of this name exists and is not managed by this object.
    NameTaken,
    /// The remote object carries the tag of another owner.
    OwnedElsewhere,
    /// A connected repository provides the spicepod of the app.
    RepositoryConnected,
    /// Another client deleted the remote object.
    DeletedExternally,
    /// The remote object never existed, and the policy does not create it.
    NotFound,
    /// Fields differ from the spec, and the policy does not correct them.
    DriftDetected,
    /// The operator corrected the same fields repeatedly, and another client changed them again.
    CorrectionLoop,
    /// The plan of the account does not allow the request.
    PlanLimit,
    /// The server refuses the request with a status that no other reason covers.
    Rejected,
    /// The Management API requests fewer calls.
    RateLimited,
    /// The Management API cannot be reached, or it fails.
    RemoteUnavailable,
    /// The Kubernetes API server rejects a write of the operator to this object.
    KubernetesRejected,
}

impl Reason {
    /// The value of `status.conditions[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Progressing => "Progressing",
            Self::Suspended => "Suspended",
            Self::DependencyNotReady => "DependencyNotReady",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::SourceNotFound => "SourceNotFound",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::OrganizationMismatch => "OrganizationMismatch",
            Self::InvalidSpec => "InvalidSpec",
            Self::NameTaken => "NameTaken",
            Self::OwnedElsewhere => "OwnedElsewhere",
            Self::RepositoryConnected => "RepositoryConnected",
            Self::DeletedExternally => "DeletedExternally",
            Self::NotFound => "NotFound",
            Self::DriftDetected => "DriftDetected",
            Self::CorrectionLoop => "CorrectionLoop",
            Self::PlanLimit => "PlanLimit",
            Self::Rejected => "Rejected",
            Self::RateLimited => "RateLimited",
            Self::RemoteUnavailable => "RemoteUnavailable",
            Self::KubernetesRejected => "KubernetesRejected",
        }
    }
}
