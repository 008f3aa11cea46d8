//! Recognizes a token, or another secret, in whatever a text makes of it.

use k8s_openapi::ByteString;
use sha2::{Digest, Sha256};

/// So many of its first characters give a token away.
const TELLING: usize = 8;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    let encoded = serde_json::to_value(ByteString(bytes.to_vec())).unwrap();
    encoded.as_str().unwrap().to_owned()
}

/// Everything by which a text would give a token away, each with its name.
fn forms(token: &str, prefix: &str) -> Vec<(String, String)> {
    let percent: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let sha = hex(&Sha256::digest(token));
    let mut forms = vec![
        ("plain".to_owned(), token.to_owned()),
        ("hex".to_owned(), hex(token.as_bytes())),
        ("percent-encoded".to_owned(), percent),
        ("SHA-256".to_owned(), sha),
    ];
    // What is the same in all of them tells nothing, and a word as short as that is in every text.
    if let Some(own) = token.strip_prefix(prefix).filter(|own| own.len() > 2 * TELLING) {
        forms.push(("first characters".to_owned(), own[..TELLING].to_owned()));
    }
    // Inside of something longer, a token can begin at each of the three bytes of a group.
    for before in 0..3 {
        let encoded = base64(&[vec![0; before], token.as_bytes().to_vec()].concat());
        // The first and the last group hold bits of what is around it.
        let inner = &encoded[4..encoded.len() - 4];
        forms.push((format!("base64 after {before} bytes"), inner.to_owned()));
        forms.push((format!("base64 for URLs after {before} bytes"), inner.replace('+', "-").replace('/', "_")));
    }
    forms
}

/// The forms of a token that a text holds, in whatever case. `prefix` is what every such token begins with.
pub fn given_away(token: &str, prefix: &str, text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let forms = forms(token, prefix).into_iter();
    forms.filter(|(_, form)| text.contains(&form.to_ascii_lowercase())).map(|(name, _)| name).collect()
}
