//! Settings of the controllers.

use std::time::Duration;

use crate::api::ResolvedOrganizationRef;
use crate::management;
use crate::planner::{Identity, Timings};

/// Settings of the controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Identity of the operator.
    pub identity: Identity,
    /// Every wait that a decision depends on.
    pub timings: Timings,
    /// Settings of the Management API client.
    pub management: management::ManagementSettings,
    /// The one namespace to watch; all namespaces if unset.
    pub watch_namespace: Option<String>,
    /// The SpiceOrganization of objects that name none, in namespaces without a SpiceOrganization `default`.
    pub default_organization: Option<ResolvedOrganizationRef>,
    /// Polling interval for a missing CustomResourceDefinition.
    pub startup_poll_interval: Duration,
    /// Time for which a watch may fail before this process is not ready.
    pub readiness_failure_threshold: Duration,
    /// The digest key.
    pub digest_key: DigestKeyRef,
    /// Interval for checking that the digest key exists.
    pub digest_key_check_interval: Duration,
    /// True if credential Secrets get the operator's finalizer. Otherwise the operator removes existing finalizers.
    pub protect_credential_secrets: bool,
    /// Polling interval for referenced Secrets; they are watched if unset.
    pub secret_poll_interval: Option<Duration>,
}

/// The Secret with the digest key.
#[derive(Clone, Debug)]
pub struct DigestKeyRef {
    /// Namespace of the operator.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
}
