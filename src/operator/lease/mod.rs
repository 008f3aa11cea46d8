//! Leader election: a Lease (`coordination.k8s.io/v1`) of our own. Only its holder writes.
//!
//! Every write of the Lease carries the resourceVersion that it was decided on, so of two takers one wins. What is
//! decided, and why no two processes may write at once, is in [`candidate`]; this does the requests.

mod candidate;
#[cfg(test)]
mod model;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::controller::{DualInstant, HealthCheck, Leadership, Metrics};
use candidate::{ElectionAction, ElectionState, Record, Timing};

/// Settings of the election.
#[derive(Clone, Debug)]
pub(super) struct Election {
    /// Name of the Lease.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Who this process is: no other process may call itself so.
    pub(super) identity: String,
    /// How long others wait for a renewal.
    pub(super) lease_duration: Duration,
    /// How long after its last renewal the holder still writes.
    pub(super) renew_deadline: Duration,
    /// How often the lease is looked at, and renewed.
    pub(super) retry_period: Duration,
}

/// How a lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseLossReason {
    /// Another process has it.
    Taken {
        /// Who.
        by: String,
    },
    /// Somebody deleted it, or took our name out.
    Removed,
    /// No renewal got through in time.
    NotRenewed {
        /// How long after the last one the lease ends for its holder.
        within: Duration,
    },
}

impl fmt::Display for LeaseLossReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { by } => write!(formatter, "it was taken by another process, {by}"),
            Self::Removed => formatter.write_str("somebody deleted it, or took this process's name out"),
            Self::NotRenewed { within } => write!(formatter, "it could not be renewed within {within:?}"),
        }
    }
}

/// The time for which a process stands for election.
pub(super) struct ElectionTask {
    stop: CancellationToken,
    /// None without an election.
    standing: Option<JoinHandle<(Elector, Option<LeaseLossReason>)>>,
    lease: String,
}

impl ElectionTask {
    /// Without an election.
    pub(super) fn unlimited() -> Self {
        Self { stop: CancellationToken::new(), standing: None, lease: String::new() }
    }

    /// Stands for election from now on.
    pub(super) fn begin(mut elector: Elector) -> Self {
        let (stop, lease) = (CancellationToken::new(), elector.election.name.clone());
        let until = stop.clone();
        let standing = tokio::spawn(async move {
            let lost = elector.run(&until).await;
            (elector, lost)
        });
        Self { stop, standing: Some(standing), lease }
    }

    /// Returns when the lease was held and is lost; never otherwise.
    pub(super) async fn lost(&mut self) -> Error {
        if let Some(standing) = &mut self.standing {
            // An error would mean that the task panicked: then nobody renews.
            let loss = standing.await.ok().and_then(|(_, loss)| loss);
            self.standing = None;
            return Error::LeaseLost { lease: self.lease.clone(), loss: loss.unwrap_or(LeaseLossReason::Removed) };
        }
        std::future::pending().await
    }

    /// Ends it, and gives the lease up if it is held.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        if let Some(standing) = self.standing.take()
            && let Ok((elector, None)) = standing.await
        {
            elector.release().await;
        }
    }
}

/// Where an elector tells how it fares.
pub(super) struct ElectionTelemetry {
    /// 1 while it holds the lease.
    pub(super) leading: Gauge,
    /// Whether it gets at the lease at all.
    pub(super) lease: HealthCheck,
    /// Counts its writes.
    pub(super) metrics: Metrics,
}

/// A process that wants the lease, or has it.
pub(super) struct Elector {
    leases: Api<Lease>,
    election: Election,
    candidate: ElectionState,
    began: DualInstant,
    leadership: Leadership,
    signs: ElectionTelemetry,
    /// The lease as it was read or written last.
    lease: Option<Lease>,
    /// Said once, so that a log is not filled by a lease that somebody else holds.
    told: Option<String>,
}

impl Elector {
    /// `client` must not repeat requests by itself: a repetition could be one too late.
    pub(super) fn new(client: Client, election: Election, leadership: Leadership, signs: ElectionTelemetry) -> Self {
        let Election { lease_duration, renew_deadline, .. } = election;
        let timing = Timing { lease_duration, renew_deadline };
        Self {
            leases: Api::namespaced(client, &election.namespace),
            candidate: ElectionState::new(election.identity.clone(), timing),
            began: DualInstant::now(),
            leadership,
            signs,
            lease: None,
            told: None,
            election,
        }
    }

    /// Stands for election and holds the lease until `stop`, or until it is lost. Says how it was lost.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Option<LeaseLossReason> {
        loop {
            let pause = tokio::time::sleep(self.election.retry_period);
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                lost = self.step() => if lost.is_some() { return lost },
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = pause => {}
            }
        }
    }

    /// Gives the lease up, so that the next process need not wait for its end.
    pub(super) async fn release(mut self) {
        let holds = self.leadership.may_write();
        self.step_down();
        let Some(mut lease) = self.lease.take().filter(|_| holds) else { return };
        let spec = lease.spec.get_or_insert_default();
        (spec.holder_identity, spec.renew_time) = (Some(String::new()), Some(MicroTime(Timestamp::now())));
        let name = lease.name_any();
        let result = self.bounded(self.leases.replace(&name, &PostParams::default(), &lease)).await;
        self.signs.metrics.wrote("update", "Lease", &result);
        match result {
            Ok(_) => tracing::info!("the lease is released"),
            Err(error) => tracing::warn!(%error, "the lease could not be released: the next process waits for its end"),
        }
    }

    /// One look and at most one write. Says how the lease was lost, if it was.
    async fn step(&mut self) -> Option<LeaseLossReason> {
        let begun = self.now();
        match self.bounded(self.leases.get_opt(&self.election.name)).await {
            Ok(lease) => self.lease = lease,
            Err(error) => {
                let Election { name, namespace, .. } = &self.election;
                tracing::warn!(%error, lease = name, namespace, "the lease cannot be read");
                self.signs.lease.fails();
                // Only its time is judged: nothing is known of the lease.
                return self.ran_out();
            }
        }
        let record = self.lease.as_ref().map(record);
        // The look may have taken long: what is decided now is decided by the time of now.
        match self.candidate.next(record.as_ref(), self.now()) {
            ElectionAction::Lost => {
                self.step_down();
                Some(self.loss(record))
            }
            ElectionAction::Wait => {
                self.signs.lease.works();
                self.tell_holder(record.and_then(|record| record.holder));
                None
            }
            ElectionAction::Create | ElectionAction::Take(_) | ElectionAction::Renew(_) => {
                self.write(begun).await;
                self.ran_out()
            }
        }
    }

    /// How the lease was lost, going by what is stored now.
    fn loss(&self, record: Option<Record>) -> LeaseLossReason {
        match record.map(|record| record.holder) {
            Some(Some(by)) if by != self.election.identity => LeaseLossReason::Taken { by },
            Some(Some(_)) => LeaseLossReason::NotRenewed { within: self.election.renew_deadline },
            Some(None) | None => LeaseLossReason::Removed,
        }
    }

    /// Writes our name, at the version that was read.
    async fn write(&mut self, begun: Duration) {
        // Taken before the request leaves: others count from its effect, which is later.
        let from = DualInstant::now();
        let lease = self.ours();
        let (name, params) = (&self.election.name, PostParams::default());
        let (verb, answer) = if self.lease.is_some() {
            ("update", self.bounded(self.leases.replace(name, &params, &lease)).await)
        } else {
            ("create", self.bounded(self.leases.create(&params, &lease)).await)
        };
        self.signs.metrics.wrote(verb, "Lease", &answer);
        match answer {
            Ok(stored) => {
                self.signs.lease.works();
                if !self.leadership.may_write() {
                    tracing::info!(identity = self.election.identity, lease = self.election.name, "leading");
                }
                self.lease = Some(stored);
                self.candidate.wrote(begun);
                if self.candidate.may_write(self.now()) {
                    self.leadership.hold(from, self.election.renew_deadline);
                    self.signs.leading.set(1);
                }
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.signs.lease.works();
                tracing::debug!("somebody else was quicker");
            }
            Err(error) => {
                self.signs.lease.fails();
                let Election { name, namespace, .. } = &self.election;
                tracing::warn!(%error, lease = name, namespace, "the lease cannot be written");
            }
        }
    }

    /// The lease as we want it, at the version that was read.
    fn ours(&self) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = self.lease.clone().unwrap_or_default();
        lease.metadata.name = Some(self.election.name.clone());
        let before = lease.spec.take().unwrap_or_default();
        let renewed = before.holder_identity.as_ref() == Some(&self.election.identity);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.election.lease_duration)),
            acquire_time: if renewed { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0).saturating_add(i32::from(!renewed))),
            ..before
        });
        lease
    }

    fn tell_holder(&mut self, holder: Option<String>) {
        if holder.is_some() && self.told != holder {
            tracing::info!(holder, lease = self.election.name, "standing by: another process holds the lease");
            self.told = holder;
        }
    }

    fn ran_out(&mut self) -> Option<LeaseLossReason> {
        if !self.candidate.leads() || self.candidate.may_write(self.now()) {
            return None;
        }
        self.step_down();
        Some(LeaseLossReason::NotRenewed { within: self.election.renew_deadline })
    }

    fn step_down(&mut self) {
        self.leadership.drop_it();
        self.signs.leading.set(0);
    }

    fn now(&self) -> Duration {
        self.began.at_least_ago()
    }

    /// Shorter than the deadline, so that an apiserver that hangs is tried again before it.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
        let limit = self.election.renew_deadline / 2;
        let late = || kube::Error::Service(format!("no answer of the apiserver within {limit:?}").into());
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(late()))
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: lease.resource_version().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
    }
}

/// The API takes whole seconds. Rounded up: others may wait longer, never shorter.
fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}
