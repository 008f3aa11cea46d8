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
    /// Something in it went while it was read, so that an item may have been passed over.
    Moved,
    /// It cannot be told whether all of it was seen.
    Unknown,
}

/// Judges one list, page by page. Each page begins with an item that was seen already: what moved up meanwhile would
/// otherwise be passed over unnoticed.
#[derive(Debug)]
pub(super) struct Pages<K> {
    seen: BTreeSet<K>,
    previous: Option<usize>,
}

impl<K: Clone + Ord> Pages<K> {
    /// Before the first page.
    pub(super) fn new() -> Self {
        Self { seen: BTreeSet::new(), previous: None }
    }

    /// Takes the keys of the items on the next page, in order.
    pub(super) fn page(&mut self, ids: &[K]) -> Progress {
        let Some(previous) = self.previous.replace(ids.len()) else {
            self.seen.extend(ids.iter().cloned());
            return if ids.len() < DEFAULT_PAGE { Progress::Complete } else { Progress::More(self.seen.len() - 1) };
        };
        if !ids.first().is_some_and(|first| self.seen.contains(first)) {
            return Progress::Moved;
        }
        let repeats = ids.iter().all(|id| self.seen.contains(id));
        if repeats && (ids.len() == DEFAULT_PAGE || ids.len() == LIMIT) {
            return Progress::Unknown;
        }
        self.seen.extend(ids.iter().cloned());
        let last = repeats || ids.len() < DEFAULT_PAGE || ids.len() < previous;
        if last { Progress::Complete } else { Progress::More(self.seen.len() - 1) }
    }

    /// Whether an item was already on an earlier page.
    pub(super) fn has(&self, key: &K) -> bool {
        self.seen.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with `total` items that clamps pages to `clamp` and may ignore `offset`.
    fn list(total: i64, clamp: usize, ignores_offset: bool) -> (usize, Progress) {
        let (mut pages, mut offset) = (Pages::new(), 0);
        loop {
            let from = if ignores_offset { 0 } else { offset };
            match pages.page(&(0..total).skip(from).take(clamp).collect::<Vec<_>>()) {
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

    #[test]
    fn what_goes_while_a_list_is_read_is_noticed_and_what_comes_is_no_harm() {
        // Of 150 items in pages of 100: (what is there when the second page is asked for, what that comes to).
        let from = |range: std::ops::Range<i64>| range.collect::<Vec<_>>();
        for (then, end) in [
            (from(0..150), Progress::Complete),
            // Some came at the front, or at the end.
            (from(-3..150), Progress::Complete),
            (from(0..160), Progress::Complete),
            // Some went from the first page, some, or all that was beyond it.
            (from(1..150), Progress::Moved),
            (from(2..101), Progress::Moved),
            (from(0..90), Progress::Moved),
            // What went from beyond it was never seen.
            (from(0..101), Progress::Complete),
            (from(0..100), Progress::Complete),
        ] {
            let mut pages = Pages::new();
            assert_eq!(pages.page(&from(0..100)), Progress::More(99));
            let second: Vec<_> = then.iter().copied().skip(99).take(100).collect();
            assert_eq!(pages.page(&second), end, "{then:?}");
        }
    }
}
