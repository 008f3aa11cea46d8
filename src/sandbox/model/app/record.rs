//! An app as it is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::sandbox::model::placement::Placement;
use crate::sandbox::model::resources::{ComputeResources, ExecutorSettings};
use crate::sandbox::model::secret::StoredSecrets;
use crate::sandbox::model::tags::Tags;

/// An app as it is kept, deleted or not.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct StoredApp {
    /// Positive, never used twice.
    pub(crate) id: u64,
    /// The organization it belongs to.
    pub(crate) organization: u64,
    /// As it was written last; compared without case.
    pub(crate) name: String,
    /// When it was first created; reactivating it does not move this.
    pub(crate) created_at: Timestamp,
    /// The user who first created it.
    pub(crate) created_by: Option<u64>,
    /// When it was deleted. Deletion is soft: everything stays.
    pub(crate) deleted_at: Option<Timestamp>,
    /// How often its API keys were renewed; the keys follow from it.
    pub(crate) key_generation: u32,
    /// Whether its spicepod comes from a repository. Only the portal connects one; here `/sandbox/` and the seed do.
    #[serde(default)]
    pub(crate) repository_connected: bool,
    /// What it may refer to without showing it.
    #[serde(default)]
    pub(crate) secrets: StoredSecrets,
    /// What a body can change.
    pub(crate) settings: AppSettings,
}

/// The part of an app that a body can change.
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

/// What an app runs. It is kept as it is shown.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[schema(as = AppWorkload)]
pub(super) struct AppWorkload {
    /// An object, also where it was written as YAML.
    #[schema(value_type = Option<Object>)]
    pub(super) spicepod: Option<Map<String, Value>>,
    pub(super) registry: Option<String>,
    pub(super) image: Option<String>,
    pub(super) image_tag: Option<String>,
    /// An open set of words.
    pub(super) update_channel: Option<String>,
    /// A range of versions such as `2.x`.
    pub(super) version: Option<String>,
    pub(super) replicas: u64,
    pub(super) resources: Option<ComputeResources>,
    pub(super) executor: Option<ExecutorSettings>,
    pub(super) node_group: Option<String>,
    #[schema(value_type = Option<f64>)]
    pub(super) storage_size_gb: Option<Number>,
}

impl Default for AppWorkload {
    fn default() -> Self {
        Self {
            spicepod: None,
            registry: None,
            image: None,
            image_tag: None,
            update_channel: None,
            version: None,
            replicas: 1,
            resources: None,
            executor: None,
            node_group: None,
            storage_size_gb: None,
        }
    }
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            description: None,
            visibility: "private".into(),
            production_branch: None,
            tags: None,
            placement: Placement::default(),
            workload: AppWorkload::default(),
        }
    }
}
