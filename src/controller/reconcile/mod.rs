//! The generic reconcile loop: the same for every kind.

pub(super) mod persist;
pub(super) mod reconciler;
pub(super) mod reconciliation;
pub(super) mod remote;
pub(super) mod undecodable;
