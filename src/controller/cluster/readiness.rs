//! Readiness of the process: the parts that do not work yet, or that have failed for too long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::sync::lock;

/// Readiness of the process. All clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<ReadinessState>>,
}

#[derive(Debug, Default)]
struct ReadinessState {
    /// Number of open gates by name.
    gates: BTreeMap<String, usize>,
    /// Failing checks by name.
    failing: BTreeMap<String, FailingCheck>,
}

#[derive(Debug)]
struct FailingCheck {
    since: Instant,
    threshold: Duration,
}

/// Keeps the process unready until dropped.
#[derive(Debug)]
pub struct ReadinessGate {
    readiness: Readiness,
    name: String,
}

/// A part that must work as long as the check exists. The process is unready until the first success, and again after
/// the part has failed for longer than a threshold. A short failure changes nothing: the apiserver may be unreachable
/// for a moment, and another process would fail as well.
#[derive(Debug)]
pub struct HealthCheck {
    readiness: Readiness,
    name: String,
    failure_threshold: Duration,
    /// None after the first success.
    gate: Option<ReadinessGate>,
}

impl Readiness {
    /// Adds a gate. `name` completes the sentence "waiting for ...".
    pub fn add_gate(&self, name: impl Into<String>) -> ReadinessGate {
        let name = name.into();
        *lock(&self.state).gates.entry(name.clone()).or_default() += 1;
        ReadinessGate { readiness: self.clone(), name }
    }

    /// Adds a check of a part that may fail for `failure_threshold`. Names of checks are unique.
    pub fn register_check(&self, name: impl Into<String>, failure_threshold: Duration) -> HealthCheck {
        let name = name.into();
        let gate = Some(self.add_gate(name.clone()));
        HealthCheck { readiness: self.clone(), name, failure_threshold, gate }
    }

    /// Parts for which the process waits; empty if the process is ready.
    pub fn unready_reasons(&self) -> Vec<String> {
        let (state, now) = (lock(&self.state), Instant::now());
        let failing = state.failing.iter().filter_map(|(name, check)| {
            let time = now.duration_since(check.since);
            (time >= check.threshold).then(|| format!("{name} (failing for {} s)", time.as_secs()))
        });
        state.gates.keys().cloned().chain(failing).collect()
    }
}

impl ReadinessGate {
    /// The readiness that the gate belongs to.
    pub(in crate::controller) fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Drop for ReadinessGate {
    fn drop(&mut self) {
        let mut state = lock(&self.readiness.state);
        if let Some(count) = state.gates.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                state.gates.remove(&self.name);
            }
        }
    }
}

impl HealthCheck {
    /// Reports that the part works.
    pub fn report_success(&mut self) {
        self.gate = None;
        lock(&self.readiness.state).failing.remove(&self.name);
    }

    /// Reports that the part fails. The first failure after a success counts.
    pub fn report_failure(&mut self) {
        if self.gate.is_none() {
            let check = FailingCheck { since: Instant::now(), threshold: self.failure_threshold };
            lock(&self.readiness.state).failing.entry(self.name.clone()).or_insert(check);
        }
    }
}

impl Drop for HealthCheck {
    fn drop(&mut self) {
        lock(&self.readiness.state).failing.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_unready_until_the_last_gate_of_every_name_is_dropped() {
        let readiness = Readiness::default();
        assert_eq!(readiness.unready_reasons(), [""; 0]);
        let (first, second) = (readiness.add_gate("a part"), readiness.add_gate("a part"));
        let other = readiness.add_gate("another part");
        drop(first);
        assert_eq!(readiness.unready_reasons(), ["a part", "another part"]);
        drop((second, other));
        assert_eq!(readiness.unready_reasons(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_fails_before_its_first_success_and_after_the_threshold() {
        let readiness = Readiness::default();
        let advance = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let mut watch = readiness.register_check("the watch", Duration::from_secs(60));
        watch.report_failure();
        assert_eq!(readiness.unready_reasons(), ["the watch"], "no threshold before the first success");
        watch.report_success();
        assert_eq!(readiness.unready_reasons(), [""; 0]);
        watch.report_failure();
        advance(59).await;
        watch.report_failure();
        assert_eq!(readiness.unready_reasons(), [""; 0]);
        advance(1).await;
        assert_eq!(readiness.unready_reasons(), ["the watch (failing for 60 s)"], "counted from the first failure");
        watch.report_success();
        watch.report_failure();
        advance(59).await;
        assert_eq!(readiness.unready_reasons(), [""; 0], "a success restarts the threshold");
        advance(1).await;
        drop(watch);
        assert_eq!(readiness.unready_reasons(), [""; 0]);
    }
}
