//! Logs: to standard error, JSON or for people.

use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::{Error, LogFormat};

/// kube logs the whole body of an answer that it cannot decode, and an answer may be a Secret. No filter lets that out.
const NEVER_LOGGED: &str = "kube_client::client";

pub(super) fn start(format: LogFormat, filter: &str) -> Result<(), Error> {
    let refused = |error: &dyn std::fmt::Display| Error::LogFilter(error.to_string());
    let filter = EnvFilter::try_new(filter).map_err(|error| refused(&error))?;
    let filter = filter.and(filter_fn(|metadata| !metadata.target().starts_with(NEVER_LOGGED)));
    // Errors of writing a line are dropped: the library would print them to the same place, and panic if that fails too.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Human => lines.with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(|error| refused(&error))
}
