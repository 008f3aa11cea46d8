//! Declared state of the soak run: the SpiceApps, SpiceSecrets and their sources, without any observation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// An app of the run.
pub struct AppSlot {
    /// Name of the app in the API.
    pub name: &'static str,
    /// True if the spicepod comes from the ConfigMap with the name of the app.
    pub has_config_map: bool,
    /// True if the portal deletes the app at times. At most three apps, so that no list looks like a mass deletion.
    pub is_deleted_in_portal: bool,
    /// True if the SpiceApp keeps the app at its deletion, and adopts the app later.
    pub is_retained: bool,
    /// True if each new SpiceApp of the app has another object name. Such an app has no SpiceSecrets.
    pub is_renamed: bool,
}

const DEFAULT_APP: AppSlot =
    AppSlot { name: "", has_config_map: false, is_deleted_in_portal: false, is_retained: false, is_renamed: false };

pub const APPS: [AppSlot; 6] = [
    AppSlot { name: "plain", ..DEFAULT_APP },
    AppSlot { name: "configured", has_config_map: true, ..DEFAULT_APP },
    AppSlot { name: "removed", is_deleted_in_portal: true, ..DEFAULT_APP },
    AppSlot { name: "retained", is_retained: true, ..DEFAULT_APP },
    AppSlot { name: "successor", is_renamed: true, ..DEFAULT_APP },
    AppSlot { name: "removed-alone", is_deleted_in_portal: true, ..DEFAULT_APP },
];

/// A SpiceSecret of the run. The Kubernetes Secret has the same name.
pub struct SecretSlot {
    pub name: &'static str,
    /// Index of the app.
    pub app: usize,
    /// True without `items`: each key of the Kubernetes Secret is a secret of the app.
    pub has_all_keys: bool,
    /// True with `adoptionPolicy: Adopt`. The portal sets secrets of these SpiceSecrets only.
    pub adopts: bool,
}

pub const SECRETS: [SecretSlot; 5] = [
    SecretSlot { name: "plain-items", app: 0, has_all_keys: false, adopts: false },
    SecretSlot { name: "plain-all", app: 0, has_all_keys: true, adopts: true },
    SecretSlot { name: "configured", app: 1, has_all_keys: false, adopts: true },
    SecretSlot { name: "removed", app: 2, has_all_keys: true, adopts: true },
    SecretSlot { name: "retained", app: 3, has_all_keys: false, adopts: true },
];

/// Keys of a Kubernetes Secret. The first key always exists.
pub const KEYS: [&str; 4] = ["A", "B", "C", "D"];

/// A SpiceApp or SpiceSecret, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    App(usize),
    Secret(usize),
}

/// Declared state of an app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct App {
    pub exists: bool,
    /// Number of SpiceApps before this one.
    pub copies: u32,
    /// Changes with each edit.
    pub revision: u32,
    pub is_public: bool,
    pub has_tier: bool,
    pub replicas: u8,
    /// Revision of the ConfigMap.
    pub config_map: u32,
    /// True if the app was deleted once. A later app can contain secrets of the earlier app.
    pub was_deleted: bool,
}

/// Declared state of a SpiceSecret and its Kubernetes Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secret {
    pub exists: bool,
    pub has_source: bool,
    /// Data of the Kubernetes Secret.
    pub values: BTreeMap<&'static str, String>,
    /// Keys in `items`.
    pub items: BTreeSet<&'static str>,
}

/// Declared state of all objects.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    pub apps: [App; APPS.len()],
    pub secrets: [Secret; SECRETS.len()],
    /// App and name of each secret that a SpiceSecret requested once.
    pub requested: BTreeSet<(usize, String)>,
    /// App and name of each secret that the portal set.
    pub set_in_portal: BTreeSet<(usize, String)>,
}

impl Declared {
    pub fn exists(&self, target: Target) -> bool {
        match target {
            Target::App(index) => self.apps[index].exists,
            Target::Secret(index) => self.secrets[index].exists,
        }
    }

    /// Returns the name of the current or next object.
    pub fn object(&self, target: Target) -> String {
        match target {
            Target::App(index) if APPS[index].is_renamed => format!("{}-{}", APPS[index].name, self.apps[index].copies),
            Target::App(index) => APPS[index].name.to_owned(),
            Target::Secret(index) => SECRETS[index].name.to_owned(),
        }
    }

    pub fn spec(&self, target: Target) -> Value {
        match target {
            Target::App(index) => self.app_spec(index),
            Target::Secret(index) => self.secret_spec(index),
        }
    }

    fn app_spec(&self, index: usize) -> Value {
        let (slot, app) = (&APPS[index], &self.apps[index]);
        let mut spec = json!({
            "name": slot.name, "interval": "5s", "deletionPolicy": if slot.is_retained { "Retain" } else { "Delete" },
            "description": format!("description {}", app.revision),
            "visibility": if app.is_public { "public" } else { "private" },
            "tags": { "team": format!("team{}", app.revision % 3) },
            "productionBranch": format!("branch-{}", app.revision),
            "runtime": { "replicas": app.replicas, "imageTag": format!("v1.{}.0", app.revision % 4) },
        });
        if slot.is_retained {
            spec["adoptionPolicy"] = json!("Adopt");
        }
        if app.has_tier {
            spec["tags"]["tier"] = json!("gold");
        }
        match slot.has_config_map {
            true => spec["spicepodFrom"] = json!({ "configMapKeyRef": { "name": slot.name, "key": "spicepod.yaml" } }),
            false => spec["spicepod"] = spicepod(app.revision),
        }
        spec
    }

    fn secret_spec(&self, index: usize) -> Value {
        let slot = &SECRETS[index];
        let mut spec = json!({
            "appRef": { "name": APPS[slot.app].name }, "secretRef": { "name": slot.name }, "interval": "5s",
            "adoptionPolicy": if slot.adopts { "Adopt" } else { "Fail" },
        });
        if !slot.has_all_keys {
            let items = self.secrets[index].items.iter();
            let items = items.map(|key| json!({ "key": source_key(index, key), "name": secret_name(index, key) }));
            spec["secretRef"]["items"] = items.collect();
        }
        spec
    }

    /// Returns the spicepod of an app.
    pub fn spicepod(&self, index: usize) -> Value {
        let app = &self.apps[index];
        spicepod(if APPS[index].has_config_map { app.config_map } else { app.revision })
    }

    /// Returns the requested secrets of a SpiceSecret: values by name.
    pub fn requests(&self, index: usize) -> BTreeMap<String, String> {
        let secret = &self.secrets[index];
        let is_requested = |key: &str| SECRETS[index].has_all_keys || secret.items.contains(key);
        let requested = secret.values.iter().filter(|(key, _)| is_requested(key));
        requested.map(|(key, value)| (secret_name(index, key), value.clone())).collect()
    }

    /// Returns the SpiceSecrets of an app.
    pub fn secrets_of(app: usize) -> impl Iterator<Item = usize> {
        (0..SECRETS.len()).filter(move |index| SECRETS[*index].app == app)
    }
}

fn spicepod(revision: u32) -> Value {
    let dataset = json!({ "from": "s3://example-bucket/data/", "name": format!("data_{revision}") });
    json!({ "version": "v1", "kind": "Spicepod", "name": "soak", "datasets": [dataset] })
}

/// Returns the name of a key in the Kubernetes Secret.
pub fn source_key(index: usize, key: &str) -> String {
    format!("S{index}_{key}")
}

/// Returns the name of the secret that a key sets. The names of two SpiceSecrets differ.
pub fn secret_name(index: usize, key: &str) -> String {
    let suffix = if SECRETS[index].has_all_keys { "" } else { "_ITEM" };
    format!("{}{suffix}", source_key(index, key))
}
