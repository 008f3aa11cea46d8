//! What still keeps the operator from working, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is missing. A clone is the same list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    /// How many wait for each.
    missing: BTreeMap<String, usize>,
    /// What worked before: since when it fails, and after how long of it that counts.
    failing: BTreeMap<String, (Instant, Duration)>,
}

/// Something that is missing until this is dropped.
#[derive(Debug)]
pub struct ReadinessGate {
    readiness: Readiness,
    what: String,
}

/// Something that has to work as long as this is kept. It is missing until it first does, and again once it has failed for
/// longer than is put up with: the apiserver is away for a moment now and then, and nobody is helped by a process that is
/// taken for unready then.
#[derive(Debug)]
pub struct HealthCheck {
    readiness: Readiness,
    what: String,
    failure_threshold: Duration,
    /// None once it has worked.
    pending: Option<ReadinessGate>,
}

impl Readiness {
    /// Adds something that is missing; it stays until the answer is dropped.
    pub fn add_gate(&self, what: impl Into<String>) -> ReadinessGate {
        let what = what.into();
        *self.list().missing.entry(what.clone()).or_default() += 1;
        ReadinessGate { readiness: self.clone(), what }
    }

    /// Adds something that has to work from now on, and may fail for as long as `failure_threshold`. No two may have one name.
    pub fn register_check(&self, what: impl Into<String>, failure_threshold: Duration) -> HealthCheck {
        let what = what.into();
        let pending = Some(self.add_gate(what.clone()));
        HealthCheck { readiness: self.clone(), what, failure_threshold, pending }
    }

    /// What is missing now; empty when ready.
    pub fn unready_reasons(&self) -> Vec<String> {
        let (list, now) = (self.list(), Instant::now());
        let failing = list.failing.iter().filter_map(|(what, (since, failure_threshold))| {
            let time = now.duration_since(*since);
            (time >= *failure_threshold).then(|| format!("{what}, which has failed for {} s", time.as_secs()))
        });
        list.missing.keys().cloned().chain(failing).collect()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessGate {
    /// The list that it is on.
    pub(in crate::controller) fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Drop for ReadinessGate {
    fn drop(&mut self) {
        let mut list = self.readiness.list();
        if let Some(count) = list.missing.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                list.missing.remove(&self.what);
            }
        }
    }
}

impl HealthCheck {
    /// It has just been seen to work.
    pub fn report_success(&mut self) {
        self.pending = None;
        self.readiness.list().failing.remove(&self.what);
    }

    /// It has just been seen to fail.
    pub fn report_failure(&mut self) {
        if self.pending.is_none() {
            let since = (Instant::now(), self.failure_threshold);
            self.readiness.list().failing.entry(self.what.clone()).or_insert(since);
        }
    }
}

impl Drop for HealthCheck {
    fn drop(&mut self) {
        self.readiness.list().failing.remove(&self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_missing_until_nobody_waits_for_it_any_more() {
        let readiness = Readiness::default();
        assert_eq!(readiness.unready_reasons(), [""; 0]);
        let (first, second) = (readiness.add_gate("a thing"), readiness.add_gate("a thing"));
        let other = readiness.add_gate("another");
        drop(first);
        assert_eq!(readiness.unready_reasons(), ["a thing", "another"]);
        drop((second, other));
        assert_eq!(readiness.unready_reasons(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_relied_on_may_fail_for_a_moment_and_not_for_long() {
        let readiness = Readiness::default();
        let advance = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let mut watch = readiness.register_check("the watch", Duration::from_secs(60));
        watch.report_failure();
        assert_eq!(readiness.unready_reasons(), ["the watch"], "it never worked: nothing to be patient about");
        watch.report_success();
        assert_eq!(readiness.unready_reasons(), [""; 0]);
        watch.report_failure();
        advance(59).await;
        watch.report_failure();
        assert_eq!(readiness.unready_reasons(), [""; 0]);
        advance(1).await;
        assert_eq!(
            readiness.unready_reasons(),
            ["the watch, which has failed for 60 s"],
            "counted from the first failure"
        );
        watch.report_success();
        watch.report_failure();
        advance(59).await;
        assert_eq!(readiness.unready_reasons(), [""; 0], "it worked in between");
        advance(1).await;
        drop(watch);
        assert_eq!(readiness.unready_reasons(), [""; 0]);
    }
}
