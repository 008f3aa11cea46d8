//! What the organization offers, as status shows it. None of it makes an organization unready: what an older API lacks, or
//! the credential may not read, is left out and named in `status.unavailable_paths`.

use super::binding::{ORGANIZATIONS, OrganizationBinding};
use super::{Observation, Observed, OrganizationObserved, PlanInput};
use crate::api::{LimitsStatus, RegionStatus, SourceVersion, SpiceOrganization, SpiceOrganizationStatus, StatusCore};
use crate::management::types::{ApiError, ErrorKind, Images, Limits, Regions};

/// The channels whose recommended image is shown.
pub(super) const CHANNELS: [&str; 2] = ["stable", "enterprise"];
/// Regions shown in status.
const MOST_REGIONS: usize = 64;
/// A longer text is nobody's tag or region, and status has to stay small.
const LONGEST: usize = 253;

/// Whether a failure says that this version of the API, or this credential, has no such thing.
pub(super) fn is_unsupported(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::NotFound { .. } | ErrorKind::Forbidden | ErrorKind::Invalid)
}

/// Whether that is the API's own word, and not a proxy's.
fn is_certain(error: &ApiError) -> bool {
    matches!(error.kind, ErrorKind::NotFound { json: true } | ErrorKind::Forbidden)
}

/// The status with all that was seen.
pub(super) fn discovered_status(
    input: &PlanInput<'_, SpiceOrganization>,
    binding: OrganizationBinding,
    credential: &SourceVersion,
) -> SpiceOrganizationStatus {
    let OrganizationObserved { organizations, regions, images, limits, .. } = input.observed;
    let mut status = input.status.clone();
    // Of another organization nothing that was seen before holds.
    let before = binding.organization.as_ref().map(|organization| &organization.id);
    if status.organization.as_ref().map(|organization| &organization.id) != before {
        let core = StatusCore { observed_sources: Vec::new(), ..status.core };
        status = SpiceOrganizationStatus { core, ..SpiceOrganizationStatus::default() };
    }
    (status.endpoint, status.organization) = (Some(binding.endpoint), binding.organization);
    status.core.observed_sources = vec![credential.clone()];
    let mut missing = Vec::new();
    if !matches!(organizations, Some(Observed::Present(_))) {
        missing.push(ORGANIZATIONS.to_owned());
    }
    let had_regions = !status.regions.is_empty() || status.default_region.is_some();
    match discover(regions.as_ref(), had_regions) {
        Discovery::Available(regions) => show_regions(&mut status, regions),
        Discovery::Unsupported => {
            (status.regions, status.default_region) = (Vec::new(), None);
            missing.push("/v1/regions".to_owned());
        }
        Discovery::Unknown => {}
    }
    for channel in CHANNELS {
        match discover(images.get(channel), status.images.contains_key(channel)) {
            Discovery::Available(Images { default: Some(tag) }) if tag.len() <= LONGEST => {
                status.images.insert(channel.to_owned(), tag.clone());
            }
            Discovery::Available(_) => drop(status.images.remove(channel)),
            Discovery::Unsupported => {
                status.images.remove(channel);
                // Enterprise images take a subscription; that one has none is no lack of the API.
                if channel == CHANNELS[0] {
                    missing.push("/v1/container-images".to_owned());
                }
            }
            Discovery::Unknown => {}
        }
    }
    match discover(limits.as_ref(), status.limits.is_some()) {
        Discovery::Available(limits) => status.limits = Some(shown_limits(limits)),
        Discovery::Unsupported => {
            status.limits = None;
            missing.push("/v1/limits".to_owned());
        }
        Discovery::Unknown => {}
    }
    status.unavailable_paths = missing;
    status
}

/// What a look at an offer told.
enum Discovery<'a, T> {
    Available(&'a T),
    Unsupported,
    /// What was seen before holds on.
    Unknown,
}

/// What was `shown_before` is not taken for lacking because of a proxy's page.
fn discover<T>(observed: Option<&Observed<Observation<T>>>, shown_before: bool) -> Discovery<'_, T> {
    match observed {
        Some(Observed::Present(seen)) => Discovery::Available(&seen.value),
        Some(Observed::Unknown(error)) if is_unsupported(error) && (is_certain(error) || !shown_before) => {
            Discovery::Unsupported
        }
        Some(Observed::Absent) => Discovery::Unsupported,
        Some(Observed::Unknown(_)) | None => Discovery::Unknown,
    }
}

fn show_regions(status: &mut SpiceOrganizationStatus, regions: &Regions) {
    let usable = regions.regions.iter().filter(|it| it.disabled != Some(true) && it.region.len() <= LONGEST);
    let flagged = usable.clone().find(|region| region.is_default == Some(true)).map(|region| region.region.clone());
    status.default_region = regions.default.clone().filter(|region| region.len() <= LONGEST).or(flagged);
    let shown = usable.take(MOST_REGIONS).map(|region| RegionStatus {
        region: region.region.clone(),
        name: region.name.clone().filter(|name| name.len() <= LONGEST),
        provider: region.provider.clone().filter(|name| name.len() <= LONGEST),
    });
    status.regions = shown.collect();
}

fn shown_limits(limits: &Limits) -> LimitsStatus {
    LimitsStatus {
        apps: limits.number("apps"),
        replicas: limits.number("replicas"),
        spicepods: limits.number("spicepods"),
        users: limits.number("users"),
        requests_per_second: limits.number("api_rps"),
        cpu: limits.resource("max_cpu"),
        memory_gib: limits.resource("max_memory_gi"),
    }
}
