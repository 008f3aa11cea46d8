//! The one loop that every kind goes through: observe, plan, act, report.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{self, Action, ReconcileRequest};
use kube::runtime::reflector::Store;
use kube::{Error, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::Instrument;

use super::caches::ReconcileRequests;
use super::context::Context;
use super::metrics::{PANICKED, result_label};
use super::store;
use super::undecodable::{self, DecodeRecovery};
use super::watch::{holds, is_current};
use crate::management::Priority;
use crate::management::types::{ApiError, ErrorKind};
use crate::planner::{
    EventRecord, KubernetesWrite, Outcome, Plan, PlanInput, Report, ResourcePlanner, RuntimeState, WriteResult, report,
};
use kube::core::DeserializeGuard;

/// Rounds of a visit. Creating takes four; more than eight means that the plan does not converge.
const ROUNDS: usize = 8;

/// A kind as the driver carries it out: how its reads and writes are done.
pub(super) trait Reconciler:
    ResourcePlanner<
        Status: Send + Sync,
        Observed: Send,
        Read: Send + Sync,
        Write: Send + Sync,
        Response: Send,
        Desired: Send + Sync,
    > + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The cache of this kind.
    fn cache(context: &Context) -> &Store<DeserializeGuard<Self>>;

    /// The same object with another status.
    fn with_status(self, status: Self::Status) -> Self;

    /// Leaves of an object's JSON only what its deletion reads. It was asked for then.
    fn reduce(data: &mut Value, deleted_at: Timestamp);

    /// Forgets what was seen of the objects that the spec refers to: it is another spec now.
    fn forget_sources(observed: &mut Self::Observed);

    /// Does one read and adds what it shows.
    fn observe(
        context: &Context,
        object: &Self,
        read: &Self::Read,
        priority: Priority,
        observed: &mut Self::Observed,
    ) -> impl Future<Output = ()> + Send;

    /// Does one remote write.
    fn act(
        context: &Context,
        object: &Self,
        write: &Self::Write,
        priority: Priority,
    ) -> impl Future<Output = WriteResult<Self::Response>> + Send;

    /// Is told after each visit, when its end is remembered.
    fn ended(_context: &Context, _object: &Self) {}
}

/// Visits objects as they are requested, until the requests end; then waits for the visits in hand.
pub(super) async fn run<K: Reconciler>(
    context: Arc<Context>,
    store: Store<DeserializeGuard<K>>,
    requests: ReconcileRequests<DeserializeGuard<K>>,
) {
    let stopped = context.shutdown.clone().cancelled_owned();
    let queue = requests.take_until(stopped).map(|object| Ok::<_, Infallible>(ReconcileRequest::from(object)));
    let visits = controller::applier(
        |object: Arc<DeserializeGuard<K>>, context: Arc<Context>| Box::pin(entry(object, context)),
        |_, error: &Infallible, _| match *error {},
        context,
        store,
        stream::StreamExt::boxed(queue),
        controller::Config::default(),
    );
    visits.for_each(|_| std::future::ready(())).await;
}

async fn entry<K: Reconciler>(object: Arc<DeserializeGuard<K>>, context: Arc<Context>) -> Result<Action, Infallible> {
    let span = tracing::info_span!("visit", kind = K::NAME, namespace = object.namespace(), object = object.name_any());
    let visit = async {
        match &object.0 {
            Ok(decoded) => Reconciliation::begin(&context, decoded).run().await,
            Err(invalid) => visit_undecodable::<K>(&context, &object, &invalid.metadata).await,
        }
    };
    let requeue_after = match AssertUnwindSafe(visit.instrument(span)).catch_unwind().await {
        Ok(requeue_after) => requeue_after,
        // A bug that one object brings out is not to end the visits of all others. The panic itself is on stderr.
        Err(_) => {
            let (namespace, name) = (object.namespace(), object.name_any());
            tracing::error!(kind = K::NAME, namespace, object = name, "a visit panicked: a bug");
            context.metrics.visited(K::NAME, PANICKED);
            Some(context.settings.timings.max_retry_delay)
        }
    };
    Ok(requeue_after.map_or_else(Action::await_change, Action::requeue))
}

/// A visit of an object that the watch could not decode.
async fn visit_undecodable<K: Reconciler>(
    context: &Context,
    object: &DeserializeGuard<K>,
    meta: &ObjectMeta,
) -> Option<Duration> {
    match Box::pin(undecodable::reread::<K>(context, meta)).await {
        Ok(DecodeRecovery::Recovered(mended)) => Reconciliation::begin(context, mended.as_ref()).run().await,
        Ok(DecodeRecovery::Unrecoverable { message, news }) => {
            if news {
                tracing::error!(why = message, "object cannot be decoded");
                context.events.publish(object, vec![EventRecord::warning("Undecodable", message)]);
            }
            // Whoever mends it does not wait for the next check.
            context.memories.force_resync(meta.uid.as_deref().unwrap_or_default(), context.now());
            context.metrics.visited(K::NAME, "undecodable");
            Some(context.settings.timings.max_retry_delay)
        }
        Err(error) => {
            tracing::warn!(error, "an object that cannot be decoded cannot be read again");
            Some(context.settings.timings.min_interval)
        }
    }
}

/// One visit of one object.
struct Reconciliation<'a, K: Reconciler> {
    context: &'a Context,
    object: K,
    /// What the object asks for: checked once for each version of it.
    desired: K::Desired,
    status: K::Status,
    observed: K::Observed,
    runtime_state: RuntimeState,
    /// Whether the status holds facts of a remote effect that are not stored yet.
    unstored: bool,
}

impl<'a, K: Reconciler> Reconciliation<'a, K> {
    fn begin(context: &'a Context, found: &K) -> Self {
        let now = context.now();
        let (mut runtime_state, object) = context.memories.recall(K::cache(context), found, now);
        let quiet_since = now.checked_sub(context.settings.timings.write_settle_period).unwrap_or(Timestamp::MIN);
        runtime_state.begin(object.meta(), quiet_since);
        let status = object.stored_status().cloned().unwrap_or_default();
        let desired = object.desired(&context.settings.identity);
        Self { context, object, desired, status, observed: K::Observed::default(), runtime_state, unstored: false }
    }

    async fn run(mut self) -> Option<Duration> {
        let began = self.context.now();
        let requeue_after = match self.rounds().await {
            Ok(Some(outcome)) => self.finish(outcome, began).await,
            // What was cut short says nothing of the object.
            Ok(None) => None,
            Err(error) => {
                self.interrupted(&error);
                self.conclude(&Outcome::InProgress(String::new()))
            }
        };
        // Whatever became of the visit, what was done is to be known.
        if self.unstored {
            self.persist_external_state().await;
        }
        // What the watch has seen go was forgotten then, and is not to be remembered after it.
        if holds(K::cache(self.context), &self.object) {
            self.context.memories.remember(K::cache(self.context), &self.object, self.runtime_state);
            K::ended(self.context, &self.object);
        } else {
            self.context.memories.forget(self.object.meta().uid.as_ref());
        }
        requeue_after
    }

    /// Observes, plans and acts until there is nothing more to do. No verdict when the operator goes down meanwhile, or the
    /// object changes.
    async fn rounds(&mut self) -> Result<Option<Outcome>, Error> {
        for _ in 0..ROUNDS {
            self.observe().await;
            // What has changed meanwhile has asked for a visit of its own.
            if self.is_over() {
                return Ok(None);
            }
            let fresh_id = uuid::Uuid::new_v4().simple().to_string();
            let plan = self.with_view(&fresh_id, |input| K::plan(input));
            self.status = plan.status.clone();
            if plan.is_no_op() {
                self.context.events.publish(&self.object, plan.events);
                return Ok(Some(plan.outcome));
            }
            if let Some(outcome) = self.act(plan).await? {
                return Ok(Some(outcome));
            }
        }
        Ok(Some(Outcome::InProgress("more steps are needed than one visit takes".to_owned())))
    }

    /// Whether the operator goes down, or the object is another than this visit is about.
    fn is_over(&self) -> bool {
        self.context.shutdown.is_cancelled() || !is_current(K::cache(self.context), &self.object)
    }

    /// Reads until the planner asks for nothing more.
    async fn observe(&mut self) {
        for _ in 0..ROUNDS {
            let reads = self.with_view("", |input| K::required_reads(input));
            if reads.is_empty() {
                return;
            }
            self.runtime_state.pending_since.get_or_insert(self.context.now());
            let priority = self.priority();
            for read in reads {
                // What changed meanwhile is asked for anew, and by the visit that comes of it.
                if self.is_over() {
                    return;
                }
                K::observe(self.context, &self.object, &read, priority, &mut self.observed).await;
            }
        }
    }

    /// Carries a plan out. Returns a verdict when the visit ends with it.
    async fn act(&mut self, plan: Plan<K>) -> Result<Option<Outcome>, Error> {
        let context = self.context;
        if let Some(write) = plan.first {
            let object = match write {
                KubernetesWrite::AddFinalizer => store::set_finalizer(context, &self.object, true).await?,
                KubernetesWrite::RemoveFinalizer => match store::set_finalizer(context, &self.object, false).await {
                    Err(error) if store::is_code(&error, 404) => return Ok(Some(Outcome::Finalized)),
                    other => other?,
                },
                KubernetesWrite::StoreStatus => {
                    let stored = store::set_status(context, &self.object, &self.status).await?;
                    self.unstored = false;
                    stored
                }
            };
            self.take(object);
            if plan.outcome == Outcome::Finalized {
                self.context.events.publish(&self.object, plan.events);
                return Ok(Some(Outcome::Finalized));
            }
        }
        let Some(write) = plan.remote else {
            self.context.events.publish(&self.object, plan.events);
            return Ok(None);
        };
        let end = K::act(self.context, &self.object, &write, self.priority()).await;
        self.runtime_state.wrote(K::affected_names(&write, &end), self.context.now());
        K::apply_write_result(&mut self.status, &mut self.observed, &write, &end);
        self.unstored = true;
        if K::must_persist_immediately(&write) {
            self.persist_external_state().await;
        }
        match end.result {
            Ok(answer) => {
                tracing::info!(write = %described(&write), "remote write done");
                let (now, pause) = (self.context.now(), self.context.settings.timings.correction_loop_cooldown);
                let corrected = K::corrected_paths(&write, &answer);
                self.runtime_state.corrections.count(self.object.meta().generation, &corrected, now, pause);
                let events = K::success_events(&write, &answer).into_iter().chain(plan.events).collect();
                self.context.events.publish(&self.object, events);
                Ok(None)
            }
            // It says nothing of the object: whoever comes next finds out.
            Err(error) if self.is_over() => {
                tracing::debug!(write = %described(&write), "remote write cut short: {error}");
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(write = %described(&write), kind = error.label(), "remote write failed: {error}");
                Ok(K::on_write_error(&write, &error, &self.context.settings.timings))
            }
        }
    }

    /// Stores the report, whatever happened.
    async fn finish(&mut self, outcome: Outcome, began: Timestamp) -> Option<Duration> {
        self.account(&outcome, began);
        if outcome == Outcome::Finalized {
            self.unstored = false;
            return self.conclude(&outcome);
        }
        let Report { status, events, requeue_after } = self.with_view("", |input| report(input, &outcome));
        self.status = status;
        if self.object.stored_status() == Some(&self.status) {
            self.unstored = false;
        } else {
            match store::set_status(self.context, &self.object, &self.status).await {
                Ok(stored) => {
                    self.take(stored);
                    self.unstored = false;
                    tell(&events);
                    self.context.events.publish(&self.object, events);
                }
                Err(error) => {
                    self.interrupted(&error);
                    // What was not told is not held back: the next visit is to tell it.
                    self.runtime_state.retry_hold = None;
                    return self.conclude(&Outcome::InProgress(String::new()));
                }
            }
        }
        tracing::debug!(outcome = result_label(&outcome), ?requeue_after, "visit finished");
        self.context.metrics.visited(K::NAME, result_label(&outcome));
        requeue_after
    }

    /// Keeps what this process is to know of the visit.
    fn account(&mut self, outcome: &Outcome, began: Timestamp) {
        if self.runtime_state.account(outcome, began, self.object.meta()) {
            self.runtime_state.retry_hold = self.with_view("", |input| input.hold(outcome));
        }
    }

    /// Counts a visit that writes no report, and says when to come back.
    fn conclude(&mut self, outcome: &Outcome) -> Option<Duration> {
        self.context.metrics.visited(K::NAME, result_label(outcome));
        self.with_view("", |input| report(input, outcome)).requeue_after
    }

    async fn persist_external_state(&mut self) {
        if let Some(stored) = store::persist_external_state(self.context, &self.object, &self.status).await {
            // What the object now says counts for the rest of the visit; the facts in it are ours.
            self.take(stored);
            self.unstored = false;
        }
    }

    /// Goes on with another version of the object.
    fn take(&mut self, object: K) {
        if object.meta().generation != self.object.meta().generation {
            K::forget_sources(&mut self.observed);
        }
        self.desired = object.desired(&self.context.settings.identity);
        self.object = object;
    }

    fn interrupted(&mut self, error: &Error) {
        if store::is_code(error, 409) {
            tracing::debug!("the object changed meanwhile; visiting it again");
        } else {
            self.runtime_state.failures = self.runtime_state.failures.saturating_add(1);
            tracing::warn!(error = kubernetes_words(error), "Kubernetes write failed");
        }
    }

    fn with_view<T>(&self, fresh_id: &str, judge: impl FnOnce(&PlanInput<'_, K>) -> T) -> T {
        let settings = &self.context.settings;
        judge(&PlanInput {
            meta: self.object.meta(),
            desired: &self.desired,
            status: &self.status,
            runtime_state: &self.runtime_state,
            observed: &self.observed,
            timings: &settings.timings,
            fresh_id,
            now: self.context.now(),
        })
    }

    /// An object that is as it was judged is only checked; anything else somebody waits for.
    fn priority(&self) -> Priority {
        self.with_view("", |input| match () {
            () if input.deleting() => Priority::Delete,
            () if (input.is_ready() && K::sources_unchanged(input)) || input.is_ready_unknown() => Priority::Check,
            () => Priority::Edit,
        })
    }
}

/// Says in the log how Ready changed.
fn tell(events: &[EventRecord]) {
    for EventRecord { warning, reason, message } in events {
        if *warning {
            tracing::warn!(reason, "ready changed: {message}");
        } else {
            tracing::info!(reason, "ready changed: {message}");
        }
    }
}

/// What has no effect, a read or the wait for a write's turn, is given up when the operator goes down, or when the object
/// changes: the visit that asked for it ends then.
pub(super) async fn while_wanted<K: Reconciler, T>(
    context: &Context,
    object: &K,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let uid = object.uid().unwrap_or_default();
    let current = || is_current(K::cache(context), object);
    let withdrawn = || Err(ApiError::local(ErrorKind::Cancelled, "the object changed meanwhile"));
    tokio::select! {
        result = context.interests.while_current(&uid, current, Box::pin(work)) => result.unwrap_or_else(withdrawn),
        () = context.shutdown.cancelled() => Err(ApiError::local(ErrorKind::Connect, "the operator is shutting down")),
    }
}

/// The words of a Kubernetes error, without request or response bodies.
pub(super) fn kubernetes_words(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

fn described(write: &impl Debug) -> String {
    // Only the variant: a body may hold what must not be logged.
    let text = format!("{write:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
