//! Messages for failed TLS handshakes.

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use super::types::quote_server_text;

/// Message for a failed TLS handshake. The text depends only on the certificate, so that a status does not change with
/// each attempt.
pub(super) fn handshake_problem(error: &rustls::Error, server: &str) -> String {
    let problem = match error {
        rustls::Error::InvalidCertificate(error) => return certificate_problem(error, server),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS. Correct the port, or use an http URL",
        error => return format!("the TLS handshake with {server} failed: {}", quote_server_text(&error.to_string())),
    };
    format!("cannot connect to {server}: {problem}")
}

fn certificate_problem(error: &CertificateError, server: &str) -> String {
    let certificate = format!("the certificate of {server}");
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!(
                "{certificate} expired at {}. Renew the certificate, or correct the clock",
                display_time(*not_after)
            )
        }
        CertificateError::Expired => format!("{certificate} has expired. Renew the certificate, or correct the clock"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let start = display_time(*not_before);
            format!("{certificate} is not valid before {start}. Replace the certificate, or correct the clock")
        }
        CertificateError::NotValidYet => {
            format!("{certificate} is not valid yet. Replace the certificate, or correct the clock")
        }
        // The signature does not match if an authority was created again with its former name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("no trusted authority issued {certificate}. Add the certificate of the authority to spec.caBundle")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{certificate} is for another host. Correct the host of the URL, or replace the certificate")
        }
        error => format!("{certificate} is invalid: {}", quote_server_text(&error.to_string())),
    }
}

fn display_time(time: UnixTime) -> String {
    let second = i64::try_from(time.as_secs()).ok();
    let time = second.and_then(|second| Timestamp::from_second(second).ok());
    time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}
