//! Connections to the Management API: one for each SpiceOrganization, opened at the first use and replaced when the
//! spec or the credential changes.

use std::collections::HashMap;
use std::sync::Arc;

use kube::{Client, ResourceExt};
use tokio::sync::Mutex;

use super::credentials;
use crate::api::{Credentials, SourceVersion, SpiceOrganization};
use crate::controller::cluster::sync::lock;
use crate::management::types::{ApiError, ErrorKind};
use crate::management::{self, AccountKey, Budgets, ClientConfig, Credential, Quota, ReadCache};
use crate::planner::organization_problem;

/// A connection, and the reads that its users share.
pub(in crate::controller) struct Connection {
    pub(in crate::controller) client: Arc<management::Client>,
    /// Credential of the client.
    credential: Credential,
    pub(in crate::controller) reads: ReadCache,
}

/// The credential of an organization as last read, in memory only.
struct CredentialContent {
    credential: Credential,
    /// Versions of the Secret with this credential, the first one and the newest ones.
    versions: Vec<SourceVersion>,
}

/// Maximum number of versions of one credential. The status follows the newest version after one reconcile.
const MAX_VERSIONS: usize = 8;

/// Everything that a connection depends on. A changed key replaces the connection.
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

/// Connections of all organizations.
pub(in crate::controller) struct Connections {
    kubernetes: Client,
    settings: management::ManagementSettings,
    metrics: management::ApiMetrics,
    budgets: Budgets,
    /// Connections by the UID of the organization. Locked while a Secret is read, so that concurrent callers share one
    /// read.
    connections: Mutex<HashMap<String, (ConnectionKey, Arc<Connection>)>>,
    /// Credentials by the UID of the organization.
    contents: std::sync::Mutex<HashMap<String, CredentialContent>>,
}

impl Connections {
    pub(in crate::controller) fn new(
        kubernetes: Client,
        settings: management::ManagementSettings,
        metrics: management::ApiMetrics,
    ) -> Self {
        let budgets = Budgets::new(settings.max_rate_limit_pause, metrics.clone());
        Self { kubernetes, settings, metrics, budgets, connections: Mutex::default(), contents: Default::default() }
    }

    /// The connection of an organization with this version of the credential Secret.
    ///
    /// # Errors
    /// `Invalid` if the spec allows no connection, and the errors of [`credentials::read`].
    pub(in crate::controller) async fn of(
        &self,
        organization: &SpiceOrganization,
        credential: &SourceVersion,
    ) -> Result<Arc<Connection>, ApiError> {
        // Every call uses a connection from here, so no credential is sent to a host that the spec does not allow.
        if let Some(problem) = organization_problem(&organization.spec) {
            return Err(ApiError::local(ErrorKind::Invalid, problem));
        }
        let mut connections = self.connections.lock().await;
        let mut key = connection_key(organization, credential);
        let uid = organization.uid().unwrap_or_default();
        if let Some((_, connection)) = connections.get(&uid).filter(|(known, _)| *known == key) {
            return Ok(Arc::clone(connection));
        }
        // Boxed: rarely runs, and every reconcile would need memory for it.
        let (read, version) = Box::pin(credentials::read(&self.kubernetes, organization)).await?;
        // Most changes of a Secret change only its metadata, for example a finalizer or an annotation.
        self.record_content(&uid, &read, &version);
        key.version = version;
        if let Some((known, connection)) = connections.get_mut(&uid)
            && connection.credential.is_same(&read)
            && (ConnectionKey { version: key.version.clone(), ..known.clone() }) == key
        {
            *known = key;
            return Ok(Arc::clone(connection));
        }
        // The organization of a credential is not known before the first response. Therefore all accounts of an
        // endpoint share one organization budget, which is too low only above 8,000 requests per minute.
        let account = AccountKey::new(&key.endpoint, key.account.as_deref(), &read);
        let budget = Arc::new(self.budgets.account(account, &key.endpoint, key.quota));
        let config = ClientConfig {
            endpoint: key.endpoint.clone(),
            organization: key.organization.clone(),
            ca_bundle: key.ca_bundle.clone(),
            credential: read.clone(),
        };
        let client = Arc::new(management::Client::new(config, budget, &self.settings, self.metrics.clone())?);
        let reads = ReadCache::new(Arc::clone(&client), self.settings.min_list_interval, self.settings.read_cache_ttl);
        let connection = Arc::new(Connection { reads, client, credential: read });
        if let Some((_, replaced)) = connections.insert(uid, (key, Arc::clone(&connection))) {
            replaced.client.close();
        }
        Ok(connection)
    }

    /// The open connection of an organization.
    pub(in crate::controller) async fn known(&self, uid: &str) -> Option<Arc<Connection>> {
        self.connections.lock().await.get(uid).map(|(_, connection)| Arc::clone(connection))
    }

    /// Records the credential of an organization, which this version of its Secret has.
    fn record_content(&self, uid: &str, credential: &Credential, version: &SourceVersion) {
        let mut contents = lock(&self.contents);
        let new = || CredentialContent { credential: credential.clone(), versions: Vec::new() };
        let content = contents.entry(uid.to_owned()).or_insert_with(new);
        if !content.credential.is_same(credential) {
            *content = new();
        }
        if !content.versions.contains(version) {
            content.versions.push(version.clone());
        }
        while content.versions.len() > MAX_VERSIONS {
            content.versions.remove(1);
        }
    }

    /// Returns true if the credential of an organization, as last read, is the one of this version of its Secret.
    pub(in crate::controller) fn is_in_use(&self, uid: &str, version: &SourceVersion) -> bool {
        lock(&self.contents).get(uid).is_some_and(|content| content.versions.contains(version))
    }

    /// The first version of the Secret with the same credential; the same for all versions of one credential.
    pub(in crate::controller) fn first_version(&self, uid: &str, version: &SourceVersion) -> SourceVersion {
        let contents = lock(&self.contents);
        let content = contents.get(uid).filter(|content| content.versions.contains(version));
        content.and_then(|content| content.versions.first()).unwrap_or(version).clone()
    }

    /// Closes the connection of a deleted organization, and drops its token.
    pub(in crate::controller) async fn forget(&self, uid: &str) {
        lock(&self.contents).remove(uid);
        if let Some((_, connection)) = self.connections.lock().await.remove(uid) {
            connection.client.close();
        }
    }
}

fn connection_key(organization: &SpiceOrganization, credential: &SourceVersion) -> ConnectionKey {
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
