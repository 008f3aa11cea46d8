//! Leader election: a Lease (`coordination.k8s.io/v1`) of our own. Only its holder writes.
//!
//! Every write of the Lease carries the resourceVersion that it was decided on, so of two takers one wins. What is
//! decided, and why no two processes may write at once, is in [`candidate`]; this does the requests.

mod candidate;
#[cfg(test)]
mod model;

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

use crate::controller::{Leadership, Moment};
use candidate::{Candidate, Move, Record, Timing};

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

/// The time for which a process stands for election.
pub(super) struct Term {
    stop: CancellationToken,
    /// None without an election.
    standing: Option<JoinHandle<(Elector, bool)>>,
    lease: String,
}

impl Term {
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
            let _ = standing.await;
            self.standing = None;
            return Error::LeaseLost(self.lease.clone());
        }
        std::future::pending().await
    }

    /// Ends it, and gives the lease up if it is held.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        if let Some(standing) = self.standing.take()
            && let Ok((elector, false)) = standing.await
        {
            elector.release().await;
        }
    }
}

/// A process that wants the lease, or has it.
pub(super) struct Elector {
    leases: Api<Lease>,
    election: Election,
    candidate: Candidate,
    began: Moment,
    leadership: Leadership,
    leading: Gauge,
    /// The lease as it was read or written last.
    lease: Option<Lease>,
    /// Said once, so that a log is not filled by a lease that somebody else holds.
    told: Option<String>,
}

impl Elector {
    /// `client` must not repeat requests by itself: a repetition could be one too late.
    pub(super) fn new(client: Client, election: Election, leadership: Leadership, leading: Gauge) -> Self {
        let Election { lease_duration, renew_deadline, .. } = election;
        let timing = Timing { lease_duration, renew_deadline };
        Self {
            leases: Api::namespaced(client, &election.namespace),
            candidate: Candidate::new(election.identity.clone(), timing),
            began: Moment::now(),
            leadership,
            leading,
            lease: None,
            told: None,
            election,
        }
    }

    /// Stands for election and holds the lease until `stop`, or until it is lost. Says whether it was lost.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> bool {
        loop {
            let pause = tokio::time::sleep(self.election.retry_period);
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                lost = self.step() => if lost { return true },
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = pause => {}
            }
        }
    }

    /// Gives the lease up, so that the next process need not wait for its end.
    pub(super) async fn release(mut self) {
        let holds = self.leadership.may_write();
        self.lose();
        let Some(mut lease) = self.lease.take().filter(|_| holds) else { return };
        let spec = lease.spec.get_or_insert_default();
        (spec.holder_identity, spec.renew_time) = (Some(String::new()), Some(MicroTime(Timestamp::now())));
        let name = lease.name_any();
        match self.bounded(self.leases.replace(&name, &PostParams::default(), &lease)).await {
            Ok(_) => tracing::info!("the lease is released"),
            Err(error) => tracing::warn!(%error, "the lease could not be released: the next process waits for its end"),
        }
    }

    /// One look and at most one write. Says whether the lease was lost.
    async fn step(&mut self) -> bool {
        let begun = self.now();
        match self.bounded(self.leases.get_opt(&self.election.name)).await {
            Ok(lease) => self.lease = lease,
            Err(error) => {
                tracing::warn!(%error, "the lease cannot be read");
                // Only its time is judged: nothing is known of the lease.
                return self.ran_out();
            }
        }
        let record = self.lease.as_ref().map(record);
        // The look may have taken long: what is decided now is decided by the time of now.
        match self.candidate.next(record.as_ref(), self.now()) {
            Move::Lost => self.lose(),
            Move::Wait => {
                self.tell_holder(record.and_then(|record| record.holder));
                false
            }
            Move::Create | Move::Take(_) | Move::Renew(_) => {
                self.write(begun).await;
                self.ran_out()
            }
        }
    }

    /// Writes our name, at the version that was read.
    async fn write(&mut self, begun: Duration) {
        // Taken before the request leaves: others count from its effect, which is later.
        let from = Moment::now();
        let lease = self.ours();
        let answer = if self.lease.is_some() {
            self.bounded(self.leases.replace(&self.election.name, &PostParams::default(), &lease)).await
        } else {
            self.bounded(self.leases.create(&PostParams::default(), &lease)).await
        };
        match answer {
            Ok(stored) => {
                if !self.leadership.may_write() {
                    tracing::info!(identity = self.election.identity, lease = self.election.name, "leading");
                }
                self.lease = Some(stored);
                self.candidate.wrote(begun);
                if self.candidate.may_write(self.now()) {
                    self.leadership.hold(from, self.election.renew_deadline);
                    self.leading.set(1);
                }
            }
            Err(kube::Error::Api(status)) if status.code == 409 => tracing::debug!("somebody else was quicker"),
            Err(error) => tracing::warn!(%error, "the lease cannot be written"),
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
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!renewed)),
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

    fn ran_out(&mut self) -> bool {
        let led = self.candidate.leads();
        if led && !self.candidate.may_write(self.now()) { self.lose() } else { false }
    }

    fn lose(&mut self) -> bool {
        self.leadership.drop_it();
        self.leading.set(0);
        true
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
