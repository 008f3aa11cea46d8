//! One call of the Kubernetes API: its timeout, and the text of its error.

use std::time::Duration;

use kube::Error;

use crate::management::types::quote_server_text;
use crate::planner::display_duration;

/// Timeout of one call. kube sets none, and a call that never ends would block all reconciles of its object.
const KUBE_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a call, which fails after 30 s without a response.
pub async fn with_timeout<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    within(KUBE_CALL_TIMEOUT, call).await
}

/// Runs a call, which fails after `limit` without a response.
pub async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let message = || format!("the API server did not respond within {}", display_duration(limit));
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(Error::Service(message().into())))
}

/// Short text of an error with its causes, without the body of the request or the response.
pub fn format_kube_error(error: &Error) -> String {
    match error {
        // The error of the decoder quotes a part of the response.
        Error::SerdeError(_) => "the response cannot be decoded".to_owned(),
        Error::Api(status) if status.code == 0 => {
            "the response does not come from a Kubernetes API server. Check the server address in the kubeconfig"
                .to_owned()
        }
        Error::Api(status) if status.message.is_empty() => format!("no message ({})", status.code),
        Error::Api(status) => format!("{} ({})", quote_server_text(&status.message), status.code),
        Error::Service(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            causes.fold(format!("{:.300}", error.to_string()), |text, cause| {
                format!("{text}: {:.300}", cause.to_string())
            })
        }
        other => other.to_string(),
    }
}

/// Returns true if the apiserver refused a write, for example because of an admission policy or a missing permission.
/// The text of the error then shows the cause. An overload is no refusal; a missing object and a conflict are none
/// unless the object shows otherwise (`KubeWriter::failure`).
pub(in crate::controller) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code >= 400 && ![404, 409, 429, 503, 504].contains(&status.code))
}

/// Returns true if the apiserver responded with this status code.
pub(in crate::controller) fn has_code(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests {
    use std::io;

    use kube::core::Status;

    use super::*;

    #[test]
    fn a_refusal_is_an_answer_that_repeats_until_a_user_corrects_the_cause() {
        for (code, refused) in [
            (400, true),
            (403, true),
            (404, false),
            (409, false),
            (413, true),
            (422, true),
            (429, false),
            (500, true),
            (503, false),
            (504, false),
        ] {
            let error = Error::Api(Status::failure("no", "No").with_code(code).boxed());
            assert_eq!(is_refusal(&error), refused, "{code}");
        }
        assert!(!is_refusal(&Error::Service("no response".into())));
    }

    #[test]
    fn the_text_of_an_error_names_its_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("client error")]
        struct ClientError(#[source] io::Error);

        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let forbidden = Status::failure("secrets is forbidden", "Forbidden").with_code(403).boxed();
        for (error, expected) in [
            (Error::Service(Box::new(ClientError(refused))), "client error: connection refused"),
            (Error::Api(forbidden), "“secrets is forbidden” (403)"),
            (Error::Api(Status::failure("", "").with_code(503).boxed()), "no message (503)"),
            (Error::Api(Status::default().boxed()), "Check the server address"),
        ] {
            let text = format_kube_error(&error);
            assert!(text.contains(expected), "{text}");
        }
        let quoting = serde_json::from_str::<u32>(r#""fake-value""#).unwrap_err();
        assert_eq!(format_kube_error(&Error::SerdeError(quoting)), "the response cannot be decoded");
        let long = Status::failure(&"x".repeat(1_000_000), "Invalid").with_code(422).boxed();
        assert!(format_kube_error(&Error::Api(long)).len() < 320);
    }
}
