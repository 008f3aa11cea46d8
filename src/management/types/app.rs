//! Apps, also called projects (contract section 7).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::Listed;

/// An app as a list or a detail shows it. Lists show less; a field that an API version lacks is simply absent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct App {
    /// Its id: an integer, unique in the service.
    pub id: i64,
    /// Its name: unique in the organization, whatever the case.
    pub name: String,
    #[serde(default)]
    tags: Option<Map<String, Value>>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(flatten, deserialize_with = "without_keys")]
    rest: Map<String, Value>,
}

/// All but the app's API keys: nothing here needs them, so nothing here can tell them.
fn without_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let mut fields = Map::deserialize(deserializer)?;
    fields.retain(|name, _| !name.starts_with("api_key"));
    Ok(fields)
}

impl App {
    /// Its tags; empty where there are none. A value that is no string is none that we could have written.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let tags = self.tags.iter().flatten();
        tags.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// One tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.as_ref()?.get(key)?.as_str()
    }

    /// The value of a field that can be written, wherever this version of the API shows it. Null counts as absent.
    pub fn field(&self, field: AppField) -> Option<&Value> {
        let name = field.wire_name();
        let config = self.config.as_ref().and_then(|config| config.get(name));
        // A version may show a field in both places and fill only one.
        [self.rest.get(name), config].into_iter().flatten().find(|value| !value.is_null())
    }

    /// When it was first created; reactivating it does not move this.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.rest.get("created_at")?.as_str()?.parse().ok()
    }

    /// Base URL of the data plane, if the answer shows it.
    pub fn endpoint(&self) -> Option<&str> {
        self.rest.get("endpoint")?.as_str()
    }
}

/// A field that a PUT can carry; in JSON it has the API's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the API's field of that name, documented in the contract")]
pub enum AppField {
    Description,
    Visibility,
    ProductionBranch,
    Tags,
    Spicepod,
    Registry,
    Image,
    ImageTag,
    UpdateChannel,
    Version,
    Replicas,
    Resources,
    Executor,
    NodeGroup,
    Region,
    ClusterName,
    StorageSizeGb,
}

impl AppField {
    /// The API's name of the field.
    pub fn wire_name(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Visibility => "visibility",
            Self::ProductionBranch => "production_branch",
            Self::Tags => "tags",
            Self::Spicepod => "spicepod",
            Self::Registry => "registry",
            Self::Image => "image",
            Self::ImageTag => "image_tag",
            Self::UpdateChannel => "update_channel",
            Self::Version => "version",
            Self::Replicas => "replicas",
            Self::Resources => "resources",
            Self::Executor => "executor",
            Self::NodeGroup => "node_group",
            Self::Region => "region",
            Self::ClusterName => "cluster_name",
            Self::StorageSizeGb => "storage_size_gb",
        }
    }
}

/// Body of `POST /v1/apps`: the oldest form that every version of the API takes. Configuration follows by PUT.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CreateApp {
    /// The name to create.
    pub name: String,
    /// `public` or `private`; always sent, because a reactivated app would keep its old one.
    pub visibility: String,
    /// Region to create it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Older form of a placement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cname: Option<String>,
    /// Deployment target of a dedicated cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All tags, ours and the user's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Body of `PUT /v1/apps/{appId}`, which merges: only what is in it changes. A null clears.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct UpdateApp(pub BTreeMap<AppField, Value>);

/// Either envelope of an app list: `/v1/apps` says `apps`, `/v1/projects` says `projects`.
#[derive(Deserialize)]
pub(crate) struct AppEnvelope {
    #[serde(alias = "projects")]
    apps: Vec<App>,
}

impl Listed for AppEnvelope {
    type Item = App;
    type Key = i64;

    fn items(self) -> Vec<App> {
        self.apps
    }

    fn key(item: &App) -> i64 {
        item.id
    }
}
