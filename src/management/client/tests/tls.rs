//! TLS errors of a real server.

use std::sync::Arc;

use axum::Router;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::client_of;
use crate::management::client::ClientConfig;
use crate::management::credential::Credential;
use crate::management::rate_limit::Priority;
use crate::management::types::{ApiError, ErrorKind};
use crate::management::urls::token_endpoint;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 31\r\nconnection: close\r\n\r\n{\"regions\":[],\"default\":\"home\"}";

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = authority.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(authority, key), pem }
    }

    /// Starts a server whose certificate is for `name` and valid from the begin of one year to the begin of another.
    async fn serve(&self, name: &str, years: [i32; 2]) -> u16 {
        let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
        [certificate.not_before, certificate.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.write_all(RESPONSE).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        port
    }
}

/// The result of a read with this authority in the CA bundle.
async fn read(endpoint: &str, authority: &Authority, credential: Credential) -> Result<(), ApiError> {
    let ca_bundle = Some(authority.pem.clone());
    let config = ClientConfig { endpoint: endpoint.to_owned(), organization: None, ca_bundle, credential };
    client_of(config).unwrap().regions(Priority::Check).await.map(drop)
}

#[tokio::test]
async fn a_failed_handshake_names_the_cause_and_the_remedy() {
    let [ours, other, created_again] = ["ours", "other", "ours"].map(Authority::new);
    for (name, years, authority, expected) in [
        ("127.0.0.1", [2020, 4000], &ours, None),
        (
            "127.0.0.1",
            [2020, 2021],
            &ours,
            Some("expired at 2021-01-01T00:00:00Z. Renew the certificate, or correct the clock"),
        ),
        (
            "127.0.0.1",
            [3000, 4000],
            &ours,
            Some("is not valid before 3000-01-01T00:00:00Z. Replace the certificate, or correct the clock"),
        ),
        ("other.example", [2020, 4000], &ours, Some("is for another host. Correct the host of the URL")),
        ("127.0.0.1", [2020, 4000], &other, Some("Add the certificate of the authority to spec.caBundle")),
        ("127.0.0.1", [2020, 4000], &created_again, Some("Add the certificate of the authority to spec.caBundle")),
    ] {
        let port = ours.serve(name, years).await;
        let endpoint = format!("https://127.0.0.1:{port}");
        let client = Credential::Client {
            id: "fake-client".to_owned(),
            secret: "fake-client-secret".into(),
            token_endpoint: token_endpoint(&endpoint).unwrap(),
        };
        for (credential, prefix) in [(Credential::Token("fake".into()), "GET /v1/regions: "), (client, "POST https://")]
        {
            let Some(expected) = expected else { continue };
            let error = read(&endpoint, authority, credential).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Connect, "{error}");
            assert!(error.message.starts_with(prefix) && error.message.contains(expected), "{error}");
            assert!(error.message.contains(&format!("the certificate of 127.0.0.1:{port}")), "{error}");
        }
        if expected.is_none() {
            read(&endpoint, authority, Credential::Token("fake".into())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_url_with_the_wrong_scheme_is_named() {
    let authority = Authority::new("ours");
    let tls = authority.serve("127.0.0.1", [2020, 4000]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new()).await });
    for (endpoint, kind, expected) in [
        (format!("https://127.0.0.1:{plain}"), ErrorKind::Connect, "the server does not speak TLS"),
        (format!("http://127.0.0.1:{tls}"), ErrorKind::OutcomeUnknown, "change the URL to https"),
    ] {
        let error = read(&endpoint, &authority, Credential::Token("fake".into())).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(expected), "{error}");
    }
}
