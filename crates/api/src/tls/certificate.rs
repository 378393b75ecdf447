//! What is read out of a certificate or a revocation list, and whose signature it carries.
//!
//! Invariant: a signature is checked over the bytes that came, never over a new encoding of what was read from them.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Version};

/// A certificate in DER, read; nothing behind it.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// The key of a certificate, as rustls takes it.
pub(super) fn public_key(certificate: &X509Certificate<'_>) -> SubjectPublicKeyInfoDer<'static> {
    SubjectPublicKeyInfoDer::from(certificate.public_key().raw.to_vec())
}

/// Whether the certificate's authority may sign others, by Go's rules: one of version 3 must say that it is an
/// authority, an older one cannot; a usage, where one is given, must allow it.
pub(super) fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    let constraints = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => certificate.version() != X509Version::V3,
        Err(_) => false,
    };
    let usage = match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    constraints && usage
}

/// Says that it is an authority, or is older than the extension to say so: what webpki refuses for its form in the
/// place of a client's certificate.
pub(super) fn has_an_authoritys_form(certificate: &X509Certificate<'_>) -> bool {
    certificate.version() != X509Version::V3
        || certificate.basic_constraints().is_ok_and(|constraints| constraints.is_some_and(|found| found.value.ca))
}

/// Go's comparison: the bytes of the number, without those that only carry its sign.
pub(super) fn serial(raw: &[u8]) -> &[u8] {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw.get(zeros..).unwrap_or_default()
}

/// The key's identifier that a certificate carries, if any.
pub(super) fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// Whether `key` made the signature on `signed`, the DER of a certificate or a revocation list. `None` if it is not of
/// that form or in an algorithm that is not taken.
pub(super) fn is_signed_by(signed: &[u8], key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> Option<bool> {
    let (_, content, _) = element(signed)?;
    let (body, _, rest) = element(content)?;
    let (_, algorithm, rest) = element(rest)?;
    let (_, signature, _) = element(rest)?;
    let (_, key, _) = element(key)?;
    let (_, key_algorithm, rest) = element(key)?;
    let (_, key, _) = element(rest)?;
    // Both are bit strings of whole bytes.
    let (signature, key) = (signature.strip_prefix(&[0])?, key.strip_prefix(&[0])?);
    let fits = |id: &rustls::pki_types::AlgorithmIdentifier, found: &[u8]| id.as_ref() == found;
    let algorithm = algorithms
        .all
        .iter()
        .find(|known| fits(&known.signature_alg_id(), algorithm) && fits(&known.public_key_alg_id(), key_algorithm))?;
    Some(algorithm.verify_signature(key, body, signature).is_ok())
}

/// The element at the start of `input` whole, its content, and what follows it.
fn element(input: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&first, rest) = input.get(1..)?.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let digits = usize::from(first & 0x7f);
        if digits == 0 || digits > 4 {
            return None;
        }
        let (number, rest) = rest.split_at_checked(digits)?;
        (number.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = input.get(..input.len() - rest.len())?;
    Some((whole, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn serials_are_compared_as_numbers() {
        assert_eq!(serial(&[0, 0x80, 1]), [0x80, 1]);
        assert_eq!(serial(&[7]), [7]);
        assert_eq!(serial(&[0]), []);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>, key: Vec<u8>) {
            let _ = parse(&input);
            let _ = is_signed_by(&input, &key, &crate::tls::algorithms::ALL);
        }
    }
}
