//! Lists, which come page by page (contract section 6).

/// A page of a list.
pub(crate) trait Listed {
    type Item;
    /// What no two items share.
    type Key: Clone + Ord;
    fn items(self) -> Vec<Self::Item>;
    fn key(item: &Self::Item) -> Self::Key;
}

/// How a list ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListCompleteness {
    /// It is all there is.
    Complete,
    /// Whether there is more cannot be told.
    Unknown {
        /// Items seen.
        seen: usize,
    },
}
