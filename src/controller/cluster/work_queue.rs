//! Requests for reconciles, and the loop that runs them.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};
use kube::Resource;
use kube::runtime::controller::{self, Action, ReconcileRequest};
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use tokio_util::sync::CancellationToken;

/// The reconciles that are requested, for one kind.
pub(in crate::controller) type ReconcileRequests<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

/// Work queue of one kind. Unbounded: kube's scheduler behind it keeps at most one request per object.
pub(in crate::controller) struct WorkQueue<K: Lookup> {
    sender: mpsc::UnboundedSender<ObjectRef<K>>,
}

impl<K: Lookup> WorkQueue<K> {
    pub(in crate::controller) fn new() -> (Self, ReconcileRequests<K>) {
        let (sender, requests) = mpsc::unbounded();
        (Self { sender }, requests)
    }

    /// Requests a reconcile. Without a receiver the operator is shutting down, and the request can be dropped.
    pub(in crate::controller) fn enqueue(&self, object: ObjectRef<K>) {
        let _ = self.sender.unbounded_send(object);
    }
}

/// Reconciles cached objects as requested, until shutdown; then waits for the running reconciles.
pub(in crate::controller) async fn run<K, C, F>(
    requests: ReconcileRequests<K>,
    cache: Store<K>,
    context: Arc<C>,
    shutdown: CancellationToken,
    reconcile: fn(Arc<K>, Arc<C>) -> F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    F: Future<Output = Action> + Send + 'static,
{
    let queue = requests.take_until(shutdown.cancelled_owned());
    let reconciles = controller::applier(
        |object, context| reconcile(object, context).map(Ok::<_, Infallible>).boxed(),
        |_, error, _| match *error {},
        context,
        cache,
        queue.map(|object| Ok::<_, Infallible>(ReconcileRequest::from(object))).boxed(),
        controller::Config::default(),
    );
    reconciles.for_each(|_| std::future::ready(())).await;
}
