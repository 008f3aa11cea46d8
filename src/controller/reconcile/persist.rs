//! Stores external state after a remote write. Retries until the state is stored, the object no longer exists, another
//! process leads, or the apiserver has rejected the state for a minute.

use std::time::Duration;

use kube::core::object::HasStatus;
use kube::{Api, Error, ResourceExt};
use tokio::time::Instant;

use super::reconciler::Reconciler;
use crate::controller::cluster::call::{format_kube_error, has_code, with_timeout};
use crate::controller::cluster::writer::is_permanent_rejection;
use crate::controller::state::context::Context;

/// First and longest delay between two attempts. The apiserver is near, and the state cannot be computed again.
const PERSIST_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Time after which a permanent rejection ends the attempts. The reconcile then ends, so that the object can be
/// reconciled again; the next reconcile determines the external state, as after a crash.
const PERSIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Stores the external state of `status`. After a conflict, reads the object again and copies only the external state,
/// because conditions depend on the new version of the object.
pub(in crate::controller) async fn persist_external_state<K: Reconciler>(
    context: &Context,
    object: &K,
    status: &K::Status,
) -> Option<K> {
    let (mut delay, started_at) = (PERSIST_BACKOFF.0, Instant::now());
    let mut current = with_status(object.clone(), status.clone());
    loop {
        match context.writer.replace_status(&current).await {
            Ok(stored) => return Some(stored),
            Err(error) if has_code(&error, 404) => return None,
            // The next leader determines the external state, as after a crash.
            Err(_) if !context.leadership.may_write() => return None,
            Err(error) if is_permanent_rejection(&error) && started_at.elapsed() > PERSIST_TIMEOUT => {
                tracing::error!(error = format_kube_error(&error), "Failed to update status: rejected");
                return None;
            }
            Err(error) if !has_code(&error, 409) => {
                tracing::warn!(error = format_kube_error(&error), "Failed to update status; retrying");
            }
            Err(_) => match read_again(context, object).await {
                Ok(Some(fresh)) => {
                    let mut next = fresh.status().cloned().unwrap_or_default();
                    K::copy_external_state(status, &mut next);
                    current = with_status(fresh, next);
                }
                Ok(None) => return None,
                // The next reconcile reports the error in status.
                Err(error @ Error::SerdeError(_)) => {
                    tracing::error!(error = format_kube_error(&error), "Failed to update status: object undecodable");
                    return None;
                }
                Err(error) => tracing::warn!(error = format_kube_error(&error), "Failed to read object; retrying"),
            },
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(PERSIST_BACKOFF.1);
    }
}

/// The object as it is now; none if it no longer exists.
async fn read_again<K: Reconciler>(context: &Context, object: &K) -> Result<Option<K>, Error> {
    let api: Api<K> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let fresh = with_timeout(api.get_opt(&object.name_any())).await?;
    Ok(fresh.filter(|fresh| fresh.uid() == object.uid()))
}

/// The same object with another status.
pub(in crate::controller) fn with_status<K: HasStatus>(mut object: K, status: K::Status) -> K {
    *object.status_mut() = Some(status);
    object
}
