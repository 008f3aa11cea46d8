//! Configurable behaviour of the API: its generation, its handling of undocumented cases, and the limits of a plan.
//!
//! Each behaviour is a setting, because the public sources disagree on the behaviour of the service.

use axum::http::StatusCode;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sandbox::wire::error::ErrorResponse;

/// Behaviour of the API where the public sources disagree or are silent. The default follows the current documentation.
///
/// The fields are also flags of the command line, and their comments are its help text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Behaviour")]
pub struct ApiSwitches {
    /// Generation of the API to emulate
    #[arg(long, value_name = "PROFILE", default_value = "current")]
    pub profile: Profile,

    /// Limit every page to 20 items, and accept any value of the `limit` parameter
    #[arg(long)]
    pub clamp_pages: bool,

    /// Ignore the `offset` parameter, so that every page is the first page
    #[arg(long)]
    pub ignore_offset: bool,

    /// Store a spicepod without its empty fields, and with default values for `version` and `kind`
    #[arg(long)]
    pub normalise_spicepod: bool,

    /// Reject an image tag that is not published for the stable channel, if the app uses that channel
    #[arg(long)]
    pub reject_unpublished_tags: bool,

    /// Handling of the tags in a request
    #[arg(long, value_name = "RULE", default_value = "keep")]
    pub tags: TagRule,

    /// Handling of the fields in a create request that reactivates a deleted app
    #[arg(long, value_name = "RULE", default_value = "apply")]
    pub reactivation: Reactivation,

    /// Require the scopes `config:read` and `config:write` for the configuration of an app
    #[arg(long)]
    pub config_scopes: bool,

    /// Return the `updated_at` time of a secret with microseconds after a write, and without fractions on a read
    #[arg(long)]
    pub mixed_timestamp_precision: bool,
}

/// A generation of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// The first published API: no projects, organizations, limits, clusters or metrics. Every list is paginated, an
    /// app requires a `cname`, `region` or `cluster_name`, and an error has no `code`
    Legacy,
    /// The current API
    #[default]
    Current,
}

/// Handling of tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TagRule {
    /// Tags are stored
    #[default]
    Keep,
    /// Tags are silently dropped
    Drop,
    /// A request with tags gets 403
    Reject,
}

/// Handling of the fields in a create request that reactivates a deleted app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reactivation {
    /// The fields of the request replace the fields of the deleted app
    #[default]
    Apply,
    /// The app keeps its fields, and the fields of the request are lost
    Keep,
}

/// Limits of the plan of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriptionPlan {
    /// Maximum number of live apps. `None`: unlimited.
    pub max_apps: Option<u64>,
    /// Maximum number of replicas per app.
    pub max_replicas: u64,
    /// Maximum resources per replica and per executor. `None`: unlimited.
    pub resources: Option<ResourceLimits>,
    /// True if an app can have an image tag.
    pub image_tags: bool,
    /// True if the organization can list the images of the enterprise channel.
    pub enterprise_images: bool,
}

/// Maximum resources of one replica or executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceLimits {
    /// CPUs.
    pub max_cpu: u64,
    /// GiB.
    pub max_memory_gi: u64,
}

impl Default for SubscriptionPlan {
    fn default() -> Self {
        Self { max_apps: None, max_replicas: 10, resources: None, image_tags: true, enterprise_images: true }
    }
}

/// 403: the plan does not include a requested feature or amount.
pub(crate) fn plan_limit_error(message: impl Into<String>) -> ErrorResponse {
    ErrorResponse::new(StatusCode::FORBIDDEN, message).with_code("plan_limit")
}
