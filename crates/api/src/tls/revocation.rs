//! Revocation lists. As in etcd, a certificate is revoked if its serial number stands in the file, whoever issued it,
//! and whatever date the list has; the same goes for every certificate that a client sends above its own.
//!
//! Beyond etcd, which looks at no signature: a list of an authority that is trusted here must carry that authority's
//! signature. One that does not is damaged or forged, and it is refused when it is loaded, so that nobody believes in
//! it and nobody is locked out by it. A list of an authority that is not trusted here cannot be checked; it counts, as
//! in etcd, and the log says so.

use super::certificate::{is_signed_by, serial, subject_key_id};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use std::collections::HashSet;
use std::path::Path;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{ASN1Time, FromDer, ParsedExtension};
use x509_parser::revocation_list::CertificateRevocationList;

const DELTA_INDICATOR: &str = "2.5.29.27";

/// The serial numbers of all lists of a file.
#[derive(Default)]
pub(super) struct Revoked(HashSet<Box<[u8]>>);

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Revoked({})", self.0.len())
    }
}

impl Revoked {
    pub(super) fn contains(&self, certificate: &X509Certificate<'_>) -> bool {
        self.0.contains(serial(certificate.raw_serial()))
    }

    /// Reads the lists in `content`, DER or PEM, one or several; an error is a reason. `path` is for the log.
    pub(super) fn read(
        content: &[u8],
        path: &Path,
        trusted: &[X509Certificate<'_>],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Revoked, String> {
        let mut revoked = Revoked::default();
        for (at, der) in split(content)?.iter().enumerate() {
            let (_, list) = CertificateRevocationList::from_der(der)
                .map_err(|error| format!("list {} of the file is not a revocation list: {error}", at + 1))?;
            check_signature(der, &list, path, trusted, algorithms)?;
            warn(&list, path);
            revoked.0.extend(list.iter_revoked_certificates().map(|entry| Box::from(serial(entry.raw_serial()))));
        }
        Ok(revoked)
    }
}

/// The lists of a file: DER one behind the other, or PEM.
fn split(content: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    // DER starts with the tag of a sequence, which is no character that PEM may start with.
    if content.first() == Some(&0x30) {
        let mut lists = Vec::new();
        let mut rest = content;
        while !rest.is_empty() {
            let (left, _) = CertificateRevocationList::from_der(rest).map_err(|error| {
                format!("not a revocation list in DER at byte {}: {error}", content.len() - rest.len())
            })?;
            lists.push(rest.get(..rest.len() - left.len()).unwrap_or_default().to_vec());
            rest = left;
        }
        return Ok(lists);
    }
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(content).collect();
    match found {
        Ok(lists) if lists.is_empty() => Err("the file holds no revocation list in DER or PEM".to_owned()),
        Ok(lists) => Ok(lists.into_iter().map(|list| list.as_ref().to_vec()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks for the trusted authority that the list names, by its name and, where both say so, by its key.
fn check_signature(
    der: &[u8],
    list: &CertificateRevocationList<'_>,
    path: &Path,
    trusted: &[X509Certificate<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), String> {
    let key_id = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    let is_named = |authority: &&X509Certificate<'_>| {
        let same_key = match (key_id, subject_key_id(authority)) {
            (Some(named), Some(own)) => named == own,
            _ => true,
        };
        authority.subject().as_raw() == list.issuer().as_raw() && same_key
    };
    let mut named = trusted.iter().filter(is_named).peekable();
    if named.peek().is_none() {
        let (crl, issuer) = (path.display(), list.issuer());
        tracing::warn!(
            %crl, %issuer,
            "the revocation list is of an authority that is not trusted here: its signature cannot be checked, and the \
             serial numbers in it are refused whoever issued them"
        );
        return Ok(());
    }
    if named.any(|authority| is_signed_by(der, authority.public_key().raw, algorithms) == Some(true)) {
        return Ok(());
    }
    Err(format!(
        "the signature of the list is not that of its issuer ({}) in the trusted authorities: the file is damaged, or the \
         list is of an older authority of the same name; fetch the list again, or add that authority to \
         --trusted-ca-file",
        list.issuer()
    ))
}

/// What an operator may not expect of a list that is used all the same.
fn warn(list: &CertificateRevocationList<'_>, path: &Path) {
    let crl = path.display();
    if list.next_update().is_some_and(|next| next < ASN1Time::now()) {
        let due = list.next_update().map(|next| next.to_string()).unwrap_or_default();
        tracing::warn!(%crl, due, "the revocation list is past its date and is used all the same");
    }
    if list.extensions().iter().any(|extension| extension.oid.to_id_string() == DELTA_INDICATOR) {
        tracing::warn!(%crl, "the revocation list is a delta: only the serial numbers in it are refused, not those of its base");
    }
}
