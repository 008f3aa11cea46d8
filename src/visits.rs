//! Counts the entries of caches, indexes and queues that an operation visits, so that a test can show that their number
//! does not grow.

/// Number of entries that were visited. Counts in tests only.
#[derive(Debug, Default)]
pub(crate) struct Visits(#[cfg(test)] std::sync::atomic::AtomicUsize);

impl Visits {
    #[cfg(test)]
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(not(test))]
    pub(crate) fn add(&self, _: usize) {}

    /// The number since the last call.
    #[cfg(test)]
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}
