//! TLS for all targets: rustls with *ring*, the system's trust or an own CA, a certificate of ours
//! where the other side asks for one.

use std::sync::{Arc, OnceLock};

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::SecretText;
use crate::call::CallError;

/// How the other side is trusted, and who we are.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates of the authorities that are trusted instead of the system's, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Our own certificate, for mutual TLS.
    pub identity: Option<Identity>,
}

/// Our own certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate chain, leaf first, PEM.
    pub certificate_pem: Vec<u8>,
    /// Private key (PKCS#8, PKCS#1 or SEC1), PEM.
    pub key_pem: SecretText,
}

/// Makes *ring* the process's provider of cryptography, once. Every target does so when it is
/// made.
pub fn install_tls_provider() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        // an error says that there is one already, which serves as well
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, CallError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.map_err(|error| CallError::setup(error.to_string()))
}

impl Tls {
    /// A whole configuration: the own CA is trusted, or what the system trusts.
    pub(crate) fn config(&self) -> Result<ClientConfig, CallError> {
        if let Some(own) = self.with_own_ca()? {
            return Ok(own);
        }
        let builder = builder()?
            .with_platform_verifier()
            .map_err(|error| CallError::setup(format!("the system's trust cannot be used: {error}")))?;
        self.identified(builder)
    }

    /// A whole configuration where an own CA is trusted; `None`: the system's trust, which each
    /// client library finds in its own way.
    pub(crate) fn with_own_ca(&self) -> Result<Option<ClientConfig>, CallError> {
        install_tls_provider();
        let Some(pem) = &self.ca_pem else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, "ca")? {
            roots
                .add(certificate)
                .map_err(|error| CallError::setup(format!("a certificate of `ca` cannot be used: {error}")))?;
        }
        let builder = builder()?.with_root_certificates(roots);
        self.identified(builder).map(Some)
    }

    fn identified(&self, builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> Result<ClientConfig, CallError> {
        let Some(identity) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let (chain, key) = identity.parsed()?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| CallError::setup(format!("the client certificate and its key do not fit: {error}")))
    }

    /// The same for clients that cannot be given a certificate beside the system's trust.
    pub(crate) fn with_own_ca_for_identity(&self) -> Result<Option<ClientConfig>, CallError> {
        if self.ca_pem.is_none() && self.identity.is_some() {
            return Err(CallError::setup("a client certificate needs `ca`, too: the authority that the server is of"));
        }
        self.with_own_ca()
    }
}

impl Identity {
    fn parsed(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CallError> {
        let chain = certificates(&self.certificate_pem, "the client certificate")?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.expose().as_bytes())
            .map_err(|_| CallError::setup("the client certificate's key is no private key in PEM"))?;
        Ok((chain, key))
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, CallError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(CallError::setup(format!("there is no PEM certificate in {what}"))),
        Err(error) => Err(CallError::setup(format!("{what} is no PEM certificate: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_said_at_setup() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let tls = Tls { ca_pem: Some(pem.as_bytes().to_vec()), identity: None };
            assert!(matches!(tls.with_own_ca(), Err(CallError::Setup { .. })), "{pem}");
        }
        assert!(matches!(Tls::default().with_own_ca(), Ok(None)));
    }

    #[test]
    fn a_key_is_not_shown() {
        let key_pem = SecretText::new("PRIVATE");
        let identity = Some(Identity { certificate_pem: b"x".to_vec(), key_pem });
        assert!(!format!("{:?}", Tls { ca_pem: None, identity }).contains("PRIVATE"));
    }
}
