//! Who may connect: clients whose certificate leads to a trusted authority, by Go's rules, and is not revoked.
//!
//! Ordinary certificates are webpki's matter. What it refuses for its form alone goes to `chain`.

use super::certificate::{has_an_authoritys_form, may_sign, parse, public_key, serial};
use super::chain::{self, Search};
use super::revocation::Revoked;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::ASN1Time;

#[derive(Debug)]
pub(super) struct ClientCerts {
    trusted: Vec<CertificateDer<'static>>,
    /// Those of `trusted` that may sign others, and when.
    anchors: Vec<(TrustAnchor<'static>, Validity)>,
    subjects: Vec<DistinguishedName>,
    revoked: Revoked,
    algorithms: WebPkiSupportedAlgorithms,
}

/// In seconds since 1970, both ends included.
#[derive(Debug, Clone, Copy)]
struct Validity {
    from: i64,
    until: i64,
}

impl ClientCerts {
    /// An error is the reason why one of `trusted` cannot be used.
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        revoked: Revoked,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<ClientCerts, String> {
        let (mut anchors, mut subjects) = (Vec::new(), Vec::new());
        for der in &trusted {
            let certificate = parse(der).ok_or("not a usable certificate")?;
            subjects.push(DistinguishedName::from(certificate.subject().as_raw().to_vec()));
            if may_sign(&certificate) {
                let anchor = webpki::anchor_from_trusted_cert(der)
                    .map_err(|error| format!("not a usable authority: {error}"))?;
                let dates = certificate.validity();
                let validity = Validity { from: dates.not_before.timestamp(), until: dates.not_after.timestamp() };
                anchors.push((anchor.to_owned(), validity));
            }
        }
        Ok(ClientCerts { trusted, anchors, subjects, revoked, algorithms })
    }

    fn check_revoked(&self, sent: &[X509Certificate<'_>]) -> Result<(), CertificateError> {
        match sent.iter().find(|certificate| self.revoked.contains(certificate)) {
            None => Ok(()),
            Some(certificate) => {
                let serial = serial(certificate.raw_serial()).iter().map(|byte| format!("{byte:02x}")).collect();
                Err(CertificateError::Other(OtherError(Arc::new(RevokedSerial(serial)))))
            }
        }
    }

    fn verify_ordinary(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let holds = |validity: &Validity| validity.from <= seconds && seconds <= validity.until;
        let anchors: Vec<_> =
            self.anchors.iter().filter(|(_, dates)| holds(dates)).map(|(anchor, _)| anchor.clone()).collect();
        let usage = KeyUsage::client_auth();
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                leaf.verify_for_usage(self.algorithms.all, &anchors, sent, now, usage, None, None).map(|_| ())
            })
            .map_err(reason)
    }

    /// `chosen` says how many of a scheme's algorithms are tried.
    fn verify_handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        chosen: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        let mapping = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = mapping.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let bad = || Error::from(CertificateError::BadEncoding);
        let key = public_key(&parse(certificate).ok_or_else(bad)?);
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad())?;
        let is_valid = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signed.signature()).is_ok()
        };
        match algorithms.iter().take(chosen).any(is_valid) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ClientCertVerifier for ClientCerts {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let read = |der| parse(der).ok_or(CertificateError::BadEncoding);
        let sent = std::iter::once(end_entity).chain(intermediates).map(|der| read(der.as_ref()));
        let sent = sent.collect::<Result<Vec<_>, _>>()?;
        let (leaf, above) = sent.split_first().ok_or(CertificateError::BadEncoding)?;
        let time = i64::try_from(now.as_secs()).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
        let time = time.ok_or(CertificateError::Expired)?;
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            chain::verify_trusted(leaf, time)?;
        } else if has_an_authoritys_form(leaf) {
            let trusted: Vec<_> = self.trusted.iter().filter_map(|der| parse(der)).collect();
            Search { trusted: &trusted, sent: above, now: time, algorithms: &self.algorithms }.verify(leaf)?;
        } else {
            self.verify_ordinary(end_entity, intermediates, now)?;
        }
        self.check_revoked(&sent)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // The scheme does not fix the curve.
        self.verify_handshake(message, certificate, signed, usize::MAX)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let is_pkcs1 = matches!(
            signed.scheme,
            SignatureScheme::RSA_PKCS1_SHA256 | SignatureScheme::RSA_PKCS1_SHA384 | SignatureScheme::RSA_PKCS1_SHA512
        );
        if is_pkcs1 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.verify_handshake(message, certificate, signed, 1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// etcd's words, in the log too, which gets them by way of `Debug`.
struct RevokedSerial(String);

impl fmt::Debug for RevokedSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RevokedSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transport: certificate serial {} revoked", self.0)
    }
}

impl std::error::Error for RevokedSerial {}

fn reason(error: webpki::Error) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
