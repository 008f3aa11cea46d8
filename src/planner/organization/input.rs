//! Input of a plan of a SpiceOrganization: observations and reads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::{Reason, SourceVersion, SpiceOrganization};
use crate::management::types::{
    AccessibleOrganization, ApiError, ErrorKind, Images, Limits, ListCompleteness, Regions,
};
use crate::planner::errors::{self, ApiOperation};
use crate::planner::observation::{Observation, Observed};
use crate::planner::outcome::{EventRecord, Outcome, Retry};
use crate::planner::resource::PlanInput;

/// The validated spec of a SpiceOrganization.
#[derive(Clone, Debug, PartialEq)]
pub struct OrganizationDesired {
    pub(super) endpoint: String,
    pub(super) organization: Option<String>,
    /// Name of the credential Secret.
    pub(super) secret: String,
    /// Error of an invalid spec.
    pub(super) problem: Option<String>,
    pub(super) interval: Option<Duration>,
}

/// Observations of a SpiceOrganization.
#[derive(Debug, Default)]
pub struct OrganizationObserved {
    /// Version of the credential Secret, from the cache.
    pub credential: Option<Observed<SourceVersion>>,
    /// True if that version has the verified credential. Then the version differs from the verified one only in unused
    /// content.
    pub credential_unchanged: bool,
    /// First version of that Secret with the same credential, as far as this process knows. A version with another
    /// credential has another first version.
    pub first_credential: Option<SourceVersion>,
    /// True if the operator is about to add its finalizer to that Secret, which changes the version.
    pub finalizer_add_pending: bool,
    /// Completeness of each list that this process has read, by path.
    pub lists: BTreeMap<String, ListCompleteness>,
    /// Organizations that the credential can access.
    pub organizations: Option<Observed<Observation<Vec<AccessibleOrganization>>>>,
    /// Result of the unauthenticated health read: Present if the API responds.
    pub health: Option<Observed<Observation<()>>>,
    /// Regions for apps.
    pub regions: Option<Observed<Observation<Regions>>>,
    /// Runtime images by channel.
    pub images: BTreeMap<&'static str, Observed<Observation<Images>>>,
    /// Limits of the plan.
    pub limits: Option<Observed<Observation<Limits>>>,
    /// Number of SpiceApps that use the organization.
    pub apps: Option<i64>,
    /// Warning if the credential Secret is deleted and the operator still keeps the Secret.
    pub kept_secret_warning: Option<EventRecord>,
    /// Display names of the objects that use the organization.
    pub dependents: Option<Vec<String>>,
}

/// A read for a SpiceOrganization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationRead {
    /// Version of the credential Secret, and completeness of the lists, from the cache.
    Credential,
    /// Organizations that the credential can access: the only request before the binding is checked.
    Organizations,
    /// Health of the API: distinguishes a rejected credential from an outage.
    Health,
    /// Regions for apps.
    Regions,
    /// Runtime images of a channel.
    Images(&'static str),
    /// Limits of the plan.
    Limits,
    /// Number of SpiceApps that use the organization, from the cache.
    Apps,
    /// Deletion of the credential Secret, from the cache.
    SecretDeletion,
    /// Objects that use the organization, from the cache.
    Dependents,
}

/// Input of a plan for a SpiceOrganization.
pub(super) type OrganizationInput<'a> = PlanInput<'a, SpiceOrganization>;

/// Outcome of a failed read. The SpiceOrganization reports credential-wide trouble once, for all its dependents.
pub(super) fn unreachable(input: &OrganizationInput<'_>, error: &ApiError) -> Outcome {
    // An API that does not respond to the health check may reject every credential.
    let is_healthy = matches!(input.observed.health, Some(Observed::Present(_)));
    let message = if error.kind == ErrorKind::Unauthorized && is_healthy {
        format!("The API rejected the credential in Secret \"{}\": {error}", input.desired.secret)
    } else {
        error.to_string()
    };
    if error.kind == ErrorKind::Invalid {
        // These reads send nothing but values of the spec: a handle, URLs, certificates.
        return Outcome::WriteFailed(Reason::InvalidSpec, message, Retry::Backoff);
    }
    let error = ApiError { message, ..error.clone() };
    errors::call_failed(&error, ApiOperation::Read, "apps:read", input.timings)
}
