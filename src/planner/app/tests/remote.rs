//! A model of the Management API.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::*;
use crate::management::types::{ApiError, App, AppField, CreateApp, ErrorKind};
use crate::planner::Observed;

/// Fields of an app outside of `config`.
const OUTER: [&str; 7] =
    ["name", "description", "visibility", "production_branch", "tags", "cluster_name", "created_at"];

#[derive(Clone, Debug, Default)]
pub(in crate::planner) struct Remote {
    /// Fields by wire name, of each app by ID.
    pub(in crate::planner) apps: BTreeMap<i64, Map<String, Value>>,
    /// IDs of deleted apps, which a create can reactivate.
    pub(in crate::planner) deleted: BTreeSet<i64>,
    /// True if image tags are stored in lower case.
    pub(in crate::planner) normalises: bool,
    /// True if tags are dropped silently.
    pub(in crate::planner) drops_tags: bool,
    /// True if a write with tags is rejected.
    pub(in crate::planner) rejects_tags: bool,
    /// True if a spicepod is rejected, because the apps have a connected repository.
    pub(in crate::planner) has_repository: bool,
    /// True if a reactivated app keeps its fields instead of those of the create.
    pub(in crate::planner) keeps_reactivated: bool,
    /// Creation time of new apps.
    pub(in crate::planner) now: Option<Timestamp>,
    /// Error of the next write, and whether the write takes effect nevertheless.
    pub(in crate::planner) fault: Option<(ApiError, bool)>,
    /// True if every later write has this error too.
    pub(in crate::planner) fault_lasts: bool,
    /// Number of writes that succeed before the error.
    pub(in crate::planner) fault_after: usize,
}

/// Result of a failed read, as in the controller.
pub(in crate::planner) fn read_failed<T>(error: ApiError) -> Observed<T> {
    if error.kind == (ErrorKind::NotFound { json: true }) { Observed::Absent } else { Observed::Unknown(error) }
}

/// Version of the ConfigMap that holds the spicepod.
pub(in crate::planner) fn source(version: u32) -> SourceVersion {
    SourceVersion {
        kind: "ConfigMap".into(),
        name: "pods".into(),
        uid: "uid-of-pods".into(),
        resource_version: version.to_string(),
        digest: None,
    }
}

impl Remote {
    pub(in crate::planner) fn add(&mut self, name: &str, fields: Value) -> i64 {
        let id = 101 + i64::try_from(self.apps.len()).unwrap();
        let mut app = json!({"name": name, "visibility": "private", "tags": {}, "replicas": 1});
        app.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.apps.insert(id, app.as_object().unwrap().clone());
        id
    }

    pub(in crate::planner) fn list(&self) -> Vec<App> {
        let alive = self.apps.iter().filter(|(id, _)| !self.deleted.contains(id));
        alive.map(|(id, fields)| self.shown(*id, fields, false)).collect()
    }

    pub(in crate::planner) fn get(&self, id: i64) -> Option<App> {
        let fields = self.apps.get(&id).filter(|_| !self.deleted.contains(&id))?;
        Some(self.shown(id, fields, true))
    }

    pub(in crate::planner) fn carry_out(&mut self, write: &AppWrite) -> Result<Option<App>, ApiError> {
        if self.fault_after > 0 {
            self.fault_after -= 1;
            return self.apply(write);
        }
        let fault = if self.fault_lasts { self.fault.clone() } else { self.fault.take() };
        match fault {
            Some((error, applied)) => {
                if applied {
                    self.apply(write)?;
                }
                Err(error)
            }
            None => self.apply(write),
        }
    }

    fn apply(&mut self, write: &AppWrite) -> Result<Option<App>, ApiError> {
        let tagged = match write {
            AppWrite::Create { body, .. } => !body.tags.is_empty(),
            AppWrite::Update { body, .. } | AppWrite::RemoveOwnerTags { body, .. } => {
                body.0.contains_key(&AppField::Tags)
            }
            AppWrite::Delete { .. } => false,
        };
        if tagged && self.rejects_tags {
            let error = ApiError::local(ErrorKind::Forbidden, "no tags on this plan");
            return Err(ApiError { is_json: true, ..error });
        }
        match write {
            AppWrite::Create { body, .. } => self.create(body).map(Some),
            AppWrite::Update { id, body, .. } | AppWrite::RemoveOwnerTags { id, body, .. } => {
                let missing = ApiError::local(ErrorKind::NotFound { json: true }, "not found");
                self.get(*id).ok_or(missing)?;
                if self.has_repository && body.0.contains_key(&AppField::Spicepod) {
                    let error = ApiError::local(ErrorKind::Conflict, "connected to a repository");
                    return Err(ApiError { code: Some("github_connected"), ..error });
                }
                self.merge(*id, &serde_json::to_value(body).unwrap());
                Ok(self.get(*id))
            }
            AppWrite::Delete { id, .. } => {
                assert!(self.deleted.insert(*id), "deleted twice");
                Ok(None)
            }
        }
    }

    fn create(&mut self, body: &CreateApp) -> Result<App, ApiError> {
        let same = |fields: &Map<String, Value>| fields["name"].as_str().unwrap().eq_ignore_ascii_case(&body.name);
        let known = self.apps.iter().find(|(_, fields)| same(fields)).map(|(id, _)| *id);
        let before = self.deleted.clone();
        let id = match known {
            Some(id) if self.deleted.remove(&id) && self.keeps_reactivated => return Ok(self.get(id).unwrap()),
            Some(id) if !before.contains(&id) => {
                return Err(ApiError::local(ErrorKind::Conflict, "the name is taken"));
            }
            Some(id) => id,
            None => self.add(&body.name, json!({ "created_at": self.now.map(|now| now.to_string()) })),
        };
        self.merge(id, &serde_json::to_value(body).unwrap());
        Ok(self.get(id).unwrap())
    }

    fn merge(&mut self, id: i64, body: &Value) {
        let (drops_tags, normalises) = (self.drops_tags, self.normalises);
        let app = self.apps.get_mut(&id).unwrap();
        let is_stored = |key: &str| key != "tags" || !drops_tags;
        for (key, value) in body.as_object().unwrap().iter().filter(|(key, _)| is_stored(key)) {
            let value = match value {
                Value::String(text) if normalises && key == "image_tag" => json!(text.to_lowercase()),
                value => value.clone(),
            };
            app.insert(key.clone(), value);
        }
    }

    fn shown(&self, id: i64, fields: &Map<String, Value>, detail: bool) -> App {
        let (outer, config): (Map<_, _>, Map<_, _>) =
            fields.clone().into_iter().partition(|(key, _)| OUTER.contains(&key.as_str()));
        let mut app = Value::Object(outer);
        app["id"] = json!(id);
        if detail {
            app["endpoint"] = json!("https://data.example");
            app["region"] = config.get("region").cloned().unwrap_or_default();
            app["config"] = Value::Object(config);
        }
        serde_json::from_value(app).unwrap()
    }
}
