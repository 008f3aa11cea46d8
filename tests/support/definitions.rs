//! The custom resource definitions, installed as an administrator would.

use std::{collections::HashSet, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use spice_cloud_operator::api::custom_resource_definitions;
use tokio::sync::Mutex;

use super::{
    control_plane::{ControlPlane, User},
    eventually::{DEADLINE, poll},
};

/// Applies the definitions of every kind and waits until they are established; does so once a control plane.
pub async fn install_definitions(cluster: &ControlPlane) -> Result<(), String> {
    static INSTALLED: Mutex<Option<HashSet<PathBuf>>> = Mutex::const_new(None);
    // Held while it is done, so that whoever comes second finds it done.
    let mut installed = INSTALLED.lock().await;
    let installed = installed.get_or_insert_default();
    let key = cluster.kubeconfig(User::Admin);
    if installed.contains(&key) {
        return Ok(());
    }
    apply_definitions(cluster).await?;
    installed.insert(key);
    Ok(())
}

/// The same, whatever was done before: also where a test has changed them.
pub async fn apply_definitions(cluster: &ControlPlane) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client(User::Admin).await?);
    let params = PatchParams::apply("spice-cloud-operator-tests").force();
    for file in custom_resource_definitions() {
        let name = file.definition.name_any();
        let applied = api.patch(&name, &params, &Patch::Apply(&file.definition)).await;
        applied.map_err(|e| format!("definition {name}: {e}"))?;
        poll(&format!("definition {name} is established"), DEADLINE, async || {
            let definition = api.get(&name).await.map_err(|e| e.to_string())?;
            let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let established = conditions.into_iter().any(|one| one.type_ == "Established" && one.status == "True");
            if established { Ok(()) } else { Err(format!("{:?}", definition.status)) }
        })
        .await?;
    }
    Ok(())
}
