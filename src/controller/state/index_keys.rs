//! Keys by which SpiceApps and SpiceOrganizations are found.

use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};

use crate::api::{
    DEFAULT_ORGANIZATION, ResolvedOrganizationRef, SpiceApp, SpiceAppStatus, SpiceOrganization, SpiceOrganizationStatus,
};
use crate::planner::{binding_text, is_released};

/// A key of a SpiceApp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::controller) enum AppKey {
    /// Namespace of the object.
    Namespace(String),
    /// Namespace of an object that cannot be decoded.
    Undecodable(String),
    /// Name of the app in lower case.
    RemoteName(String),
    /// Namespace and name of the ConfigMap that holds the spicepod.
    ConfigMap(String, String),
    /// Organization of the app.
    Organization(OrganizationUse),
    /// Organization of an app that has shown that the API keeps no tags.
    WithoutTags(OrganizationUse),
    /// Organization of an app that is being deleted.
    Terminating(OrganizationUse),
}

/// The organization of an app, as far as the app itself shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::controller) enum OrganizationUse {
    /// The recorded or the declared organization.
    Named(ResolvedOrganizationRef),
    /// The default organization of a namespace.
    DefaultIn(String),
    /// The default organization of any namespace.
    Default,
}

/// The keys of a SpiceApp. A released object has none: it represents nothing.
pub(in crate::controller) fn app_keys(object: &DeserializeGuard<SpiceApp>) -> Vec<AppKey> {
    if is_released(object.meta()) {
        return Vec::new();
    }
    let namespace = object.namespace().unwrap_or_default();
    let mut keys = vec![AppKey::Namespace(namespace.clone())];
    let Ok(app) = &object.0 else {
        keys.push(AppKey::Undecodable(namespace));
        return keys;
    };
    keys.push(AppKey::RemoteName(app.remote_name().to_ascii_lowercase()));
    if let Some(source) = &app.spec.spicepod_from {
        keys.push(AppKey::ConfigMap(namespace.clone(), source.config_map_key_ref.name.clone()));
    }
    let recorded = app.status.as_ref().and_then(SpiceAppStatus::recorded_organization).cloned();
    let uses = match recorded.or_else(|| app.declared_organization()) {
        Some(reference) => vec![OrganizationUse::Named(reference)],
        None => vec![OrganizationUse::DefaultIn(namespace), OrganizationUse::Default],
    };
    for organization in uses {
        if lacks_tags(app) {
            keys.push(AppKey::WithoutTags(organization.clone()));
        }
        if app.metadata.deletion_timestamp.is_some() {
            keys.push(AppKey::Terminating(organization.clone()));
        }
        keys.push(AppKey::Organization(organization));
    }
    keys
}

/// A key of a SpiceOrganization.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::controller) enum OrganizationKey {
    /// Namespace of the object.
    Namespace(String),
    /// Namespace of an object that cannot be decoded.
    Undecodable(String),
    /// Namespace and name of the credential Secret.
    Secret(String, String),
    /// Organization binding.
    Binding(String),
    /// The name is `default`.
    Default,
}

/// The keys of a SpiceOrganization. A released object has none: it represents nothing.
pub(in crate::controller) fn organization_keys(object: &DeserializeGuard<SpiceOrganization>) -> Vec<OrganizationKey> {
    if is_released(object.meta()) {
        return Vec::new();
    }
    let namespace = object.namespace().unwrap_or_default();
    let mut keys = vec![OrganizationKey::Namespace(namespace.clone())];
    if object.name_any() == DEFAULT_ORGANIZATION {
        keys.push(OrganizationKey::Default);
    }
    let Ok(organization) = &object.0 else {
        keys.push(OrganizationKey::Undecodable(namespace));
        return keys;
    };
    let secret = organization.spec.credentials.secret_name().unwrap_or_default();
    keys.push(OrganizationKey::Secret(namespace, secret.to_owned()));
    keys.extend(organization.status.as_ref().and_then(binding).map(OrganizationKey::Binding));
    keys
}

/// Binding of an organization, once known.
pub(in crate::controller) fn binding(status: &SpiceOrganizationStatus) -> Option<String> {
    let id = status.organization.as_ref().map(|organization| organization.id.as_str());
    Some(binding_text(status.endpoint.as_ref()?, id))
}

/// Returns true if the app has shown that the API does not keep the operator's tags.
fn lacks_tags(app: &SpiceApp) -> bool {
    app.status.as_ref().is_some_and(|status| status.id.is_some() && status.tags_unsupported == Some(true))
}
