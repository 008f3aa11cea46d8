//! Logs on standard error, as JSON or as text.

use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::settings::LogFormat;
use super::{OperatorError, OperatorSettings};

/// Target that no filter can enable: kube logs the whole body of a response that it cannot decode, and the response may
/// be a Secret.
const FORBIDDEN_TARGET: &str = "kube_client::client";

/// Installs the global log subscriber.
pub(super) fn start(settings: &OperatorSettings) -> Result<(), OperatorError> {
    let invalid = |error: &dyn std::fmt::Display| OperatorError::LogFilter(error.to_string());
    let filter = EnvFilter::try_new(&settings.general.log_filter).map_err(|error| invalid(&error))?;
    let filter = filter.and(filter_fn(|metadata| !metadata.target().starts_with(FORBIDDEN_TARGET)));
    // Write errors are dropped. The library would print them to standard error as well, and panic if that fails.
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let layer = match settings.general.log_format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Human => layer.with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(|error| invalid(&error))
}
