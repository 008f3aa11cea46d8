//! TLS with a certificate authority that is created at every start.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// TLS settings of the server, and the certificate that clients must trust.
pub(crate) struct ServerTls {
    pub(crate) acceptor: TlsAcceptor,
    /// Certificate of the authority, in PEM.
    pub(crate) authority: String,
}

/// Reason why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Usually an invalid DNS name.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library rejected the certificate.
    #[error("cannot use the certificate: {0}")]
    Use(#[from] rustls::Error),
}

impl ServerTls {
    /// Creates an authority and a certificate for localhost, `address` and `names`, which are DNS names or IP
    /// addresses.
    pub(crate) fn new(address: IpAddr, names: &[String]) -> Result<Self, TlsError> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Spice.ai sandbox fake authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut subject_names = vec!["localhost".to_owned(), address.to_string()];
        subject_names.extend_from_slice(names);
        let mut server = CertificateParams::new(subject_names)?;
        server.distinguished_name.push(DnType::CommonName, "Spice.ai sandbox");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;

        // The provider is explicit, because tests install no process-wide provider.
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), authority: authority_certificate.pem() })
    }
}
