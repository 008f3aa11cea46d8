//! When a list is complete (contract section 6): the API gives no total, no cursor, and may ignore `offset`.

use std::collections::BTreeSet;

/// Items asked for a page: the most that the contract allows.
pub(super) const LIMIT: usize = 100;
/// The size of a page where a caller asks for none; a server may clamp to it.
const DEFAULT_PAGE: usize = 20;

/// What is known of a list after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more from this offset.
    More(usize),
    /// All of it was seen.
    Complete,
    /// It cannot be told whether all of it was seen.
    Unknown,
}

/// Judges one list, page by page.
#[derive(Debug, Default)]
pub(super) struct Pages {
    seen: BTreeSet<i64>,
    received: usize,
    previous: Option<Vec<i64>>,
}

impl Pages {
    /// Takes the ids of the next page, in order.
    pub(super) fn page(&mut self, ids: Vec<i64>) -> Progress {
        let repeats = !ids.is_empty() && ids.iter().all(|id| self.seen.contains(id));
        let shorter = self.previous.as_ref().is_some_and(|previous| ids.len() < previous.len());
        if repeats {
            let ambiguous = ids.len() == DEFAULT_PAGE || ids.len() == LIMIT;
            return if ambiguous { Progress::Unknown } else { Progress::Complete };
        }
        let last = ids.len() < DEFAULT_PAGE || shorter;
        self.received += ids.len();
        self.seen.extend(&ids);
        self.previous = Some(ids);
        if last { Progress::Complete } else { Progress::More(self.received) }
    }

    /// Whether an id was already on an earlier page.
    pub(super) fn has(&self, id: i64) -> bool {
        self.seen.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with `total` items that clamps pages to `clamp` and may ignore `offset`.
    fn list(total: i64, clamp: usize, ignores_offset: bool) -> (usize, Progress) {
        let (mut pages, mut offset) = (Pages::default(), 0);
        loop {
            let from = if ignores_offset { 0 } else { offset };
            match pages.page((0..total).skip(from).take(clamp).collect()) {
                Progress::More(next) => offset = next,
                end => return (pages.seen.len(), end),
            }
        }
    }

    #[test]
    fn a_list_is_complete_or_unknown_never_short() {
        for total in [0, 1, 19, 20, 21, 99, 100, 101, 250] {
            for (clamp, ignores_offset) in [(100, false), (20, false), (1000, true), (1000, false)] {
                let (seen, end) = list(total, clamp, ignores_offset);
                match end {
                    Progress::Complete => assert_eq!(seen as i64, total, "clamp {clamp}, ignores {ignores_offset}"),
                    _ => assert!(ignores_offset && (total == 20 || total == 100), "{total} {clamp}"),
                }
            }
            let (seen, end) = list(total, 20, true);
            assert_eq!(end == Progress::Complete, total < 20, "{total}: {seen}");
        }
    }
}
