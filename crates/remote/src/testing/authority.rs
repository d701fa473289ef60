//! A certification authority that lives as long as its test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use tempfile::TempDir;

use crate::server::Certificates;

/// Certificates in a directory that goes with this value.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority; nobody knows it yet.
    #[must_use]
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("lazyblob-ca-").expect("a directory for certificates");
        let mut params = params(&[], "lazyblob test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority signs itself");
        write(directory.path(), "ca.pem", &issuer.pem());
        Self { directory, issuer }
    }

    /// The PEM file clients need.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Certificate and key of a server at 127.0.0.1 and localhost.
    #[must_use]
    pub fn server(&self) -> Certificates {
        let (chain, key) =
            self.issue("server", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth);
        Certificates { chain, key, client_ca: None }
    }

    /// The same, for a server that requires certificates of this authority from its clients.
    #[must_use]
    pub fn server_that_asks(&self) -> Certificates {
        Certificates { client_ca: Some(self.ca()), ..self.server() }
    }

    /// Certificate and key of a client, as PEM files.
    #[must_use]
    pub fn client(&self) -> (PathBuf, PathBuf) {
        self.issue("client", &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, hosts: &[&str], usage: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let mut params = params(hosts, name);
        params.insert_extended_key_usage(usage);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let chain = write(self.directory.path(), &format!("{name}.pem"), &certificate.pem());
        let key = write(self.directory.path(), &format!("{name}.key"), &key.serialize_pem());
        (chain, key)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(directory: &Path, name: &str, pem: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, pem).expect("a file for a certificate");
    path
}
