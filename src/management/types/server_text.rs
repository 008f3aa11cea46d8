//! Text of a server. A message contains the text between `“` and `”`. Two messages can therefore be compared without the
//! part that a server can change with each response.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Longest ID, name, tag value or time that status records, in bytes. Status must stay small.
pub const MAX_RECORDED_LENGTH: usize = 253;

/// Longest text that is shown, in characters.
const MAX_CHARS: usize = 300;
const OPEN: char = '“';
const CLOSE: char = '”';

/// Decodes a text that status records. A longer text is not valid, and counts as missing.
pub(super) fn recorded_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| text.len() <= MAX_RECORDED_LENGTH))
}

/// Decodes a time that status records. Another text is not valid, and counts as missing.
pub(super) fn recorded_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(recorded_text(deserializer)?.filter(|text| text.parse::<Timestamp>().is_ok()))
}

/// The text of a server for a message: quoted, with control and formatting characters escaped, and cut to 300
/// characters.
pub fn quote_server_text(text: &str) -> String {
    let escape = |letter: char| match letter {
        OPEN | CLOSE => "\"".to_owned(),
        letter if is_invisible(letter) => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    let mut shown: String = text.trim().chars().take(MAX_CHARS + 1).map(escape).collect();
    if let Some((end, _)) = shown.char_indices().nth(MAX_CHARS) {
        shown.truncate(end);
        shown.push('…');
    }
    format!("{OPEN}{shown}{CLOSE}")
}

/// Control characters, line separators, and zero-width and bidirectional formatting characters.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A message without the text of a server.
pub fn without_server_text(message: &str) -> Cow<'_, str> {
    let Some((start, mut rest)) = message.split_once(OPEN) else { return Cow::Borrowed(message) };
    let mut own = start.to_owned();
    loop {
        own.push(OPEN);
        // The end of a cut message has no closing quote.
        let Some((_, after)) = rest.split_once(CLOSE) else { return Cow::Owned(own) };
        let Some((between, next)) = after.split_once(OPEN) else { return Cow::Owned(own + after) };
        own.push_str(between);
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_server_is_quoted_escaped_and_cut() {
        let long = "ü".repeat(301);
        let cut = format!("“{}…”", "ü".repeat(300));
        for (text, quoted) in [
            ("", "“”"),
            ("down, request 1", "“down, request 1”"),
            ("a\r\n\u{1b}[31mb\u{0}", r"“a\r\n\u{1b}[31mb\u{0}”"),
            (" no \u{202e}\u{200b}\u{2028}x ", r"“no \u{202e}\u{200b}\u{2028}x”"),
            ("says “no”", "“says \"no\"”"),
            (long.as_str(), cut.as_str()),
        ] {
            assert_eq!(quote_server_text(text), quoted);
        }
        for letter in ["x", "ü", "\n", "\u{202e}"] {
            let text = quote_server_text(&format!("x{}x", letter.repeat(1_000_000)));
            assert_eq!(text.chars().count(), MAX_CHARS + 3);
        }
    }

    #[test]
    fn messages_are_compared_without_the_text_of_a_server() {
        for (message, own) in [
            ("GET /v1/orgs: 500", "GET /v1/orgs: 500"),
            ("GET /v1/orgs: 500: “request 1”", "GET /v1/orgs: 500: “"),
            ("“a”: one, “b”: two", "“: one, “: two"),
            ("cut: “reque", "cut: “"),
        ] {
            assert_eq!(without_server_text(message), own);
        }
    }
}
