//! A spicepod as the API takes it: YAML text or a JSON object, always an object afterwards (contract, sections 7.4 and 13).
//!
//! Only its outer form is judged here. Whether the required keys are there is a question for a deployment.

use serde_json::{Map, Value};

/// Reads YAML text or a JSON object. JSON text is YAML too.
pub(super) fn read(value: &Value) -> Result<Map<String, Value>, String> {
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

/// Errors name the place in one line and do not repeat the text around it.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false }
}
