//! The fields of an app that a request can set, and their rules (contract sections 7.1, 7.3 and 7.4).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer::Refusal;
use super::state::App;

type Body = Map<String, Value>;

/// Sets what a body names; anything else stays as it is. Null clears. All or nothing.
pub(super) fn apply(app: &mut App, body: &Body, regions: &[String]) -> Result<(), Refusal> {
    let mut changed = app.clone();
    let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in body {
        if let Err(error) = set(&mut changed, name, value, regions) {
            errors.entry(name.clone()).or_default().push(error.to_owned());
        }
    }
    if !errors.is_empty() {
        return Err(Refusal::fields(errors));
    }
    *app = changed;
    Ok(())
}

/// The name of a new app.
pub(super) fn name(body: &Body) -> Result<&str, Refusal> {
    let refused = |error: &str| Refusal::fields([("name".to_owned(), vec![error.to_owned()])].into());
    let name = body.get("name").and_then(Value::as_str).ok_or_else(|| refused("Required"))?;
    if !(4..=38).contains(&name.chars().count()) {
        return Err(refused("Must be 4 to 38 characters"));
    }
    if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-') {
        return Err(refused("Only letters, numbers and hyphens are allowed"));
    }
    Ok(name)
}

/// `cname` and `cluster_name` exclude each other.
pub(super) fn placement(body: &Body) -> Result<(), Refusal> {
    let named = |field: &str| body.get(field).is_some_and(|value| !value.is_null());
    if named("cname") && named("cluster_name") {
        return Err(Refusal::bad_request("cname cannot be combined with cluster_name"));
    }
    Ok(())
}

fn set(app: &mut App, name: &str, value: &Value, regions: &[String]) -> Result<(), &'static str> {
    match name {
        "description" => app.description = text(value)?,
        "production_branch" => app.production_branch = text(value)?,
        "visibility" => app.visibility = visibility(value)?,
        "tags" => app.tags = tags(value)?,
        "cluster_name" => app.cluster_name = text(value)?,
        "region" => set_region(app, value, regions)?,
        "cname" => app.cname = text(value)?,
        "spicepod" => set_config(app, name, spicepod(value)?),
        "registry" | "image" | "image_tag" | "update_channel" | "version" | "node_group" => {
            set_config(app, name, text(value)?.into());
        }
        "replicas" => {
            let replicas = value.as_i64().filter(|count| (1..=10).contains(count));
            set_config(app, name, replicas.ok_or("Must be an integer from 1 to 10")?.into());
        }
        "resources" | "executor" if value.is_object() || value.is_null() => set_config(app, name, value.clone()),
        "resources" | "executor" => return Err("Must be an object"),
        "storage_size_gb" | "storage_claim_size_gb" => {
            let positive = value.is_null() || value.as_f64().is_some_and(|size| size > 0.0);
            set_config(app, "storage_size_gb", if positive { value.clone() } else { return Err("Must be positive") });
        }
        // The API is documented to ignore what it does not know; a name cannot change.
        _ => {}
    }
    Ok(())
}

fn set_config(app: &mut App, name: &str, value: Value) {
    app.config.insert(name.to_owned(), value);
}

fn set_region(app: &mut App, value: &Value, regions: &[String]) -> Result<(), &'static str> {
    let region = text(value)?;
    if region.as_ref().is_some_and(|region| !regions.contains(region)) {
        return Err("Unknown region");
    }
    app.cname = region.as_ref().map(|region| format!("{region}-prod-aws-data")).or(app.cname.take());
    app.region = region;
    Ok(())
}

fn text(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err("Must be a string"),
    }
}

fn visibility(value: &Value) -> Result<String, &'static str> {
    match value.as_str() {
        Some(known @ ("public" | "private")) => Ok(known.to_owned()),
        _ => Err("Must be public or private"),
    }
}

fn tags(value: &Value) -> Result<Body, &'static str> {
    let allowed = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let tags = match value {
        Value::Null => return Ok(Body::new()),
        Value::Object(tags) => tags,
        _ => return Err("Must be an object"),
    };
    for (key, value) in tags {
        let value = value.as_str().ok_or("Tag values must be strings")?;
        if value.len() > 256 || !allowed(value, "_@-") {
            return Err("Tag values may only contain letters, numbers, _, @ and -");
        }
        let starts_well = key.starts_with(|first: char| first.is_ascii_alphabetic());
        if !starts_well || key.len() > 63 || !allowed(key, "_./-") {
            return Err("Tag keys must start with a letter and be at most 63 letters, numbers, _ . / -");
        }
    }
    Ok(tags.clone())
}

/// Text is YAML (and so JSON too); what is shown is always the object.
fn spicepod(value: &Value) -> Result<Value, &'static str> {
    let parsed = match value {
        Value::String(text) => serde_saphyr::from_str(text).map_err(|_| "Not valid YAML or JSON")?,
        other => other.clone(),
    };
    if parsed.is_object() || value.is_null() { Ok(parsed) } else { Err("Must be a mapping") }
}
