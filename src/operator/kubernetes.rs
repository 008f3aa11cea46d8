//! The client of the Kubernetes API.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::Response;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::BoxError;
use tower::util::MapResponseLayer;

use super::response_filter::ResponseFilter;
use super::{Error, Settings};

/// Longest time without a byte of an answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(310);

/// A client for the cluster of the kubeconfig, or the one that the pod runs in.
pub(super) async fn client(settings: &Settings) -> Result<Client, Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::Kubernetes(error.to_string());
    let mut config = Config::infer().await.map_err(|error| unusable(&error))?;
    // kube repeats 429, 503 and 504 inside a call, up to 15 times; each object's own backoff does better.
    config.default_retry = false;
    config.connect_timeout = Some(settings.connect_timeout);
    // A watch is told something within 290 s, after which it is asked for anew. An apiserver that says nothing for longer
    // is not there, and a cache must not stand still with it.
    config.read_timeout = Some(LONGEST_SILENCE);
    // Proxy variables are for the Management API; the cluster is reached directly.
    config.proxy_url = None;
    let builder = ClientBuilder::try_from(config).map_err(|error| unusable(&error))?;
    Ok(builder.with_layer(&MapResponseLayer::new(lean)).build())
}

/// An answer without what no part of the operator reads.
fn lean<B>(response: Response<B>) -> Response<UnsyncBoxBody<Bytes, BoxError>>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    response.map(|body| {
        let mut state = ResponseFilter::default();
        let frames = body.map_frame(move |frame| frame.map_data(|chunk| Bytes::from(state.pass(&chunk))));
        frames.map_err(Into::into).boxed_unsync()
    })
}
