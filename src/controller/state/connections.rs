//! Connections to the Management API: one a SpiceOrganization, made when first needed, replaced when what it rests on
//! changes.

use std::collections::HashMap;
use std::sync::Arc;

use kube::{Client, ResourceExt};
use tokio::sync::Mutex;

use super::credentials;
use crate::api::{Credentials, SourceVersion, SpiceOrganization};
use crate::management::types::{ApiError, ErrorKind};
use crate::management::{self, AccountKey, Budgets, ClientConfig, Quota, ReadCache};
use crate::planner::organization_problem;

/// A connection and the reads shared over it.
pub(in crate::controller) struct Connection {
    pub(in crate::controller) client: Arc<management::Client>,
    pub(in crate::controller) reads: ReadCache,
    /// The version of the Secret that the credential was read from.
    pub(in crate::controller) version: SourceVersion,
}

/// All that a connection depends on; another value is another connection.
#[derive(Clone, PartialEq)]
struct ConnectionKey {
    endpoint: String,
    token_endpoint: Option<String>,
    organization: Option<String>,
    ca_bundle: Option<String>,
    account: Option<String>,
    quota: Quota,
    credentials: Credentials,
    version: SourceVersion,
}

pub(in crate::controller) struct Connections {
    kubernetes: Client,
    settings: management::ManagementSettings,
    metrics: management::ApiMetrics,
    budgets: Budgets,
    /// By the organization's uid. Held while a Secret is read, so that it is read once however many objects wait.
    held: Mutex<HashMap<String, (ConnectionKey, Arc<Connection>)>>,
}

impl Connections {
    pub(in crate::controller) fn new(
        kubernetes: Client,
        settings: management::ManagementSettings,
        metrics: management::ApiMetrics,
    ) -> Self {
        let budgets = Budgets::new(settings.max_rate_limit_pause, metrics.clone());
        Self { kubernetes, settings, metrics, budgets, held: Mutex::default() }
    }

    /// The connection of an organization whose credential Secret has this version.
    ///
    /// # Errors
    /// `Invalid` when the spec allows none; `NoCredential`, naming the Secret and the key; `Connect` when the Secret cannot
    /// be read.
    pub(in crate::controller) async fn of(
        &self,
        organization: &SpiceOrganization,
        credential: &SourceVersion,
    ) -> Result<Arc<Connection>, ApiError> {
        // The one place that every call comes by: no credential goes where the spec does not allow it.
        if let Some(problem) = organization_problem(&organization.spec) {
            return Err(ApiError::local(ErrorKind::Invalid, problem));
        }
        let mut held = self.held.lock().await;
        let mut basis = basis(organization, credential);
        let uid = organization.uid().unwrap_or_default();
        if let Some((_, connection)) = held.get(&uid).filter(|(known, _)| *known == basis) {
            return Ok(Arc::clone(connection));
        }
        // Boxed: seldom done, and every visit would need the room for it.
        let (credential, read) = Box::pin(credentials::read(&self.kubernetes, organization)).await?;
        basis.version = read;
        // Which organization a credential acts in is not known before the first answer. That all who use one endpoint share
        // the budget of one organization is never too much, and too little only above 8,000 requests a minute.
        let key = AccountKey::new(&basis.endpoint, basis.account.as_deref(), &credential);
        let budget = Arc::new(self.budgets.account(key, &basis.endpoint, basis.quota));
        let target = ClientConfig {
            endpoint: basis.endpoint.clone(),
            organization: basis.organization.clone(),
            ca_bundle: basis.ca_bundle.clone(),
            credential,
        };
        let client = Arc::new(management::Client::new(target, budget, &self.settings, self.metrics.clone())?);
        let version = basis.version.clone();
        let reads = ReadCache::new(Arc::clone(&client), self.settings.min_list_interval, self.settings.read_cache_ttl);
        let connection = Arc::new(Connection { reads, client, version });
        if let Some((_, former)) = held.insert(uid, (basis, Arc::clone(&connection))) {
            former.client.close();
        }
        Ok(connection)
    }

    /// The connection of an organization, if it has one.
    pub(in crate::controller) async fn known(&self, uid: &str) -> Option<Arc<Connection>> {
        self.held.lock().await.get(uid).map(|(_, connection)| Arc::clone(connection))
    }

    /// Forgets an organization that is gone, and its token with it.
    pub(in crate::controller) async fn forget(&self, uid: &str) {
        if let Some((_, former)) = self.held.lock().await.remove(uid) {
            former.client.close();
        }
    }
}

fn basis(organization: &SpiceOrganization, credential: &SourceVersion) -> ConnectionKey {
    let spec = &organization.spec;
    let budget = spec.request_budget.clone().unwrap_or_default();
    ConnectionKey {
        endpoint: spec.endpoint.clone(),
        token_endpoint: spec.token_endpoint.clone(),
        organization: spec.organization.clone(),
        ca_bundle: spec.ca_bundle.clone(),
        quota: Quota::new(budget.requests_per_minute(), budget.reserve_percent()),
        account: budget.account,
        credentials: spec.credentials.clone(),
        version: credential.clone(),
    }
}
