//! What differs between one Spice.ai Cloud and another: the age of the API, how strictly it keeps its own documents, and
//! what a plan includes. Each is a setting, because no source says which of them a client will meet.

use axum::http::StatusCode;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sandbox::wire::error::ApiError;

/// How the API behaves where its sources disagree or say nothing. The default is today's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Which API it is.
    pub profile: Profile,
    /// No page has more than 20 items, whatever was asked for, and a `limit` out of range is not refused.
    pub clamp_pages: bool,
    /// Every page is the first one.
    pub ignore_offset: bool,
    /// A spicepod is kept without what is empty, and with its version and kind.
    pub normalise_spicepod: bool,
    /// An app on the stable channel is held only to image tags that are listed.
    pub published_tags: bool,
    /// What becomes of the tags that a body carries.
    pub tags: TagRule,
    /// What becomes of the fields of a create that brings back a deleted app.
    pub reactivation: Reactivation,
    /// The configuration of an app asks for `config:read` and `config:write` beside the scopes of the app.
    pub config_scopes: bool,
    /// The time of a secret's last change comes with microseconds where it is set, and without a fraction of the second
    /// where it is read.
    pub mixed_precision: bool,
}

/// An age of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// As the first published page has it: no projects, organizations, limits, clusters or metrics; every list has pages; an
    /// app needs a place; refusals have no code.
    Seed,
    /// As it is now.
    #[default]
    Current,
}

/// What becomes of tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TagRule {
    /// They are kept.
    #[default]
    Keep,
    /// They are left out without a word.
    Drop,
    /// They are refused with 403.
    Reject,
}

/// What a create does to the deleted app that it brings back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reactivation {
    /// Its fields win over what the app had.
    #[default]
    Apply,
    /// The app is as it was, and the fields are lost.
    Keep,
}

/// What an organization paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// How many live apps it may have; none is as many as it likes.
    pub max_apps: Option<u64>,
    /// How many replicas an app may have.
    pub max_replicas: u64,
    /// What each replica and each executor of an app may have; none is as much as it likes.
    pub resources: Option<ResourceLimits>,
    /// Whether an app may be held to an image tag.
    pub image_tags: bool,
    /// Whether the images of the enterprise channel are for it.
    pub enterprise_images: bool,
}

/// The most that an app may ask for in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceLimits {
    /// CPUs.
    pub max_cpu: u64,
    /// Gibibytes.
    pub max_memory_gi: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { max_apps: None, max_replicas: 10, resources: None, image_tags: true, enterprise_images: true }
    }
}

/// A refusal of what the plan does not include.
pub(crate) fn above_plan(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message).with_code("plan_limit")
}
