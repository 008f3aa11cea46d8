//! Tests of the OpenAPI document: its structure, and the agreement of the server with the document.

mod responses;
mod structure;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Map, Value};

use super::{TestSandbox, reply};

/// An OpenAPI document.
struct Document(Value);

/// An operation of a document.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    body: &'a Value,
}

impl Document {
    async fn fetch(sandbox: &TestSandbox) -> Self {
        let (status, document) = reply(sandbox.request(Method::GET, "/openapi.json")).await;
        assert_eq!(status, 200, "{document}");
        Self(document)
    }

    fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        self.0["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let item = item.as_object().unwrap();
            item.iter().map(move |(method, body)| Operation { path, method, body })
        })
    }

    /// Follows a `$ref`.
    fn resolve<'a>(&'a self, part: &'a Value) -> &'a Value {
        let Some(reference) = part["$ref"].as_str() else { return part };
        let found = reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer));
        found.unwrap_or_else(|| panic!("{reference} is nowhere"))
    }

    /// Returns the response of an operation for a status.
    fn response(&self, path: &str, method: &str, status: u16) -> Option<&Value> {
        self.0["paths"][path][method]["responses"].get(status.to_string()).map(|response| self.resolve(response))
    }

    /// Returns the fields of a schema, including the fields of `allOf` parts.
    fn properties(&self, schema: &Value) -> Map<String, Value> {
        let schema = self.resolve(schema);
        let mut all = schema["properties"].as_object().cloned().unwrap_or_default();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            all.extend(self.properties(part));
        }
        all
    }

    /// Returns the differences between a value and a schema. A field that the schema lacks is a difference.
    fn mismatches(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices.iter().any(|choice| self.mismatches(choice, value, at).is_empty());
            return if fits { Vec::new() } else { vec![format!("{at} fits no choice: {value}")] };
        }
        let properties = self.properties(schema);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds: Vec<&str> = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().or(schema.get("allOf").map(|_| "object")).into_iter().collect(),
        };
        if !(kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number")) {
            return vec![format!("{at} is {kind}, not {kinds:?}")];
        }
        match value {
            Value::Array(items) => items.iter().flat_map(|item| self.mismatches(&schema["items"], item, at)).collect(),
            Value::Object(fields) if properties.is_empty() => {
                let free = schema.get("additionalProperties");
                fields
                    .values()
                    .flat_map(|field| free.map_or(Vec::new(), |free| self.mismatches(free, field, at)))
                    .collect()
            }
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, field)| match properties.get(name) {
                    Some(schema) => self.mismatches(schema, field, &format!("{at}.{name}")),
                    None => vec![format!("{at}.{name} is not named")],
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Asserts that the document describes status, body and headers of a response.
    async fn assert_describes(&self, response: reqwest::Response, method: &str, path: &str) -> Value {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let at = format!("{method} {path} {status}");
        let described = self.response(path, method, status).unwrap_or_else(|| panic!("{at} is not described"));
        let bytes = response.bytes().await.unwrap();
        let documented: BTreeSet<_> =
            described["headers"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
        let limits = headers.keys().map(|name| name.to_string()).filter(|name| name.contains('-'));
        let limits = limits.filter(|name| name.starts_with("x-ratelimit") || name == "retry-after").collect();
        assert_eq!(documented, limits, "{at}");
        let schema = &described["content"]["application/json"]["schema"];
        assert_eq!(schema.is_null(), bytes.is_empty(), "{at}");
        if bytes.is_empty() {
            return Value::Null;
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(self.mismatches(schema, &body, &at), Vec::<String>::new(), "{body:#}");
        body
    }
}

/// Fills the parameters of a path pattern.
fn fill_parameters(pattern: &str) -> String {
    pattern.replace("{appId}", "1").replace("{secretName}", "TOKEN")
}
