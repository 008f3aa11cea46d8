//! Error bodies of the API: the facts that decisions depend on, and a short text for users.
//!
//! The facts come from the raw body. Nothing here depends on the request, so that no value in a spec changes a decision.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::server_text::quote_server_text;

/// Maximum length of a shown text in characters. Only this part of a text is searched for the token.
const MAX_SHOWN_CHARS: usize = 300;
/// Shortest part of a bearer token that is removed from a shown text, in bytes. Shorter parts are ordinary words.
const MIN_TOKEN_PART: usize = 8;
const REPLACEMENT: &str = "[redacted]";

/// Value of `code` that stands for every undocumented one.
const OTHER_CODE: &str = "other";
/// Documented values of `code`.
pub(in crate::management) const CODES: [&str; 14] = [
    "insufficient_scope",
    "forbidden",
    "org_forbidden",
    "org_assertion_mismatch",
    "invalid_org_assertion",
    "image_tag_requires_enterprise",
    "invalid_stable_image_tag",
    "spicepod_paused",
    "github_connected",
    "plan_limit",
    "project_paused",
    "project_not_deployed",
    "instance_offline",
    "instance_not_found",
];
/// All scopes of the API.
pub(in crate::management) const SCOPES: [&str; 16] = [
    "apps:read",
    "apps:write",
    "apps:delete",
    "deployments:read",
    "deployments:write",
    "secrets:read",
    "secrets:write",
    "config:read",
    "config:write",
    "members:read",
    "members:write",
    "members:delete",
    "monitors:read",
    "monitors:write",
    "reactions:read",
    "reactions:write",
];

/// The part of a response text that an error message may show.
#[derive(Clone, Copy, Debug)]
pub enum ResponseText<'a> {
    /// No text, because the request contains a secret value.
    Hidden,
    /// The `error` text without this bearer token.
    WithoutToken(&'a str),
}

/// The facts in an error body.
pub(super) struct ErrorFacts {
    /// True if the body has the JSON error shape of the API.
    pub(super) is_json: bool,
    /// The `code`: a documented value, or [`OTHER_CODE`].
    pub(super) code: Option<&'static str>,
    /// True if the `error` text names a scope outside quotation marks.
    pub(super) names_scope: bool,
    /// True if the `error` text names a repository outside quotation marks.
    pub(super) names_repository: bool,
    /// The text for users. Empty for a body of another shape.
    pub(super) shown: String,
}

impl ErrorFacts {
    pub(super) fn parse(body: &str, text: ResponseText<'_>) -> Self {
        let body = match serde_json::from_str(body) {
            Ok(Value::Object(body)) => body,
            Ok(_) | Err(_) => Map::new(),
        };
        let error = body.get("error").and_then(Value::as_str);
        let raw = error.unwrap_or_default();
        let code = body.get("code").and_then(Value::as_str).filter(|_| error.is_some());
        let code = code.map(|code| CODES.into_iter().find(|known| *known == code).unwrap_or(OTHER_CODE));
        let shown = match (text, code) {
            _ if error.is_none() => String::new(),
            (ResponseText::Hidden, Some(code)) if code != OTHER_CODE => format!("code {code}"),
            (ResponseText::Hidden, _) => String::new(),
            (ResponseText::WithoutToken(token), _) => quote(&without_token(&with_field_errors(raw, &body), token)),
        };
        Self {
            is_json: error.is_some(),
            code,
            names_scope: names_any(raw, &SCOPES),
            names_repository: names_any(raw, &["repository"]),
            shown,
        }
    }
}

/// Returns true if a text contains one of the words outside quotation marks. The API quotes the name of an app, for
/// example.
fn names_any(text: &str, words: &[&str]) -> bool {
    text.split('"').step_by(2).any(|part| words.iter().any(|word| part.contains(word)))
}

fn quote(text: &str) -> String {
    if text.is_empty() { String::new() } else { quote_server_text(text) }
}

/// The start of the `error` text with the validation errors of each field.
fn with_field_errors(error: &str, body: &Map<String, Value>) -> String {
    let mut text: String = error.chars().take(MAX_SHOWN_CHARS + 1).collect();
    let fields = body.get("details").and_then(|details| details.get("fieldErrors")).and_then(Value::as_object);
    for (field, messages) in fields.into_iter().flatten() {
        if text.len() > MAX_SHOWN_CHARS {
            break;
        }
        let messages: Vec<&str> = messages.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let separator = if text.is_empty() { "" } else { "; " };
        text.push_str(&format!("{separator}{field}: {}", messages.join(", ")));
    }
    text.chars().take(MAX_SHOWN_CHARS + 1).collect()
}

/// A short text without the parts of a token.
fn without_token(text: &str, token: &str) -> String {
    let length = token.len().min(MIN_TOKEN_PART);
    if length == 0 {
        return text.to_owned();
    }
    let parts: HashSet<&[u8]> = text.as_bytes().windows(length).collect();
    let sent: HashSet<&[u8]> = token.as_bytes().windows(length).filter(|part| parts.contains(part)).collect();
    let mut is_sent = vec![false; text.len()];
    for (start, _) in text.as_bytes().windows(length).enumerate().filter(|(_, part)| sent.contains(part)) {
        is_sent[start..start + length].fill(true);
    }
    let mut shown = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        if !is_sent[at] {
            shown.push(letter);
        } else if at == 0 || !is_sent[at - 1] {
            shown.push_str(REPLACEMENT);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(body: &str, token: &str) -> String {
        ErrorFacts::parse(body, ResponseText::WithoutToken(token)).shown
    }

    #[test]
    fn only_the_json_error_shape_is_shown() {
        let secret = "internal-service-data";
        for (body, expected, is_json) in [
            (String::new(), "", false),
            ("{}".to_owned(), "", false),
            ("null".to_owned(), "", false),
            (format!("<html>{secret}</html>"), "", false),
            (secret.to_owned(), "", false),
            (format!("\"{secret}\""), "", false),
            (json!([{ "error": secret }]).to_string(), "", false),
            (json!({ "message": secret }).to_string(), "", false),
            (json!({ "error": { "text": secret } }).to_string(), "", false),
            (json!({ "error": null, "code": "forbidden" }).to_string(), "", false),
            (json!({ "error": "" }).to_string(), "", true),
            (json!({ "error": "bad", "other": secret, "code": secret }).to_string(), "bad", true),
            (json!({ "error": "bad", "details": { "formErrors": [secret] } }).to_string(), "bad", true),
            (
                json!({ "error": "bad", "details": { "fieldErrors": { "name": ["too short", "no"] } } }).to_string(),
                "bad; name: too short, no",
                true,
            ),
        ] {
            let found = ErrorFacts::parse(&body, ResponseText::WithoutToken(""));
            let expected = quote(expected);
            assert_eq!((found.shown, found.is_json), (expected, is_json), "{body}");
        }
    }

    #[test]
    fn a_hidden_text_shows_a_documented_code_and_nothing_else() {
        for (code, expected) in [("forbidden", "code forbidden"), ("fake-value", ""), ("", "")] {
            let body = json!({ "error": "apps:write fake-value", "code": code }).to_string();
            let found = ErrorFacts::parse(&body, ResponseText::Hidden);
            assert_eq!((found.shown.as_str(), found.names_scope), (expected, true));
        }
    }

    #[test]
    fn a_shown_text_is_short() {
        let errors = json!({ "name": vec!["y"; 100_000] });
        let body = json!({ "error": "bad", "details": { "fieldErrors": errors } }).to_string();
        assert_eq!(shown(&body, "").chars().count(), MAX_SHOWN_CHARS + 3);
    }

    #[test]
    fn each_part_of_the_token_is_removed() {
        let token = "fake.token-with_20+characters/";
        for (text, expected) in [
            (format!("Invalid token {token}"), "Invalid token [redacted]"),
            (format!("{token}{token} {token}"), "[redacted] [redacted]"),
            (format!("starts with {}...", &token[..12]), "starts with [redacted]..."),
            (format!("ends with {}.", &token[10..]), "ends with [redacted]."),
            (format!("has {} in it", &token[5..13]), "has [redacted] in it"),
            (format!("\u{fc}{token}\u{fc}"), "\u{fc}[redacted]\u{fc}"),
            ("fake token".to_owned(), "fake token"),
        ] {
            assert_eq!(shown(&json!({ "error": text }).to_string(), token), quote(expected));
        }
        assert_eq!(shown(r#"{"error":"no fake at all"}"#, "fake"), quote("no [redacted] at all"));
        let cut = shown(&json!({ "error": format!("{}{token}", "x".repeat(290)) }).to_string(), token);
        assert!(!cut.contains("fake"), "{cut}");
    }
}
