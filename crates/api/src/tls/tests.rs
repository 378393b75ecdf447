//! Every wrong file has its sentence; handshakes follow client certificates, revocation, suites, versions and reloads.

use super::keys::Keys;
use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::crypto::KeyProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An authority and what it issues.
pub(super) struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

#[derive(Clone)]
pub(super) struct Pair {
    /// The certificate, and what lies between it and its authority behind it.
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        Authority::new_with(name, |_| {})
    }

    pub(super) fn new_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        let pem = params.self_signed(&key).expect("self-signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    pub(super) fn issue(&self, serial: u64) -> Pair {
        self.issue_with(serial, |_| {})
    }

    pub(super) fn issue_with(&self, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("valid names");
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().expect("key");
        Pair { cert: params.signed_by(&key, &self.issuer).expect("signed").pem(), key: key.serialize_pem() }
    }

    /// A list, long past its date, as those in use tend to be.
    pub(super) fn revoke(&self, serials: &[u64]) -> rcgen::CertificateRevocationList {
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

pub(super) struct Dir(tempfile::TempDir);

impl Dir {
    pub(super) fn new() -> Dir {
        Dir(tempfile::tempdir().expect("temporary directory"))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("write test file");
        path
    }

    pub(super) fn server(&self, pair: &Pair) -> TlsFiles {
        TlsFiles {
            cert: self.write("server.crt", &pair.cert),
            key: self.write("server.key", &pair.key),
            ..Default::default()
        }
    }
}

pub(super) fn client(
    authority: &Authority,
    pair: Option<&Pair>,
    change: impl FnOnce(&mut ClientConfig),
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("pem")).expect("authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(Arc::new(certified(pair))),
    };
    config.resumption = rustls::client::Resumption::disabled();
    change(&mut config);
    Arc::new(config)
}

/// Whatever the form of the certificate.
fn certified(pair: &Pair) -> SingleCertAndKey {
    let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes()).collect::<Result<_, _>>().expect("pem");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("pem");
    SingleCertAndKey::from(CertifiedKey::new(chain, Keys.load_private_key(key).expect("a key")))
}

/// Runs a handshake in memory; both ends, or the error of the end that refused.
pub(super) fn handshake(
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

pub(super) fn load_error(files: TlsFiles) -> String {
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
    let error = load_error(TlsFiles { client_crl: Some(damaged.clone()), ..with_ca.clone() });
    assert!(error.starts_with(&format!("load revocation list {}: ", name(&damaged))), "{error}");
    let empty = dir.write("empty.crl", "");
    let error = load_error(TlsFiles { client_crl: Some(empty.clone()), ..with_ca.clone() });
    assert!(error.ends_with("the file holds no revocation list in DER or PEM"), "{error}");
    // Neither is waited for nor read to its end.
    for endless in ["/dev/zero", "/dev/stdin"] {
        let error = load_error(TlsFiles { client_crl: Some(endless.into()), ..with_ca.clone() });
        assert_eq!(error, format!("read revocation list {endless}: not a regular file"));
    }
    // As in etcd, a list has no effect where no certificate is asked for.
    assert!(Reloading::load(TlsFiles { client_crl: Some(text), ..files }).is_ok());
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
    let (ours, lacking) = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA");
    let server = Reloading::load(with(&[lacking, ours])).expect("one is left");
    assert!(handshake(&server, client(&authority, None, |_| ())).is_ok());
    assert!(
        load_error(with(&[lacking])).starts_with("none of the cipher suites TLS_RSA_WITH_AES_128_CBC_SHA is offered")
    );
    assert_eq!(load_error(with(&[ours, "nonsense"])), "unexpected TLS cipher suite \"nonsense\"");
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

    // A list whose signature does not verify: the previous one stays in use.
    let mut forged = next.revoke(&[]).der().to_vec();
    *forged.last_mut().expect("not empty") ^= 1;
    dir.write("crl", forged);
    server.refresh();
    assert!(handshake(&server, client(&authority, Some(&next.issue(4)), |_| ())).is_err());
    assert!(handshake(&server, client(&authority, Some(&next.issue(6)), |_| ())).is_ok());

    // Files that are gone change nothing.
    std::fs::remove_file(dir.path("server.crt")).expect("remove");
    server.refresh();
    assert!(handshake(&server, client(&authority, Some(&next.issue(5)), |_| ())).is_ok());
}
