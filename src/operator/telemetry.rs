//! Logs on standard error, as JSON or as text.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
        LogFormat::Json => layer.event_format(JsonLines).fmt_fields(JsonFields::new()).boxed(),
        LogFormat::Human => layer.with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(|error| invalid(&error))
}

/// Formats an event as one JSON object. The fields of its spans are at the top level: the library nests them, and
/// replaces a field `name` by the name of the span.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = JsonLine(Map::new());
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        line.insert("target", event.metadata().target().into());
        for span in context.event_scope().into_iter().flat_map(|spans| spans.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map(|fields| fields.fields.as_str());
            line.0.extend(fields.and_then(|fields| serde_json::from_str::<Map<_, _>>(fields).ok()).unwrap_or_default());
        }
        event.record(&mut line);
        let (level, fields) = (event.metadata().level(), Value::Object(line.0).to_string());
        // Time and level come first, for readers without a tool.
        writeln!(writer, r#"{{"timestamp":"{timestamp}","level":"{level}",{}"#, &fields[1..])
    }
}

/// One line of the log.
struct JsonLine(Map<String, Value>);

impl JsonLine {
    fn insert(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }
}

impl Visit for JsonLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_has_the_fields_of_the_event_and_of_its_span_at_the_top_level() {
        let output = Output::default();
        let writer = output.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.event_format(JsonLines).fmt_fields(JsonFields::new());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _span =
                tracing::info_span!("reconcile", kind = "SpiceApp", namespace = "team", name = "my-app").entered();
            let error = std::fmt::Error;
            tracing::warn!(requeue_after_ms = 173_u64, error = %error, present = true, "Management API \"request\" failed");
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let timestamp = line.remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
        let expected = json!({
            "level": "WARN",
            "target": "spice_cloud_operator::operator::telemetry::tests",
            "kind": "SpiceApp",
            "namespace": "team",
            "name": "my-app",
            "requeue_after_ms": 173,
            "error": "an error occurred when formatting an argument",
            "present": true,
            "message": "Management API \"request\" failed",
        });
        assert_eq!(Value::Object(line), expected);
    }
}
