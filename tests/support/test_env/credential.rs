//! The credential Secret of a [`TestEnv`].

use std::time::SystemTime;

use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spice_cloud_operator::api::SpiceOrganization;

use super::{CREDENTIAL, TestEnv};

/// Finalizer that keeps the credential in a terminating namespace.
const KEPT: &str = "example.com/kept-by-the-test";

impl TestEnv {
    /// Creates or replaces the credential Secret.
    pub async fn set_credential(&self, token: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": CREDENTIAL.0, "namespace": self.namespace },
            "stringData": { CREDENTIAL.1: token },
        });
        self.kubernetes_secrets()
            .patch(CREDENTIAL.0, &PatchParams::apply("test"), &Patch::Apply(&secret))
            .await
            .unwrap();
    }

    /// Changes an annotation of the credential Secret. The value remains.
    pub async fn touch_credential(&self) {
        let stamp = format!("{:?}", SystemTime::now());
        self.patch_credential(json!({ "annotations": { "example.com/other": stamp } })).await.unwrap();
    }

    /// Keeps the credential Secret until no SpiceOrganization exists. An operator that watches one namespace does not
    /// protect the Secret.
    pub async fn keep_credential(&self) {
        self.patch_credential(json!({ "finalizers": [KEPT] })).await.unwrap();
    }

    /// Ends the protection of [`Self::keep_credential`] if no SpiceOrganization exists.
    pub(super) async fn release_credential(&self) -> kube::Result<()> {
        let secret = self.kubernetes_secrets().get_metadata_opt(CREDENTIAL.0).await?;
        let is_kept = secret.is_some_and(|secret| secret.finalizers().iter().any(|finalizer| finalizer == KEPT));
        if is_kept && self.api::<SpiceOrganization>().list_metadata(&ListParams::default()).await?.items.is_empty() {
            self.patch_credential(json!({ "finalizers": null })).await?;
        }
        Ok(())
    }

    async fn patch_credential(&self, metadata: Value) -> kube::Result<()> {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.kubernetes_secrets().patch(CREDENTIAL.0, &PatchParams::default(), &patch).await.map(drop)
    }
}
