//! Stored apps.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::sandbox::model::placement::Placement;
use crate::sandbox::model::resources::{ComputeResources, ExecutorSettings};
use crate::sandbox::model::secret::StoredSecrets;
use crate::sandbox::model::tags::Tags;

/// Record of an app, live or deleted.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct StoredApp {
    /// Positive and unique.
    pub(crate) id: u64,
    pub(crate) organization: u64,
    /// Spelling of the last write. Names are compared case-insensitively.
    pub(crate) name: String,
    /// Time of the first creation. A reactivation keeps this time.
    pub(crate) created_at: Timestamp,
    /// User who first created the app.
    pub(crate) created_by: Option<u64>,
    /// Time of deletion. A deletion is soft: the record stays.
    pub(crate) deleted_at: Option<Timestamp>,
    /// Number of times that the API keys were renewed. The keys are derived from this number.
    pub(crate) key_generation: u32,
    /// True if a repository provides the spicepod. Real users connect a repository in the portal; the sandbox offers
    /// `/sandbox/` and the seed file for this.
    #[serde(default)]
    pub(crate) repository_connected: bool,
    #[serde(default)]
    pub(crate) secrets: StoredSecrets,
    /// Settings that a request body can change.
    pub(crate) settings: AppSettings,
}

/// Settings of an app that a request body can change.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct AppSettings {
    pub(super) description: Option<String>,
    pub(super) visibility: String,
    pub(super) production_branch: Option<String>,
    pub(super) tags: Option<Tags>,
    pub(super) placement: Placement,
    #[serde(flatten)]
    pub(super) workload: AppWorkload,
}

/// Configuration of the workload. Stored and returned in the same form.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[schema(as = AppWorkload)]
pub(super) struct AppWorkload {
    /// Always an object, also if the client sent YAML.
    #[schema(value_type = Option<Object>)]
    pub(super) spicepod: Option<Map<String, Value>>,
    pub(super) registry: Option<String>,
    pub(super) image: Option<String>,
    pub(super) image_tag: Option<String>,
    /// Release channel. Clients must accept unknown values.
    pub(super) update_channel: Option<String>,
    /// Version range such as `2.x`.
    pub(super) version: Option<String>,
    pub(super) replicas: u64,
    pub(super) resources: Option<ComputeResources>,
    pub(super) executor: Option<ExecutorSettings>,
    pub(super) node_group: Option<String>,
    #[schema(value_type = Option<f64>)]
    pub(super) storage_size_gb: Option<Number>,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            description: None,
            visibility: "private".into(),
            production_branch: None,
            tags: None,
            placement: Placement::default(),
            workload: AppWorkload { replicas: 1, ..AppWorkload::default() },
        }
    }
}
