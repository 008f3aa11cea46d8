//! The custom resources: group `cloud.spice.ai`, version `v1alpha1`.
//!
//! Types, their schema and the words that `kubectl explain` shows; nothing that decides or calls anything.

mod app;
mod condition;
mod definition;
mod organization;
mod reference;
mod secret;
mod status;

pub use app::{
    AppliedField, CreateIntent, ManagementPolicy, Runtime, SpiceApp, SpiceAppSpec, SpiceAppStatus, SpicepodSource,
    Visibility,
};
pub use condition::{Condition, ConditionType, Reason};
pub use definition::{CustomResourceFile, custom_resource_definitions};
pub use organization::{
    Adoption, AllowedNamespaces, Credentials, IncompleteList, LimitsStatus, NamespacesFrom, OAuthClient,
    OrganizationStatus, RegionStatus, RequestBudget, SpiceOrganization, SpiceOrganizationSpec, SpiceOrganizationStatus,
};
pub use reference::{AppRef, ConfigMapKeyRef, OAuthSecretRef, OrganizationRef, SecretKeyRef, SourceVersion};
pub use secret::{SecretConflict, SecretEntry, SecretItem, SecretRef, SpiceSecret, SpiceSecretSpec, SpiceSecretStatus};
pub use status::StatusCore;
pub(crate) use status::never_observed;

/// The API group of every kind.
pub const GROUP: &str = "cloud.spice.ai";

/// The finalizer that holds an object until its remote side is dealt with.
pub const FINALIZER: &str = "cloud.spice.ai/finalizer";

/// The finalizer that holds the Secret of a credential as long as something needs it.
pub const CREDENTIAL_FINALIZER: &str = "cloud.spice.ai/credential";

/// Annotation: a new value asks for one visit now. It never deploys.
/// Acknowledged in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "cloud.spice.ai/reconcile-requested-at";

/// Annotation: `"true"` suspends the object, for a person who must not fight a GitOps tool over `spec.suspend`.
pub const SUSPEND: &str = "cloud.spice.ai/suspend";

/// Annotation on a SpiceOrganization: so many recorded apps may be missing from its list of apps at once.
pub const ACCEPT_MISSING_APPS: &str = "cloud.spice.ai/accept-missing-apps";

/// Annotation: the owner tag of another owner whose app is to be taken over, for `adoptionPolicy: Adopt`.
pub const TAKE_OWNERSHIP_FROM: &str = "cloud.spice.ai/take-ownership-from";

/// Annotation on a SpiceOrganization: the id of the organization that the credential leads to now (the endpoint, where
/// the API tells no id), for a person who means the change.
pub const ACCEPT_ORGANIZATION: &str = "cloud.spice.ai/accept-organization";

/// Leaves the description of an optional choice to the field, which says what is so when it is not set: otherwise that of
/// the type would take its place.
fn described_by_its_field(schema: &mut schemars::Schema) {
    schema.remove("description");
}

/// What happens to the remote object when the Kubernetes object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[schemars(transform = described_by_its_field)]
pub enum DeletionPolicy {
    /// The remote object is deleted first.
    Delete,
    /// The remote object stays as it is.
    Retain,
}

/// What happens when the remote object exists already and was not made by this object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[schemars(transform = described_by_its_field)]
pub enum AdoptionPolicy {
    /// It is left alone, and Ready says so.
    Fail,
    /// It is taken over, if nobody else's tag is on it.
    Adopt,
}

/// What happens when somebody changes the remote object outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[schemars(transform = described_by_its_field)]
pub enum DriftPolicy {
    /// It is put back.
    Correct,
    /// It is left, and listed in `status.drift` and by the condition Drifted.
    Report,
}
