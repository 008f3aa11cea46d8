//! The part of a kind in the generic reconcile loop: its reads and its writes.

use std::fmt::Debug;
use std::future::Future;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::controller::state::context::Context;
use crate::controller::state::kinds::{Kind, KindState};
use crate::management::Priority;
use crate::planner::{NoRemoteWrite, RemoteWrite, WriteResult};

/// The reads and writes of one kind.
pub(in crate::controller) trait Reconciler:
    Kind<
        Desired: Send + Sync,
        Observed: Send + Sync,
        Read: Send + Sync,
        Write: CarryOut<Self>,
        Status: Send + Sync + Serialize,
    > + Debug
    + Serialize
    + DeserializeOwned
{
    /// Cache and work queue of the kind.
    fn state(context: &Context) -> &KindState<Self>;

    /// Reduces the JSON of an undecodable object to the fields that its deletion reads.
    fn retain_deletion_fields(data: &mut Value, deleted_at: Timestamp);

    /// Carries a read out, and adds the result to the observations.
    fn observe(
        context: &Context,
        object: &Self,
        read: &Self::Read,
        priority: Priority,
        observed: &mut Self::Observed,
    ) -> impl Future<Output = ()> + Send;

    /// Runs after each reconcile, when its outcome is recorded.
    fn after_reconcile(_context: &Context, _object: &Self) {}
}

/// Carries a remote write out.
pub(in crate::controller) trait CarryOut<K: Kind>:
    RemoteWrite<K, Response: Send + Sync> + Send + Sync
{
    fn carry_out(
        &self,
        context: &Context,
        object: &K,
        priority: Priority,
    ) -> impl Future<Output = WriteResult<Self::Response>> + Send;
}

impl<K: Kind> CarryOut<K> for NoRemoteWrite {
    async fn carry_out(&self, _: &Context, _: &K, _: Priority) -> WriteResult<()> {
        match *self {}
    }
}
