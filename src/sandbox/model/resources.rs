//! Compute resources, executors and storage of an app.
//!
//! Unknown keys inside these objects are dropped, like unknown fields of a body.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::sandbox::model::profile::ResourceLimits;
use crate::sandbox::wire::fields;

/// Units of a size and their number of bytes.
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

/// CPU, memory and storage as specified by the client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[schema(as = Resources)]
pub(crate) struct ComputeResources {
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<ResourceAmounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<ResourceAmounts>,
}

/// Limits or requests of [`ComputeResources`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[schema(as = Amounts)]
#[serde(rename_all = "kebab-case")]
struct ResourceAmounts {
    /// Whole CPUs, or `-` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    /// Size such as `16Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    /// Size such as `16Gi`. Only in limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral_storage: Option<String>,
}

/// Executors of a distributed app.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[schema(as = Executor)]
pub(crate) struct ExecutorSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    replicas: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<ComputeResources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0)]
    storage_size_gb: Option<Number>,
}

impl ComputeResources {
    /// Describes the first amount above the plan limits. `None`: all amounts are within the limits.
    pub(crate) fn find_excess(&self, limits: ResourceLimits) -> Option<String> {
        let ResourceLimits { max_cpu, max_memory_gi } = limits;
        let amounts = || [&self.limits, &self.requests].into_iter().flatten();
        if amounts().filter_map(|amounts| amounts.cpu.as_deref()).any(|cpu| parse_cpus(cpu) > max_cpu.into()) {
            return Some(format!("{max_cpu} CPUs"));
        }
        let max_memory_bytes = u128::from(max_memory_gi) << 30;
        let is_above = amounts()
            .filter_map(|amounts| amounts.memory.as_deref())
            .any(|memory| parse_bytes(memory) > max_memory_bytes);
        is_above.then(|| format!("{max_memory_gi} GiB of memory"))
    }
}

pub(crate) fn read_resources(value: &Value) -> Result<ComputeResources, String> {
    let object = fields::read_object(value)?;
    Ok(ComputeResources {
        limits: read_inner(object, "limits", |value| read_amounts(value, true))?,
        requests: read_inner(object, "requests", |value| read_amounts(value, false))?,
    })
}

pub(crate) fn read_executor(value: &Value) -> Result<ExecutorSettings, String> {
    let object = fields::read_object(value)?;
    Ok(ExecutorSettings {
        replicas: read_inner(object, "replicas", fields::read_integer(0, 1000))?,
        resources: read_inner(object, "resources", read_resources)?,
        storage_size_gb: read_inner(object, "storage_size_gb", read_storage_size)?,
    })
}

/// Reads a size in gigabytes.
pub(crate) fn read_storage_size(value: &Value) -> Result<Number, String> {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|size| size > 0.0) => Ok(number.clone()),
        _ => Err("must be a number above 0".into()),
    }
}

/// Reads limits or requests. Storage has limits only, so a storage request is dropped.
fn read_amounts(value: &Value, with_storage: bool) -> Result<ResourceAmounts, String> {
    let object = fields::read_object(value)?;
    Ok(ResourceAmounts {
        cpu: read_inner(object, "cpu", read_cpu)?,
        memory: read_inner(object, "memory", read_size)?,
        ephemeral_storage: if with_storage { read_inner(object, "ephemeral-storage", read_size)? } else { None },
    })
}

fn read_cpu(value: &Value) -> Result<String, String> {
    let text = fields::read_string(value)?;
    let is_whole = text.bytes().all(|digit| digit.is_ascii_digit()) && !text.is_empty() && !text.starts_with('0');
    if is_whole || text == "-" { Ok(text) } else { Err("must be a whole number of CPUs as a string, or \"-\"".into()) }
}

/// Parses a CPU amount. "No limit" and numbers out of range exceed every limit.
fn parse_cpus(text: &str) -> u128 {
    text.parse().unwrap_or(u128::MAX)
}

/// Parses a size into bytes. A number out of range exceeds every limit.
fn parse_bytes(text: &str) -> u128 {
    split_size(text).map_or(0, |(digits, unit)| digits.parse().unwrap_or(u128::MAX).saturating_mul(unit))
}

fn read_size(value: &Value) -> Result<String, String> {
    let text = fields::read_string(value)?;
    let is_whole = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_size = split_size(&text).is_some_and(|(digits, _)| is_whole(digits));
    if is_size { Ok(text) } else { Err("must be a size such as \"16Gi\"".into()) }
}

/// Splits a size into its number and the bytes of its unit. `None`: the unit is unknown.
fn split_size(text: &str) -> Option<(&str, u128)> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
    unit.map(|(_, bytes)| (digits, *bytes))
}

/// Reads a field of an inner object. `null` counts as absent, and the error message starts with the field name.
fn read_inner<T>(
    object: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|message| format!("{name}: {message}")),
    }
}
