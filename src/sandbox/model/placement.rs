//! Placement of an app: a region, a data plane (`cname`), a dedicated cluster, or no placement.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sandbox::wire::fields::{self, BodyFields, FieldPatch};

/// A region of the platform.
pub(crate) struct PlatformRegion {
    /// Identifier, such as `us-west-2`.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
}

pub(crate) const DEFAULT_REGION: &str = "us-west-2";

pub(crate) const REGIONS: [PlatformRegion; 2] = [
    PlatformRegion { id: DEFAULT_REGION, name: "US West (Oregon)" },
    PlatformRegion { id: "us-east-1", name: "US East (N. Virginia)" },
];

/// A dedicated cluster.
pub(crate) struct DedicatedCluster {
    /// Value for the `cluster_name` of an app.
    pub(crate) target: &'static str,
    /// Name of the cluster itself. Not accepted as `cluster_name`.
    pub(crate) infrastructure: &'static str,
    /// The `id` of a [`PlatformRegion`].
    pub(crate) region: &'static str,
}

/// All clusters. Every organization has the same clusters.
pub(crate) const CLUSTERS: [DedicatedCluster; 2] = [
    DedicatedCluster { target: "team-cluster", infrastructure: "sandbox-team-cluster", region: "us-west-2" },
    DedicatedCluster { target: "east-cluster", infrastructure: "sandbox-east-cluster", region: "us-east-1" },
];

/// Placement of an app. All three fields are unset if the app has no placement yet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct Placement {
    /// One of [`REGIONS`].
    pub(crate) region: Option<String>,
    /// Name of the data plane. Unset if `cluster_name` is set.
    pub(crate) cname: Option<String>,
    /// The target of one of [`CLUSTERS`].
    pub(crate) cluster_name: Option<String>,
}

impl Placement {
    /// Reads the placement in the body of a create request. `None`: the body has no placement. `null` counts as absent.
    pub(crate) fn read_requested(fields: &mut BodyFields) -> Option<Self> {
        let region = fields.read_nullable("region", read_region).into_value();
        let cname = fields.read_nullable("cname", read_cname).into_value();
        let cluster_name = fields.read_nullable("cluster_name", read_cluster).into_value();
        if cname.is_some() && cluster_name.is_some() {
            fields.reject("cname", "cannot be combined with cluster_name");
        } else if cname.is_some() && region.is_some() {
            fields.reject("cname", "cannot be combined with region");
        }
        match (region, cname, cluster_name) {
            (None, None, None) => None,
            (region, _, Some(target)) => Some(Self::in_cluster(fields, region, target)),
            (Some(region), _, None) => Some(Self::in_region(region)),
            (None, cname, None) => {
                let region = cname.as_deref().and_then(region_of_cname).map(str::to_owned);
                Some(Self { region, cname, cluster_name: None })
            }
        }
    }

    /// Reads the placement in the body of an update request, based on the current placement. `None`: the placement
    /// stays unchanged.
    pub(crate) fn read_move(&self, fields: &mut BodyFields) -> Option<Self> {
        let region = fields.read_nullable("region", read_region);
        let cluster_name = fields.read_nullable("cluster_name", read_cluster);
        if matches!((&region, &cluster_name), (FieldPatch::Unchanged, FieldPatch::Unchanged)) {
            return None;
        }
        let region_requested = region != FieldPatch::Unchanged;
        let mut placement = self.clone();
        cluster_name.apply_to(&mut placement.cluster_name);
        if let Some(target) = placement.cluster_name {
            return Some(Self::in_cluster(fields, region.into_value(), target));
        }
        region.apply_to(&mut placement.region);
        if region_requested || placement.cname.is_none() {
            placement.cname = placement.region.as_deref().map(cname_of);
        }
        Some(placement)
    }

    /// Returns the base URL of the data plane, including the scheme. `None`: the app has no placement.
    pub(crate) fn endpoint(&self) -> Option<String> {
        if let Some(cluster) = &self.cluster_name {
            let region = self.region.as_deref().unwrap_or(DEFAULT_REGION);
            return Some(cluster_endpoint(cluster, region));
        }
        let cname = self.cname.as_deref()?;
        Some(if cname.contains('.') { format!("https://{cname}") } else { format!("https://{cname}.spiceai.io") })
    }

    /// Places an app in a cluster. An explicit region must be the region of the cluster.
    fn in_cluster(fields: &mut BodyFields, region: Option<String>, target: String) -> Self {
        // The target may be unknown if the state file comes from another version.
        let cluster_region = CLUSTERS.iter().find(|cluster| cluster.target == target).map(|cluster| cluster.region);
        if let (Some(requested), Some(cluster_region)) = (&region, cluster_region)
            && requested != cluster_region
        {
            fields.reject("region", format!("must be {cluster_region}, the region of {target}"));
        }
        Self { region: cluster_region.map(str::to_owned).or(region), cname: None, cluster_name: Some(target) }
    }

    fn in_region(region: String) -> Self {
        Self { cname: Some(cname_of(&region)), region: Some(region), cluster_name: None }
    }
}

/// Returns the data-plane name of a region.
pub(crate) fn cname_of(region: &str) -> String {
    format!("{region}-prod-aws-data")
}

/// Returns the base URL of the data plane in a cluster.
pub(crate) fn cluster_endpoint(target: &str, region: &str) -> String {
    format!("https://private-{target}-{region}-prod-data.spiceai.io")
}

fn region_of_cname(cname: &str) -> Option<&'static str> {
    REGIONS.iter().map(|region| region.id).find(|region| cname_of(region) == cname)
}

fn read_region(value: &Value) -> Result<String, String> {
    fields::read_one_of(&REGIONS.map(|region| region.id))(value)
}

fn read_cluster(value: &Value) -> Result<String, String> {
    let text = fields::read_string(value)?;
    if CLUSTERS.iter().any(|cluster| cluster.target == text) {
        Ok(text)
    } else if CLUSTERS.iter().any(|cluster| cluster.infrastructure == text) {
        Err("is the name of a cluster, not of a target that is deployed to".into())
    } else {
        Err("no such target: /v1/clusters lists them".into())
    }
}

fn read_cname(value: &Value) -> Result<String, String> {
    let text = fields::read_nonempty_string(value)?;
    let is_host = text.len() <= 253 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if is_host { Ok(text) } else { Err("must be letters, digits, - and .".into()) }
}
