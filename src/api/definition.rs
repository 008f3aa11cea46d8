//! The CustomResourceDefinitions as `make crds` writes them to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{CustomResourceExt, Resource};
use serde_json::{Value, json};

use super::{SpiceApp, SpiceOrganization, SpiceSecret, never_observed};

/// The definitions of all kinds, in a fixed order.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    [SpiceOrganization::crd(), SpiceApp::crd(), SpiceSecret::crd()].into_iter().map(adapt_schema).collect()
}

/// Adds the parts of a schema that its type cannot express.
fn adapt_schema(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let has_optional_spec =
        [SpiceApp::kind(&()), SpiceSecret::kind(&())].iter().any(|kind| *kind == definition.spec.names.kind);
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for root in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        remove_foreign_formats(root);
        // With observedGeneration -1, no tool treats a new object as reconciled.
        set_default(root, "status", json!({ "observedGeneration": never_observed() }));
        if has_optional_spec {
            // All fields of the spec are optional. With the default, a server-side apply that removes the last field is
            // valid: it would otherwise result in a null spec.
            root.required = None;
            set_default(root, "spec", json!({}));
        }
    }
    definition
}

/// Removes formats that Kubernetes does not support. It prints a warning about each at `kubectl apply`.
fn remove_foreign_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_ref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(remove_foreign_formats);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        remove_foreign_formats(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        remove_foreign_formats(values);
    }
}

fn set_default(root: &mut JSONSchemaProps, name: &str, default: Value) {
    if let Some(property) = root.properties.as_mut().and_then(|properties| properties.get_mut(name)) {
        property.default = Some(JSON(default));
    }
}
