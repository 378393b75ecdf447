//! From an endpoint and files of certificates to a connection.

use crate::{Error, ErrorKind, Result};
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Pages of a megabyte and more arrive faster in large windows.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Where and how to connect.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `host:port`, or URLs with http or https; at least one. Without a scheme it is https if a file of certificates is
    /// given, as etcdctl has it.
    pub endpoints: Vec<String>,
    pub tls: Tls,
    /// Asked for a token if given; a server without authentication answers without one.
    pub credentials: Option<Credentials>,
    /// For the connection, and for each call that does not work through the whole store.
    pub timeout: Duration,
}

/// PEM files. An https endpoint needs the CA's, or that nobody asks who the server is.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    /// Certificate and key that are shown to the server; both or none.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Take any certificate of the server: the connection is encrypted, but whoever stands between can read and change
    /// all.
    pub insecure_skip_verify: bool,
}

#[derive(Clone)]
pub struct Credentials {
    pub name: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options end up in logs, passwords must not.
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    fn is_given(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.insecure_skip_verify
    }
}

pub async fn connect(endpoint: &str, options: &Options) -> Result<Channel> {
    let url = match (endpoint.contains("://"), options.tls.is_given()) {
        (true, _) => endpoint.to_owned(),
        (false, true) => format!("https://{endpoint}"),
        (false, false) => format!("http://{endpoint}"),
    };
    let failed = |error: tonic::transport::Error| {
        Error::new(ErrorKind::Unreachable, format!("connect to {endpoint}: {}", with_causes(&error)))
    };
    let mut target = Endpoint::from_shared(url.clone()).map_err(failed)?;
    target = target
        .connect_timeout(options.timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    if url.starts_with("https://") {
        target = tls(target, &options.tls)?.map_err(failed)?;
    }
    // Tonic's own bound leaves the handshake out, and a port that accepts and says nothing would hold us for ever.
    let deadline = Duration::from_millis(1).max(options.timeout);
    match tokio::time::timeout(deadline, target.connect()).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(Error::new(
            ErrorKind::Unreachable,
            format!("connect to {endpoint}: no connection within {} ms", deadline.as_millis()),
        )),
    }
}

/// The cause says what happened; the outermost error only that something did.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn tls(target: Endpoint, files: &Tls) -> Result<std::result::Result<Endpoint, tonic::transport::Error>> {
    let config = match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => ClientTlsConfig::new().identity(Identity::from_pem(read(cert)?, read(key)?)),
        (None, None) => ClientTlsConfig::new(),
        _ => return Err(wrong("--cert and --key belong together: one of them is missing")),
    };
    match &files.ca_file {
        _ if files.insecure_skip_verify => Ok(target.tls_config_with_verifier(config, Arc::new(AnyServer::new()))),
        Some(ca_file) => Ok(target.tls_config(config.ca_certificate(Certificate::from_pem(read(ca_file)?)))),
        None => Err(wrong("an https endpoint needs --cacert, the CA that signed the server's certificate")),
    }
}

fn wrong(text: &str) -> Error {
    Error::new(ErrorKind::Options, text.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::new(ErrorKind::Options, format!("read certificate file {}: {error}", path.display()));
    std::fs::read(path).map_err(failed)
}

/// Takes any server for the right one, as `--insecure-skip-tls-verify` says. Signatures of the handshake are still
/// checked.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl AnyServer {
    fn new() -> AnyServer {
        AnyServer(rustls::crypto::ring::default_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}
