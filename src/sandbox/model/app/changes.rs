//! An app: its record, the changes a body asks for, and how it is shown (contract, sections 7.1 to 7.4).
//!
//! Where apps are kept and found is the store's business; who may see them, the handlers'.

use serde_json::{Map, Number, Value};

use super::record::{Settings, Workload};

use crate::sandbox::model::images;
use crate::sandbox::model::placement::Placement;
use crate::sandbox::model::profile::{Plan, Profile, Switches, TagRule, above_plan};
use crate::sandbox::model::resources::{self, Executor, Resources};
use crate::sandbox::model::spicepod;
use crate::sandbox::model::tags::{self, Tags};
use crate::sandbox::wire::error::ApiError;
use crate::sandbox::wire::fields::{self, Fields, Patch};

pub(super) const VISIBILITIES: [&str; 2] = ["public", "private"];
/// The union of what the versions of the API take.
pub(super) const UPDATE_CHANNELS: [&str; 5] = ["stable", "preview", "nightly", "internal", "internal-sandbox"];

/// The fields that make up `config`.
const CONFIG: [&str; 12] = [
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

/// What a body asks for. Whatever it does not name stays as it is.
#[derive(Default)]
pub(crate) struct Changes {
    description: Patch<String>,
    visibility: Option<String>,
    production_branch: Patch<String>,
    tags: Patch<Tags>,
    placement: Option<Placement>,
    spicepod: Patch<Map<String, Value>>,
    registry: Patch<String>,
    image: Patch<String>,
    image_tag: Patch<String>,
    update_channel: Patch<String>,
    version: Patch<String>,
    replicas: Option<u64>,
    resources: Patch<Resources>,
    executor: Patch<Executor>,
    node_group: Patch<String>,
    storage_size_gb: Patch<Number>,
}

impl Settings {
    /// Makes the changes. Taken apart in full, so that a new field cannot be forgotten here.
    pub(crate) fn apply(&mut self, changes: Changes) {
        let Changes {
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
        description.onto(&mut self.description);
        self.visibility = visibility.unwrap_or_else(|| self.visibility.clone());
        production_branch.onto(&mut self.production_branch);
        tags.onto(&mut self.tags);
        self.placement = placement.unwrap_or_else(|| self.placement.clone());
        let workload = &mut self.workload;
        spicepod.onto(&mut workload.spicepod);
        registry.onto(&mut workload.registry);
        image.onto(&mut workload.image);
        image_tag.onto(&mut workload.image_tag);
        update_channel.onto(&mut workload.update_channel);
        version.onto(&mut workload.version);
        workload.replicas = replicas.unwrap_or(workload.replicas);
        resources.onto(&mut workload.resources);
        executor.onto(&mut workload.executor);
        node_group.onto(&mut workload.node_group);
        storage_size_gb.onto(&mut workload.storage_size_gb);
    }
}

impl Changes {
    /// Reads the body of a create: its name, and everything else it carries.
    pub(crate) fn of_create(body: &[u8], switches: Switches) -> Result<(String, Self), ApiError> {
        let mut fields = Fields::parse(body)?;
        let name = fields.required("name", name);
        let placement = Placement::requested(&mut fields);
        if switches.profile == Profile::Legacy && placement.is_none() {
            fields.refuse("cname", "is required");
        }
        // Judged only: nothing that the sandbox has would differ.
        fields.optional("default_alerts", fields::boolean);
        let changes = Self { placement, ..Self::shared(&mut fields) };
        fields.finish()?;
        Ok((name.unwrap_or_default(), changes.under(switches)?))
    }

    /// Reads the body of an update of an app that has settings already.
    pub(crate) fn of_update(body: &[u8], current: &Settings, switches: Switches) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let changes = Self {
            placement: current.placement.moved(&mut fields),
            production_branch: fields.nullable("production_branch", fields::text),
            spicepod: fields.nullable("spicepod", spicepod::read),
            registry: fields.nullable("registry", fields::text),
            image: fields.nullable("image", fields::text),
            image_tag: fields.nullable("image_tag", fields::text),
            version: fields.nullable("version", fields::text),
            node_group: fields.nullable("node_group", fields::text),
            ..Self::shared(&mut fields)
        };
        fields.finish()?;
        if switches.reject_unpublished_tags {
            changes.hold_to_published_tags(&current.workload)?;
        }
        changes.under(switches)
    }

    /// Whether a body names a part of the configuration. One that cannot be read names nothing.
    pub(crate) fn names_config(body: &[u8]) -> bool {
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        CONFIG.iter().any(|field| fields.contains_key(*field))
    }

    /// Refuses with 403 what a plan does not include.
    pub(crate) fn within(&self, plan: Plan) -> Result<(), ApiError> {
        if self.replicas.is_some_and(|replicas| replicas > plan.max_replicas) {
            return Err(above_plan(format!("The plan includes {} replicas", plan.max_replicas)));
        }
        if let Some(most) = plan.resources {
            let own = self.resources.set();
            let of_executors = self.executor.set().and_then(Executor::resources);
            if let Some(above) = own.into_iter().chain(of_executors).find_map(|resources| resources.above(most)) {
                return Err(above_plan(format!("The plan includes {above}")));
            }
        }
        if matches!(self.image_tag, Patch::Set(_)) && !plan.image_tags {
            let refusal = above_plan("The plan does not include image tags");
            return Err(refusal.with_code("image_tag_requires_enterprise"));
        }
        Ok(())
    }

    /// Whether the spicepod is named, whatever it is to be.
    pub(crate) fn touch_spicepod(&self) -> bool {
        self.spicepod != Patch::Keep
    }

    /// Refuses with 400 changes of the tag or the channel that leave an app with a tag which the channel does not have.
    fn hold_to_published_tags(&self, current: &Workload) -> Result<(), ApiError> {
        if self.image_tag == Patch::Keep && self.update_channel == Patch::Keep {
            return Ok(());
        }
        let channel = self.update_channel.over(current.update_channel.as_ref());
        match self.image_tag.over(current.image_tag.as_ref()) {
            Some(tag) if !images::is_published(tag, channel.map(String::as_str)) => {
                let refusal = ApiError::parameter(format!("image_tag {tag:?} is not published for the channel"));
                Err(refusal.with_code("invalid_stable_image_tag"))
            }
            _ => Ok(()),
        }
    }

    /// What becomes of the changes where the API has ways of its own.
    fn under(mut self, switches: Switches) -> Result<Self, ApiError> {
        match (switches.tags, &self.tags) {
            (TagRule::Keep, _) | (TagRule::Reject, Patch::Keep | Patch::Clear) => {}
            (TagRule::Drop, _) => self.tags = Patch::Keep,
            (TagRule::Reject, Patch::Set(tags)) if tags.is_empty() => {}
            (TagRule::Reject, Patch::Set(_)) => return Err(above_plan("The plan does not include tags")),
        }
        if switches.normalise_spicepod
            && let Patch::Set(spicepod) = &mut self.spicepod
        {
            spicepod::normalise(spicepod);
        }
        Ok(self)
    }

    /// The fields that a create and an update both take.
    fn shared(fields: &mut Fields) -> Self {
        Self {
            description: fields.nullable("description", fields::text),
            visibility: fields.optional("visibility", fields::one_of(&VISIBILITIES)),
            tags: fields.nullable("tags", tags::read),
            update_channel: fields.nullable("update_channel", fields::one_of(&UPDATE_CHANNELS)),
            replicas: fields.optional("replicas", fields::integer(1, 10)),
            resources: fields.nullable("resources", resources::resources),
            executor: fields.nullable("executor", resources::executor),
            storage_size_gb: storage(fields),
            ..Self::default()
        }
    }
}

fn name(value: &Value) -> Result<String, String> {
    let text = fields::text(value)?;
    let fits = (4..=38).contains(&text.len());
    if fits && text.chars().all(|other| other.is_ascii_alphanumeric() || other == '-') {
        Ok(text)
    } else {
        Err("must be 4 to 38 letters, digits or -".into())
    }
}

/// The size has an old and a new name; a body that gives both must mean one.
fn storage(fields: &mut Fields) -> Patch<Number> {
    let size = fields.nullable("storage_size_gb", resources::storage);
    let claim = fields.nullable("storage_claim_size_gb", resources::storage);
    match (size, claim) {
        (Patch::Keep, claim) => claim,
        (size, Patch::Keep) => size,
        (size, claim) => {
            if size != claim {
                fields.refuse("storage_claim_size_gb", "must equal storage_size_gb");
            }
            size
        }
    }
}
