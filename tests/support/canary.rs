//! Detects secret values in text, in plain form and in common encodings.

use k8s_openapi::ByteString;
use sha2::{Digest, Sha256};

/// Number of leading or trailing characters that identify a random token.
const IDENTIFYING_LENGTH: usize = 8;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    let encoded = serde_json::to_value(ByteString(bytes.to_vec())).unwrap();
    encoded.as_str().unwrap().to_owned()
}

/// Returns the searched forms of a token: a label and the text.
fn encoded_forms(token: &str, prefix: &str) -> Vec<(String, String)> {
    let percent: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let sha = hex(&Sha256::digest(token));
    let mut forms = vec![
        ("plain".to_owned(), token.to_owned()),
        ("hex".to_owned(), hex(token.as_bytes())),
        ("percent-encoded".to_owned(), percent),
        ("SHA-256".to_owned(), sha),
    ];
    // The common prefix identifies no token, and a short value can occur in a text by chance.
    if let Some(unique) = token.strip_prefix(prefix).filter(|unique| unique.len() > 2 * IDENTIFYING_LENGTH) {
        forms.push(("first characters".to_owned(), unique[..IDENTIFYING_LENGTH].to_owned()));
        forms.push(("last characters".to_owned(), unique[unique.len() - IDENTIFYING_LENGTH..].to_owned()));
    }
    // In a longer encoded value, a token can start at each of the three bytes of a base64 group.
    for offset in 0..3 {
        let encoded = base64(&[vec![0; offset], token.as_bytes().to_vec()].concat());
        // The first and the last group also encode adjacent bytes.
        let inner = &encoded[4..encoded.len() - 4];
        forms.push((format!("base64 after {offset} bytes"), inner.to_owned()));
        forms.push((format!("base64url after {offset} bytes"), inner.replace('+', "-").replace('/', "_")));
    }
    forms
}

/// Returns the labels of the forms of `token` in `text`. The search ignores case. `prefix` is the common prefix of the
/// tokens.
pub fn leaked_forms(token: &str, prefix: &str, text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let forms = encoded_forms(token, prefix).into_iter();
    forms.filter(|(_, form)| text.contains(&form.to_ascii_lowercase())).map(|(label, _)| label).collect()
}
