//! Lists, which the API returns page by page.

/// One page of a list.
pub(crate) trait ListPage {
    type Item;
    /// Unique among the items of the list.
    type Key: Clone + Ord;
    fn items(self) -> Vec<Self::Item>;
    fn key(item: &Self::Item) -> Self::Key;
}

/// Result of reading a list to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListCompleteness {
    /// All items were read.
    Complete,
    /// The pages do not show whether more items exist.
    Unknown {
        /// Number of items read.
        items_seen: usize,
    },
}
