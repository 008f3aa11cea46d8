//! Discovery of an organization's offers: regions, images and limits. An offer that an older API does not have, or that
//! the credential cannot read, leaves the organization ready; `status.unavailablePaths` names its path.

use super::binding::{ORGANIZATIONS, OrganizationBinding};
use super::input::{OrganizationInput, OrganizationObserved};
use crate::api::{LimitsStatus, RegionStatus, SourceVersion, SpiceOrganizationStatus, StatusCore};
use crate::management::types::{ApiError, ErrorKind, Images, Limits, Regions};
use crate::planner::observation::{Observation, Observed};

/// Channels with a recommended image in status.
pub(super) const CHANNELS: [&str; 2] = [STABLE, "enterprise"];
const STABLE: &str = "stable";
/// Maximum number of regions in status.
const MAX_REGIONS: usize = 64;
/// Longest tag, region or name in status, in bytes. Longer texts are not valid, and status must stay small.
const MAX_TEXT_LENGTH: usize = 253;

/// Meaning of a failed read of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    /// This version of the API, or this credential, does not have the offer.
    Unsupported,
    /// Like `Unsupported`, but a proxy may have sent the response.
    Doubtful,
    /// The error does not show whether the offer exists.
    Unknown,
}

fn support(error: &ApiError) -> Support {
    match error.kind {
        ErrorKind::NotFound { json: true } | ErrorKind::Forbidden => Support::Unsupported,
        ErrorKind::NotFound { json: false } | ErrorKind::Invalid | ErrorKind::PaymentRequired | ErrorKind::Rejected => {
            Support::Doubtful
        }
        ErrorKind::CredentialMissing
        | ErrorKind::Unauthorized
        | ErrorKind::Conflict
        | ErrorKind::RateLimited { .. }
        | ErrorKind::Server
        | ErrorKind::Connect
        | ErrorKind::OutcomeUnknown
        | ErrorKind::InvalidResponse
        | ErrorKind::IncompleteList { .. }
        | ErrorKind::Cancelled => Support::Unknown,
    }
}

/// Returns true if an error shows that this version of the API, or this credential, does not have an offer.
pub(super) fn is_unsupported(error: &ApiError) -> bool {
    support(error) != Support::Unknown
}

/// The status with the results of a successful check.
pub(super) fn discovered_status(
    input: &OrganizationInput<'_>,
    binding: OrganizationBinding,
    credential: &SourceVersion,
) -> SpiceOrganizationStatus {
    let OrganizationObserved { organizations, regions, images, limits, .. } = input.observed;
    let mut status = input.status.clone();
    // Results for another organization do not apply to this one.
    let id = binding.organization.as_ref().map(|organization| &organization.id);
    if status.organization.as_ref().map(|organization| &organization.id) != id {
        let core = StatusCore { observed_sources: Vec::new(), ..status.core };
        status = SpiceOrganizationStatus { core, ..SpiceOrganizationStatus::default() };
    }
    (status.endpoint, status.organization) = (Some(binding.endpoint), binding.organization);
    status.core.observed_sources = vec![credential.clone()];
    status.unavailable_paths = Vec::new();
    if !matches!(organizations, Some(Observed::Present(_))) {
        status.unavailable_paths.push(ORGANIZATIONS.to_owned());
    }
    record_regions(&mut status, regions.as_ref());
    for channel in CHANNELS {
        record_image(&mut status, channel, images.get(channel));
    }
    record_limits(&mut status, limits.as_ref());
    status
}

/// Result of a read of an offer.
enum Discovery<'a, T> {
    /// The API has the offer.
    Available(&'a T),
    /// The API does not have the offer.
    Unsupported,
    /// The earlier result remains valid.
    Unknown,
}

/// Evaluates the read of an offer. If status records the offer (`is_recorded`), a response of a proxy does not remove
/// the record.
fn discover<T>(observed: Option<&Observed<Observation<T>>>, is_recorded: bool) -> Discovery<'_, T> {
    match observed {
        Some(Observed::Present(read)) => Discovery::Available(&read.value),
        Some(Observed::Absent) => Discovery::Unsupported,
        Some(Observed::Unknown(error)) => match support(error) {
            Support::Unsupported => Discovery::Unsupported,
            Support::Doubtful if !is_recorded => Discovery::Unsupported,
            Support::Doubtful | Support::Unknown => Discovery::Unknown,
        },
        None => Discovery::Unknown,
    }
}

fn record_regions(status: &mut SpiceOrganizationStatus, observed: Option<&Observed<Observation<Regions>>>) {
    let is_recorded = !status.regions.is_empty() || status.default_region.is_some();
    let regions = match discover(observed, is_recorded) {
        Discovery::Available(regions) => regions,
        Discovery::Unsupported => {
            (status.regions, status.default_region) = (Vec::new(), None);
            status.unavailable_paths.push("/v1/regions".to_owned());
            return;
        }
        Discovery::Unknown => return,
    };
    let usable = regions.regions.iter().filter(|it| it.disabled != Some(true) && it.region.len() <= MAX_TEXT_LENGTH);
    let flagged = usable.clone().find(|region| region.is_default == Some(true)).map(|region| region.region.clone());
    status.default_region = regions.default.clone().filter(|region| region.len() <= MAX_TEXT_LENGTH).or(flagged);
    let shown = usable.take(MAX_REGIONS).map(|region| RegionStatus {
        region: region.region.clone(),
        name: region.name.clone().filter(|name| name.len() <= MAX_TEXT_LENGTH),
        provider: region.provider.clone().filter(|name| name.len() <= MAX_TEXT_LENGTH),
    });
    status.regions = shown.collect();
}

fn record_image(
    status: &mut SpiceOrganizationStatus,
    channel: &'static str,
    observed: Option<&Observed<Observation<Images>>>,
) {
    match discover(observed, status.images.contains_key(channel)) {
        Discovery::Available(Images { default: Some(tag) }) if tag.len() <= MAX_TEXT_LENGTH => {
            status.images.insert(channel.to_owned(), tag.clone());
        }
        Discovery::Available(_) => drop(status.images.remove(channel)),
        Discovery::Unsupported => {
            status.images.remove(channel);
            // Enterprise images require a subscription, so only the stable channel shows whether the API has the path.
            if channel == STABLE {
                status.unavailable_paths.push("/v1/container-images".to_owned());
            }
        }
        Discovery::Unknown => {}
    }
}

fn record_limits(status: &mut SpiceOrganizationStatus, observed: Option<&Observed<Observation<Limits>>>) {
    match discover(observed, status.limits.is_some()) {
        Discovery::Available(limits) => {
            status.limits = Some(LimitsStatus {
                apps: limits.number("apps"),
                replicas: limits.number("replicas"),
                spicepods: limits.number("spicepods"),
                users: limits.number("users"),
                requests_per_second: limits.number("api_rps"),
                cpu: limits.resource("max_cpu"),
                memory_gib: limits.resource("max_memory_gi"),
            });
        }
        Discovery::Unsupported => {
            status.limits = None;
            status.unavailable_paths.push("/v1/limits".to_owned());
        }
        Discovery::Unknown => {}
    }
}
