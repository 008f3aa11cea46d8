//! Codes by which a command line signs in through a browser (contract, section 2.2).
//!
//! In memory only: the command line gives a code up after five minutes.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::sandbox::wire::sync::lock;

/// So many codes wait at once; the oldest go first. Nobody opens that many pages within the life of a code.
const MAX_APPROVED_CODES: usize = 100;

/// The codes whose page was opened, until the command line asks.
#[derive(Default)]
pub(crate) struct CliLogins(Mutex<VecDeque<String>>);

impl CliLogins {
    /// Somebody opened the page of a code.
    pub(crate) fn approve(&self, code: String) {
        let mut codes = lock(&self.0);
        codes.retain(|known| *known != code);
        codes.push_back(code);
        if codes.len() > MAX_APPROVED_CODES {
            codes.pop_front();
        }
    }

    /// Whether somebody did. A code is of use once.
    pub(crate) fn redeem(&self, code: &str) -> bool {
        let mut codes = lock(&self.0);
        let before = codes.len();
        codes.retain(|known| known != code);
        codes.len() < before
    }
}

/// Reads a code.
pub(crate) fn parse_code(text: &str) -> Result<String, String> {
    let is_code = text.len() == 8 && text.bytes().all(|other| other.is_ascii_uppercase() || other.is_ascii_digit());
    if is_code { Ok(text.to_owned()) } else { Err("must be 8 letters A to Z or digits".into()) }
}
