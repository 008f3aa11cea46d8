//! Codes by which a command line signs in through a browser (contract, section 2.2).
//!
//! In memory only: the command line gives a code up after five minutes.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::sandbox::wire::sync::lock;

/// So many codes wait at once; the oldest go first. Nobody opens that many pages within the life of a code.
const MAX_OPEN: usize = 100;

/// The codes whose page was opened, until the command line asks.
#[derive(Default)]
pub(crate) struct Logins(Mutex<VecDeque<String>>);

impl Logins {
    /// Somebody opened the page of a code.
    pub(crate) fn open(&self, code: String) {
        let mut open = lock(&self.0);
        open.retain(|known| *known != code);
        open.push_back(code);
        if open.len() > MAX_OPEN {
            open.pop_front();
        }
    }

    /// Whether somebody did. A code is of use once.
    pub(crate) fn take(&self, code: &str) -> bool {
        let mut open = lock(&self.0);
        let before = open.len();
        open.retain(|known| known != code);
        open.len() < before
    }
}

/// Reads a code.
pub(crate) fn code(text: &str) -> Result<String, String> {
    let is_code = text.len() == 8 && text.bytes().all(|other| other.is_ascii_uppercase() || other.is_ascii_digit());
    if is_code { Ok(text.to_owned()) } else { Err("must be 8 letters A to Z or digits".into()) }
}
