//! The CustomResourceDefinitions as `make crds` writes them to `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{CustomResourceExt, Resource, ResourceExt};
use serde_json::json;

use super::{SpiceApp, SpiceOrganization, SpiceSecret};

/// One file of `crds/`.
#[derive(Clone, Debug)]
pub struct CustomResourceFile {
    /// File name: the name of the definition and `.yaml`.
    pub name: String,
    /// The definition.
    pub definition: CustomResourceDefinition,
}

/// The definitions of all kinds, in a fixed order.
pub fn custom_resource_definitions() -> Vec<CustomResourceFile> {
    [SpiceOrganization::crd(), SpiceApp::crd(), SpiceSecret::crd()]
        .into_iter()
        .map(|definition| CustomResourceFile {
            name: format!("{}.yaml", definition.name_any()),
            definition: without_foreign_formats(with_spec_default(with_status_default(definition))),
        })
        .collect()
}

/// Makes the spec of a SpiceApp and of a SpiceSecret optional: all of its fields are optional. With the default, a
/// server-side apply that removes the last field is valid: it would otherwise result in a null spec.
fn with_spec_default(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    if [SpiceApp::kind(&()), SpiceSecret::kind(&())].iter().any(|kind| *kind == definition.spec.names.kind) {
        let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
        for root in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
            root.required = root.required.take().filter(|required| required.as_slice() != ["spec"]);
            let spec = root.properties.as_mut().and_then(|properties| properties.get_mut("spec"));
            spec.into_iter().for_each(|spec| spec.default = Some(JSON(json!({}))));
        }
    }
    definition
}

/// Removes formats that Kubernetes does not support. It prints a warning about each at `kubectl apply`.
fn without_foreign_formats(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    fn strip(schema: &mut JSONSchemaProps) {
        if schema.format.as_ref().is_some_and(|format| format.starts_with("uint")) {
            schema.format = None;
        }
        schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(strip);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
            strip(items);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
            strip(values);
        }
    }
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(strip);
    definition
}

/// Defaults the status to `observedGeneration: -1`, so that no tool treats a new object as reconciled.
fn with_status_default(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(json!({ "observedGeneration": super::never_observed() })));
        }
    }
    definition
}
