//! Streaming filter for JSON responses of the API server: removes content that the operator does not read and that its
//! decoder may not survive.
//!
//! kube decodes a list as a whole. One object that cannot be decoded would hide all other objects, in every namespace.
//! Users can put two such values into an object: values that are nested deeper than serde_json allows, and, in
//! `metadata.managedFields`, deep paths and invalid times. The filter replaces both by `null`, chunk by chunk, before
//! kube decodes the response. The planner rejects an object whose values were cut, because the planner allows less
//! depth.

/// Maximum number of open containers. serde_json fails at 128.
const MAX_DEPTH: usize = 100;
/// Length limit of recorded keys. All keys that the filter compares are shorter.
const MAX_KEY_LENGTH: usize = 16;

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
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ if self.last_string.len() <= MAX_KEY_LENGTH => self.last_string.push(byte),
                _ => {}
            }
            out.push(byte);
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
            }
            b'{' | b'[' if self.open_containers.len() == MAX_DEPTH => {
                out.extend_from_slice(b"null");
                self.removing = Some(RemovedValue::Containers(1));
                return;
            }
            b'{' | b'[' => {
                let kind = self.next_container();
                self.open_containers.push(kind);
                self.key.clear();
            }
            b'}' | b']' => {
                self.open_containers.pop();
                self.key.clear();
            }
            b',' => self.key.clear(),
            _ => {}
        }
        out.push(byte);
    }

    /// Kind of the container that the next byte opens.
    fn next_container(&self) -> ContainerKind {
        match (self.open_containers.last(), self.key.as_slice()) {
            (None, _) => ContainerKind::Root,
            (Some(ContainerKind::Root), b"items") => ContainerKind::Items,
            (Some(ContainerKind::Root), b"object") | (Some(ContainerKind::Items), _) => ContainerKind::Object,
            (Some(ContainerKind::Root | ContainerKind::Object), b"metadata") => ContainerKind::Metadata,
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
    fn the_filter_handles_a_sequence_of_watch_events() {
        let event = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":[{}]}}}\n";
        let expected = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":null}}}\n";
        assert_eq!(filtered(&event.repeat(3)), expected.repeat(3));
    }
}
