//! Every wrong file has its sentence; handshakes follow client certificates, revocation, suites, versions and reloads.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An authority and what it issues.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

#[derive(Clone)]
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("self-signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, serial: u64) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("valid names");
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("key");
        Pair { cert: params.signed_by(&key, &self.issuer).expect("signed").pem(), key: key.serialize_pem() }
    }

    /// A list, long past its date, as those in use tend to be.
    fn revoke(&self, serials: &[u64]) -> rcgen::CertificateRevocationList {
        let revoked = |&serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2021, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed")
    }
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().expect("temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("write test file");
        path
    }

    fn server(&self, pair: &Pair) -> TlsFiles {
        TlsFiles {
            cert: self.write("server.crt", &pair.cert),
            key: self.write("server.key", &pair.key),
            ..Default::default()
        }
    }
}

fn client(authority: &Authority, pair: Option<&Pair>, change: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("pem")).expect("authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("pem")];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("pem");
            builder.with_client_auth_cert(chain, key).expect("client pair")
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    change(&mut config);
    Arc::new(config)
}

/// Runs a handshake in memory; both ends, or the error of the end that refused.
fn handshake(
    server: &Reloading,
    client: Arc<ClientConfig>,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let name = ServerName::try_from("localhost").expect("valid name");
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server.current())?;
    let mut bytes = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        bytes.clear();
        client.write_tls(&mut bytes).expect("memory");
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).expect("memory");
        client.read_tls(&mut bytes.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    Ok((server, client))
}

fn load_error(files: TlsFiles) -> String {
    Reloading::load(files).expect_err("refused").to_string()
}

#[test]
fn wrong_files_are_named_with_the_reason() {
    let (authority, dir) = (Authority::new("ca"), Dir::new());
    let (one, two) = (authority.issue(1), authority.issue(2));
    let files = dir.server(&one);
    assert!(Reloading::load(files.clone()).is_ok());
    let name = |path: &Path| path.display().to_string();

    let missing = dir.path("nowhere.crt");
    let error = load_error(TlsFiles { cert: missing.clone(), ..files.clone() });
    assert_eq!(error, format!("read TLS certificate {}: No such file or directory (os error 2)", name(&missing)));
    let error = load_error(TlsFiles { key: missing.clone(), ..files.clone() });
    assert_eq!(error, format!("read TLS key {}: No such file or directory (os error 2)", name(&missing)));

    let text = dir.write("text", "not a pem file");
    let error = load_error(TlsFiles { cert: text.clone(), ..files.clone() });
    assert_eq!(error, format!("load TLS certificate {}: the file holds no certificate in PEM", name(&text)));
    let error = load_error(TlsFiles { key: text.clone(), ..files.clone() });
    assert_eq!(error, format!("load TLS key {}: the file holds no private key in PEM", name(&text)));

    let other_key = dir.write("other.key", &two.key);
    let error = load_error(TlsFiles { key: other_key.clone(), ..files.clone() });
    assert!(error.starts_with(&format!("load TLS key {}: it does not belong to the certificate", name(&other_key))));

    let error = load_error(TlsFiles { trusted_ca: Some(text.clone()), ..files.clone() });
    assert_eq!(error, format!("load trusted authorities {}: the file holds no certificate in PEM", name(&text)));
    assert!(load_error(TlsFiles { client_cert_auth: true, ..files.clone() }).contains("set --trusted-ca-file"));

    let ca = dir.write("ca.crt", &authority.pem);
    let with_ca = TlsFiles { trusted_ca: Some(ca), ..files.clone() };
    let error = load_error(TlsFiles { client_crl: Some(text.clone()), ..with_ca.clone() });
    assert!(error.starts_with(&format!("load revocation list {}: ", name(&text))), "{error}");
    let damaged = dir.write("damaged.crl", [0x30, 0x03, 1, 2, 3]);
    let error = load_error(TlsFiles { client_crl: Some(damaged.clone()), ..with_ca });
    assert!(error.starts_with(&format!("load revocation list {}: ", name(&damaged))), "{error}");
    assert!(load_error(TlsFiles { client_crl: Some(text), ..files }).contains("clients present no certificates"));
}

#[test]
fn suites_go_by_gos_names() {
    let (authority, dir) = (Authority::new("ca"), Dir::new());
    let files = dir.server(&authority.issue(1));
    let with = |names: &[&str]| TlsFiles {
        cipher_suites: names.iter().map(|name| name.to_string()).collect(),
        max_version: Some(TlsVersion::Tls12),
        ..files.clone()
    };
    let server = Reloading::load(with(&["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"])).expect("known suite");
    let (server, _) = handshake(&server, client(&authority, None, |_| ())).expect("handshake");
    let suite = server.negotiated_cipher_suite().expect("after the handshake").suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    for unknown in ["TLS_RSA_WITH_AES_128_CBC_SHA", "nonsense"] {
        assert!(load_error(with(&[unknown])).starts_with(&format!("unexpected TLS cipher suite {unknown:?}")));
    }
}

#[test]
fn versions_are_bounded_on_both_sides() {
    let (authority, dir) = (Authority::new("ca"), Dir::new());
    let files = dir.server(&authority.issue(1));
    let spoken = |min, max| {
        let files = TlsFiles { min_version: min, max_version: max, ..files.clone() };
        let (server, _) =
            handshake(&Reloading::load(files).expect("valid"), client(&authority, None, |_| ())).expect("handshake");
        server.protocol_version()
    };
    assert_eq!(spoken(None, None), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(spoken(None, Some(TlsVersion::Tls12)), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(spoken(Some(TlsVersion::Tls13), None), Some(ProtocolVersion::TLSv1_3));
    let crossed = TlsFiles { min_version: Some(TlsVersion::Tls13), max_version: Some(TlsVersion::Tls12), ..files };
    assert!(load_error(crossed).starts_with("TLS versions: "));
}

#[test]
fn http2_is_preferred_and_nothing_is_required() {
    let (authority, dir) = (Authority::new("ca"), Dir::new());
    let server = Reloading::load(dir.server(&authority.issue(1))).expect("valid");
    let negotiated = |offered: &[&[u8]]| {
        let client = client(&authority, None, |config| {
            config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        });
        let (server, _) = handshake(&server, client).expect("handshake");
        server.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(negotiated(&[b"http/1.1", b"h2"]), Some(b"h2".to_vec()));
    assert_eq!(negotiated(&[b"http/1.1"]), Some(b"http/1.1".to_vec()));
    assert_eq!(negotiated(&[]), None);
}

#[test]
fn a_trusted_authority_makes_client_certificates_required() {
    let (authority, stranger, dir) = (Authority::new("ca"), Authority::new("stranger"), Dir::new());
    let ca = dir.write("ca.crt", &authority.pem);
    for client_cert_auth in [false, true] {
        let files = TlsFiles { trusted_ca: Some(ca.clone()), client_cert_auth, ..dir.server(&authority.issue(1)) };
        let server = Reloading::load(files).expect("valid");
        assert!(handshake(&server, client(&authority, None, |_| ())).is_err());
        assert!(handshake(&server, client(&authority, Some(&stranger.issue(2)), |_| ())).is_err());
        assert!(handshake(&server, client(&authority, Some(&authority.issue(2)), |_| ())).is_ok());
    }
}

#[test]
fn revoked_certificates_are_refused_whatever_the_lists_date_and_form() {
    let (authority, stranger, dir) = (Authority::new("ca"), Authority::new("stranger"), Dir::new());
    let (good, revoked) = (authority.issue(2), authority.issue(3));
    let list = authority.revoke(&[3]);
    let files = TlsFiles { trusted_ca: Some(dir.write("ca.crt", &authority.pem)), ..dir.server(&authority.issue(1)) };
    for content in [list.der().to_vec(), list.pem().expect("pem").into_bytes()] {
        let server =
            Reloading::load(TlsFiles { client_crl: Some(dir.write("crl", content)), ..files.clone() }).expect("valid");
        assert!(handshake(&server, client(&authority, Some(&good), |_| ())).is_ok());
        assert!(handshake(&server, client(&authority, Some(&revoked), |_| ())).is_err());
    }
    // A list that another authority signed says nothing about our certificates.
    let foreign = dir.write("crl", stranger.revoke(&[3]).der());
    let server = Reloading::load(TlsFiles { client_crl: Some(foreign), ..files }).expect("valid");
    assert!(handshake(&server, client(&authority, Some(&revoked), |_| ())).is_ok());
}

#[test]
fn changed_files_are_used_without_a_restart_and_broken_ones_are_not() {
    let (authority, next, dir) = (Authority::new("ca"), Authority::new("next"), Dir::new());
    let ca = dir.write("ca.crt", &authority.pem);
    let crl = dir.write("crl", authority.revoke(&[9]).der());
    let files = TlsFiles { trusted_ca: Some(ca), client_crl: Some(crl), ..dir.server(&authority.issue(1)) };
    let server = Reloading::load(files).expect("valid");
    let old_client = client(&authority, Some(&authority.issue(2)), |_| ());
    assert!(handshake(&server, old_client.clone()).is_ok());

    // A key that does not fit the certificate: the old pair stays in use.
    let pair = authority.issue(3);
    dir.write("server.key", &pair.key);
    server.refresh();
    assert!(handshake(&server, old_client.clone()).is_ok());
    // Then the certificate comes too.
    dir.write("server.crt", &pair.cert);
    server.refresh();
    let (_, seen) = handshake(&server, old_client.clone()).expect("handshake");
    let expected = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("pem");
    assert_eq!(seen.peer_certificates().expect("after the handshake")[0], expected);

    // Another authority for clients.
    dir.write("ca.crt", &next.pem);
    server.refresh();
    assert!(handshake(&server, old_client.clone()).is_err());
    let next_client = client(&authority, Some(&next.issue(4)), |_| ());
    assert!(handshake(&server, next_client.clone()).is_ok());

    // Another revocation list.
    dir.write("crl", next.revoke(&[4]).der());
    server.refresh();
    assert!(handshake(&server, next_client).is_err());

    // Files that are gone change nothing.
    std::fs::remove_file(dir.path("server.crt")).expect("remove");
    server.refresh();
    assert!(handshake(&server, client(&authority, Some(&next.issue(5)), |_| ())).is_ok());
}
