//! The Kubernetes API: mechanics that know no kind of the operator and no state of the controllers.

pub(super) mod cache;
pub(super) mod call;
pub(super) mod counters;
pub(super) mod crd;
pub(super) mod events;
pub(super) mod leadership;
pub(super) mod predicates;
pub(super) mod readiness;
pub(super) mod single_flight;
pub(super) mod sync;
pub(super) mod watch;
pub(super) mod work_queue;
pub(super) mod writer;
