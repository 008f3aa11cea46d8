//! Changes of an app that a create or update request makes.

use serde_json::{Map, Number, Value};

use super::record::{AppSettings, AppWorkload};
use crate::sandbox::model::images;
use crate::sandbox::model::placement::Placement;
use crate::sandbox::model::profile::{ApiSwitches, Profile, SubscriptionPlan, TagRule, plan_limit_error};
use crate::sandbox::model::resources::{self, ComputeResources, ExecutorSettings};
use crate::sandbox::model::spicepod;
use crate::sandbox::model::tags::{self, Tags};
use crate::sandbox::wire::error::ErrorResponse;
use crate::sandbox::wire::fields::{self, BodyFields, FieldPatch};

pub(super) const VISIBILITIES: [&str; 2] = ["public", "private"];
/// Union of the channels that the versions of the API accept.
pub(super) const UPDATE_CHANNELS: [&str; 5] = ["stable", "preview", "nightly", "internal", "internal-sandbox"];

/// Fields that belong to `config`.
const CONFIG_FIELDS: [&str; 12] = [
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
    "storage_claim_size_gb",
];

/// Changes that a request body makes. Absent fields stay unchanged.
#[derive(Default)]
pub(crate) struct AppChanges {
    description: FieldPatch<String>,
    visibility: Option<String>,
    production_branch: FieldPatch<String>,
    tags: FieldPatch<Tags>,
    placement: Option<Placement>,
    spicepod: FieldPatch<Map<String, Value>>,
    registry: FieldPatch<String>,
    image: FieldPatch<String>,
    image_tag: FieldPatch<String>,
    update_channel: FieldPatch<String>,
    version: FieldPatch<String>,
    replicas: Option<u64>,
    resources: FieldPatch<ComputeResources>,
    executor: FieldPatch<ExecutorSettings>,
    node_group: FieldPatch<String>,
    storage_size_gb: FieldPatch<Number>,
}

impl AppSettings {
    /// Applies the changes. The complete destructuring makes the compiler report a new field that is not applied.
    pub(crate) fn apply(&mut self, changes: AppChanges) {
        let AppChanges {
            description,
            visibility,
            production_branch,
            tags,
            placement,
            spicepod,
            registry,
            image,
            image_tag,
            update_channel,
            version,
            replicas,
            resources,
            executor,
            node_group,
            storage_size_gb,
        } = changes;
        description.apply_to(&mut self.description);
        self.visibility = visibility.unwrap_or_else(|| self.visibility.clone());
        production_branch.apply_to(&mut self.production_branch);
        tags.apply_to(&mut self.tags);
        self.placement = placement.unwrap_or_else(|| self.placement.clone());
        let workload = &mut self.workload;
        spicepod.apply_to(&mut workload.spicepod);
        registry.apply_to(&mut workload.registry);
        image.apply_to(&mut workload.image);
        image_tag.apply_to(&mut workload.image_tag);
        update_channel.apply_to(&mut workload.update_channel);
        version.apply_to(&mut workload.version);
        workload.replicas = replicas.unwrap_or(workload.replicas);
        resources.apply_to(&mut workload.resources);
        executor.apply_to(&mut workload.executor);
        node_group.apply_to(&mut workload.node_group);
        storage_size_gb.apply_to(&mut workload.storage_size_gb);
    }
}

impl AppChanges {
    /// Reads the body of a create request. Returns the name and the changes.
    pub(crate) fn from_create_body(body: &[u8], switches: ApiSwitches) -> Result<(String, Self), ErrorResponse> {
        let mut fields = BodyFields::parse(body)?;
        let name = fields.read_required("name", read_name);
        let placement = Placement::read_requested(&mut fields);
        if switches.profile == Profile::Legacy && placement.is_none() {
            fields.reject("cname", "is required");
        }
        // Validated only, because the sandbox has no alerts.
        fields.read_optional("default_alerts", fields::read_boolean);
        let changes = Self { placement, ..Self::read_common(&mut fields) };
        fields.finish()?;
        Ok((name.unwrap_or_default(), changes.apply_switches(switches)?))
    }

    /// Reads the body of an update request for an app with the `current` settings.
    pub(crate) fn from_update_body(
        body: &[u8],
        current: &AppSettings,
        switches: ApiSwitches,
    ) -> Result<Self, ErrorResponse> {
        let mut fields = BodyFields::parse(body)?;
        let changes = Self {
            placement: current.placement.read_move(&mut fields),
            production_branch: fields.read_nullable("production_branch", fields::read_string),
            spicepod: fields.read_nullable("spicepod", spicepod::read_spicepod),
            registry: fields.read_nullable("registry", fields::read_string),
            image: fields.read_nullable("image", fields::read_string),
            image_tag: fields.read_nullable("image_tag", fields::read_string),
            version: fields.read_nullable("version", fields::read_string),
            node_group: fields.read_nullable("node_group", fields::read_string),
            ..Self::read_common(&mut fields)
        };
        fields.finish()?;
        if switches.reject_unpublished_tags {
            changes.check_published_tags(&current.workload)?;
        }
        changes.apply_switches(switches)
    }

    /// Returns whether a body contains a field of the configuration. An unreadable body contains no field.
    pub(crate) fn changes_config(body: &[u8]) -> bool {
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        CONFIG_FIELDS.iter().any(|field| fields.contains_key(*field))
    }

    /// Returns 403 if the plan does not include the changes.
    pub(crate) fn check_plan(&self, plan: SubscriptionPlan) -> Result<(), ErrorResponse> {
        if self.replicas.is_some_and(|replicas| replicas > plan.max_replicas) {
            return Err(plan_limit_error(format!("The plan includes {} replicas", plan.max_replicas)));
        }
        if let Some(limits) = plan.resources {
            let app = self.resources.as_set();
            let executor = self.executor.as_set().and_then(|executor| executor.resources.as_ref());
            let excess = app.into_iter().chain(executor).find_map(|resources| resources.find_excess(limits));
            if let Some(excess) = excess {
                return Err(plan_limit_error(format!("The plan includes {excess}")));
            }
        }
        if matches!(self.image_tag, FieldPatch::Set(_)) && !plan.image_tags {
            let response = plan_limit_error("The plan does not include image tags");
            return Err(response.with_code("image_tag_requires_enterprise"));
        }
        Ok(())
    }

    /// Returns whether the body contains the field `spicepod`.
    pub(crate) fn changes_spicepod(&self) -> bool {
        self.spicepod != FieldPatch::Unchanged
    }

    /// Returns 400 if the app would have an image tag that is not published for its channel. Applies only to a change
    /// of the tag or the channel.
    fn check_published_tags(&self, current: &AppWorkload) -> Result<(), ErrorResponse> {
        if self.image_tag == FieldPatch::Unchanged && self.update_channel == FieldPatch::Unchanged {
            return Ok(());
        }
        let channel = self.update_channel.resolve(current.update_channel.as_ref());
        match self.image_tag.resolve(current.image_tag.as_ref()) {
            Some(tag) if !images::is_published(tag, channel.map(String::as_str)) => {
                let response =
                    ErrorResponse::invalid_parameter(format!("image_tag {tag:?} is not published for the channel"));
                Err(response.with_code("invalid_stable_image_tag"))
            }
            _ => Ok(()),
        }
    }

    /// Adjusts the changes according to the behaviour switches.
    fn apply_switches(mut self, switches: ApiSwitches) -> Result<Self, ErrorResponse> {
        match (switches.tags, &self.tags) {
            (TagRule::Keep, _) | (TagRule::Reject, FieldPatch::Unchanged | FieldPatch::Clear) => {}
            (TagRule::Drop, _) => self.tags = FieldPatch::Unchanged,
            (TagRule::Reject, FieldPatch::Set(tags)) if tags.is_empty() => {}
            (TagRule::Reject, FieldPatch::Set(_)) => return Err(plan_limit_error("The plan does not include tags")),
        }
        if switches.normalise_spicepod
            && let FieldPatch::Set(spicepod) = &mut self.spicepod
        {
            spicepod::normalise(spicepod);
        }
        Ok(self)
    }

    /// Reads the fields that create and update requests have in common.
    fn read_common(fields: &mut BodyFields) -> Self {
        Self {
            description: fields.read_nullable("description", fields::read_string),
            visibility: fields.read_optional("visibility", fields::read_one_of(&VISIBILITIES)),
            tags: fields.read_nullable("tags", tags::read_tags),
            update_channel: fields.read_nullable("update_channel", fields::read_one_of(&UPDATE_CHANNELS)),
            replicas: fields.read_optional("replicas", fields::read_integer(1, 10)),
            resources: fields.read_nullable("resources", resources::read_resources),
            executor: fields.read_nullable("executor", resources::read_executor),
            storage_size_gb: read_storage_size(fields),
            ..Self::default()
        }
    }
}

fn read_name(value: &Value) -> Result<String, String> {
    let text = fields::read_string(value)?;
    let fits = (4..=38).contains(&text.len());
    if fits && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(text)
    } else {
        Err("must be 4 to 38 letters, digits or -".into())
    }
}

/// Reads the storage size under its current and its former name. If both are present, the values must be equal.
fn read_storage_size(fields: &mut BodyFields) -> FieldPatch<Number> {
    let size = fields.read_nullable("storage_size_gb", resources::read_storage_size);
    let claim = fields.read_nullable("storage_claim_size_gb", resources::read_storage_size);
    match (size, claim) {
        (FieldPatch::Unchanged, claim) => claim,
        (size, FieldPatch::Unchanged) => size,
        (size, claim) => {
            if size != claim {
                fields.reject("storage_claim_size_gb", "must equal storage_size_gb");
            }
            size
        }
    }
}
