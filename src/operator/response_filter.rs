//! Streaming filter for JSON responses of the API server: removes content that the operator does not read and that its
//! decoder may not survive.
//!
//! kube decodes a list as a whole. One object that cannot be decoded would hide all other objects, in every namespace.
//! Users can put two such values into an object: values that are nested deeper than serde_json allows, and, in
//! `metadata.managedFields`, deep paths and invalid times. The filter replaces both by `null`, chunk by chunk, before
//! kube decodes the response. The planner rejects an object whose values were cut, because the planner allows less
//! depth.
//!
//! The decoder needs many times the memory of the text. The filter therefore replaces a field of a `spec` above 256 KiB,
//! which no schema of the operator allows, by its length in bytes. A SpiceApp with such a spicepod is invalid.

/// Maximum length of a field of a `spec` in bytes. Equal to the limit of a spicepod.
const MAX_FIELD_BYTES: usize = 256 * 1024;
/// Maximum number of open containers. serde_json fails at 128.
const MAX_DEPTH: usize = 100;
/// Length limit of recorded keys. All keys that the filter compares are shorter.
const MAX_KEY_LENGTH: usize = 16;
/// Bytes of a hexadecimal escape after its backslash.
const UNCOUNTED_ESCAPE_BYTES: usize = 5;

/// Position of a JSON container in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContainerKind {
    /// The whole response: an object, a list, or an event of a watch.
    Root,
    /// `items` of a list.
    Items,
    /// An object in a list or in an event.
    Object,
    /// `metadata` of an object or of a list.
    Metadata,
    /// `spec` of an object.
    Spec,
    /// Any other container.
    Other,
}

/// Position inside a value that the filter removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RemovedValue {
    /// Before the first byte of the value.
    Start,
    /// Inside this number of nested containers.
    Containers(usize),
    /// Inside a string.
    String,
    /// Inside a number, `true`, `false` or `null`.
    Literal,
}

/// The value of a field of a `spec`, until its end.
#[derive(Debug, Default)]
struct HeldValue {
    /// The value; empty once the value is too long.
    bytes: Vec<u8>,
    /// Length of the value without whitespace. A character with a hexadecimal escape counts as one byte, because the
    /// API server escapes more characters than the operator does.
    length: usize,
    /// Bytes of a hexadecimal escape that do not count.
    uncounted: usize,
}

/// State of the filter between two chunks of one response.
#[derive(Debug, Default)]
pub(super) struct ResponseFilter {
    open_containers: Vec<ContainerKind>,
    in_string: bool,
    is_escaped: bool,
    /// The last string. The string is a key if a colon follows.
    last_string: Vec<u8>,
    /// Key of the next value; empty in a list.
    key: Vec<u8>,
    /// Position in the value that the filter removes now.
    removing: Option<RemovedValue>,
    /// The value of a field of a `spec`, while the filter reads the value.
    held: Option<HeldValue>,
}

impl ResponseFilter {
    /// Returns the chunk without the removed values.
    pub(super) fn apply(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len());
        for &byte in chunk {
            match self.removing {
                Some(position) => self.remove(position, byte, &mut out),
                None => self.copy(byte, &mut out),
            }
        }
        out
    }

    /// Handles a byte outside removed values.
    fn copy(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => {
                    self.is_escaped = false;
                    if let Some(held) = self.held.as_mut().filter(|_| byte == b'u') {
                        held.uncounted = UNCOUNTED_ESCAPE_BYTES;
                    }
                }
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ if self.last_string.len() <= MAX_KEY_LENGTH => self.last_string.push(byte),
                _ => {}
            }
            self.push(byte, out);
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.last_string.clear();
            }
            b':' => {
                self.key.clone_from(&self.last_string);
                if self.key == b"managedFields" && self.open_containers.last() == Some(&ContainerKind::Metadata) {
                    out.extend_from_slice(b":null");
                    self.removing = Some(RemovedValue::Start);
                    return;
                }
                if self.open_containers.last() == Some(&ContainerKind::Spec) {
                    out.push(byte);
                    self.held = Some(HeldValue::default());
                    return;
                }
            }
            b'{' | b'[' if self.open_containers.len() == MAX_DEPTH => {
                b"null".iter().for_each(|byte| self.push(*byte, out));
                self.removing = Some(RemovedValue::Containers(1));
                return;
            }
            b'{' | b'[' => {
                let kind = self.next_container();
                self.open_containers.push(kind);
                self.key.clear();
            }
            b'}' | b']' => {
                self.release(out);
                self.open_containers.pop();
                self.key.clear();
            }
            b',' => {
                self.release(out);
                self.key.clear();
            }
            b' ' | b'\t' | b'\r' | b'\n' if self.held.is_some() => return,
            _ => {}
        }
        self.push(byte, out);
    }

    /// Adds a byte to the held value, or else to the output.
    fn push(&mut self, byte: u8, out: &mut Vec<u8>) {
        let Some(held) = &mut self.held else { return out.push(byte) };
        match held.uncounted.checked_sub(1) {
            Some(uncounted) => held.uncounted = uncounted,
            None => held.length += 1,
        }
        if held.length > MAX_FIELD_BYTES {
            held.bytes = Vec::new();
        } else {
            held.bytes.push(byte);
        }
    }

    /// Writes the held value, or its length, if a field of a `spec` ends here.
    fn release(&mut self, out: &mut Vec<u8>) {
        if self.open_containers.last() != Some(&ContainerKind::Spec) {
            return;
        }
        match self.held.take() {
            Some(held) if held.length > MAX_FIELD_BYTES => out.extend_from_slice(held.length.to_string().as_bytes()),
            Some(held) => out.extend_from_slice(&held.bytes),
            None => {}
        }
    }

    /// Kind of the container that the next byte opens.
    fn next_container(&self) -> ContainerKind {
        match (self.open_containers.last(), self.key.as_slice()) {
            (None, _) => ContainerKind::Root,
            (Some(ContainerKind::Root), b"items") => ContainerKind::Items,
            (Some(ContainerKind::Root), b"object") | (Some(ContainerKind::Items), _) => ContainerKind::Object,
            (Some(ContainerKind::Root | ContainerKind::Object), b"metadata") => ContainerKind::Metadata,
            (Some(ContainerKind::Root | ContainerKind::Object), b"spec") => ContainerKind::Spec,
            _ => ContainerKind::Other,
        }
    }

    /// Handles a byte inside a removed value, or the first byte after a removed literal.
    fn remove(&mut self, position: RemovedValue, byte: u8, out: &mut Vec<u8>) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.removing = (position != RemovedValue::String).then_some(position);
                }
                _ => {}
            }
            return;
        }
        self.removing = match (position, byte) {
            (RemovedValue::Start, b' ' | b'\t' | b'\r' | b'\n') => Some(RemovedValue::Start),
            (RemovedValue::Start, b'"') => {
                self.in_string = true;
                Some(RemovedValue::String)
            }
            (RemovedValue::Start, b'{' | b'[') => Some(RemovedValue::Containers(1)),
            (RemovedValue::Start, _) => Some(RemovedValue::Literal),
            (RemovedValue::Containers(depth), b'{' | b'[') => Some(RemovedValue::Containers(depth + 1)),
            (RemovedValue::Containers(1), b'}' | b']') => None,
            (RemovedValue::Containers(depth), b'}' | b']') => Some(RemovedValue::Containers(depth - 1)),
            (RemovedValue::Containers(depth), b'"') => {
                self.in_string = true;
                Some(RemovedValue::Containers(depth))
            }
            // The byte after a literal is not part of the literal.
            (RemovedValue::Literal, b',' | b'}' | b']') => {
                self.removing = None;
                self.copy(byte, out);
                return;
            }
            (position, _) => Some(position),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Filters a text in chunks of every size. All sizes must give the same result.
    fn filtered(text: &str) -> String {
        let whole = ResponseFilter::default().apply(text.as_bytes());
        for size in 1..=text.len().min(64) {
            let mut filter = ResponseFilter::default();
            let parts: Vec<u8> = text.as_bytes().chunks(size).flat_map(|chunk| filter.apply(chunk)).collect();
            assert_eq!(parts, whole, "chunks of {size}");
        }
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn only_managed_fields_of_objects_are_removed_from_every_response_kind() {
        let object = |fields: Value| {
            let spec = json!({ "metadata": { "managedFields": "the user's own" }, "managedFields": [1], "object": { "metadata": { "managedFields": 2 } } });
            json!({ "metadata": { "name": "a \"quoted\\\" name", "managedFields": fields, "uid": "u" }, "spec": spec })
        };
        for fields in [
            json!([{ "time": "9999-12-31T23:59:59Z", "f:x}\"]": {} }]),
            json!("text, }"),
            json!(12.5e3),
            json!(null),
            json!(true),
        ] {
            for wrapped in [
                |object: Value| object,
                |object: Value| json!({ "type": "ADDED", "object": object }),
                |object: Value| json!({ "kind": "List", "metadata": { "resourceVersion": "1" }, "items": [object.clone(), object] }),
            ] {
                for text in [
                    wrapped(object(fields.clone())).to_string(),
                    serde_json::to_string_pretty(&wrapped(object(fields.clone()))).unwrap(),
                ] {
                    let found: Value = serde_json::from_str(&filtered(&text)).unwrap();
                    assert_eq!(found, wrapped(object(Value::Null)));
                }
            }
        }
    }

    #[test]
    fn values_nested_too_deep_are_removed_and_all_others_stay() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let deep = |levels: usize| format!("{}\"x]}}\"{}", open.repeat(levels), close.repeat(levels));
            let fine = format!("{{\"before\":1,\"deep\":{},\"after\":[2]}}", deep(MAX_DEPTH - 1));
            assert_eq!(filtered(&fine), fine);
            let cut = filtered(&format!("{{\"before\":1,\"deep\":{},\"after\":[2]}}", deep(5000)));
            let found: Value = serde_json::from_str(&cut).unwrap();
            assert_eq!((&found["before"], &found["after"]), (&json!(1), &json!([2])));
        }
    }

    #[test]
    fn a_field_of_a_spec_above_the_limit_is_replaced_by_its_length_and_all_others_stay() {
        let of_length = |length: usize| {
            let value = |padding: usize| json!({ "a": [{ "b": "x,}\"" }, "x".repeat(padding)], "c": 1 });
            value(length - value(0).to_string().len())
        };
        let whole = |value: Value| {
            let spec = json!({ "before": "x", "spicepod": value, "tags": { "spec": { "spicepod": "{" } } });
            json!({ "metadata": { "spec": { "x": [1] } }, "spec": spec, "status": { "id": 1 } })
        };
        let fits = of_length(MAX_FIELD_BYTES);
        let long = of_length(MAX_FIELD_BYTES + 1);
        for wrapped in [
            |object: Value| object,
            |object: Value| json!({ "type": "ADDED", "object": object }),
            |object: Value| json!({ "items": [object.clone(), object] }),
        ] {
            let filter = |value: &Value| {
                let text = wrapped(whole(value.clone())).to_string();
                let mut filter = ResponseFilter::default();
                let parts: Vec<u8> = text.as_bytes().chunks(4099).flat_map(|chunk| filter.apply(chunk)).collect();
                serde_json::from_slice::<Value>(&parts).unwrap()
            };
            assert_eq!(filter(&fits), wrapped(whole(fits.clone())));
            assert_eq!(filter(&long), wrapped(whole(json!(MAX_FIELD_BYTES + 1))));
            assert_eq!(filter(&json!("x".repeat(MAX_FIELD_BYTES))), wrapped(whole(json!(MAX_FIELD_BYTES + 2))));
        }
    }

    #[test]
    fn characters_that_the_api_server_escapes_do_not_count_as_more() {
        let text = format!("{{\"spec\":{{\"spicepod\":{{\"a\":\"{}\"}}}}}}", "\\u003c".repeat(MAX_FIELD_BYTES - 8));
        assert_eq!(ResponseFilter::default().apply(text.as_bytes()), text.as_bytes());
    }

    #[test]
    fn the_filter_handles_a_sequence_of_watch_events() {
        let event = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":[{}]}}}\n";
        let expected = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":null}}}\n";
        assert_eq!(filtered(&event.repeat(3)), expected.repeat(3));
    }
}
