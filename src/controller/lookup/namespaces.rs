//! Namespaces: which may use an organization, and which are being deleted.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;

use crate::api::{AllowedNamespaces, NamespacesFrom, SpiceOrganization};
use crate::controller::state::context::Context;

/// Returns true if objects of a namespace may use an organization; objects of its own namespace always may.
pub(in crate::controller) fn is_allowed(context: &Context, organization: &SpiceOrganization, namespace: &str) -> bool {
    let labels = || {
        let found = context.caches.namespaces.get(&ObjectRef::new(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    };
    is_allowed_with(labels, organization, namespace)
}

/// Returns true if objects of a namespace with these labels may use an organization.
pub(in crate::controller) fn is_allowed_with(
    labels: impl FnOnce() -> Option<BTreeMap<String, String>>,
    organization: &SpiceOrganization,
    namespace: &str,
) -> bool {
    let is_own = organization.namespace().as_deref() == Some(namespace);
    is_own || organization.spec.allowed_namespaces.as_ref().is_some_and(|allowed| selects(allowed, labels))
}

/// Returns true if a namespace is being deleted with everything in it.
pub(in crate::controller) fn is_terminating(context: &Context, namespace: &str) -> bool {
    let found = context.caches.namespaces.get(&ObjectRef::new(namespace));
    found.is_some_and(|found| found.metadata.deletion_timestamp.is_some())
}

/// Returns true if a namespace with these labels is allowed. A namespace that does not exist is not.
fn selects(allowed: &AllowedNamespaces, labels: impl FnOnce() -> Option<BTreeMap<String, String>>) -> bool {
    match (allowed.from, &allowed.selector) {
        (NamespacesFrom::All, _) => true,
        (NamespacesFrom::Selector, Some(selector)) => {
            // An invalid selector selects nothing.
            let selector = Selector::try_from(selector.clone());
            selector.is_ok_and(|selector| labels().is_some_and(|labels| selector.matches(&labels)))
        }
        (NamespacesFrom::Same, _) | (NamespacesFrom::Selector, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_selector_matches_labels_and_expressions() {
        let labels = || Some([("team".to_owned(), "data".to_owned())].into());
        let by = |selector: Value| json!({ "from": "Selector", "selector": selector });
        let expression = |operator: &str| {
            let values = if operator == "Exists" { json!([]) } else { json!(["data"]) };
            by(json!({ "matchExpressions": [{ "key": "team", "operator": operator, "values": values }] }))
        };
        for (allowed, expected) in [
            (json!({ "from": "Same" }), false),
            (json!({ "from": "All" }), true),
            (json!({ "from": "Selector" }), false),
            (by(json!({ "matchLabels": { "team": "data" } })), true),
            (by(json!({ "matchLabels": { "team": "web" } })), false),
            (by(json!({ "matchLabels": { "team": "data", "other": "x" } })), false),
            (expression("In"), true),
            (expression("NotIn"), false),
            (expression("Exists"), true),
            (expression("Near"), false),
        ] {
            let read: AllowedNamespaces = serde_json::from_value(allowed.clone()).unwrap();
            assert_eq!(selects(&read, labels), expected, "{allowed}");
        }
        let read: AllowedNamespaces = serde_json::from_value(by(json!({}))).unwrap();
        assert!(!selects(&read, || None), "the namespace does not exist");
    }
}
