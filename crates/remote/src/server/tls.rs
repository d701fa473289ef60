//! TLS of the front: a certificate, and client certificates where they are required.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result};

/// PEM files of the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The server's certificate chain.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of client certificates. With them a client without a certificate is refused in the handshake.
    pub client_ca: Option<PathBuf>,
}

impl Certificates {
    /// An acceptor that offers HTTP/2 and HTTP/1.1.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |path: &Path, cause: &dyn std::fmt::Display| {
            Error::invalid("set up TLS", path.display(), cause.to_string())
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| unusable(&self.chain, &e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|e| unusable(path, &e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| unusable(path, &e))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unusable(&self.key, &e))?;
        let mut config = builder
            .with_single_cert(certificates(&self.chain)?, key)
            .map_err(|e| unusable(&self.chain, &e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let invalid =
        |cause: &dyn std::fmt::Display| Error::invalid("set up TLS", path.display(), cause.to_string());
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| invalid(&e))?.collect();
    let all = all.map_err(|e| invalid(&e))?;
    if all.is_empty() { Err(invalid(&"no certificate in it")) } else { Ok(all) }
}
