//! Cipher suites by the names that Go gives them, as etcd's `--cipher-suites` takes them.
//!
//! Only suites with forward secrecy and authenticated encryption exist here. The rest of Go's list is known by name and
//! left out, which whoever asks for them is told; a list of which nothing is left is refused.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as ring;
use std::fmt;

const SUITES: [(&str, &SupportedCipherSuite); 11] = [
    ("TLS_AES_128_GCM_SHA256", &ring::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", &ring::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", &ring::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", &ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", &ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", &ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", &ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", &ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", &ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", &ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", &ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// The others of Go's names.
const LACKING: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Why a list of names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SuiteError {
    /// Go has no suite of this name.
    Unknown(String),
    /// Go has every one of them, and we have none.
    NoneLeft(Vec<String>),
}

impl fmt::Display for SuiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // etcd's words.
            SuiteError::Unknown(name) => write!(f, "unexpected TLS cipher suite {name:?}"),
            SuiteError::NoneLeft(names) => write!(
                f,
                "none of the cipher suites {} is offered: only those with ECDHE, and AES-GCM or ChaCha20-Poly1305, are; \
                 name one of them or none",
                names.join(",")
            ),
        }
    }
}

/// Those of `names` that Go has and we do not, if the list can be used.
pub fn lacking_suites(names: &[String]) -> Result<Vec<String>, SuiteError> {
    let is_ours = |name: &String| SUITES.iter().any(|(known, _)| known == name);
    let lacking: Vec<String> = names.iter().filter(|name| !is_ours(name)).cloned().collect();
    match lacking.iter().find(|name| !LACKING.contains(&name.as_str())) {
        Some(unknown) => Err(SuiteError::Unknown(unknown.clone())),
        None if !names.is_empty() && lacking.len() == names.len() => Err(SuiteError::NoneLeft(lacking)),
        None => Ok(lacking),
    }
}

/// The suites named, or all if none is. As in Go, names choose among the suites of TLS 1.2; those of TLS 1.3 are always
/// there.
pub(super) fn by_names(names: &[String]) -> Result<Vec<SupportedCipherSuite>, SuiteError> {
    lacking_suites(names)?;
    let all = rustls::crypto::ring::ALL_CIPHER_SUITES;
    let is_named = |suite: &SupportedCipherSuite| {
        SUITES.iter().any(|(known, ours)| *ours == suite && names.iter().any(|name| name == known))
    };
    let wanted = |suite: &&SupportedCipherSuite| names.is_empty() || suite.tls13().is_some() || is_named(suite);
    Ok(all.iter().filter(wanted).copied().collect())
}
