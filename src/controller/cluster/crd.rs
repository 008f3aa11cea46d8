//! The operator's own CustomResourceDefinitions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt, ResourceExt};

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
                Ok(Some(definition)) if is_established(&definition) => break,
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

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Returns true if the CustomResourceDefinition of a kind is being deleted, `None` if it does not exist. Its
/// deletion deletes every object of the kind, which is no request to delete anything remote.
///
/// # Errors
/// The error text of the call.
pub(in crate::controller) async fn is_terminating<K: CustomResourceExt>(
    client: &Client,
) -> Result<Option<bool>, String> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    match with_timeout(definitions.get_opt(K::crd_name())).await {
        Ok(definition) => Ok(definition.map(|definition| definition.metadata.deletion_timestamp.is_some())),
        Err(error) => Err(format!("Failed to read the CustomResourceDefinition: {}", format_kube_error(&error))),
    }
}
