//! Client of the Kubernetes API.

use std::error::Error;
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::Response;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::ClientBuilder;
use kube::config::{InferConfigError, KubeconfigError};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapResponseLayer;

use super::response_filter::ResponseFilter;
use super::{OperatorError, OperatorSettings};

/// Timeout without a byte of a response. kube ends every watch within 290 s and starts a new watch. A longer silence
/// means that the API server is unreachable, and the caches would not notice it.
const READ_TIMEOUT: Duration = Duration::from_secs(310);

/// Creates a client for the cluster of the kubeconfig, or for the cluster of the pod.
pub(super) async fn client(settings: &OperatorSettings) -> Result<Client, OperatorError> {
    let mut config = Config::infer().await.map_err(|error| OperatorError::Kubernetes(describe(&error)))?;
    // kube retries 429, 503 and 504 up to 15 times inside a call. The backoff of each object replaces these retries.
    config.default_retry = false;
    config.connect_timeout = Some(settings.management_api.connect_timeout);
    config.read_timeout = Some(READ_TIMEOUT);
    // Proxy variables apply to the Management API only. The operator connects to the cluster directly.
    config.proxy_url = None;
    let builder = ClientBuilder::try_from(config).map_err(|error| OperatorError::Kubernetes(error.to_string()))?;
    Ok(builder.with_layer(&MapResponseLayer::new(filter_body)).build())
}

/// Message of an error, without the lines of the kubeconfig that the parser quotes: these lines contain credentials.
fn describe(error: &InferConfigError) -> String {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(KubeconfigError::Parse(error)) => match error.location() {
            Some(place) => format!("invalid kubeconfig: line {}, column {}", place.line(), place.column()),
            None => "invalid kubeconfig".to_owned(),
        },
        _ => error.to_string(),
    }
}

/// Passes the body of a response through a [`ResponseFilter`].
fn filter_body<B>(response: Response<B>) -> Response<UnsyncBoxBody<Bytes, BoxError>>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    response.map(|body| {
        let mut filter = ResponseFilter::default();
        let frames = body.map_frame(move |frame| frame.map_data(|chunk| Bytes::from(filter.apply(&chunk))));
        frames.map_err(Into::into).boxed_unsync()
    })
}
