//! The custom resources: group `cloud.spice.ai`, version `v1alpha1`.
//!
//! Types, their schema and the texts of `kubectl explain`. No decisions and no calls.

mod app;
mod condition;
mod definition;
mod interval;
mod organization;
mod policy;
mod reference;
mod runtime;
mod secret;
mod spicepod;
mod status;

pub use app::{
    AppliedField, CreateIntent, ManagementPolicy, SpiceApp, SpiceAppSpec, SpiceAppStatus, SpicepodSource, Visibility,
};
pub use condition::{Condition, ConditionType, Reason};
pub use definition::custom_resource_definitions;
pub use interval::Interval;
pub use organization::{
    Adoption, AllowedNamespaces, Credentials, IncompleteList, LimitsStatus, NamespacesFrom, OAuthClient,
    OrganizationStatus, RegionStatus, RequestBudget, SpiceOrganization, SpiceOrganizationSpec, SpiceOrganizationStatus,
    TokenCredential,
};
pub use policy::{AdoptionPolicy, DeletionPolicy, DriftPolicy};
pub use reference::{
    AppRef, ConfigMapKeyRef, OAuthSecretRef, OrganizationRef, ResolvedOrganizationRef, SourceVersion, TokenSecretRef,
};
pub use runtime::{Runtime, RuntimeExecutor, RuntimeLimits, RuntimeRequests, RuntimeResources};
pub use secret::{SecretConflict, SecretEntry, SecretItem, SecretRef, SpiceSecret, SpiceSecretSpec, SpiceSecretStatus};
pub use spicepod::{MAX_SPICEPOD_BYTES, Spicepod};
pub use status::StatusCore;
pub(crate) use status::never_observed;

/// The API group of every kind.
pub const GROUP: &str = "cloud.spice.ai";

/// Name of the SpiceOrganization that a SpiceApp without `spec.organizationRef` uses, if it exists in the same
/// namespace.
pub const DEFAULT_ORGANIZATION: &str = "default";

/// Finalizer that keeps an object until the operator has deleted or released the remote side.
pub const FINALIZER: &str = "cloud.spice.ai/finalizer";

/// Finalizer that keeps the Secret of a credential while objects need it.
pub const CREDENTIAL_FINALIZER: &str = "cloud.spice.ai/credential";

/// Annotation: a new value triggers one reconcile, which never deploys. Acknowledged in
/// `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "cloud.spice.ai/reconcile-requested-at";

/// Annotation that suspends the object, without a conflict with a GitOps tool over `spec.suspend`. Every value except
/// `"false"` (in any case) and the empty value suspends.
pub const SUSPEND: &str = "cloud.spice.ai/suspend";

/// Annotation on a SpiceOrganization: number of recorded apps that may be missing from the list of apps at once.
pub const ACCEPT_MISSING_APPS: &str = "cloud.spice.ai/accept-missing-apps";

/// Annotation: tag of another owner whose app `adoptionPolicy: Adopt` may adopt.
pub const TAKE_OWNERSHIP_FROM: &str = "cloud.spice.ai/take-ownership-from";

/// Annotation on a SpiceOrganization: ID of the organization that the credential resolves to now, to accept the change.
/// If the API returns no ID, the endpoint.
pub const ACCEPT_ORGANIZATION: &str = "cloud.spice.ai/accept-organization";
