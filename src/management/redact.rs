//! Error bodies of the API: one short sentence without any value that the request sent.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Longest message in characters: enough for a validation error, and short in a condition.
const MAX_MESSAGE_CHARS: usize = 300;
/// Longest text in characters that is searched for sent values. The limit is far above [`MAX_MESSAGE_CHARS`] and keeps
/// a search for thousands of values fast.
const MAX_SEARCHED_CHARS: usize = 8 * 1024;
/// Shortest prefix of a value that is redacted, in characters.
const MIN_PREFIX_CHARS: usize = 8;
/// Shortest value that is redacted, in characters. Shorter strings are ordinary words such as "v2" and "us": their
/// redaction would hide nothing and make the message unreadable.
const MIN_VALUE_CHARS: usize = 4;
/// Words of the API that are never redacted.
const API_WORDS: [&str; 4] = ["Spicepod", "true", "false", "null"];
/// Characters that are percent-encoded in a URL.
const PERCENT_ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const REPLACEMENT: &str = "[redacted]";

/// A decoded error body without sent values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RedactedError {
    /// The machine-readable `code`.
    pub(super) code: Option<String>,
    /// The error text; empty for an HTML page.
    pub(super) message: String,
    /// True if the body has the JSON error shape of the API.
    pub(super) is_json: bool,
}

impl RedactedError {
    /// Decodes an error body and redacts the `sent` values.
    pub(super) fn parse(text: &str, sent: &[&str]) -> Self {
        let Ok(Value::Object(body)) = serde_json::from_str::<Value>(text) else {
            let is_html = text.trim_start().starts_with('<');
            let message = if is_html { String::new() } else { sanitize(text, sent) };
            return Self { code: None, message, is_json: false };
        };
        let text_of = |key: &str| body.get(key).and_then(Value::as_str);
        let code = text_of("code").map(|code| sanitize(code, sent));
        let mut message = text_of("error").or_else(|| text_of("message")).unwrap_or_default().to_owned();
        for (field, messages) in field_errors(&body) {
            message.push_str(if message.is_empty() { "" } else { "; " });
            message.push_str(&format!("{field}: {messages}"));
        }
        let is_json = body.contains_key("error") || body.contains_key("message");
        Self { code, message: sanitize(&message, sent), is_json }
    }
}

/// Returns true if a message contains a secret that is too short for redaction. Such a message must not be shown.
pub(super) fn contains_short_secret(message: &str, secret: &str) -> bool {
    !secret.is_empty() && secret.chars().count() < MIN_VALUE_CHARS && message.contains(secret)
}

/// Every string in a request body, except in fields that the custom resource shows and that error messages refer to.
pub(super) fn strings_in(body: &Value) -> Vec<&str> {
    const SHOWN: [&str; 5] = ["name", "visibility", "region", "cname", "cluster_name"];
    let fields = body.as_object().into_iter().flatten();
    fields.filter(|(field, _)| !SHOWN.contains(&field.as_str())).flat_map(|(_, value)| all_strings(value)).collect()
}

fn all_strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text.as_str()],
        Value::Array(items) => items.iter().flat_map(all_strings).collect(),
        Value::Object(entries) => entries.values().flat_map(all_strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn field_errors(body: &serde_json::Map<String, Value>) -> Vec<(String, String)> {
    let details = body.get("details").and_then(|details| details.get("fieldErrors")).and_then(Value::as_object);
    let joined = |messages: &Value| {
        let messages = messages.as_array().into_iter().flatten();
        messages.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    details.into_iter().flatten().map(|(field, messages)| (field.clone(), joined(messages))).collect()
}

/// The text in one line, shortened, and without the `sent` values.
fn sanitize(text: &str, sent: &[&str]) -> String {
    let mut values: Vec<String> = sent.iter().flat_map(|value| encodings(value)).collect();
    values.retain(|value| value.chars().count() >= MIN_VALUE_CHARS && !API_WORDS.contains(&value.as_str()));
    // Longest first: a shorter value inside a longer one must not leave parts of the longer one.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    // A long text is cut before the search. The message never contains the part after the cut.
    let mut text = one_line(&text.chars().take(MAX_SEARCHED_CHARS).collect::<String>());
    // Whole values before prefixes: encodings of one value share a prefix and differ after it.
    for value in &values {
        text = text.replace(value.as_str(), REPLACEMENT);
    }
    for value in &values {
        text = redact_prefixes(&text, value);
    }
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Encodings in which a server may quote a value: plain, JSON (with and without non-ASCII characters), HTML,
/// percent-encoded and base64.
fn encodings(value: &str) -> [String; 7] {
    let json = Value::from(value).to_string().trim_matches('"').to_owned();
    let ascii = |letter: char| match letter {
        ' '..='~' => letter.to_string(),
        other => other.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    let html = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#39;".to_owned(),
        other => other.to_string(),
    };
    [
        one_line(value),
        one_line(&json),
        one_line(&json.chars().map(ascii).collect::<String>()),
        one_line(&value.chars().map(html).collect::<String>()),
        utf8_percent_encode(value, PERCENT_ENCODED).to_string(),
        STANDARD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
    ]
}

/// Redacts every prefix of a value of at least [`MIN_PREFIX_CHARS`] characters, because a server may shorten a value.
/// The scheme of a URL does not count.
fn redact_prefixes(text: &str, value: &str) -> String {
    let scheme = value.find("://").map_or(0, |at| at + 3);
    let prefix_end = value[scheme..].char_indices().nth(MIN_PREFIX_CHARS).map(|(at, _)| scheme + at);
    let prefix = &value[..prefix_end.unwrap_or(value.len())];
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(prefix) {
        let same = rest[at..].chars().zip(value.chars()).take_while(|(found, wanted)| found == wanted);
        let length: usize = same.map(|(letter, _)| letter.len_utf8()).sum();
        redacted.push_str(&rest[..at]);
        redacted.push_str(REPLACEMENT);
        rest = &rest[at + length..];
    }
    redacted + rest
}

/// The text in one line, without control characters and bidirectional formatting characters.
fn one_line(text: &str) -> String {
    let is_formatting =
        |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|letter| !letter.is_control() && !is_formatting(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn encoded_values_and_control_characters_are_removed() {
        let value = "ab/cd+ef=\"gh\"ü-zürich<1>";
        for form in [
            "ab%2Fcd%2Bef%3D%22gh%22%C3%BC-z%C3%BCrich%3C1%3E",
            "YWIvY2QrZWY9ImdoIsO8LXrDvHJpY2g8MT4=",
            r#"ab/cd+ef=\"gh\"\u00fc-z\u00fcrich<1>"#,
            "ab/cd+ef=&quot;gh&quot;ü-zürich&lt;1&gt;",
        ] {
            let RedactedError { message, .. } =
                RedactedError::parse(&format!("no \u{1b}[31m{form}\u{202e}\0 at all"), &[value]);
            assert_eq!(message, "no [31m[redacted] at all", "{form}");
        }
    }

    #[test]
    fn nothing_that_was_sent_comes_back() {
        let body =
            json!({ "name": "my-app", "spicepod": { "params": { "key": "hunter2-long", "list": ["hunter2"] } } });
        let sent = strings_in(&body);
        let response = r#"{"error":"my-app: hunter2-long is bad,\n hunter2 too","code":"bad"}"#;
        let RedactedError { code, message, is_json } = RedactedError::parse(response, &sent);
        assert_eq!(code.as_deref(), Some("bad"));
        assert_eq!(message, "my-app: [redacted] is bad, [redacted] too");
        assert!(is_json);
    }

    #[test]
    fn escaped_values_are_redacted_and_words_of_the_api_are_kept() {
        let secret = "hunter2  double\nline \"quoted\"";
        let body = json!({ "name": "my-app", "spicepod": { "kind": "Spicepod", "secrets": [{ "name": secret }] } });
        let sent = strings_in(&body);
        let escaped = Value::from(secret).to_string();
        for quoted in [secret.to_owned(), escaped] {
            let response = json!({ "error": format!("my-app: Spicepod has {quoted} in it") }).to_string();
            let RedactedError { message, .. } = RedactedError::parse(&response, &sent);
            assert!(!message.contains("hunter2") && !message.contains("line"), "{message}");
            assert!(message.starts_with("my-app: Spicepod has "), "{message}");
        }
    }

    #[test]
    fn shortened_values_are_redacted_and_long_texts_are_cut() {
        let value = "hunter2-is-a-long-value";
        for (text, message) in [
            ("no: hunter2-is-a", "no: [redacted]"),
            ("no: 'hunter2-...'", "no: '[redacted]...'"),
            ("no: hunter2-is-a-long-value, hunter2-is-a-long-valu", "no: [redacted], [redacted]"),
            ("no: hunter", "no: hunter"),
        ] {
            assert_eq!(sanitize(text, &[value]), message);
        }
        assert_eq!(sanitize("see https://docs.example", &["https://hidden.example/x"]), "see https://docs.example");
        assert_eq!(sanitize("at https://hidden.ex", &["https://hidden.example/x"]), "at [redacted]");
        let long = "x ".repeat(1_000_000) + value;
        assert!(!sanitize(&long, &[value]).contains("hunter2"));
    }

    #[test]
    fn bodies_of_every_shape_are_decoded() {
        for (body, message, is_json) in [
            ("", "", false),
            ("{}", "", false),
            ("<html>no</html>", "", false),
            ("plain words", "plain words", false),
            (r#"{"message":"other key"}"#, "other key", true),
            (
                r#"{"error":"bad","details":{"fieldErrors":{"name":["too short","no"]}}}"#,
                "bad; name: too short, no",
                true,
            ),
        ] {
            let found = RedactedError::parse(body, &[]);
            assert_eq!((found.message.as_str(), found.is_json), (message, is_json), "{body}");
        }
        assert_eq!(RedactedError::parse(&"x".repeat(1000), &[]).message.len(), MAX_MESSAGE_CHARS + 3);
    }
}
