//! Policies that several kinds have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Removes the description of an enum type. Otherwise it would replace the description of an optional field, which
/// documents the default.
pub(super) fn described_by_its_field(schema: &mut schemars::Schema) {
    schema.remove("description");
}

/// Handling of the remote object when the Kubernetes object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = described_by_its_field)]
pub enum DeletionPolicy {
    /// The operator deletes the remote object first.
    Delete,
    /// The operator keeps the remote object.
    Retain,
}

/// Handling of an existing remote object that this object did not create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = described_by_its_field)]
pub enum AdoptionPolicy {
    /// The operator does not change the remote object and reports NameTaken.
    Fail,
    /// The operator adopts the remote object if it carries no tag of another owner.
    Adopt,
}

/// Handling of changes that another client made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = described_by_its_field)]
pub enum DriftPolicy {
    /// The operator restores the declared value.
    Correct,
    /// The operator keeps the change and lists it in `status.drift` and in the condition Drifted.
    Report,
}
