//! Spicepods: YAML text or a JSON object in a request, always an object afterwards.
//!
//! Only the outer form is validated. The API checks required keys at deployment.

use serde_json::{Map, Value};

/// Reads YAML text or a JSON object. JSON text is also YAML.
pub(crate) fn read_spicepod(value: &Value) -> Result<Map<String, Value>, String> {
    let parsed = match value {
        Value::String(text) => {
            // Without a snippet, an error message is one line with the position and does not contain the text.
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| format!("is neither YAML nor JSON: {error}"))?
        }
        other => other.clone(),
    };
    match parsed {
        Value::Object(spicepod) => Ok(spicepod),
        _ => Err("must be a mapping".into()),
    }
}

/// Removes empty fields and adds `version` and `kind`, like a server that stores a typed model instead of the text.
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

/// Keeps empty list items, because removal would shift the other items.
fn prune_value(value: &mut Value) {
    match value {
        Value::Object(fields) => prune(fields),
        Value::Array(items) => items.iter_mut().for_each(prune_value),
        _ => {}
    }
}
