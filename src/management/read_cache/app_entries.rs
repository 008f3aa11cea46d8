//! The cached reads of all apps of one connection.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::app_entry::AppEntry;
use crate::visits::Visits;

/// Number of entries from which a new entry removes all unused entries, including recent ones.
const MAX_APPS: usize = 1000;
/// Number of entries up to which a new entry removes none.
const MIN_SWEEP_SIZE: usize = 16;

/// Entries by app ID.
#[derive(Debug, Default)]
pub(super) struct AppEntries {
    by_app: HashMap<i64, Arc<AppEntry>>,
    /// Number of entries that the last removal left.
    left_by_sweep: usize,
    visits: Visits,
}

impl AppEntries {
    /// The entry of an app. A new entry may remove entries that no caller uses and that were last used before `oldest`.
    /// `on_remove` receives their IDs.
    pub(super) fn get(&mut self, id: i64, oldest: Timestamp, on_remove: impl FnMut(i64)) -> Arc<AppEntry> {
        if self.by_app.len() >= self.sweep_size() && !self.by_app.contains_key(&id) {
            self.remove_unused(oldest, on_remove);
        }
        let entry = Arc::clone(self.by_app.entry(id).or_default());
        entry.state().last_used = Timestamp::now();
        entry
    }

    /// Number of entries from which a new entry removes others: twice the number that the last removal left, so that the
    /// cost of a new entry hardly depends on the number of entries.
    fn sweep_size(&self) -> usize {
        let doubled = (self.left_by_sweep * 2).max(MIN_SWEEP_SIZE);
        if self.left_by_sweep < MAX_APPS { doubled.min(MAX_APPS) } else { doubled }
    }

    fn remove_unused(&mut self, oldest: Timestamp, mut on_remove: impl FnMut(i64)) {
        self.visits.add(self.by_app.len());
        let is_full = self.by_app.len() >= MAX_APPS;
        self.by_app.retain(|id, entry| {
            let is_in_use = Arc::strong_count(entry) > 1;
            let is_retained = is_in_use || (!is_full && entry.state().last_used >= oldest);
            if !is_retained {
                on_remove(*id);
            }
            is_retained
        });
        self.left_by_sweep = self.by_app.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_entries_are_removed_after_their_time_or_when_the_cache_is_full() {
        for (oldest, most) in [(Timestamp::MAX, MIN_SWEEP_SIZE), (Timestamp::MIN, MAX_APPS)] {
            let (mut entries, mut removed) = (AppEntries::default(), Vec::new());
            let in_use = entries.get(-1, oldest, |_| {});
            for id in 0..3000 {
                entries.get(id, oldest, |id| removed.push(id));
                assert!(entries.by_app.len() <= most, "{most}");
            }
            assert_eq!(entries.by_app.len() + removed.len(), 3001);
            assert!(Arc::ptr_eq(&entries.get(-1, oldest, |_| {}), &in_use));
        }
    }

    #[test]
    fn the_cost_of_an_entry_does_not_grow_with_the_number_of_entries() {
        for count in [100, 10_000] {
            let mut entries = AppEntries::default();
            let in_use: Vec<_> = (0..count).map(|id| entries.get(id, Timestamp::MIN, |_| {})).collect();
            assert_eq!(entries.by_app.len(), in_use.len());
            let visits = entries.visits.take();
            assert!((1..=3 * in_use.len()).contains(&visits), "{count}: {visits}");
        }
    }
}
