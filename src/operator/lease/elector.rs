//! Requests of the leader election: reads, renews and releases the Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::election_state::{ElectionAction, ElectionState, LeaseRecord};
use super::{ElectionSettings, LeaseLossReason};
use crate::controller::{DualInstant, HealthCheck, Leadership, Metrics, doubled_delay, format_kube_error, within};

/// Metrics and health check that the elector updates.
pub(in crate::operator) struct ElectionTelemetry {
    /// 1 while this process holds the lease.
    pub(in crate::operator) is_leader: Gauge,
    /// Health check of reads and writes of the lease.
    pub(in crate::operator) lease_check: HealthCheck,
    /// Counter of writes.
    pub(in crate::operator) metrics: Metrics,
}

/// A process that waits for the lease, or holds it.
pub(in crate::operator) struct Elector {
    leases: Api<Lease>,
    settings: ElectionSettings,
    state: ElectionState,
    started_at: DualInstant,
    leadership: Leadership,
    telemetry: ElectionTelemetry,
    /// The lease as last read or written.
    lease: Option<Lease>,
    /// Holder in the last log line: an unchanged holder is not logged again.
    logged_holder: Option<String>,
    /// Failed requests in a row, and the error in the last log line: an unchanged error is not logged again.
    failures: u32,
    logged_error: Option<String>,
    /// Version of the lease at the last conflict. A second conflict of one version is a refusal.
    conflict: Option<String>,
}

impl Elector {
    /// `client` must not retry requests: a retried write could arrive after the renew deadline.
    pub(in crate::operator) fn new(
        client: Client,
        settings: ElectionSettings,
        leadership: Leadership,
        telemetry: ElectionTelemetry,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, &settings.namespace),
            state: ElectionState::new(settings.identity.clone(), settings.renew_deadline),
            started_at: DualInstant::now(),
            leadership,
            telemetry,
            lease: None,
            logged_holder: None,
            failures: 0,
            logged_error: None,
            conflict: None,
            settings,
        }
    }

    /// The Lease as `namespace/name`.
    pub(super) fn lease(&self) -> String {
        self.settings.lease()
    }

    /// Acquires and renews the lease until `stop`, or until the lease is lost. Returns the reason of a loss.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Option<LeaseLossReason> {
        loop {
            let started_at = Instant::now();
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                loss = self.step() => if loss.is_some() { return loss },
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(started_at + self.pause()) => {}
            }
        }
    }

    /// Releases the lease, so that the next process does not wait until the lease expires.
    pub(super) async fn release(mut self) {
        let is_leader = self.leadership.may_write();
        self.step_down();
        let Some(mut lease) = self.lease.take().filter(|_| is_leader) else { return };
        let spec = lease.spec.get_or_insert_default();
        (spec.holder_identity, spec.renew_time) = (Some(String::new()), Some(MicroTime(Timestamp::now())));
        let name = lease.name_any();
        let result = self.with_timeout(self.leases.replace(&name, &PostParams::default(), &lease)).await;
        self.telemetry.metrics.counters().kubernetes_write("update", "Lease", &result);
        match result {
            Ok(_) => tracing::info!(lease = self.lease(), "Released leader lease"),
            // The next process waits until the lease expires.
            Err(error) => tracing::warn!(
                error = format_kube_error(&error),
                lease = self.lease(),
                "Failed to release leader lease"
            ),
        }
    }

    /// Reads the lease once and writes it at most once. Returns the reason if the lease was lost.
    async fn step(&mut self) -> Option<LeaseLossReason> {
        let started_at = self.elapsed();
        match self.with_timeout(self.leases.get_opt(&self.settings.name)).await {
            Ok(lease) => self.lease = lease,
            Err(error) => {
                self.on_failure(&error, "Failed to read leader lease");
                // The state of the lease is unknown. Only the renew deadline counts.
                return self.check_deadline();
            }
        }
        let record = self.lease.as_ref().map(record);
        // The read may have been slow. The decision uses the time after the read.
        match self.state.next(record.as_ref(), self.elapsed()) {
            ElectionAction::StepDown => {
                self.step_down();
                Some(self.loss_reason(record))
            }
            ElectionAction::Wait => {
                self.on_success();
                self.log_holder(record.and_then(|record| record.holder));
                None
            }
            ElectionAction::Create | ElectionAction::Take(_) | ElectionAction::Renew(_) => {
                self.write(started_at).await;
                self.check_deadline()
            }
        }
    }

    /// The reason of a loss, from the stored lease.
    fn loss_reason(&self, record: Option<LeaseRecord>) -> LeaseLossReason {
        match record.and_then(|record| record.holder) {
            Some(holder) if holder != self.settings.identity => LeaseLossReason::TakenByOtherProcess { holder },
            Some(_) => LeaseLossReason::NotRenewed { deadline: self.settings.renew_deadline },
            None => LeaseLossReason::DeletedOrHolderChanged,
        }
    }

    /// Writes this process as the holder, with the resourceVersion of the last read. `started_at`: start of that read.
    async fn write(&mut self, started_at: Duration) {
        // Taken before the request is sent. Other processes count from the effect of the write, which is later.
        let start = DualInstant::now();
        let lease = self.lease_to_write();
        let (name, params) = (&self.settings.name, PostParams::default());
        let (verb, result) = if self.lease.is_some() {
            ("update", self.with_timeout(self.leases.replace(name, &params, &lease)).await)
        } else {
            ("create", self.with_timeout(self.leases.create(&params, &lease)).await)
        };
        self.telemetry.metrics.counters().kubernetes_write(verb, "Lease", &result);
        match result {
            Ok(written) => {
                self.on_success();
                if !self.leadership.may_write() {
                    tracing::info!(identity = self.settings.identity, lease = self.lease(), "Acquired leader lease");
                }
                self.lease = Some(written);
                self.state.on_write_ok(started_at);
                if self.state.may_write(self.elapsed()) {
                    self.leadership.grant(start, self.settings.renew_deadline);
                    self.telemetry.is_leader.set(1);
                }
            }
            Err(kube::Error::Api(status)) if status.code == 409 && self.is_first_conflict() => {
                // The next read shows whether the lease works.
                tracing::debug!(lease = self.lease(), "Leader lease changed before it could be written");
            }
            Err(error) => self.on_failure(&error, "Failed to write leader lease"),
        }
    }

    /// Records a conflict. Returns false if the version of the lease is the same as at the last conflict: no other
    /// process has written the lease, so an admission webhook refuses the write.
    fn is_first_conflict(&mut self) -> bool {
        let version = self.lease.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
        self.conflict.replace(version.clone()) != Some(version)
    }

    fn on_success(&mut self) {
        self.telemetry.lease_check.report_success();
        (self.failures, self.logged_error) = (0, None);
    }

    /// Counts a failed request. Logs an error that differs from the last one.
    fn on_failure(&mut self, error: &kube::Error, message: &str) {
        self.telemetry.lease_check.report_failure();
        self.failures = self.failures.saturating_add(1);
        let error = format_kube_error(error);
        if self.logged_error.as_ref() == Some(&error) {
            tracing::debug!(error, lease = self.lease(), "{message} again");
        } else {
            tracing::warn!(error, lease = self.lease(), "{message}");
            self.logged_error = Some(error);
        }
    }

    /// Time between the starts of two steps. Failures delay the next step, but never that of the leader, which has to
    /// renew the lease before its deadline.
    fn pause(&self) -> Duration {
        let failures = if self.state.has_led() { 0 } else { self.failures };
        doubled_delay(self.settings.retry_period, failures, self.settings.lease_duration)
    }

    /// The lease with this process as the holder, based on the last read.
    fn lease_to_write(&self) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = self.lease.clone().unwrap_or_default();
        lease.metadata.name = Some(self.settings.name.clone());
        let previous = lease.spec.take().unwrap_or_default();
        let is_renewal = previous.holder_identity.as_ref() == Some(&self.settings.identity);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.settings.lease_duration)),
            acquire_time: if is_renewal { previous.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(previous.lease_transitions.unwrap_or(0).saturating_add(i32::from(!is_renewal))),
            ..previous
        });
        lease
    }

    /// Logs the process that holds the lease, when the holder changes.
    fn log_holder(&mut self, holder: Option<String>) {
        if holder.is_some() && self.logged_holder != holder {
            tracing::info!(holder, lease = self.lease(), "Waiting for leader lease");
            self.logged_holder = holder;
        }
    }

    /// Steps down if this process was the leader and its renew deadline has passed.
    fn check_deadline(&mut self) -> Option<LeaseLossReason> {
        if !self.state.has_led() || self.state.may_write(self.elapsed()) {
            return None;
        }
        self.step_down();
        Some(LeaseLossReason::NotRenewed { deadline: self.settings.renew_deadline })
    }

    fn step_down(&mut self) {
        self.leadership.revoke();
        self.telemetry.is_leader.set(0);
    }

    /// Time since this elector was created: the clock of [`ElectionState`].
    fn elapsed(&self) -> Duration {
        self.started_at.elapsed_lower_bound()
    }

    /// Runs `call` with a timeout of half the renew deadline. If the API server hangs, a second try fits before the
    /// deadline.
    async fn with_timeout<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
        within(self.settings.renew_deadline / 2, call).await
    }
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    LeaseRecord {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
    }
}

/// The Lease API takes whole seconds. Rounded up: other processes may wait longer, never shorter.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use kube::core::Status;

    use super::*;
    use crate::controller::Readiness;

    /// Writes of a lease that does not exist within a minute, and whether the lease check then fails. The API server
    /// answers every write with `code`.
    async fn refused_writes(code: u16) -> (u32, bool) {
        static WRITES: AtomicU32 = AtomicU32::new(0);
        WRITES.store(0, Ordering::Relaxed);
        let respond = tower::service_fn(move |request: Request<Body>| async move {
            let (code, reason) = if request.method() == "GET" { (404, "NotFound") } else { (code, "Denied") };
            WRITES.fetch_add(u32::from(code != 404), Ordering::Relaxed);
            let status = serde_json::json!(Status::failure("no leases today", reason).with_code(code));
            Ok::<_, tower::BoxError>(
                Response::builder().status(code).body(Body::from(status.to_string().into_bytes()))?,
            )
        });
        let settings = ElectionSettings {
            namespace: "team".to_owned(),
            name: "lease".to_owned(),
            identity: "one".to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        };
        let (readiness, leadership) = (Readiness::default(), Leadership::requires_lease());
        let lease_check = readiness.register_check("the lease", Duration::from_secs(30));
        let telemetry = ElectionTelemetry { is_leader: Gauge::default(), lease_check, metrics: Metrics::default() };
        let client = Client::new(respond, "default");
        let mut elector = Elector::new(client, settings, leadership.clone(), telemetry);
        let stop = CancellationToken::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), elector.run(&stop)).await;
        assert!(ended.is_err() && !leadership.may_write());
        (WRITES.load(Ordering::Relaxed), readiness.unready_reasons() == ["the lease"])
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_lease_is_retried_with_growing_delays_up_to_the_lease_duration_and_the_process_is_not_ready() {
        // After 0, 4, 12, 27, 42 and 57 s. The first conflict may come from another process: one more attempt after 2 s.
        for (code, writes) in [(403, 6), (422, 6), (409, 7)] {
            assert_eq!(refused_writes(code).await, (writes, true), "{code}");
        }
    }
}
