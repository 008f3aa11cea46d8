//! Turns an error body into one short sentence that holds nothing we sent.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Longest text taken from a body, in characters: enough for a validation message, too short to flood a status.
const LONGEST: usize = 300;
/// Longest text that is searched for what was sent, in characters: far more than is shown, and little enough for thousands of
/// values.
const LONGEST_SEARCHED: usize = 8 * 1024;
/// The beginning of a value that must not come back alone, in characters.
const SHORTEST_BEGINNING: usize = 8;
/// Shorter strings are ordinary words ("v2", "us"): taking them out would garble the message and hide nothing.
const SHORTEST_SECRET: usize = 4;
/// Words of the contract: no message could do without them.
const WORDS: [&str; 4] = ["Spicepod", "true", "false", "null"];
/// What is encoded in a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const REPLACEMENT: &str = "[redacted]";

/// The code and the words of an error body. `sent` are all values that must not come back.
pub(super) fn error_body(text: &str, sent: &[&str]) -> (Option<String>, String, bool) {
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(text) else {
        let message = if text.trim_start().starts_with('<') { String::new() } else { sanitized(text, sent) };
        return (None, message, false);
    };
    let text_of = |key: &str| body.get(key).and_then(Value::as_str);
    let code = text_of("code").map(|code| sanitized(code, sent));
    let mut message = text_of("error").or_else(|| text_of("message")).unwrap_or_default().to_owned();
    for (field, messages) in field_errors(&body) {
        message.push_str(if message.is_empty() { "" } else { "; " });
        message.push_str(&format!("{field}: {messages}"));
    }
    let own = body.contains_key("error") || body.contains_key("message");
    (code, sanitized(&message, sent), own)
}

/// Whether a message holds a secret that is too short to be taken out of it: then none of it can be shown.
pub(super) fn tells(message: &str, secret: &str) -> bool {
    !secret.is_empty() && secret.chars().count() < SHORTEST_SECRET && message.contains(secret)
}

/// Every string in a request body. Not the fields of the body itself that the object shows anyhow and that a message
/// about them needs.
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
        _ => Vec::new(),
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

fn sanitized(text: &str, sent: &[&str]) -> String {
    let mut values: Vec<String> = sent.iter().flat_map(|value| forms(value)).collect();
    values.retain(|value| value.chars().count() >= SHORTEST_SECRET && !WORDS.contains(&value.as_str()));
    // Longest first, so that no part of a longer value is left behind by a shorter one inside it.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    // A long text is cut before it is searched, and what is cut off there is not shown.
    let mut text = one_line(&text.chars().take(LONGEST_SEARCHED).collect::<String>());
    // Whole values before their beginnings: the two forms of a value begin alike, and a beginning ends where they differ.
    for value in &values {
        text = text.replace(value.as_str(), REPLACEMENT);
    }
    for value in &values {
        text = without_beginning(&text, value);
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A server may quote a value as it is, in one line or in several, or as something has written it: JSON, with or without other
/// letters than those of ASCII, a URL, HTML, or base64 as Kubernetes shows it.
fn forms(value: &str) -> [String; 7] {
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
        utf8_percent_encode(value, ENCODED).to_string(),
        STANDARD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
    ]
}

/// The text without any beginning of a value that is long enough to tell: a server may have cut it.
fn without_beginning(text: &str, value: &str) -> String {
    let scheme = value.find("://").map_or(0, |at| at + 3);
    let telling = value[scheme..].char_indices().nth(SHORTEST_BEGINNING).map(|(at, _)| scheme + at);
    let beginning = &value[..telling.unwrap_or(value.len())];
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(beginning) {
        let same = rest[at..].chars().zip(value.chars()).take_while(|(found, wanted)| found == wanted);
        let length: usize = same.map(|(letter, _)| letter.len_utf8()).sum();
        kept.push_str(&rest[..at]);
        kept.push_str(REPLACEMENT);
        rest = &rest[at + length..];
    }
    kept + rest
}

/// In one line, and without what a terminal would obey.
fn one_line(text: &str) -> String {
    let obeyed =
        |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shown.chars().filter(|letter| !letter.is_control() && !obeyed(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_comes_back_in_another_form_and_nothing_that_a_terminal_obeys() {
        let value = "ab/cd+ef=\"gh\"ü-zürich<1>";
        for form in [
            "ab%2Fcd%2Bef%3D%22gh%22%C3%BC-z%C3%BCrich%3C1%3E",
            "YWIvY2QrZWY9ImdoIsO8LXrDvHJpY2g8MT4=",
            r#"ab/cd+ef=\"gh\"\u00fc-z\u00fcrich<1>"#,
            "ab/cd+ef=&quot;gh&quot;ü-zürich&lt;1&gt;",
        ] {
            let (_, message, _) = error_body(&format!("no \u{1b}[31m{form}\u{202e}\0 at all"), &[value]);
            assert_eq!(message, "no [31m[redacted] at all", "{form}");
        }
    }

    #[test]
    fn nothing_that_was_sent_comes_back() {
        let body =
            json!({ "name": "my-app", "spicepod": { "params": { "key": "hunter2-long", "list": ["hunter2"] } } });
        let sent = strings_in(&body);
        let answer = r#"{"error":"my-app: hunter2-long is bad,\n hunter2 too","code":"bad"}"#;
        let (code, message, own) = error_body(answer, &sent);
        assert_eq!(code.as_deref(), Some("bad"));
        assert_eq!(message, "my-app: [redacted] is bad, [redacted] too");
        assert!(own);
    }

    #[test]
    fn a_value_is_found_in_every_form_and_a_word_of_the_contract_stays() {
        let secret = "hunter2  double\nline \"quoted\"";
        let body = json!({ "name": "my-app", "spicepod": { "kind": "Spicepod", "secrets": [{ "name": secret }] } });
        let sent = strings_in(&body);
        let escaped = Value::from(secret).to_string();
        for quoted in [secret.to_owned(), escaped] {
            let answer = json!({ "error": format!("my-app: Spicepod has {quoted} in it") }).to_string();
            let (_, message, _) = error_body(&answer, &sent);
            assert!(!message.contains("hunter2") && !message.contains("line"), "{message}");
            assert!(message.starts_with("my-app: Spicepod has "), "{message}");
        }
    }

    #[test]
    fn a_value_that_the_server_has_cut_is_found_and_a_long_text_is_cut_first() {
        let value = "hunter2-is-a-long-value";
        for (text, message) in [
            ("no: hunter2-is-a", "no: [redacted]"),
            ("no: 'hunter2-...'", "no: '[redacted]...'"),
            ("no: hunter2-is-a-long-value, hunter2-is-a-long-valu", "no: [redacted], [redacted]"),
            ("no: hunter", "no: hunter"),
        ] {
            assert_eq!(sanitized(text, &[value]), message);
        }
        assert_eq!(sanitized("see https://docs.example", &["https://hidden.example/x"]), "see https://docs.example");
        assert_eq!(sanitized("at https://hidden.ex", &["https://hidden.example/x"]), "at [redacted]");
        let long = "x ".repeat(1_000_000) + value;
        assert!(!sanitized(&long, &[value]).contains("hunter2"));
    }

    #[test]
    fn bodies_of_every_shape_are_survived() {
        for (body, message, own) in [
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
            let (_, found, found_own) = error_body(body, &[]);
            assert_eq!((found.as_str(), found_own), (message, own), "{body}");
        }
        assert_eq!(error_body(&"x".repeat(1000), &[]).1.len(), LONGEST + 3);
    }
}
