//! Completeness of lists. The API returns no total and no cursor, and some versions ignore `offset`.

use std::collections::BTreeSet;

/// Requested items per page: the maximum that the API accepts.
pub(super) const PAGE_SIZE: usize = 100;
/// Page size of the API for requests without `limit`. A server may reduce any page to this size.
const DEFAULT_PAGE_SIZE: usize = 20;

/// State of a list after a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListProgress {
    /// More items may exist from this offset.
    More(usize),
    /// All items were read.
    Complete,
    /// An item was deleted between two pages, so another item may have been skipped.
    Changed,
    /// The pages do not show whether more items exist.
    Unknown,
}

/// Tracks the pages of one list. Each page starts with the last item of the previous page. If the first item of a page
/// is new, items have moved up in the list and some were skipped.
#[derive(Debug)]
pub(super) struct PageTracker<K> {
    seen: BTreeSet<K>,
    previous_len: Option<usize>,
}

impl<K: Clone + Ord> PageTracker<K> {
    /// A tracker before the first page.
    pub(super) fn new() -> Self {
        Self { seen: BTreeSet::new(), previous_len: None }
    }

    /// Adds the keys of the items on the next page, in their order.
    pub(super) fn add_page(&mut self, keys: &[K]) -> ListProgress {
        let Some(previous_len) = self.previous_len.replace(keys.len()) else {
            self.seen.extend(keys.iter().cloned());
            let is_last = keys.len() < DEFAULT_PAGE_SIZE;
            return if is_last { ListProgress::Complete } else { ListProgress::More(self.seen.len() - 1) };
        };
        if !keys.first().is_some_and(|first| self.seen.contains(first)) {
            return ListProgress::Changed;
        }
        let repeats = keys.iter().all(|key| self.seen.contains(key));
        if repeats && (keys.len() == DEFAULT_PAGE_SIZE || keys.len() == PAGE_SIZE) {
            return ListProgress::Unknown;
        }
        self.seen.extend(keys.iter().cloned());
        let is_last = repeats || keys.len() < DEFAULT_PAGE_SIZE || keys.len() < previous_len;
        if is_last { ListProgress::Complete } else { ListProgress::More(self.seen.len() - 1) }
    }

    /// Returns true if an earlier page contained the item.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.seen.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with `total` items that clamps pages to `clamp` and may ignore `offset`.
    fn list(total: i64, clamp: usize, ignores_offset: bool) -> (usize, ListProgress) {
        let (mut pages, mut offset) = (PageTracker::new(), 0);
        loop {
            let from = if ignores_offset { 0 } else { offset };
            match pages.add_page(&(0..total).skip(from).take(clamp).collect::<Vec<_>>()) {
                ListProgress::More(next) => offset = next,
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
                    ListProgress::Complete => assert_eq!(seen as i64, total, "clamp {clamp}, ignores {ignores_offset}"),
                    _ => assert!(ignores_offset && (total == 20 || total == 100), "{total} {clamp}"),
                }
            }
            let (seen, end) = list(total, 20, true);
            assert_eq!(end == ListProgress::Complete, total < 20, "{total}: {seen}");
        }
    }

    #[test]
    fn items_deleted_between_pages_are_detected_and_added_items_do_no_harm() {
        // 150 items in pages of 100: (the list when the second page is read, the expected result).
        let from = |range: std::ops::Range<i64>| range.collect::<Vec<_>>();
        for (now, end) in [
            (from(0..150), ListProgress::Complete),
            // Items were added at the front or at the end.
            (from(-3..150), ListProgress::Complete),
            (from(0..160), ListProgress::Complete),
            // Items of the first page were deleted, and in the last case all items after it.
            (from(1..150), ListProgress::Changed),
            (from(2..101), ListProgress::Changed),
            (from(0..90), ListProgress::Changed),
            // Only items after the first page were deleted.
            (from(0..101), ListProgress::Complete),
            (from(0..100), ListProgress::Complete),
        ] {
            let mut pages = PageTracker::new();
            assert_eq!(pages.add_page(&from(0..100)), ListProgress::More(99));
            let second: Vec<_> = now.iter().copied().skip(99).take(100).collect();
            assert_eq!(pages.add_page(&second), end, "{now:?}");
        }
    }
}
