//! Configuration of a client.

use std::time::Duration;

use crate::management::credential::Credential;

/// Settings that all clients of the process share.
#[derive(Clone, Debug)]
pub struct ManagementSettings {
    /// Timeout of a connect.
    pub connect_timeout: Duration,
    /// Timeout of a whole request, from the first byte sent to the last byte received.
    pub request_timeout: Duration,
    /// Time limit for retries of a failed read, counted from the first attempt.
    pub read_retry_timeout: Duration,
    /// Upper limit for a pause that a response requests.
    pub max_rate_limit_pause: Duration,
    /// Minimum interval between two reads of the app list.
    pub min_list_interval: Duration,
    /// Time for which reads of an app stay in the cache.
    pub read_cache_ttl: Duration,
}

/// Endpoint and credential of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Base URL of the API, without `/v1`.
    pub endpoint: String,
    /// Handle of the organization. Without a handle, the API uses the organization of the credential.
    pub organization: Option<String>,
    /// Additional trusted certificates in PEM format.
    pub ca_bundle: Option<String>,
    /// Credential for the API.
    pub credential: Credential,
}
