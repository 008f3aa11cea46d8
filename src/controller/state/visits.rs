//! Counts the objects that look-ups visit, so that a test can show that their number does not grow.

/// Number of objects that look-ups have visited. Counts in tests only.
#[derive(Debug, Default)]
pub(in crate::controller) struct Visits(#[cfg(test)] std::sync::atomic::AtomicUsize);

impl Visits {
    #[cfg(test)]
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(not(test))]
    pub(super) fn add(&self, _: usize) {}

    /// The number since the last call.
    #[cfg(test)]
    pub(in crate::controller) fn take(&self) -> usize {
        self.0.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}
