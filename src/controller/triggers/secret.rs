//! A changed Secret triggers the SpiceOrganizations that use it as credential, and the SpiceSecrets that use it as
//! source.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;

use crate::controller::cluster::sync::lock;
use crate::controller::cluster::watch::EventHandler;
use crate::controller::lookup::credential::has_finalizer;
use crate::controller::lookup::organizations::organizations_using;
use crate::controller::state::context::Context;

/// Handles events of Secrets.
pub(in crate::controller) struct SecretEventHandler(pub(in crate::controller) Arc<Context>);

impl EventHandler<PartialObjectMeta<Secret>> for SecretEventHandler {
    fn on_change(&mut self, secret: &PartialObjectMeta<Secret>) {
        let context = &self.0;
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        for dependent in context.secrets_by_source.dependents_of(&namespace, &name) {
            context.kinds.secrets.enqueue_name(&namespace, &dependent);
        }
        let organizations = organizations_using(context, secret);
        if !organizations.is_empty() || has_finalizer(secret) {
            context.credential_queue.enqueue(ObjectRef::from_obj(secret));
        }
        for organization in organizations {
            context.kinds.organizations.enqueue(&organization);
        }
    }

    fn on_delete(&mut self, secret: &PartialObjectMeta<Secret>) {
        let uid = secret.uid().unwrap_or_default();
        lock(&self.0.unprotected_secrets).remove(&uid);
        lock(&self.0.kept_secrets).remove(&uid);
        self.on_change(secret);
    }
}
