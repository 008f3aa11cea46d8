//! Apps, also called projects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::list::ListPage;
use crate::json::CompactJson;

/// An app in a list or a detail response. Lists contain fewer fields, and older versions of the API omit some. Other
/// fields are dropped, such as the app's API keys, which the operator does not use and therefore must not hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "ResponseApp")]
pub struct App {
    /// ID, unique in the service.
    pub id: i64,
    /// Name, unique in the organization; the comparison ignores case.
    pub name: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<AppField, CompactJson>,
    created_at: Option<Timestamp>,
    endpoint: Option<String>,
}

/// An app as the API returns it.
#[derive(Deserialize)]
struct ResponseApp {
    id: i64,
    name: String,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl From<ResponseApp> for App {
    fn from(response: ResponseApp) -> Self {
        let ResponseApp { id, name, mut rest, config } = response;
        let mut config = config.unwrap_or_default();
        let tags = match rest.remove(AppField::Tags.wire_name()) {
            Some(Value::Object(tags)) => tags,
            _ => Map::new(),
        };
        let fields = AppField::ALL.into_iter().filter(|field| *field != AppField::Tags).filter_map(|field| {
            let name = field.wire_name();
            // Some versions of the API return a field in both places, but set only one of the two.
            let value = [rest.remove(name), config.remove(name)].into_iter().flatten().find(|value| !value.is_null());
            Some((field, value?.into()))
        });
        let fields = fields.collect();
        let text = |name: &str| rest.get(name).and_then(Value::as_str);
        Self {
            id,
            name,
            // The operator writes only tags with a string value.
            tags: tags.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect(),
            fields,
            created_at: text("created_at").and_then(|time| time.parse().ok()),
            endpoint: text("endpoint").map(str::to_owned),
        }
    }
}

impl App {
    /// Tags with a string value.
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// Value of one tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }

    /// Value of a writable field other than the tags, at the top level or in `config`. Null counts as absent.
    pub fn field(&self, field: AppField) -> Option<&CompactJson> {
        self.fields.get(&field)
    }

    /// Time of the first creation; a reactivation does not change it.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// Base URL of the data plane, if present.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }
}

/// Response to a create.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedApp {
    /// The app.
    pub app: App,
    /// Earliest time at which the API can have processed the create, by the clock of the API: the `Date` header less the
    /// duration of the request. None without the header.
    pub server_started_at: Option<Timestamp>,
}

/// A field that a PUT can set. The JSON name is the API's field name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each variant is the API field of the same name")]
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
    /// All fields.
    const ALL: [Self; 17] = [
        Self::Description,
        Self::Visibility,
        Self::ProductionBranch,
        Self::Tags,
        Self::Spicepod,
        Self::Registry,
        Self::Image,
        Self::ImageTag,
        Self::UpdateChannel,
        Self::Version,
        Self::Replicas,
        Self::Resources,
        Self::Executor,
        Self::NodeGroup,
        Self::Region,
        Self::ClusterName,
        Self::StorageSizeGb,
    ];

    /// Field name in the API.
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

/// Body of `POST /v1/apps`, in the oldest form, which every version of the API accepts. A PUT sets the configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CreateApp {
    /// Name of the new app.
    pub name: String,
    /// `public` or `private`. Always sent, because a reactivated app keeps its previous value otherwise.
    pub visibility: String,
    /// Region of the new app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Placement in the form of older API versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cname: Option<String>,
    /// Dedicated cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All tags: the operator's and the user's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Body of `PUT /v1/apps/{appId}`, a merge: the API changes only the fields in the body, and clears a field for null.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct UpdateApp(pub BTreeMap<AppField, CompactJson>);

/// Envelope of an app list: the key is `apps` in `/v1/apps` and `projects` in `/v1/projects`.
#[derive(Deserialize)]
pub(crate) struct AppEnvelope {
    #[serde(alias = "projects")]
    apps: Vec<App>,
}

impl ListPage for AppEnvelope {
    type Item = App;
    type Key = i64;

    fn items(self) -> Vec<App> {
        self.apps
    }

    fn key(item: &App) -> i64 {
        item.id
    }
}
