//! What the sandbox holds, in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::time;
use super::auth::Credential;

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// The organizations it knows.
    pub organizations: Vec<Organization>,
    /// Who may call it.
    pub credentials: Vec<Credential>,
    /// Ids of the regions, the default one first.
    pub regions: Vec<String>,
}

/// An organization.
#[derive(Clone, Debug, Serialize)]
pub struct Organization {
    /// Its id.
    pub id: i64,
    /// Its handle.
    pub name: String,
}

impl Config {
    /// One organization, three personal access tokens, two regions.
    pub fn new(address: SocketAddr) -> Self {
        let organization = "sandbox";
        let token = |name: &str, scopes: &[&str]| Credential::personal_access_token(name, scopes, organization);
        Self {
            address,
            organizations: vec![Organization { id: 1, name: organization.to_owned() }],
            credentials: vec![token("operator", &["*"]), token("portal", &["*"]), token("reader", &["apps:read"])],
            regions: vec!["us-west-2".to_owned(), "us-east-1".to_owned()],
        }
    }
}

/// All apps, deleted ones included.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) apps: BTreeMap<i64, App>,
}

/// An app. Its configuration is kept as the API shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct App {
    pub(super) id: i64,
    pub(super) organization: String,
    pub(super) name: String,
    pub(super) created_at: Timestamp,
    pub(super) deleted_at: Option<Timestamp>,
    pub(super) cname: Option<String>,
    pub(super) cluster_name: Option<String>,
    pub(super) region: Option<String>,
    pub(super) description: Option<String>,
    pub(super) visibility: String,
    pub(super) production_branch: Option<String>,
    pub(super) tags: Map<String, Value>,
    pub(super) config: Map<String, Value>,
    /// Counts the keys handed out: each creation and reactivation renews them.
    pub(super) key_generation: u32,
}

impl State {
    /// A live app of an organization.
    pub(super) fn app(&mut self, organization: &str, id: i64) -> Option<&mut App> {
        self.apps.get_mut(&id).filter(|app| app.deleted_at.is_none() && app.organization == organization)
    }

    /// An app by its name, whatever its case, deleted ones included.
    pub(super) fn named(&mut self, organization: &str, name: &str) -> Option<&mut App> {
        let same = |app: &&mut App| app.organization == organization && app.name.eq_ignore_ascii_case(name);
        self.apps.values_mut().find(same)
    }

    /// Live apps of an organization, by id.
    pub(super) fn live(&self, organization: &str) -> impl Iterator<Item = &App> {
        self.apps.values().filter(move |app| app.deleted_at.is_none() && app.organization == organization)
    }

    /// An id that was never used.
    pub(super) fn fresh_id(&self) -> i64 {
        self.apps.keys().next_back().map_or(FIRST_ID, |last| last + 1)
    }
}

/// Ids start here, so that none looks like a small counter of something else.
const FIRST_ID: i64 = 1001;

impl App {
    /// As a list shows it (contract section 7.2).
    pub(super) fn summary(&self) -> Map<String, Value> {
        let fields = [
            ("id", Value::from(self.id)),
            ("name", Value::from(self.name.as_str())),
            ("description", Value::from(self.description.clone())),
            ("visibility", Value::from(self.visibility.as_str())),
            ("created_at", Value::from(time(self.created_at))),
            ("region", Value::from(self.region.clone())),
            ("cname", Value::from(self.cname.clone())),
            ("cluster_id", Value::Null),
            ("cluster_name", Value::from(self.cluster_name.clone())),
            ("tags", Value::Object(self.tags.clone())),
            ("created_by", Value::from(1)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// As a read of it alone shows it (contract sections 7.2 and 7.3).
    pub(super) fn detail(&self) -> Map<String, Value> {
        let mut shown = self.summary();
        let place = self.cname.as_deref().or(self.cluster_name.as_deref()).unwrap_or("data");
        shown.insert("endpoint".to_owned(), Value::from(format!("https://{place}.spiceai.io")));
        shown.insert("production_branch".to_owned(), Value::from(self.production_branch.clone()));
        let key = format!("sandbox-fake-key-{}-{}", self.id, self.key_generation);
        shown.insert("api_key".to_owned(), Value::from(key));
        let mut config: Map<String, Value> =
            CONFIG_FIELDS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        config.insert("replicas".to_owned(), Value::from(1));
        config.extend(self.config.clone());
        config.insert("region".to_owned(), Value::from(self.region.clone()));
        let storage = config.get("storage_size_gb").cloned().unwrap_or_default();
        config.insert("storage_claim_size_gb".to_owned(), storage);
        shown.insert("config".to_owned(), Value::Object(config));
        shown
    }
}

/// Every field of `config` that is there even when it is not set.
const CONFIG_FIELDS: [&str; 11] = [
    "spicepod",
    "registry",
    "image",
    "image_tag",
    "update_channel",
    "version",
    "replicas",
    "resources",
    "executor",
    "node_group",
    "storage_size_gb",
];
