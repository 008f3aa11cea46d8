//! Scopes of the API, in the form `resource:verb`.

/// Read apps, regions, limits, clusters and organizations.
pub(crate) const APPS_READ: &str = "apps:read";
/// Create and update apps.
pub(crate) const APPS_WRITE: &str = "apps:write";
/// Delete apps.
pub(crate) const APPS_DELETE: &str = "apps:delete";
/// Read the configuration of an app, if the configuration has separate scopes.
pub(crate) const CONFIG_READ: &str = "config:read";
/// Change the configuration of an app, if the configuration has separate scopes.
pub(crate) const CONFIG_WRITE: &str = "config:write";
/// List and read secrets.
pub(crate) const SECRETS_READ: &str = "secrets:read";
/// Create, update and delete secrets.
pub(crate) const SECRETS_WRITE: &str = "secrets:write";

/// All scopes except `*`.
pub(crate) const ALL_SCOPES: [&str; 16] = [
    "apps:read",
    "apps:write",
    "apps:delete",
    "deployments:read",
    "deployments:write",
    "secrets:read",
    "secrets:write",
    "config:read",
    "config:write",
    "members:read",
    "members:write",
    "members:delete",
    "monitors:read",
    "monitors:write",
    "reactions:read",
    "reactions:write",
];

/// Returns whether a granted scope includes `scope`. `:write` includes `:read`; `:delete` includes no other scope.
pub(crate) fn grants(granted: &str, scope: &str) -> bool {
    let by_write = scope.strip_suffix("read").is_some_and(|resource| granted.strip_suffix("write") == Some(resource));
    (granted == "*" && (scope == "*" || ALL_SCOPES.contains(&scope))) || granted == scope || by_write
}
