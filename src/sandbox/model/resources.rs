//! What an app runs on: resources, executors, storage (contract, section 7.3).
//!
//! Unknown keys inside these objects are dropped, as unknown fields of a body are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::sandbox::model::profile::ResourceLimits;
use crate::sandbox::wire::fields;

/// The units of a size, with how many bytes each is.
const UNITS: [(&str, u128); 9] = [
    ("", 1),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// CPU, memory and disk, as given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
pub(crate) struct Resources {
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Amounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Amounts>,
}

/// One side of [`Resources`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
struct Amounts {
    /// Whole CPUs, or `-` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    /// Such as `16Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    /// Such as `16Gi`; in limits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral_storage: Option<String>,
}

/// The executors of a distributed app.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub(crate) struct Executor {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    replicas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0)]
    storage_size_gb: Option<Number>,
}

impl Resources {
    /// What of it is above a limit, for people; none if all of it is within.
    pub(crate) fn above(&self, most: ResourceLimits) -> Option<String> {
        let ResourceLimits { max_cpu, max_memory_gi } = most;
        let amounts = || [&self.limits, &self.requests].into_iter().flatten();
        if amounts().filter_map(|amounts| amounts.cpu.as_deref()).any(|cpu| cpus(cpu) > max_cpu.into()) {
            return Some(format!("{max_cpu} CPUs"));
        }
        let most = u128::from(max_memory_gi) << 30;
        let is_above = amounts().filter_map(|amounts| amounts.memory.as_deref()).any(|memory| bytes(memory) > most);
        is_above.then(|| format!("{max_memory_gi} GiB of memory"))
    }
}

impl Executor {
    /// What each executor has.
    pub(crate) fn resources(&self) -> Option<&Resources> {
        self.resources.as_ref()
    }
}

/// Reads `resources`.
pub(crate) fn resources(value: &Value) -> Result<Resources, String> {
    let object = fields::object(value)?;
    Ok(Resources {
        limits: inner(object, "limits", |value| amounts(value, true))?,
        requests: inner(object, "requests", |value| amounts(value, false))?,
    })
}

/// Reads `executor`.
pub(crate) fn executor(value: &Value) -> Result<Executor, String> {
    let object = fields::object(value)?;
    Ok(Executor {
        replicas: inner(object, "replicas", fields::integer(0, 1000))?,
        resources: inner(object, "resources", resources)?,
        storage_size_gb: inner(object, "storage_size_gb", storage)?,
    })
}

/// Reads a size in gigabytes.
pub(crate) fn storage(value: &Value) -> Result<Number, String> {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|size| size > 0.0) => Ok(number.clone()),
        _ => Err("must be a number above 0".into()),
    }
}

/// Disk is limited only; a request for it is not part of the contract and dropped.
fn amounts(value: &Value, with_disk: bool) -> Result<Amounts, String> {
    let object = fields::object(value)?;
    Ok(Amounts {
        cpu: inner(object, "cpu", cpu)?,
        memory: inner(object, "memory", size)?,
        ephemeral_storage: if with_disk { inner(object, "ephemeral-storage", size)? } else { None },
    })
}

fn cpu(value: &Value) -> Result<String, String> {
    let text = fields::text(value)?;
    let whole = text.bytes().all(|digit| digit.is_ascii_digit()) && !text.is_empty() && !text.starts_with('0');
    if whole || text == "-" { Ok(text) } else { Err("must be a whole number of CPUs as a string, or \"-\"".into()) }
}

/// How many CPUs a text of [`cpu`] is. No limit is above every one, and so is what no number can hold.
fn cpus(text: &str) -> u128 {
    text.parse().unwrap_or(u128::MAX)
}

/// How many bytes a text of [`size`] is.
fn bytes(text: &str) -> u128 {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]).map_or(1, |(_, bytes)| *bytes);
    digits.parse().unwrap_or(u128::MAX).saturating_mul(unit)
}

fn size(value: &Value) -> Result<String, String> {
    let text = fields::text(value)?;
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let known = UNITS.iter().any(|(known, _)| *known == unit);
    let whole = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole && known { Ok(text) } else { Err("must be a size such as \"16Gi\"".into()) }
}

/// A field of an inner object: absent and `null` are the same there, and a message says which field it is about.
fn inner<T>(
    object: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|message| format!("{name}: {message}")),
    }
}
