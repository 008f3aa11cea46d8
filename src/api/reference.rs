//! References from one object to another. Each is a struct with a `name`, so that a later field is no breaking change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A SpiceOrganization, the source of the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationRef {
    /// Name of the SpiceOrganization.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespace of the SpiceOrganization. Defaults to the namespace of this object. Another namespace must be allowed
    /// by `spec.allowedNamespaces` of the SpiceOrganization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

/// A SpiceOrganization with all defaults applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedOrganizationRef {
    /// Namespace of the SpiceOrganization.
    pub namespace: String,
    /// Name of the SpiceOrganization.
    pub name: String,
}

impl ResolvedOrganizationRef {
    /// Display name for objects of `namespace`: the name, and the namespace if that is another one.
    pub(crate) fn display_in(&self, namespace: Option<&str>) -> String {
        let Self { namespace: own, name } = self;
        if namespace == Some(own.as_str()) { name.clone() } else { format!("{own}/{name}") }
    }
}

/// A SpiceApp in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRef {
    /// Name of the SpiceApp object, not of the app in Spice.ai Cloud.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// One key of a Secret in the same namespace that holds a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSecretRef {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Key of the token in the Secret's data. Defaults to `token`.
    #[serde(default = "default_token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn default_token_key() -> String {
    "token".to_owned()
}

/// Two keys of a Secret in the same namespace that hold an OAuth client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthSecretRef {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Key of the client ID in the Secret's data. Defaults to `client-id`.
    #[serde(default = "default_client_id_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub client_id_key: String,
    /// Key of the client secret in the Secret's data. Defaults to `client-secret`.
    #[serde(default = "default_client_secret_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub client_secret_key: String,
}

fn default_client_id_key() -> String {
    "client-id".to_owned()
}

fn default_client_secret_key() -> String {
    "client-secret".to_owned()
}

/// One key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, in the namespace of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in the ConfigMap's data. Defaults to `spicepod.yaml`.
    #[serde(default = "default_spicepod_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn default_spicepod_key() -> String {
    "spicepod.yaml".to_owned()
}

/// Version of a referenced object. After a restart it shows without a request to the Management API that the object has
/// not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceVersion {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// UID of the object. Another object with the same name is another source.
    pub uid: String,
    /// resourceVersion of the object when the operator read it.
    pub resource_version: String,
    /// Digest of the part of the content that the operator uses. A new version with the same digest causes no request.
    /// Not set for a credential. For a SpiceSecret, the digest is keyed like the digests in `status.secrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl SourceVersion {
    /// The version in `metadata`.
    pub fn of(kind: &str, metadata: &ObjectMeta) -> Self {
        Self {
            kind: kind.to_owned(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            digest: None,
        }
    }

    /// Returns true if both are the same version of the same object.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        let Self { kind, name, uid, resource_version, digest: _ } = self;
        (kind, name, uid, resource_version) == (&other.kind, &other.name, &other.uid, &other.resource_version)
    }

    /// Returns true if the content that the operator uses is the same: the same version, or the same digest of another
    /// version, also of an object that was deleted and created again.
    pub(crate) fn has_same_content(&self, other: &Self) -> bool {
        let is_same_object = (&self.kind, &self.name) == (&other.kind, &other.name);
        self.is_same_version(other) || (is_same_object && self.digest.is_some() && self.digest == other.digest)
    }
}
