//! A certificate of the member's own making, for `--auto-tls` and `--peer-auto-tls`: the connection is encrypted, and
//! nobody knows with whom. Names, folders and texts are etcd's; the key is on P-256, where etcd's is on P-521.
//!
//! A pair is made once and used from then on, also one that an etcd made. Only when it has expired it is replaced.

use super::certificate::parse;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::ASN1Time;

const DAYS_OF_A_YEAR: i64 = 365;

/// What is on the disk for a pair's sake alone: dropped without `keep`, that goes again, so that a start that comes to
/// nothing leaves nothing.
#[derive(Debug, Default)]
pub struct SelfSigned {
    /// In the order in which it was made.
    made: Vec<Made>,
}

#[derive(Debug)]
enum Made {
    Directory(PathBuf),
    File(PathBuf),
}

#[derive(Debug)]
pub struct SelfSignedError {
    what: &'static str,
    path: PathBuf,
    reason: String,
}

impl fmt::Display for SelfSignedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.what, self.path.display(), self.reason)
    }
}

impl std::error::Error for SelfSignedError {}

impl SelfSigned {
    /// Certificate and key of the pair in `directory`.
    pub fn paths(directory: &Path) -> (PathBuf, PathBuf) {
        (directory.join("cert.pem"), directory.join("key.pem"))
    }

    /// The pair in `directory`, which is made if it is not there or has expired: for `hosts`, names or addresses, valid
    /// for so many years.
    pub fn find_or_make(directory: &Path, hosts: &[String], years: u32) -> Result<SelfSigned, SelfSignedError> {
        let mut pair = SelfSigned::default();
        let (cert, key) = SelfSigned::paths(directory);
        if cert.exists() && key.exists() {
            if !has_expired(&cert) {
                return Ok(pair);
            }
            tracing::warn!(cert = %cert.display(), "the generated certificate has expired; it is replaced");
        }
        pair.make(directory, hosts, years)?;
        Ok(pair)
    }

    /// What was made stays.
    pub fn keep(mut self) {
        self.made.clear();
    }

    fn make(&mut self, directory: &Path, hosts: &[String], years: u32) -> Result<(), SelfSignedError> {
        let failed = |what, path: &Path, error: &dyn fmt::Display| SelfSignedError {
            what,
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let (cert_path, key_path) = SelfSigned::paths(directory);
        let (cert, key) = generate(hosts, years).map_err(|error| failed("generate certificate", &cert_path, &error))?;
        self.make_directories(directory).map_err(|error| failed("create cert directory", directory, &error))?;
        // The key first: a certificate without one is made again.
        for (path, pem, message) in [(&key_path, key, "created key file"), (&cert_path, cert, "created cert file")] {
            let is_new = !path.exists();
            write(path, &pem).map_err(|error| failed("write", path, &error))?;
            if is_new {
                self.made.push(Made::File(path.clone()));
            }
            tracing::info!(path = %path.display(), "{message}");
        }
        Ok(())
    }

    fn make_directories(&mut self, directory: &Path) -> io::Result<()> {
        let missing: Vec<&Path> =
            directory.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        for path in missing.into_iter().rev() {
            DirBuilder::new().mode(0o700).create(path)?;
            self.made.push(Made::Directory(path.to_owned()));
        }
        Ok(())
    }
}

impl Drop for SelfSigned {
    fn drop(&mut self) {
        for made in self.made.drain(..).rev() {
            // A directory that others have put something into stays, and so does all above it.
            let _ = match made {
                Made::Directory(path) => std::fs::remove_dir(path),
                Made::File(path) => std::fs::remove_file(path),
            };
        }
    }
}

/// What cannot be read is not said to have expired: loading it says what is wrong.
fn has_expired(cert: &Path) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(cert) else { return false };
    parse(&der).is_some_and(|certificate| certificate.validity().not_after < ASN1Time::now())
}

/// Certificate and key in PEM, with what etcd puts into its own.
fn generate(hosts: &[String], years: u32) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::now_utc();
    params.not_after = params.not_before + Duration::days(DAYS_OF_A_YEAR * i64::from(years));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.key_usages =
        vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for host in hosts {
        params.subject_alt_names.push(match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    let end = params.not_after;
    let until = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        end.year(),
        u8::from(end.month()),
        end.day(),
        end.hour(),
        end.minute(),
        end.second()
    );
    tracing::warn!("certificate-validity-bound-not-after" = until, "automatically generate certificates");
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Whole or not at all, and for nobody else to read.
#[expect(clippy::disallowed_methods, reason = "a pair that a power loss takes is made again")]
fn write(path: &Path, pem: &str) -> io::Result<()> {
    let partial = path.with_extension("pem.tmp");
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    })();
    if written.is_err() {
        // The error says what went wrong; that the rest stays is the lesser matter.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Reloading, TlsFiles};
    use std::os::unix::fs::PermissionsExt;

    fn hosts() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_pair_is_made_once_and_used_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directory = folder.path().join("data/fixtures/client");
        let pair = SelfSigned::find_or_make(&directory, &hosts(), 2).expect("made");
        let (cert, key) = SelfSigned::paths(&directory);
        pair.keep();
        assert!(Reloading::load(TlsFiles { cert: cert.clone(), key: key.clone(), ..TlsFiles::default() }).is_ok());
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&directory), mode(&folder.path().join("data"))), (0o600, 0o700, 0o700));
        let der = CertificateDer::from_pem_file(&cert).expect("a certificate");
        let parsed = parse(&der).expect("a certificate");
        assert_eq!(parsed.subject().to_string(), "O=etcd");
        let days = (parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp()) / 86_400;
        assert_eq!(days, 730);
        let again = SelfSigned::find_or_make(&directory, &[], 1).expect("found");
        drop(again);
        assert_eq!(CertificateDer::from_pem_file(&cert).expect("it stays"), der);
        // One of the two is not enough.
        std::fs::remove_file(&key).expect("removable");
        SelfSigned::find_or_make(&directory, &hosts(), 1).expect("made").keep();
        assert_ne!(CertificateDer::from_pem_file(&cert).expect("a certificate"), der);
    }

    #[test]
    fn what_was_made_for_nothing_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directory = folder.path().join("data/fixtures/client");
        drop(SelfSigned::find_or_make(&directory, &hosts(), 1).expect("made"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
        std::fs::create_dir(folder.path().join("data")).expect("created");
        drop(SelfSigned::find_or_make(&directory, &hosts(), 1).expect("made"));
        assert_eq!(std::fs::read_dir(folder.path().join("data")).expect("there").count(), 0);
        std::fs::write(folder.path().join("data/fixtures"), "").expect("written");
        let error = SelfSigned::find_or_make(&directory, &hosts(), 1).expect_err("in the way").to_string();
        assert!(error.starts_with(&format!("create cert directory {}: ", directory.display())), "{error}");
    }

    #[test]
    fn an_expired_pair_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        std::fs::write(folder.path().join("cert.pem"), params.self_signed(&key).expect("signed").pem())
            .expect("written");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("written");
        SelfSigned::find_or_make(folder.path(), &hosts(), 1).expect("made").keep();
        assert!(!has_expired(&folder.path().join("cert.pem")));
    }
}
