//! The kinds of the operator: the one list from which caches, work queues and metrics follow.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};

use super::object_states::ObjectStates;
use crate::api::{SpiceApp, SpiceOrganization, SpiceSecret};
use crate::controller::cluster::work_queue::{ReconcileRequests, WorkQueue};
use crate::planner::{ResourcePlanner, is_released};
use crate::visits::Visits;

/// A kind of the operator. An undecodable object must not break the watch of the others, hence the guard.
pub(in crate::controller) trait Kind:
    ResourcePlanner + Resource<Scope = NamespaceResourceScope> + Send + Sync + 'static
{
}

impl<K: ResourcePlanner + Resource<Scope = NamespaceResourceScope> + Send + Sync + 'static> Kind for K {}

/// Cache, work queue and in-memory state of one kind.
pub(in crate::controller) struct KindState<K: Kind> {
    pub(in crate::controller) cache: Store<DeserializeGuard<K>>,
    pub(in crate::controller) queue: WorkQueue<DeserializeGuard<K>>,
    pub(in crate::controller) object_states: ObjectStates<K>,
    pub(in crate::controller) visits: Visits,
}

/// The other ends of a [`KindState`]: for the watch and for the reconciler.
pub(in crate::controller) struct KindFeed<K: Kind> {
    pub(in crate::controller) writer: Writer<DeserializeGuard<K>>,
    pub(in crate::controller) requests: ReconcileRequests<DeserializeGuard<K>>,
}

impl<K: Kind> KindState<K> {
    fn new() -> (Self, KindFeed<K>) {
        let (cache, writer) = reflector::store();
        let (queue, requests) = WorkQueue::new();
        let object_states = ObjectStates::new(cache.clone());
        let state = Self { cache, queue, object_states, visits: Visits::default() };
        (state, KindFeed { writer, requests })
    }

    /// The cached object of this name. A released object counts as deleted.
    pub(in crate::controller) fn get(&self, namespace: &str, name: &str) -> Option<Arc<DeserializeGuard<K>>> {
        self.visits.add(1);
        self.cache.get(&ObjectRef::new(name).within(namespace)).filter(|object| !is_released(object.meta()))
    }

    /// Returns true if an object of this name is released, and Kubernetes still shows the object.
    pub(in crate::controller) fn has_released(&self, namespace: &str, name: &str) -> bool {
        self.visits.add(1);
        self.cache.get(&ObjectRef::new(name).within(namespace)).is_some_and(|object| is_released(object.meta()))
    }

    /// The cached objects that match. A released object counts as deleted. Visits every object, so a reconcile uses an
    /// index instead.
    pub(in crate::controller) fn filter(
        &self,
        matches: impl Fn(&DeserializeGuard<K>) -> bool,
    ) -> Vec<Arc<DeserializeGuard<K>>> {
        self.visits.add(self.cache.len());
        self.cache.state_filter(|object| !is_released(object.meta()) && matches(object))
    }

    /// Requests a reconcile of an object.
    pub(in crate::controller) fn enqueue(&self, object: &DeserializeGuard<K>) {
        self.queue.enqueue(ObjectRef::from_obj(object));
    }

    /// Requests a reconcile that reads, independent of the last result of the object.
    pub(in crate::controller) fn resync(&self, object: &DeserializeGuard<K>) {
        self.object_states.force_resync(object.meta().uid.as_deref().unwrap_or_default(), Timestamp::now());
        self.enqueue(object);
    }

    /// Requests a reconcile of the object of this name.
    pub(in crate::controller) fn enqueue_name(&self, namespace: &str, name: &str) {
        self.queue.enqueue(ObjectRef::new(name).within(namespace));
    }
}

/// A computation over all kinds.
pub(in crate::controller) trait KindVisitor {
    fn visit<K: Kind>(&mut self, kind: &KindState<K>);
}

macro_rules! kinds {
    ($($field:ident: $kind:ty),* $(,)?) => {
        /// State of all kinds.
        pub(in crate::controller) struct Kinds {
            $(pub(in crate::controller) $field: KindState<$kind>,)*
        }

        /// The other ends of [`Kinds`].
        pub(in crate::controller) struct KindFeeds {
            $(pub(in crate::controller) $field: KindFeed<$kind>,)*
        }

        impl Kinds {
            /// Names of all kinds.
            pub(in crate::controller) const NAMES: &'static [&'static str] = &[$(<$kind>::NAME),*];

            pub(in crate::controller) fn new() -> (Self, KindFeeds) {
                $(let $field = KindState::new();)*
                (Self { $($field: $field.0),* }, KindFeeds { $($field: $field.1),* })
            }

            /// Visits all kinds.
            pub(in crate::controller) fn visit(&self, visitor: &mut impl KindVisitor) {
                $(visitor.visit(&self.$field);)*
            }

            /// Waits until every cache holds its first list, one after the other: if several tasks wait for one cache,
            /// kube wakes only the last.
            pub(in crate::controller) async fn wait_until_synced(&self) {
                // An error means that the watch has ended, which happens at shutdown only.
                $(let _ = self.$field.cache.wait_until_ready().await;)*
            }
        }
    };
}

kinds! {
    organizations: SpiceOrganization,
    apps: SpiceApp,
    secrets: SpiceSecret,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::custom_resource_definitions;

    #[test]
    fn every_kind_has_a_custom_resource_definition() {
        let defined: Vec<String> =
            custom_resource_definitions().into_iter().map(|definition| definition.spec.names.kind).collect();
        assert_eq!(Kinds::NAMES, defined);
    }
}
