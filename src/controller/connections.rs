//! Connections to the Management API: one a SpiceOrganization, made when first needed, replaced when what it rests on
//! changes.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::api::{SecretKeyRef, SourceVersion, SpiceOrganization};
use crate::management::types::{Failure, FailureKind};
use crate::management::{self, AccountKey, Budgets, Quota, Reads};

/// A connection and the reads shared over it.
pub(super) struct Connection {
    pub(super) client: Arc<management::Client>,
    pub(super) reads: Reads,
}

/// All that a connection depends on; another value is another connection.
#[derive(Clone, PartialEq)]
struct Basis {
    endpoint: String,
    quota: Quota,
    key: SecretKeyRef,
    credential: SourceVersion,
}

pub(super) struct Connections {
    kubernetes: Client,
    settings: management::Settings,
    metrics: management::Metrics,
    budgets: Budgets,
    /// By the organization's uid. Held while a Secret is read, so that it is read once however many objects wait.
    held: Mutex<HashMap<String, (Basis, Arc<Connection>)>>,
}

/// Defaults of `spec.requestBudget`: what the service grants an account, and what is left to the portal and CI.
const REQUESTS_PER_MINUTE: u32 = 1000;
const RESERVE_PERCENT: u32 = 20;

impl Connections {
    pub(super) fn new(kubernetes: Client, settings: management::Settings, metrics: management::Metrics) -> Self {
        let budgets = Budgets::new(settings.longest_pause, metrics.clone());
        Self { kubernetes, settings, metrics, budgets, held: Mutex::default() }
    }

    /// The connection of an organization whose credential Secret has this version.
    ///
    /// # Errors
    /// `NoCredential`, naming the Secret and the key; `Connect` when the Secret cannot be read.
    pub(super) async fn of(
        &self,
        organization: &SpiceOrganization,
        credential: &SourceVersion,
    ) -> Result<Arc<Connection>, Failure> {
        let mut held = self.held.lock().await;
        let mut basis = basis(organization, credential);
        let uid = organization.uid().unwrap_or_default();
        if let Some((_, connection)) = held.get(&uid).filter(|(known, _)| *known == basis) {
            return Ok(Arc::clone(connection));
        }
        let namespace = organization.namespace().unwrap_or_default();
        let (token, read) = self.token(&namespace, &basis.key).await?;
        basis.credential = read;
        // Which organization a credential acts in is not known before the first answer. That all who use one endpoint share
        // the budget of one organization is never too much, and too little only above 8,000 requests a minute.
        let key = AccountKey::new(&basis.endpoint, None, &token);
        let budget = self.budgets.account(key, &basis.endpoint, basis.quota);
        let client = management::Client::new(&basis.endpoint, token, budget, &self.settings, self.metrics.clone())?;
        let client = Arc::new(client);
        let connection = Arc::new(Connection { reads: Reads::new(Arc::clone(&client)), client });
        held.insert(uid, (basis, Arc::clone(&connection)));
        Ok(connection)
    }

    /// Forgets an organization that is gone, and its token with it.
    pub(super) async fn forget(&self, uid: &str) {
        self.held.lock().await.remove(uid);
    }

    async fn token(&self, namespace: &str, key: &SecretKeyRef) -> Result<(SecretString, SourceVersion), Failure> {
        let missing = |why: String| Failure::local(FailureKind::NoCredential, why);
        let secrets: Api<Secret> = Api::namespaced(self.kubernetes.clone(), namespace);
        let secret = super::store::bounded(secrets.get_opt(&key.name)).await.map_err(|error| {
            let words = format!("Secret {} cannot be read: {}", key.name, super::driver::kubernetes_words(&error));
            Failure::local(FailureKind::Connect, words)
        })?;
        let Some(secret) = secret else {
            return Err(missing(format!("Secret {} does not exist in this namespace", key.name)));
        };
        let version = SourceVersion::of("Secret", &secret.metadata);
        let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(&key.key)) else {
            return Err(missing(format!("Secret {} has no key {}", key.name, key.key)));
        };
        let token = std::str::from_utf8(&bytes.0).unwrap_or_default().trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(missing(format!("Secret {}: key {} is empty or is no token", key.name, key.key)));
        }
        Ok((SecretString::from(token), version))
    }
}

fn basis(organization: &SpiceOrganization, credential: &SourceVersion) -> Basis {
    let budget = organization.spec.request_budget.clone().unwrap_or_default();
    Basis {
        endpoint: organization.spec.endpoint.clone(),
        quota: Quota::of_account(
            budget.requests_per_minute.unwrap_or(REQUESTS_PER_MINUTE),
            budget.reserve_percent.unwrap_or(RESERVE_PERCENT),
        ),
        key: organization.spec.credentials.personal_access_token.clone(),
        credential: credential.clone(),
    }
}
