//! Certificates and keys that Go takes and common Rust libraries do not, in handshakes of both versions.
//!
//! The files in `testdata` come from openssl: a P-521 and an RSA-1024 pair that signed themselves, and an authority of
//! X.509 version 1 with a client of the same age, signed with SHA-512.

use super::keys::Keys;
use super::tests::{Authority, Dir, Pair, client, handshake, load_error};
use super::*;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use std::sync::Arc;

const P521: (&str, &str) = (include_str!("testdata/p521.crt"), include_str!("testdata/p521.key"));
const P521_SEC1: &str = include_str!("testdata/p521.sec1.key");
const RSA: (&str, &str) = (include_str!("testdata/rsa1024.crt"), include_str!("testdata/rsa1024.key"));
const RSA_PKCS1: &str = include_str!("testdata/rsa1024.pkcs1.key");
const V1: (&str, &str) = (include_str!("testdata/v1.crt"), include_str!("testdata/v1.key"));
const V1_CA: (&str, &str) = (include_str!("testdata/v1ca.crt"), include_str!("testdata/v1ca.key"));

fn pair((cert, key): (&str, &str)) -> Pair {
    Pair { cert: cert.to_owned(), key: key.to_owned() }
}

/// What a server that trusts `trusted` says to a client with `pair`, in both versions of TLS.
fn admits(trusted: &str, pair: &Pair) -> Result<(), Error> {
    let (dir, authority) = (Dir::new(), Authority::new("server"));
    let [old, new] = [TlsVersion::Tls12, TlsVersion::Tls13].map(|version| {
        let files = TlsFiles {
            trusted_ca: Some(dir.write("ca.crt", trusted)),
            max_version: Some(version),
            ..dir.server(&authority.issue(1))
        };
        let server = Reloading::load(files).expect("valid");
        handshake(&server, client(&authority, Some(pair), |_| ())).map(|_| ())
    });
    assert_eq!(old, new);
    new
}

#[test]
fn clients_that_signed_themselves_are_taken_if_they_are_trusted_themselves() {
    for own in [P521, RSA, V1_CA] {
        assert_eq!(admits(own.0, &pair(own)), Ok(()), "{}", own.0);
        assert!(admits(&Authority::new("ca").pem, &pair(own)).is_err());
    }
    // One that is no authority is trusted for itself, and for nobody that it signs.
    let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("valid names");
    params.is_ca = IsCa::ExplicitNoCa;
    params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
    let key = KeyPair::generate().expect("key");
    let own = Pair { cert: params.self_signed(&key).expect("signed").pem(), key: key.serialize_pem() };
    let issuer = rcgen::Issuer::new(params, key);
    assert_eq!(admits(&own.cert, &own), Ok(()));
    assert!(admits(&own.cert, &Authority { issuer, pem: own.cert.clone() }.issue(3)).is_err());
}

#[test]
fn an_old_client_of_an_old_authority_is_taken() {
    assert_eq!(admits(V1_CA.0, &pair(V1)), Ok(()));
    assert!(admits(V1.0, &pair(V1_CA)).is_err(), "the client has not signed its authority");
    // The same name and another key.
    let (_, foreign) = (V1_CA, Authority::new("old authority"));
    assert!(admits(&foreign.pem, &pair(V1)).is_err());
}

#[test]
fn clients_that_are_authorities_obey_the_same_rules_as_others() {
    let authority = Authority::new("ca");
    let issue = |change: fn(&mut CertificateParams)| {
        authority.issue_with(2, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            change(params);
        })
    };
    assert_eq!(admits(&authority.pem, &issue(|_| ())), Ok(()));
    assert_eq!(
        admits(&authority.pem, &issue(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])),
        Ok(())
    );
    let wrong: [fn(&mut CertificateParams); 4] = [
        |params| params.not_after = date_time_ymd(2001, 1, 1),
        |params| params.not_before = date_time_ymd(4000, 1, 1),
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        |params| {
            let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions = vec![unknown];
        },
    ];
    for (at, change) in wrong.into_iter().enumerate() {
        assert!(admits(&authority.pem, &issue(change)).is_err(), "wrong client {at}");
    }
    assert!(admits(&Authority::new("ca").pem, &issue(|_| ())).is_err(), "the same name, another key");
}

/// Chains whose leaf is an authority: what stands above it must be allowed to sign, as deep as it says, while it holds.
#[test]
fn what_stands_above_an_authority_must_be_allowed_to() {
    let is_taken = |root: fn(&mut CertificateParams), between: fn(&mut CertificateParams)| {
        let root = Authority::new_with("root", root);
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "between");
        between(&mut params);
        let pem = params.signed_by(&key, &root.issuer).expect("signed").pem();
        let between = Authority { issuer: rcgen::Issuer::new(params, key), pem };
        let leaf = between.issue_with(2, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        admits(&root.pem, &Pair { cert: leaf.cert + &between.pem, key: leaf.key }).is_ok()
    };
    let nothing: fn(&mut CertificateParams) = |_| ();
    assert!(is_taken(nothing, nothing));
    assert!(is_taken(|root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)), nothing));
    assert!(!is_taken(|root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), nothing), "too deep");
    assert!(!is_taken(|root| root.not_after = date_time_ymd(2001, 1, 1), nothing), "the root has expired");
    assert!(!is_taken(nothing, |between| between.is_ca = IsCa::ExplicitNoCa));
    assert!(!is_taken(nothing, |between| between.is_ca = IsCa::NoCa));
    assert!(!is_taken(nothing, |between| between.not_after = date_time_ymd(2001, 1, 1)));
    let digital: fn(&mut CertificateParams) =
        |between| between.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    assert!(!is_taken(nothing, digital), "its key is not for signing certificates");
    let server: fn(&mut CertificateParams) = |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert!(!is_taken(nothing, server) && !is_taken(server, nothing), "not for clients");
}

#[test]
fn an_expired_root_vouches_for_nobody() {
    let authority = Authority::new_with("ca", |params| params.not_after = date_time_ymd(2001, 1, 1));
    assert!(admits(&authority.pem, &authority.issue(2)).is_err());
}

#[test]
fn servers_may_have_keys_of_every_kind_that_go_has() {
    let dir = Dir::new();
    let kinds = [
        (P521.0, P521.1, SignatureScheme::ECDSA_NISTP521_SHA512),
        (P521.0, P521_SEC1, SignatureScheme::ECDSA_NISTP521_SHA512),
        (RSA.0, RSA.1, SignatureScheme::RSA_PSS_SHA256),
        (RSA.0, RSA_PKCS1, SignatureScheme::RSA_PKCS1_SHA256),
        (V1.0, V1.1, SignatureScheme::ECDSA_NISTP256_SHA256),
    ];
    for (cert, key, scheme) in kinds {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            if version == TlsVersion::Tls13 && scheme == SignatureScheme::RSA_PKCS1_SHA256 {
                continue;
            }
            let files = TlsFiles { max_version: Some(version), ..dir.server(&pair((cert, key))) };
            let server = Reloading::load(files).expect("valid");
            let (_, client) = handshake(&server, unquestioning(scheme)).expect("handshake");
            let spoken = client.protocol_version().expect("after the handshake");
            assert_eq!(spoken == ProtocolVersion::TLSv1_3, version == TlsVersion::Tls13);
        }
    }
    let mixed = dir.server(&pair((P521.0, RSA.1)));
    assert!(load_error(mixed).contains("it does not belong to the certificate"));
}

/// A client that takes every certificate, and of signatures only one scheme, which it verifies.
fn unquestioning(scheme: SignatureScheme) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::CryptoProvider {
        signature_verification_algorithms: algorithms::ALL,
        key_provider: &Keys,
        ..rustls::crypto::ring::default_provider()
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unquestioning(scheme)))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Unquestioning(SignatureScheme);

impl Unquestioning {
    fn verify(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        assert_eq!(signed.scheme, self.0);
        let (_, known) = algorithms::ALL.mapping.iter().find(|(scheme, _)| *scheme == self.0).expect("known");
        let key = certificate::public_key(&certificate::parse(cert).expect("a certificate"));
        let key = webpki::RawPublicKeyEntity::try_from(&key).expect("a key");
        assert!(known.iter().any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok()));
        assert!(!known.iter().any(|algorithm| key.verify_signature(*algorithm, b"other", signed.signature()).is_ok()));
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Unquestioning {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![self.0]
    }
}
