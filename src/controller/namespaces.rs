//! Which namespaces may use an organization, and who is woken when that changes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::{PartialObjectMeta, Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::watch::{ChangeFilter, EventHandler};
use super::{organization, secret};
use crate::api::{AllowedNamespaces, NamespacesFrom, SpiceApp, SpiceOrganization};

/// Whether an organization admits objects of a namespace; its own it always does.
pub(super) fn admits(context: &Context, organization: &SpiceOrganization, namespace: &str) -> bool {
    let labels = || {
        let found = context.caches.namespaces.get(&ObjectRef::new(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    };
    let own = organization.namespace().as_deref() == Some(namespace);
    own || organization.spec.allowed_namespaces.as_ref().is_some_and(|allowed| selects(allowed, labels))
}

/// Whether a namespace is being deleted, and with it all that is in it.
pub(super) fn is_ending(context: &Context, namespace: &str) -> bool {
    let found = context.caches.namespaces.get(&ObjectRef::new(namespace));
    found.is_some_and(|found| found.metadata.deletion_timestamp.is_some())
}

/// Whether a namespace with these labels is among the allowed ones. One that is not there is not.
fn selects(
    allowed: &AllowedNamespaces,
    labels: impl FnOnce() -> Option<std::collections::BTreeMap<String, String>>,
) -> bool {
    match (allowed.from, &allowed.selector) {
        (NamespacesFrom::All, _) => true,
        (NamespacesFrom::Selector, Some(selector)) => {
            // A selector that cannot be read selects nothing.
            let selector = Selector::try_from(selector.clone());
            selector.is_ok_and(|selector| labels().is_some_and(|labels| selector.matches(&labels)))
        }
        (NamespacesFrom::Same, _) | (NamespacesFrom::Selector, None) => false,
    }
}

/// A namespace whose labels changed wakes its objects that refer to another namespace.
pub(super) struct NamespaceEventHandler {
    context: Arc<Context>,
    seen: ChangeFilter,
}

impl NamespaceEventHandler {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, seen: ChangeFilter::default() }
    }
}

impl EventHandler<PartialObjectMeta<Namespace>> for NamespaceEventHandler {
    fn changed(&mut self, namespace: &PartialObjectMeta<Namespace>) {
        if !self.seen.differs(namespace.metadata.uid.as_ref(), &namespace.metadata.labels) {
            return;
        }
        let name = namespace.name_any();
        let concerned = |app: &SpiceApp| {
            app.metadata.namespace.as_ref() == Some(&name)
                && organization::reference(&self.context, app).namespace != name
        };
        for app in self.context.caches.apps.state_filter(|app| app.0.as_ref().is_ok_and(concerned)) {
            self.context.look_at_app(&app);
            secret::tell_secrets_of(&self.context, &name, &app.name_any());
        }
    }

    fn deleted(&mut self, namespace: &PartialObjectMeta<Namespace>) {
        self.seen.forget(namespace.metadata.uid.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_selector_selects_by_labels_and_expressions_and_nothing_without_them() {
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
        assert!(!selects(&read, || None), "a namespace that is not there");
    }
}
