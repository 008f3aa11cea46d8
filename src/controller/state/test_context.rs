//! A context for unit tests: empty caches, and an apiserver that each test defines.

use std::time::Duration;

use axum::http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::caches::Caches;
use super::context::Context;
use super::kinds::{KindFeeds, Kinds};
use super::settings::{DigestKeyRef, Settings};
use crate::controller::cluster::counters::Counters;
use crate::controller::cluster::leadership::Leadership;
use crate::management::{ApiMetrics, ManagementSettings};
use crate::planner::{Identity, Timings};

/// A context, and the feeds of its caches. The apiserver responds to a request with `respond(method)`: an object, or
/// the status code of a rejection. Needs a runtime.
pub(in crate::controller) fn test_context(respond: fn(&Method) -> Result<Value, u16>) -> (Context, KindFeeds) {
    let respond = tower::service_fn(move |request: Request<Body>| async move {
        let rejection = |code| json!(Status::failure("rejected", "Rejected").with_code(code));
        let (code, body) = respond(request.method()).map_or_else(|code| (code, rejection(code)), |found| (200, found));
        Ok::<_, tower::BoxError>(Response::builder().status(code).body(Body::from(body.to_string().into_bytes()))?)
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
