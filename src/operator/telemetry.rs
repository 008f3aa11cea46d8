//! Logs: to standard error, JSON or for people.

use tracing_subscriber::EnvFilter;

use super::{Error, LogFormat};

pub(super) fn start(format: LogFormat, filter: &str) -> Result<(), Error> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Error::LogFilter(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Human => lines.with_target(false).try_init(),
    };
    started.map_err(|error| Error::LogFilter(error.to_string()))
}
