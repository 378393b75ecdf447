//! Cipher suites by the names that Go gives them, as etcd's `--cipher-suites` takes them.
//!
//! Only suites with forward secrecy and authenticated encryption exist here. The rest of Go's list is refused by name,
//! so that a command line never seems to enable what it does not.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as ring;

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

/// The suites named, or all if none is; the first name that is unknown otherwise. As in Go, names choose among the
/// suites of TLS 1.2; those of TLS 1.3 are always there.
pub(super) fn by_names(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    if names.is_empty() {
        return Ok(rustls::crypto::ring::ALL_CIPHER_SUITES.to_vec());
    }
    let mut suites: Vec<SupportedCipherSuite> =
        rustls::crypto::ring::ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_some()).copied().collect();
    for name in names {
        let known = SUITES.iter().find(|(known, _)| known == name);
        let (_, suite) = known.ok_or_else(|| name.clone())?;
        if !suites.contains(suite) {
            suites.push(**suite);
        }
    }
    Ok(suites)
}
