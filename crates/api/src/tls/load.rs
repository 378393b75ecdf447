//! Files to a rustls server configuration. Every failure names the file and the reason.

use super::certificate::{parse, public_key};
use super::client_certs::ClientCerts;
use super::error::TlsError;
use super::keys::Keys;
use super::revocation::Revoked;
use super::version::TlsVersion;
use super::{algorithms, suites};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::ASN1Time;

/// No certificate, key or bundle comes near; long revocation lists do.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the flags of a TLS listener name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate and what comes between it and its authority.
    pub cert: PathBuf,
    /// PEM: its private key (PKCS#1, PKCS#8 or SEC1).
    pub key: PathBuf,
    /// PEM: authorities of client certificates. If given, clients must present one, as in etcd.
    pub trusted_ca: Option<PathBuf>,
    /// Clients must present a certificate; needs `trusted_ca`.
    pub client_cert_auth: bool,
    /// DER or PEM: revoked client certificates.
    pub client_crl: Option<PathBuf>,
    /// Go names of the suites of TLS 1.2; none means all.
    pub cipher_suites: Vec<String>,
    /// Oldest version spoken; 1.2 unless given.
    pub min_version: Option<TlsVersion>,
    /// Newest version spoken; 1.3 unless given.
    pub max_version: Option<TlsVersion>,
}

impl TlsFiles {
    /// Every file that the configuration comes from.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let required = [self.cert.as_path(), self.key.as_path()].into_iter();
        required.chain(self.trusted_ca.as_deref()).chain(self.client_crl.as_deref())
    }

    fn requires_client_certs(&self) -> bool {
        self.client_cert_auth || self.trusted_ca.is_some()
    }

    /// Reads all files and builds the configuration.
    pub(super) fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: suites::by_names(&self.cipher_suites).map_err(TlsError::CipherSuites)?,
            signature_verification_algorithms: algorithms::ALL,
            key_provider: &Keys,
            ..rustls::crypto::ring::default_provider()
        });
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions()?)
            .map_err(TlsError::Configuration)?;
        let builder = match self.client_verifier()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(self.pair()?)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let min = self.min_version.unwrap_or(TlsVersion::Tls12);
        let max = self.max_version.unwrap_or(TlsVersion::Tls13);
        if min > max {
            return Err(TlsError::Versions { min, max });
        }
        let all = [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)];
        Ok(all.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, version)| version).collect())
    }

    /// The certificate with its key, which must belong together. Its version and its purpose are the clients' matter,
    /// as in etcd.
    fn pair(&self) -> Result<CertifiedKey, TlsError> {
        let chain = certificates("TLS certificate", &self.cert)?;
        let invalid = |what, path: &Path, reason| TlsError::Invalid { what, path: path.to_owned(), reason };
        let leaf = chain.first().and_then(|leaf| parse(leaf));
        let leaf = leaf.ok_or_else(|| invalid("TLS certificate", &self.cert, "not a usable certificate".to_owned()))?;
        let (now, cert, dates) = (ASN1Time::now(), self.cert.display(), leaf.validity());
        if now > dates.not_after {
            tracing::warn!(%cert, "the TLS certificate has expired: clients will refuse it; replace the file");
        } else if now < dates.not_before {
            tracing::warn!(%cert, "the TLS certificate is not valid yet: clients will refuse it until then");
        }
        let key = Keys.load_private_key(self.private_key()?).map_err(|_| {
            let reason = "not a key that can be used: ECDSA on P-256, P-384 or P-521, Ed25519, and RSA of 1024 to 8192 \
                          bits can";
            invalid("TLS key", &self.key, reason.to_owned())
        })?;
        if key.public_key().is_some_and(|own| own != public_key(&leaf)) {
            return Err(TlsError::KeyMismatch { cert: self.cert.clone(), key: self.key.clone() });
        }
        Ok(CertifiedKey::new(chain, key))
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let what = "TLS key";
        let bytes = read(what, &self.key)?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                TlsError::Missing { what, path: self.key.clone(), expected: "private key in PEM" }
            }
            error => TlsError::Invalid { what, path: self.key.clone(), reason: error.to_string() },
        })
    }

    fn client_verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if !self.requires_client_certs() {
            if let Some(path) = &self.client_crl {
                let message = "the revocation list has no effect: clients present no certificates; set --client-cert-auth \
                               and --trusted-ca-file";
                tracing::warn!(crl = %path.display(), "{message}");
            }
            return Ok(None);
        }
        let path = self.trusted_ca.as_ref().ok_or(TlsError::NoTrustedCa)?;
        let what = "trusted authorities";
        let trusted = certificates(what, path)?;
        let invalid = |reason| TlsError::Invalid { what, path: path.clone(), reason };
        let revoked = self.revoked(&trusted)?;
        let verifier = ClientCerts::new(trusted, revoked, algorithms::ALL).map_err(invalid)?;
        Ok(Some(Arc::new(verifier)))
    }

    fn revoked(&self, trusted: &[CertificateDer<'_>]) -> Result<Revoked, TlsError> {
        let Some(path) = &self.client_crl else { return Ok(Revoked::default()) };
        let what = "revocation list";
        let trusted: Vec<_> = trusted.iter().filter_map(|der| parse(der)).collect();
        Revoked::read(&read(what, path)?, path, &trusted, &algorithms::ALL).map_err(|reason| TlsError::Invalid {
            what,
            path: path.clone(),
            reason,
        })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(path).map_err(|error| TlsError::Read { what, path: path.to_owned(), error })
}

/// A file is all that is read, and only so much of it: a pipe would be waited for, and a device has no end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes; is it the right file?"))),
        false => Ok(bytes),
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::Invalid { what, path: path.to_owned(), reason: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Missing { what, path: path.to_owned(), expected: "certificate in PEM" });
    }
    Ok(found)
}
