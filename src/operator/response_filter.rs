//! Takes out of the apiserver's JSON what no part of the operator reads and what its decoder may not survive.
//!
//! kube decodes a list as a whole: one object that cannot be decoded as JSON would hide all others, in every namespace.
//! Two things that a user can put into an object do that: values nested deeper than serde_json goes, and, in
//! `metadata.managedFields`, paths as deep and times that no clock shows. So this cuts the former and drops the latter,
//! on the way in and chunk by chunk. An object that was cut is refused by the planner, which allows less depth.

/// Containers open at once; serde_json gives up at 128.
const DEEPEST: usize = 100;
/// Keys longer than this are none of those looked for.
const LONGEST_KEY: usize = 16;

/// What a container is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The whole answer: an object, a list, or an event of a watch.
    Root,
    /// `items` of a list.
    Items,
    /// An object in a list or an event.
    Object,
    /// `metadata` of an object or a list.
    Metadata,
    /// Anything else.
    Other,
}

/// Where in a value that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skipped {
    /// Before its first byte.
    Ahead,
    /// In containers, so many deep.
    Containers(usize),
    /// In a text.
    Text,
    /// In a number or a word.
    Plain,
}

/// The state between two chunks of one answer.
#[derive(Debug, Default)]
pub(super) struct ResponseFilter {
    open: Vec<Role>,
    in_text: bool,
    escaped: bool,
    /// The text read last: a key, if a colon follows.
    text: Vec<u8>,
    /// The key whose value comes next; empty in a list.
    key: Vec<u8>,
    skipped: Option<Skipped>,
}

impl ResponseFilter {
    /// Passes a chunk on, less what is left out.
    pub(super) fn pass(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len());
        for &byte in chunk {
            match self.skipped {
                Some(place) => self.skip(place, byte, &mut out),
                None => self.take(byte, &mut out),
            }
        }
        out
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_text = false,
                _ if self.text.len() <= LONGEST_KEY => self.text.push(byte),
                _ => {}
            }
            out.push(byte);
            return;
        }
        match byte {
            b'"' => {
                self.in_text = true;
                self.text.clear();
            }
            b':' => {
                self.key.clone_from(&self.text);
                if self.key == b"managedFields" && self.open.last() == Some(&Role::Metadata) {
                    out.extend_from_slice(b":null");
                    self.skipped = Some(Skipped::Ahead);
                    return;
                }
            }
            b'{' | b'[' if self.open.len() == DEEPEST => {
                out.extend_from_slice(b"null");
                self.skipped = Some(Skipped::Containers(1));
                return;
            }
            b'{' | b'[' => {
                let role = self.role();
                self.open.push(role);
                self.key.clear();
            }
            b'}' | b']' => {
                self.open.pop();
                self.key.clear();
            }
            b',' => self.key.clear(),
            _ => {}
        }
        out.push(byte);
    }

    /// What the container is that opens now.
    fn role(&self) -> Role {
        match (self.open.last(), self.key.as_slice()) {
            (None, _) => Role::Root,
            (Some(Role::Root), b"items") => Role::Items,
            (Some(Role::Root), b"object") | (Some(Role::Items), _) => Role::Object,
            (Some(Role::Root | Role::Object), b"metadata") => Role::Metadata,
            _ => Role::Other,
        }
    }

    fn skip(&mut self, place: Skipped, byte: u8, out: &mut Vec<u8>) {
        if self.in_text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_text = false;
                    self.skipped = (place != Skipped::Text).then_some(place);
                }
                _ => {}
            }
            return;
        }
        self.skipped = match (place, byte) {
            (Skipped::Ahead, b' ' | b'\t' | b'\r' | b'\n') => Some(Skipped::Ahead),
            (Skipped::Ahead, b'"') => {
                self.in_text = true;
                Some(Skipped::Text)
            }
            (Skipped::Ahead, b'{' | b'[') => Some(Skipped::Containers(1)),
            (Skipped::Ahead, _) => Some(Skipped::Plain),
            (Skipped::Containers(deep), b'{' | b'[') => Some(Skipped::Containers(deep + 1)),
            (Skipped::Containers(1), b'}' | b']') => None,
            (Skipped::Containers(deep), b'}' | b']') => Some(Skipped::Containers(deep - 1)),
            (Skipped::Containers(deep), b'"') => {
                self.in_text = true;
                Some(Skipped::Containers(deep))
            }
            // A number or a word ends with what follows it, which belongs to the rest.
            (Skipped::Plain, b',' | b'}' | b']') => {
                self.skipped = None;
                self.take(byte, out);
                return;
            }
            (place, _) => Some(place),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Passes a text in chunks of every size; all sizes must give the same.
    fn lean(text: &str) -> String {
        let whole = ResponseFilter::default().pass(text.as_bytes());
        for size in 1..=text.len().min(64) {
            let mut state = ResponseFilter::default();
            let parts: Vec<u8> = text.as_bytes().chunks(size).flat_map(|chunk| state.pass(chunk)).collect();
            assert_eq!(parts, whole, "chunks of {size}");
        }
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn managed_fields_of_every_kind_of_answer_are_dropped_and_nothing_else() {
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
                    let found: Value = serde_json::from_str(&lean(&text)).unwrap();
                    assert_eq!(found, wrapped(object(Value::Null)));
                }
            }
        }
    }

    #[test]
    fn what_is_too_deep_is_cut_and_the_rest_stays() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let deep = |levels: usize| format!("{}\"x]}}\"{}", open.repeat(levels), close.repeat(levels));
            let fine = format!("{{\"before\":1,\"deep\":{},\"after\":[2]}}", deep(DEEPEST - 1));
            assert_eq!(lean(&fine), fine);
            let cut = lean(&format!("{{\"before\":1,\"deep\":{},\"after\":[2]}}", deep(5000)));
            let found: Value = serde_json::from_str(&cut).unwrap();
            assert_eq!((&found["before"], &found["after"]), (&json!(1), &json!([2])));
        }
    }

    #[test]
    fn events_of_a_watch_follow_each_other() {
        let event = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":[{}]}}}\n";
        let expected = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"managedFields\":null}}}\n";
        assert_eq!(lean(&event.repeat(3)), expected.repeat(3));
    }
}
