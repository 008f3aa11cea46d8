//! How an app is shown: these types are the bodies of the answers, and the document of the API describes them
//! (contract, sections 7.2 and 7.3).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use super::record::{AppSettings, AppWorkload, StoredApp};
use crate::sandbox::wire::timestamps;

/// An app as it appears in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = App)]
pub(crate) struct AppSummaryBody {
    /// Positive, never used twice.
    id: u64,
    name: String,
    description: Option<String>,
    /// `public` or `private`.
    visibility: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// The number of the user who created it; null for a machine.
    created_by: Option<u64>,
    region: Option<String>,
    /// The name of the data plane.
    cname: Option<String>,
    cluster_id: Option<String>,
    /// The dedicated cluster.
    cluster_name: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

/// An app as it appears on its own.
#[derive(Serialize, ToSchema)]
#[schema(as = AppWithConfig)]
pub(crate) struct AppDetailBody {
    #[serde(flatten)]
    summary: AppSummaryBody,
    /// The handle of the organization.
    org: String,
    /// The base URL of the data plane, with its scheme; null while the app is attached to nothing.
    endpoint: Option<String>,
    production_branch: Option<String>,
    /// What went wrong with the configuration of an app that was created all the same.
    warning: Option<String>,
    forked_from: Option<ForkOriginBody>,
    /// Left out for who may not read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<AppConfigBody>,
    /// The primary API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(deprecated)]
    api_key: Option<String>,
}

/// An app as a command line is told of it.
#[derive(Serialize, ToSchema)]
#[schema(as = AppWithKey)]
pub(crate) struct AppKeyBody {
    id: u64,
    name: String,
    /// The primary API key.
    api_key: String,
}

/// What an app was forked from.
#[derive(Serialize, ToSchema)]
#[schema(as = AppOrigin)]
struct ForkOriginBody {
    id: u64,
    name: String,
}

/// What an app runs, and where.
#[derive(Serialize, ToSchema)]
#[schema(as = AppConfig)]
struct AppConfigBody {
    #[serde(flatten)]
    workload: AppWorkload,
    region: Option<String>,
    /// The same as `storage_size_gb`.
    #[schema(value_type = Option<f64>, deprecated)]
    storage_claim_size_gb: Option<Number>,
}

impl StoredApp {
    /// How the app appears in a list.
    pub(crate) fn to_summary(&self) -> AppSummaryBody {
        let AppSettings { description, visibility, placement, tags, .. } = &self.settings;
        AppSummaryBody {
            id: self.id,
            name: self.name.clone(),
            description: description.clone(),
            visibility: visibility.clone(),
            created_at: timestamps::format_millis(self.created_at),
            created_by: self.created_by,
            region: placement.region.clone(),
            cname: placement.cname.clone(),
            cluster_id: None,
            cluster_name: placement.cluster_name.clone(),
            tags: tags.clone(),
        }
    }

    /// How the app appears on its own, but for its API key.
    pub(crate) fn to_detail(&self, organization: &str) -> AppDetailBody {
        AppDetailBody {
            summary: self.to_summary(),
            org: organization.to_owned(),
            endpoint: self.settings.placement.endpoint(),
            production_branch: self.settings.production_branch.clone(),
            warning: None,
            forked_from: None,
            config: Some(self.settings.to_config_body()),
            api_key: None,
        }
    }

    /// How the app appears on its own to someone who may read its API key.
    pub(crate) fn to_detail_with_key(&self, organization: &str) -> AppDetailBody {
        AppDetailBody { api_key: Some(self.api_key(1)), ..self.to_detail(organization) }
    }

    /// How the app appears to a command line.
    pub(crate) fn to_key_body(&self) -> AppKeyBody {
        AppKeyBody { id: self.id, name: self.name.clone(), api_key: self.api_key(1) }
    }

    /// An API key that says it is fake: of the primary (1) or the secondary (2).
    fn api_key(&self, number: u8) -> String {
        format!("sandbox-fake-key-{}-{number}-{}", self.id, self.key_generation)
    }
}

impl AppDetailBody {
    /// The same to someone who may not read the configuration.
    pub(crate) fn without_config(self) -> Self {
        Self { config: None, ..self }
    }
}

impl AppSettings {
    fn to_config_body(&self) -> AppConfigBody {
        let Self { placement, workload, .. } = self;
        AppConfigBody {
            workload: workload.clone(),
            region: placement.region.clone(),
            storage_claim_size_gb: workload.storage_size_gb.clone(),
        }
    }
}
