//! Files to a rustls server configuration. Every failure names the file and the reason.

use super::suites;
use super::validity::Validity;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Why no TLS configuration could be made.
#[derive(Debug)]
pub enum TlsError {
    Read {
        what: &'static str,
        path: PathBuf,
        error: std::io::Error,
    },
    /// The file holds no such thing in the encoding expected.
    Missing {
        what: &'static str,
        path: PathBuf,
        expected: &'static str,
    },
    Invalid {
        what: &'static str,
        path: PathBuf,
        reason: String,
    },
    KeyMismatch {
        cert: PathBuf,
        key: PathBuf,
    },
    NoTrustedCa,
    CrlWithoutClientCerts {
        path: PathBuf,
    },
    UnknownCipherSuite(String),
    Versions {
        min: TlsVersion,
        max: TlsVersion,
    },
    Configuration(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read { what, path, error } => write!(f, "read {what} {}: {error}", path.display()),
            TlsError::Missing { what, path, expected } => {
                write!(f, "load {what} {}: the file holds no {expected}", path.display())
            }
            TlsError::Invalid { what, path, reason } => write!(f, "load {what} {}: {reason}", path.display()),
            TlsError::KeyMismatch { cert, key } => write!(
                f,
                "load TLS key {}: it does not belong to the certificate {}; give the pair that was issued together",
                key.display(),
                cert.display()
            ),
            TlsError::NoTrustedCa => {
                f.write_str("client certificates are required but no authority is trusted; set --trusted-ca-file")
            }
            TlsError::CrlWithoutClientCerts { path } => write!(
                f,
                "revocation list {}: clients present no certificates; set --client-cert-auth and --trusted-ca-file",
                path.display()
            ),
            TlsError::UnknownCipherSuite(name) => write!(
                f,
                "unexpected TLS cipher suite {name:?}; known are the ECDHE suites with AES-GCM or ChaCha20-Poly1305"
            ),
            TlsError::Versions { min, max } => {
                write!(f, "TLS versions: the oldest allowed ({min:?}) is newer than the newest allowed ({max:?})")
            }
            TlsError::Configuration(error) => write!(f, "configure TLS: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

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
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites = suites::by_names(&self.cipher_suites).map_err(TlsError::UnknownCipherSuite)?;
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions()?)
            .map_err(TlsError::Configuration)?;
        let builder = match self.client_verifier(provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = (self.chain()?, self.private_key()?);
        self.warn_of_dates(&chain);
        let mut config = builder.with_single_cert(chain, key).map_err(|error| self.pair_error(error))?;
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

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates("TLS certificate", &self.cert)
    }

    fn warn_of_dates(&self, chain: &[CertificateDer<'_>]) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let cert = self.cert.display();
        match chain.first().and_then(|certificate| Validity::of(certificate)) {
            Some(validity) if now > validity.not_after => {
                tracing::warn!(%cert, "the TLS certificate has expired: clients will refuse it; replace the file");
            }
            Some(validity) if now < validity.not_before => {
                tracing::warn!(%cert, "the TLS certificate is not valid yet: clients will refuse it until then");
            }
            _ => {}
        }
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

    fn pair_error(&self, error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::KeyMismatch { cert: self.cert.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(error) => TlsError::Invalid {
                what: "TLS certificate",
                path: self.cert.clone(),
                reason: format!("not a usable certificate: {error:?}"),
            },
            error => TlsError::Invalid { what: "TLS key", path: self.key.clone(), reason: error.to_string() },
        }
    }

    fn client_verifier(
        &self,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if !self.requires_client_certs() {
            return match &self.client_crl {
                Some(path) => Err(TlsError::CrlWithoutClientCerts { path: path.clone() }),
                None => Ok(None),
            };
        }
        let path = self.trusted_ca.as_ref().ok_or(TlsError::NoTrustedCa)?;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider);
        if let Some(path) = &self.client_crl {
            // A list says what it revokes and nothing about the rest; lists in use are often past their date.
            builder = builder.with_crls(revocation_lists(path)?).allow_unknown_revocation_status();
        }
        let verifier = builder.build().map_err(|error| self.verifier_error(path, &error))?;
        Ok(Some(verifier))
    }

    fn verifier_error(&self, ca: &Path, error: &rustls::server::VerifierBuilderError) -> TlsError {
        let (what, path) = match (error, &self.client_crl) {
            (rustls::server::VerifierBuilderError::InvalidCrl(_), Some(crl)) => ("revocation list", crl.as_path()),
            _ => ("trusted authorities", ca),
        };
        TlsError::Invalid { what, path: path.to_owned(), reason: error.to_string() }
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { what, path: path.to_owned(), error })
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

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let what = "trusted authorities";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, path)? {
        roots.add(certificate).map_err(|error| TlsError::Invalid {
            what,
            path: path.to_owned(),
            reason: format!("not a usable authority: {error}"),
        })?;
    }
    Ok(roots)
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let what = "revocation list";
    let bytes = read(what, path)?;
    if bytes.is_empty() {
        return Err(TlsError::Missing { what, path: path.to_owned(), expected: "revocation list in DER or PEM" });
    }
    // DER starts with the tag of a sequence, which is no character that PEM may start with.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        Ok(_) => Err(TlsError::Missing { what, path: path.to_owned(), expected: "revocation list in DER or PEM" }),
        Err(error) => Err(TlsError::Invalid { what, path: path.to_owned(), reason: error.to_string() }),
    }
}
