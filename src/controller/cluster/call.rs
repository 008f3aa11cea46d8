//! One call of the Kubernetes API: its timeout, and the text of its error.

use std::time::Duration;

use kube::Error;

/// Timeout of one call. kube sets none, and a call that never ends would block all reconciles of its object.
const KUBE_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a call with a timeout.
pub(in crate::controller) async fn with_timeout<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let timeout = || Error::Service(format!("no response within {} s", KUBE_CALL_TIMEOUT.as_secs()).into());
    tokio::time::timeout(KUBE_CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(timeout()))
}

/// Text of an error, without the body of the request or the response.
pub(in crate::controller) fn format_kube_error(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

/// Returns true if the apiserver responded with this status code.
pub(in crate::controller) fn has_code(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api(status) if status.code == code)
}
