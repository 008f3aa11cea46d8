//! Our own CustomResourceDefinitions: while one is being deleted, every object goes, and nobody asked for what is remote to
//! go as well.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, CustomResourceExt};

use super::context::Context;
use super::driver::kubernetes_words;
use super::store::bounded;
use crate::management::types::{ApiError, ErrorKind};
use crate::planner::Observed;

/// Whether the definition of a kind is being deleted.
pub(super) async fn is_deleting<K: CustomResourceExt>(context: &Context) -> Observed<bool> {
    context.definitions.join(K::crd_name().to_owned(), async || read::<K>(context).await).await
}

async fn read<K: CustomResourceExt>(context: &Context) -> Observed<bool> {
    let definitions: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    match bounded(definitions.get_opt(K::crd_name())).await {
        Ok(Some(definition)) => Observed::Present(definition.metadata.deletion_timestamp.is_some()),
        Ok(None) => Observed::Absent,
        Err(error) => {
            let message = format!("the CustomResourceDefinition cannot be read: {}", kubernetes_words(&error));
            Observed::Unknown(ApiError::local(ErrorKind::Connect, message))
        }
    }
}
