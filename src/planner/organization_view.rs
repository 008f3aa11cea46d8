//! Observations of an organization by the kinds that use it, and the reasons for which an object must wait.

use super::messages::organization_not_found_message;
use super::observation::Observed;
use crate::management::types::canonical_endpoint;

/// A SpiceOrganization as its dependents observe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationView {
    /// Why the organization cannot be used now.
    pub unusable: Option<String>,
    /// Why the object must not use the organization. An object that is being deleted always may.
    pub not_allowed: Option<String>,
    /// True if the object may adopt apps of the organization.
    pub adoption_allowed: bool,
    /// True if the organization is suspended, which stops every remote write.
    pub suspended: bool,
    /// Binding of the organization: its endpoint, and `#` and its ID if the API returns one; none before the first
    /// successful resync. A binding that gains an ID stays the same organization.
    pub binding: Option<String>,
    /// Number of recorded apps that a user accepts as missing from the app list.
    pub accepted_missing_apps: usize,
    /// Region of an app without a placement in its spec.
    pub default_region: Option<String>,
    /// Portal page of the app, if known.
    pub portal: Option<String>,
    /// Number of recorded apps whose owner tags the API does not store.
    pub apps_without_tags: usize,
}

/// Message for an organization that nothing can use now. `name`: display name of the organization. None if the
/// organization is ready.
pub(crate) fn not_ready_message(organization: &Observed<OrganizationView>, name: &str) -> Option<String> {
    match organization {
        Observed::Present(OrganizationView { suspended: true, .. }) => {
            Some(format!("SpiceOrganization \"{name}\" is suspended"))
        }
        Observed::Present(OrganizationView { unusable: Some(why), .. }) => {
            Some(format!("SpiceOrganization \"{name}\" is not ready: {why}"))
        }
        Observed::Present(_) => None,
        Observed::Absent => Some(organization_not_found_message(name)),
        Observed::Unknown(error) => Some(error.to_string()),
    }
}

/// Organization binding as one text: the endpoint in its canonical form, and `#` and the ID if the API returns one. Two
/// SpiceOrganizations use the same organization if their texts are equal.
pub fn binding_text(endpoint: &str, id: Option<&str>) -> String {
    let endpoint = canonical_endpoint(endpoint);
    id.map_or_else(|| endpoint.clone(), |id| format!("{endpoint}#{id}"))
}

/// Returns true if the organization that was recorded as `recorded` is the one bound as `current`. A recorded binding
/// without an ID matches the same endpoint with one. The same ID at another endpoint matches, because a user accepted
/// the change on the SpiceOrganization.
pub(crate) fn is_same_binding(recorded: &str, current: &str) -> bool {
    // An endpoint has no fragment, so `#` starts the ID.
    let parts = |binding: &str| match binding.rsplit_once('#') {
        Some((endpoint, id)) => (canonical_endpoint(endpoint), Some(id.to_owned())),
        None => (canonical_endpoint(binding), None),
    };
    let ((recorded_endpoint, recorded_id), (endpoint, id)) = (parts(recorded), parts(current));
    if recorded_id.is_some() { recorded_id == id } else { recorded_endpoint == endpoint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_binding_with_an_id_is_compared_by_id_and_another_by_endpoint() {
        for (recorded, current, expected) in [
            ("https://api.example#1", "https://api.example#1", true),
            ("https://API.example:443/#1", "https://api.example#1", true),
            ("https://api.example#1", "https://other.example#1", true),
            ("https://api.example#1", "https://api.example#2", false),
            ("https://api.example#1", "https://api.example", false),
            ("https://API.example:443/", "https://api.example", true),
            ("http://localhost:9", "http://127.0.0.1:9#1", true),
            ("https://api.example", "https://api.example#1", true),
            ("https://api.example", "https://other.example#1", false),
            ("https://api.example", "https://api.example.other", false),
        ] {
            assert_eq!(is_same_binding(recorded, current), expected, "{recorded} {current}");
        }
    }
}
