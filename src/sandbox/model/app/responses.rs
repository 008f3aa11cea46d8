//! Response bodies of apps. The OpenAPI document describes these types.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use super::record::{AppSettings, AppWorkload, StoredApp};
use crate::sandbox::wire::timestamps;

/// An app in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = App)]
pub(crate) struct AppSummaryBody {
    /// Positive and unique.
    id: u64,
    name: String,
    description: Option<String>,
    /// `public` or `private`.
    visibility: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// ID of the user who created the app. Null if an OAuth client created the app.
    created_by: Option<u64>,
    region: Option<String>,
    /// Name of the data plane.
    cname: Option<String>,
    cluster_id: Option<String>,
    /// The dedicated cluster.
    cluster_name: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

/// An app with its details.
#[derive(Serialize, ToSchema)]
#[schema(as = AppWithConfig)]
pub(crate) struct AppDetailBody {
    #[serde(flatten)]
    summary: AppSummaryBody,
    /// Handle of the organization.
    org: String,
    /// Base URL of the data plane, including the scheme. Null if the app has no placement.
    endpoint: Option<String>,
    production_branch: Option<String>,
    /// Problem with the initial configuration of an app that was created anyway.
    warning: Option<String>,
    forked_from: Option<ForkOriginBody>,
    /// Absent if the caller lacks the scope for the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<AppConfigBody>,
    /// Primary API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(deprecated)]
    api_key: Option<String>,
}

/// An app with its API key, for the Spice command line.
#[derive(Serialize, ToSchema)]
#[schema(as = AppWithKey)]
pub(crate) struct AppKeyBody {
    id: u64,
    name: String,
    /// Primary API key.
    api_key: String,
}

/// The app from which an app was forked.
#[derive(Serialize, ToSchema)]
#[schema(as = AppOrigin)]
struct ForkOriginBody {
    id: u64,
    name: String,
}

/// Configuration of an app.
#[derive(Serialize, ToSchema)]
#[schema(as = AppConfig)]
struct AppConfigBody {
    #[serde(flatten)]
    workload: AppWorkload,
    region: Option<String>,
    /// Same value as `storage_size_gb`.
    #[schema(value_type = Option<f64>, deprecated)]
    storage_claim_size_gb: Option<Number>,
}

impl StoredApp {
    /// Builds the entry of a list.
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

    /// Builds the details without the API key.
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

    /// Builds the details with the API key.
    pub(crate) fn to_detail_with_key(&self, organization: &str) -> AppDetailBody {
        AppDetailBody { api_key: Some(self.api_key(1)), ..self.to_detail(organization) }
    }

    /// Builds the app for the Spice command line.
    pub(crate) fn to_key_body(&self) -> AppKeyBody {
        AppKeyBody { id: self.id, name: self.name.clone(), api_key: self.api_key(1) }
    }

    /// Returns a fake API key: primary (1) or secondary (2).
    fn api_key(&self, number: u8) -> String {
        format!("sandbox-fake-key-{}-{number}-{}", self.id, self.key_generation)
    }
}

impl AppDetailBody {
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
