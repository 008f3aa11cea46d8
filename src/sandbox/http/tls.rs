//! TLS with an authority of its own, made at every start: whoever is to trust the sandbox is given its certificate.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// What a server needs to be trusted, and a client to trust it.
pub(crate) struct ServerTls {
    pub(crate) acceptor: TlsAcceptor,
    /// The certificate of the authority, in PEM.
    pub(crate) authority: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Most often a name that cannot be in one.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The library refuses what was made.
    #[error("cannot use the certificate: {0}")]
    Use(#[from] rustls::Error),
}

impl ServerTls {
    /// Makes an authority, and a certificate for localhost, an address and further names, which may be addresses too.
    pub(crate) fn new(address: IpAddr, names: &[String]) -> Result<Self, TlsError> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Spice.ai sandbox fake authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut all = vec!["localhost".to_owned(), address.to_string()];
        all.extend_from_slice(names);
        let mut server = CertificateParams::new(all)?;
        server.distinguished_name.push(DnType::CommonName, "Spice.ai sandbox");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;

        // Named, because there may be no process-wide provider, and in tests there is none.
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority: authority_certificate.pem() })
    }
}
