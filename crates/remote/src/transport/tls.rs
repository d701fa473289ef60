//! TLS of one host: rustls on ring, the system's roots beside the user's files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Tls;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// A PEM file that cannot be used.
    #[error("{}: {reason}", file.display())]
    Pem { file: PathBuf, reason: String },
    /// The library's own.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

impl SetupError {
    fn pem(file: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Pem { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// There is nothing on this machine to check a certificate against.
#[derive(Debug, thiserror::Error)]
#[error("no certification authorities on this machine: install ca-certificates or name a CA file")]
struct NoRoots;

/// The system's certification authorities. Reading them takes tens of milliseconds, so it happens when the first
/// certificate is to be checked, and once.
#[derive(Debug, Default)]
pub(crate) struct SystemRoots(OnceLock<RootCertStore>);

impl SystemRoots {
    /// Reads them on a thread that may block, if that has not happened yet.
    pub(crate) async fn warm(self: &Arc<Self>) {
        if self.0.get().is_none() {
            let roots = Arc::clone(self);
            // A panic in there comes up again where the roots are used.
            let _done = tokio::task::spawn_blocking(move || roots.load().len()).await;
        }
    }

    /// Reads them if that has not happened yet. Blocks.
    fn load(&self) -> &RootCertStore {
        self.0.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::debug!(%error, "a system certificate cannot be read");
            }
            let mut roots = RootCertStore::empty();
            let (used, ignored) = roots.add_parsable_certificates(found.certs);
            tracing::debug!(used, ignored, "system certificates read");
            roots
        })
    }
}

/// The TLS configuration for `tls`: HTTP/2 where the server takes it, else HTTP/1.1.
///
/// # Errors
/// [`SetupError::Pem`] naming the file that is missing or malformed.
pub(crate) async fn client(tls: &Tls, system: &Arc<SystemRoots>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let trust = if tls.insecure {
        Trust::Anyone
    } else {
        let mut extra = Vec::new();
        for file in &tls.ca {
            extra.extend(authorities(file).await?);
        }
        Trust::Roots { system: Arc::clone(system), extra, checker: OnceLock::new() }
    };
    let verifier = Verifier { provider: Arc::clone(&provider), trust };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.client {
        Some((chain, key)) => {
            let certificates = certificates(chain, &read(chain).await?)?;
            let secret = PrivateKeyDer::from_pem_slice(&read(key).await?)
                .map_err(|error| SetupError::pem(key, pem_reason(&error, "private key")))?;
            builder.with_client_auth_cert(certificates, secret).map_err(|error| {
                SetupError::pem(key, format_args!("does not fit {}: {error}", chain.display()))
            })?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn read(file: &Path) -> Result<Vec<u8>, SetupError> {
    tokio::fs::read(file).await.map_err(|error| SetupError::pem(file, error))
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| SetupError::pem(file, pem_reason(&error, "certificate")))?;
    if found.is_empty() { Err(SetupError::pem(file, "it holds no PEM certificate")) } else { Ok(found) }
}

async fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found = certificates(file, &read(file).await?)?;
    let mut trial = RootCertStore::empty();
    for certificate in &found {
        trial
            .add(certificate.clone())
            .map_err(|error| SetupError::pem(file, format_args!("not a certificate: {error}")))?;
    }
    Ok(found)
}

fn pem_reason(error: &rustls::pki_types::pem::Error, wanted: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => format!("it holds no PEM {wanted}"),
        other => format!("not PEM: {other}"),
    }
}

/// Whom a [`Verifier`] believes.
#[derive(Debug)]
enum Trust {
    /// Any server whatsoever.
    Anyone,
    /// Servers with a certificate from one of these.
    Roots {
        system: Arc<SystemRoots>,
        extra: Vec<CertificateDer<'static>>,
        checker: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
    },
}

/// Checks servers, and reads the roots only when there is a server to check.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Roots { system, extra, checker } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let checker = checker.get_or_init(|| {
            let mut roots = system.load().clone();
            roots.add_parsable_certificates(extra.iter().cloned());
            if roots.is_empty() {
                let cause = rustls::OtherError(Arc::new(NoRoots));
                return Err(rustls::Error::InvalidCertificate(CertificateError::Other(cause)));
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))
        });
        match checker {
            Ok(checker) => {
                checker.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Err(error) => Err(error.clone()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
