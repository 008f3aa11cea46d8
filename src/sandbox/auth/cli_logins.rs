//! Login codes of the Spice command line.
//!
//! The command line creates a code, opens a login page with the code in a browser, and polls for a token. Codes are
//! kept in memory only, because the command line stops polling after five minutes.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::sandbox::wire::sync::lock;

/// Maximum number of approved codes. The oldest code is evicted first.
const MAX_APPROVED_CODES: usize = 100;

/// Codes whose login page was opened and that the command line has not redeemed yet.
#[derive(Default)]
pub(crate) struct CliLogins(Mutex<VecDeque<String>>);

impl CliLogins {
    pub(crate) fn approve(&self, code: String) {
        let mut codes = lock(&self.0);
        codes.retain(|approved| *approved != code);
        codes.push_back(code);
        if codes.len() > MAX_APPROVED_CODES {
            codes.pop_front();
        }
    }

    /// Returns whether the code was approved, and removes the code.
    pub(crate) fn redeem(&self, code: &str) -> bool {
        let mut codes = lock(&self.0);
        let before = codes.len();
        codes.retain(|approved| approved != code);
        codes.len() < before
    }
}

/// Parses a code.
pub(crate) fn parse_code(text: &str) -> Result<String, String> {
    let is_code = text.len() == 8 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if is_code { Ok(text.to_owned()) } else { Err("must be 8 letters A to Z or digits".into()) }
}
