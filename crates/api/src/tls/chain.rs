//! Client certificates that webpki refuses for their form alone, and Go takes: those that say they are authorities
//! (`openssl req -x509` makes them), and those older than version 3. The rules for the chain above them are Go's; where
//! a rule would need more than this file knows (names that an authority is limited to, extensions that must be
//! understood), the chain is refused.
//!
//! Bounds: the depth of a chain and the signatures checked for one client.

use super::certificate::{is_signed_by, may_sign};
use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{ASN1Time, ParsedExtension, X509Version};

/// Certificates in a chain, the client's and the authority's among them. webpki goes as deep.
const DEPTH_MAX: usize = 8;
/// Signatures checked for one client, as in Go.
const SIGNATURES_MAX: usize = 100;

/// How a chain is looked for.
pub(super) struct Search<'a> {
    pub(super) trusted: &'a [X509Certificate<'a>],
    /// Sent by the client beside its own.
    pub(super) sent: &'a [X509Certificate<'a>],
    pub(super) now: ASN1Time,
    pub(super) algorithms: &'a WebPkiSupportedAlgorithms,
}

impl<'a> Search<'a> {
    /// Whether some chain leads from `leaf` to a trusted authority.
    pub(super) fn verify(&self, leaf: &'a X509Certificate<'a>) -> Result<(), CertificateError> {
        check(leaf, self.now)?;
        let mut signatures = 0;
        self.extend(&mut vec![leaf], &mut signatures)
    }

    /// Goes on from the last certificate of `chain`. The error is that of the chain that came closest, or that none is
    /// known.
    fn extend(&self, chain: &mut Vec<&'a X509Certificate<'a>>, signatures: &mut usize) -> Result<(), CertificateError> {
        let mut error = CertificateError::UnknownIssuer;
        let Some(&child) = chain.last() else { return Err(error) };
        let candidates = self.trusted.iter().map(|issuer| (issuer, true));
        for (issuer, is_trusted) in candidates.chain(self.sent.iter().map(|issuer| (issuer, false))) {
            let fits =
                issuer.subject().as_raw() == child.issuer().as_raw() && may_issue(issuer, is_trusted, chain.len());
            if !fits || chain.iter().any(|known| known.as_raw() == issuer.as_raw()) {
                continue;
            }
            if *signatures == SIGNATURES_MAX {
                return Err(CertificateError::UnknownIssuer);
            }
            *signatures += 1;
            if is_signed_by(child.as_raw(), issuer.public_key().raw, self.algorithms) != Some(true) {
                continue;
            }
            chain.push(issuer);
            let found = check(issuer, self.now).and_then(|()| match is_trusted {
                true => check_purpose(chain),
                false if chain.len() < DEPTH_MAX => self.extend(chain, signatures),
                false => Err(CertificateError::UnknownIssuer),
            });
            match found {
                Ok(()) => return Ok(()),
                Err(reason) => error = reason,
            }
            chain.pop();
        }
        Err(error)
    }
}

/// Whether `issuer` may stand above `below` certificates. One that is not trusted itself must say that it is an
/// authority, whatever its version.
fn may_issue(issuer: &X509Certificate<'_>, is_trusted: bool, below: usize) -> bool {
    let constraints = issuer.basic_constraints().ok().flatten();
    let says_so = constraints.as_ref().is_some_and(|constraints| constraints.value.ca);
    let longest = constraints.and_then(|constraints| constraints.value.path_len_constraint);
    let is_short_enough = longest.is_none_or(|longest| below - 1 <= usize::try_from(longest).unwrap_or(usize::MAX));
    may_sign(issuer) && (is_trusted || says_so) && is_short_enough
}

/// Whether the certificate holds now, and holds nothing that must be understood and is not.
fn check(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    let inner = &certificate.tbs_certificate.signature;
    if *inner != certificate.signature_algorithm {
        return Err(CertificateError::BadEncoding);
    }
    if now < certificate.validity().not_before {
        return Err(CertificateError::NotValidYet);
    }
    if now > certificate.validity().not_after {
        return Err(CertificateError::Expired);
    }
    if certificate.version() != X509Version::V3 && !certificate.extensions().is_empty() {
        return Err(CertificateError::BadEncoding);
    }
    for extension in certificate.iter_extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::CRLDistributionPoints(_) => {}
            ParsedExtension::ParseError { .. } => return Err(CertificateError::BadEncoding),
            // Critical or not: it limits what the authority stands for.
            ParsedExtension::NameConstraints(_) => return Err(CertificateError::UnhandledCriticalExtension),
            _ if extension.critical => return Err(CertificateError::UnhandledCriticalExtension),
            _ => {}
        }
    }
    Ok(())
}

/// Every certificate of a chain that names purposes must name that of a client, as in Go.
pub(super) fn check_purpose(chain: &[&X509Certificate<'_>]) -> Result<(), CertificateError> {
    for certificate in chain {
        match certificate.extended_key_usage() {
            Ok(None) => {}
            Ok(Some(usage)) if usage.value.any || usage.value.client_auth => {}
            Ok(Some(_)) | Err(_) => return Err(CertificateError::InvalidPurpose),
        }
    }
    Ok(())
}

/// A certificate that is trusted itself needs no issuer, only to hold now and to be for clients.
pub(super) fn verify_trusted(leaf: &X509Certificate<'_>, now: ASN1Time) -> Result<(), CertificateError> {
    check(leaf, now).and_then(|()| check_purpose(&[leaf]))
}
