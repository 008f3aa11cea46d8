//! Installation of the CustomResourceDefinitions with administrator permissions.

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

/// Applies all definitions once per control plane. The definitions are established when this function returns.
pub async fn install_definitions(cluster: &ControlPlane) -> Result<(), String> {
    static INSTALLED: Mutex<Option<HashSet<PathBuf>>> = Mutex::const_new(None);
    // The lock is held during the installation, so that concurrent callers wait for its end.
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

/// Applies all definitions, also if an earlier call installed them. For tests that change the definitions.
pub async fn apply_definitions(cluster: &ControlPlane) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client(User::Admin).await?);
    let params = PatchParams::apply("spice-cloud-operator-tests").force();
    for definition in custom_resource_definitions() {
        let name = definition.name_any();
        let applied = api.patch(&name, &params, &Patch::Apply(&definition)).await;
        applied.map_err(|e| format!("definition {name}: {e}"))?;
        poll(&format!("definition {name} is established"), DEADLINE, async || {
            let definition = api.get(&name).await.map_err(|e| e.to_string())?;
            let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let established =
                conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True");
            if established { Ok(()) } else { Err(format!("{:?}", definition.status)) }
        })
        .await?;
    }
    Ok(())
}
