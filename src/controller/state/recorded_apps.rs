//! Recorded apps of an organization, compared with a complete list of apps: once for each list.

use std::sync::{Arc, Weak};

use crate::api::ResolvedOrganizationRef;
use crate::management::types::ListedApps;
use crate::planner::RecordedApps;

/// The organization of a SpiceApp, as far as other SpiceApps can use the same one.
#[derive(Clone, Debug)]
pub(in crate::controller) struct AppOrganization {
    pub(in crate::controller) reference: ResolvedOrganizationRef,
    /// Namespace of the SpiceApp.
    pub(in crate::controller) namespace: String,
    /// Binding of the organization, if the organization counts the SpiceApp.
    pub(in crate::controller) binding: Option<String>,
}

impl AppOrganization {
    /// Returns true for two SpiceApps of one namespace that use one SpiceOrganization, or two SpiceApps that are bound to
    /// the same organization.
    pub(in crate::controller) fn is_same(&self, other: &Self) -> bool {
        (self.reference == other.reference && self.namespace == other.namespace)
            || (self.binding.is_some() && self.binding == other.binding)
    }
}

/// The comparison with the last list in which an app was missing.
#[derive(Debug)]
pub(in crate::controller) struct Comparison {
    organization: AppOrganization,
    list: Weak<ListedApps>,
    result: Arc<RecordedApps>,
}

impl Comparison {
    pub(in crate::controller) fn new(
        organization: AppOrganization,
        list: &Arc<ListedApps>,
        result: Arc<RecordedApps>,
    ) -> Self {
        Self { organization, list: Arc::downgrade(list), result }
    }

    /// The result, if the comparison is that of this list and organization.
    pub(in crate::controller) fn result_for(
        &self,
        organization: &AppOrganization,
        list: &Arc<ListedApps>,
    ) -> Option<Arc<RecordedApps>> {
        let is_alike = self.organization.binding == organization.binding && self.organization.is_same(organization);
        (is_alike && self.list.as_ptr() == Arc::as_ptr(list)).then(|| Arc::clone(&self.result))
    }
}
