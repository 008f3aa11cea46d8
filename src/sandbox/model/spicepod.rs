//! A spicepod as the API takes it: YAML text or a JSON object, always an object afterwards (contract, sections 7.4 and 13).
//!
//! Only its outer form is judged here. Whether the required keys are there is a question for a deployment.

use serde_json::{Map, Value};

/// Reads YAML text or a JSON object. JSON text is YAML too.
pub(crate) fn read_spicepod(value: &Value) -> Result<Map<String, Value>, String> {
    let parsed = match value {
        Value::String(text) => serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| format!("is neither YAML nor JSON: {error}"))?,
        other => other.clone(),
    };
    match parsed {
        Value::Object(spicepod) => Ok(spicepod),
        _ => Err("must be a mapping".into()),
    }
}

/// What a server that keeps a model of a spicepod, not its text, makes of one: what is empty is gone, and what every
/// spicepod has is there.
pub(crate) fn normalise(spicepod: &mut Map<String, Value>) {
    prune(spicepod);
    for (key, value) in [("version", "v2"), ("kind", "Spicepod")] {
        spicepod.entry(key).or_insert_with(|| value.into());
    }
}

fn prune(object: &mut Map<String, Value>) {
    for value in object.values_mut() {
        prune_value(value);
    }
    object.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    });
}

/// Items of a list stay, even empty ones: the others would move.
fn prune_value(value: &mut Value) {
    match value {
        Value::Object(fields) => prune(fields),
        Value::Array(items) => items.iter_mut().for_each(prune_value),
        _ => {}
    }
}

/// Errors name the place in one line and do not repeat the text around it.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false }
}
