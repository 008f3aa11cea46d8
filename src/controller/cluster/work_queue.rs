//! Requests for reconciles.

use futures::channel::mpsc;
use kube::runtime::reflector::{Lookup, ObjectRef};

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
