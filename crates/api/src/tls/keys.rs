//! Private keys of servers: those of rustls' ring provider, and beyond them what Go takes: P-521, and RSA of 1024 to
//! 2047 bits.

use p521::ecdsa::signature::Signer as _;
use p521::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::sha2::Sha256;
use rustls::crypto::KeyProvider;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::fmt;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        rustls::crypto::ring::sign::any_supported_type(&der).or_else(|error| match (p521(&der), short_rsa(&der)) {
            (Some(key), _) => Ok(Arc::new(key) as Arc<dyn SigningKey>),
            (None, Some(key)) => Ok(Arc::new(key) as Arc<dyn SigningKey>),
            (None, None) => Err(error),
        })
    }
}

fn p521(der: &PrivateKeyDer<'_>) -> Option<Key> {
    let secret = match der {
        PrivateKeyDer::Sec1(key) => p521::SecretKey::from_sec1_der(key.secret_sec1_der()).ok()?,
        PrivateKeyDer::Pkcs8(key) => p521::SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok()?,
        _ => return None,
    };
    let public = secret.public_key().to_public_key_der().ok()?;
    Some(Key { secret: Secret::P521(Arc::new(secret.into())), public: public.as_bytes().to_vec() })
}

fn short_rsa(der: &PrivateKeyDer<'_>) -> Option<Key> {
    let secret = match der {
        PrivateKeyDer::Pkcs1(key) => rsa::PrivateKey::from_pkcs1_der(key.secret_pkcs1_der()).ok()?,
        PrivateKeyDer::Pkcs8(key) => rsa::PrivateKey::from_pkcs8_der(key.secret_pkcs8_der()).ok()?,
        _ => return None,
    };
    let public = secret.to_public_key().to_public_key_der().ok()?;
    Some(Key { secret: Secret::Rsa(Arc::new(secret)), public: public.as_bytes().to_vec() })
}

#[derive(Clone)]
enum Secret {
    P521(Arc<p521::ecdsa::SigningKey>),
    Rsa(Arc<rsa::PrivateKey>),
}

struct Key {
    secret: Secret,
    /// As a certificate carries it.
    public: Vec<u8>,
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let schemes: &[SignatureScheme] = match self.secret {
            Secret::P521(_) => &[SignatureScheme::ECDSA_NISTP521_SHA512],
            // Larger hashes leave a key of 1024 bits no place for the salt.
            Secret::Rsa(_) => &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256],
        };
        let scheme = *schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(KeySigner { secret: self.secret.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.secret {
            Secret::P521(_) => SignatureAlgorithm::ECDSA,
            Secret::Rsa(_) => SignatureAlgorithm::RSA,
        }
    }
}

/// One of the two schemes of RSA, or the one of P-521.
struct KeySigner {
    secret: Secret,
    scheme: SignatureScheme,
}

impl Signer for KeySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |error: &dyn fmt::Display| Error::General(format!("sign the handshake: {error}"));
        match &self.secret {
            Secret::P521(key) => {
                let signature: p521::ecdsa::DerSignature = key.try_sign(message).map_err(|error| failed(&error))?;
                Ok(signature.as_bytes().to_vec())
            }
            Secret::Rsa(key) if self.scheme == SignatureScheme::RSA_PSS_SHA256 => {
                key.pss_sign::<Sha256>(message).map_err(|error| failed(&error))
            }
            Secret::Rsa(key) => key.pkcs1v15_sign::<Sha256>(message).map_err(|error| failed(&error)),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

// Secrets stay out of logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySigner").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}
