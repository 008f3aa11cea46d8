//! The operator's own CustomResourceDefinitions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition;
use kube::{Api, Client, ResourceExt};

use super::call::{format_kube_error, with_timeout};
use super::readiness::Readiness;
use crate::api::custom_resource_definitions;

/// Waits until every CustomResourceDefinition is established. Those that are not appear in the readiness report.
pub(in crate::controller) async fn wait_until_established(client: &Client, readiness: &Readiness, poll: Duration) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in custom_resource_definitions() {
        let name = definition.name_any();
        let mut gate = None;
        loop {
            let problem = match with_timeout(definitions.get_opt(&name)).await {
                Ok(found) if is_crd_established().matches_object(found.as_ref()) => break,
                Ok(Some(_)) => "not established".to_owned(),
                Ok(None) => "not found".to_owned(),
                Err(error) => format_kube_error(&error),
            };
            gate.get_or_insert_with(|| {
                tracing::warn!(
                    kind = "CustomResourceDefinition",
                    name,
                    error = problem,
                    "Waiting for CustomResourceDefinition"
                );
                readiness.add_gate(format!("CustomResourceDefinition {name}"))
            });
            tokio::time::sleep(poll).await;
        }
    }
}
