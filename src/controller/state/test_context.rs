//! A context for unit tests: empty caches, and an apiserver that responds with an error to every request.

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use kube::core::Status;
use tokio_util::sync::CancellationToken;

use super::caches::Caches;
use super::context::Context;
use super::kinds::{KindFeeds, Kinds};
use super::settings::{DigestKeyRef, Settings};
use crate::controller::cluster::counters::Counters;
use crate::controller::cluster::leadership::Leadership;
use crate::management::{ApiMetrics, ManagementSettings};
use crate::planner::{Identity, Timings};

/// A context whose apiserver rejects every request with this status code, and the feeds of its caches. Needs a runtime.
pub(in crate::controller) fn test_context(code: u16) -> (Context, KindFeeds) {
    let respond = tower::service_fn(move |_: axum::http::Request<Body>| async move {
        let status = serde_json::to_vec(&Status::failure("rejected", "Rejected").with_code(code))?;
        Ok::<_, tower::BoxError>(axum::http::Response::builder().status(code).body(Body::from(status))?)
    });
    let (kinds, feeds) = Kinds::new();
    let second = Duration::from_secs(1);
    let settings = Settings {
        identity: Identity { cluster_id: "test".to_owned() },
        timings: Timings::default(),
        management: ManagementSettings {
            connect_timeout: second,
            request_timeout: second,
            read_retry_timeout: second,
            max_rate_limit_pause: second,
            min_list_interval: second,
            read_cache_ttl: second,
        },
        watch_namespace: None,
        default_organization: None,
        startup_poll_interval: second,
        readiness_failure_threshold: second,
        digest_key: DigestKeyRef { namespace: "operator".to_owned(), name: "digest-key".to_owned() },
        digest_key_check_interval: second,
        protect_credential_secrets: true,
        secret_poll_interval: None,
    };
    let metrics = (ApiMetrics::default(), Counters::default());
    let (client, shutdown) = (Client::new(respond, "default"), CancellationToken::new());
    let kinds = (kinds, Caches::new().0);
    (Context::new(client, settings, kinds, metrics, Leadership::always(), shutdown).0, feeds)
}
