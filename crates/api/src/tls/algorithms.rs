//! Signatures that clients and their authorities may use: those of rustls' ring provider, and beyond them what Go
//! takes: ECDSA on P-521, SHA-512 on every curve, and RSA keys of 1024 to 2047 bits, which ring refuses.
//!
//! Only public values pass through here. SHA-1 and MD5 stay out, as in Go.

use p521::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::sha2::{Digest, Sha256, Sha384, Sha512};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use webpki::ring;

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// Every signature that is verified, and which of them each scheme of TLS means. With TLS 1.3 the first counts.
pub(super) const ALL: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ring::ECDSA_P256_SHA256,
        ring::ECDSA_P256_SHA384,
        P256_SHA512,
        ring::ECDSA_P384_SHA256,
        ring::ECDSA_P384_SHA384,
        P384_SHA512,
        P521_SHA256,
        P521_SHA384,
        P521_SHA512,
        ring::ED25519,
        PSS_SHA256,
        PSS_SHA384,
        PSS_SHA512,
        PKCS1_SHA256,
        PKCS1_SHA384,
        PKCS1_SHA512,
        ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[ring::ECDSA_P384_SHA384, ring::ECDSA_P256_SHA384, P521_SHA384]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[ring::ECDSA_P256_SHA256, ring::ECDSA_P384_SHA256, P521_SHA256]),
        (SignatureScheme::ECDSA_NISTP521_SHA512, &[P521_SHA512, P384_SHA512, P256_SHA512]),
        (SignatureScheme::ED25519, &[ring::ED25519]),
        (SignatureScheme::RSA_PSS_SHA512, &[PSS_SHA512]),
        (SignatureScheme::RSA_PSS_SHA384, &[PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[PSS_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[PKCS1_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[PKCS1_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[PKCS1_SHA256]),
    ],
};

const P256_SHA512: Algorithm =
    &Ecdsa { key: alg_id::ECDSA_P256, signature: alg_id::ECDSA_SHA512, verify: p256::<Sha512> };
const P384_SHA512: Algorithm =
    &Ecdsa { key: alg_id::ECDSA_P384, signature: alg_id::ECDSA_SHA512, verify: p384::<Sha512> };
const P521_SHA256: Algorithm =
    &Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA256, verify: p521::<Sha256> };
const P521_SHA384: Algorithm =
    &Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA384, verify: p521::<Sha384> };
const P521_SHA512: Algorithm =
    &Ecdsa { key: alg_id::ECDSA_P521, signature: alg_id::ECDSA_SHA512, verify: p521::<Sha512> };

const PSS_SHA256: Algorithm = &Rsa { long: ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY, short: pss::<Sha256> };
const PSS_SHA384: Algorithm = &Rsa { long: ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY, short: pss::<Sha384> };
const PSS_SHA512: Algorithm = &Rsa { long: ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY, short: pss::<Sha512> };
const PKCS1_SHA256: Algorithm = &Rsa { long: ring::RSA_PKCS1_2048_8192_SHA256, short: pkcs1::<Sha256> };
const PKCS1_SHA384: Algorithm = &Rsa { long: ring::RSA_PKCS1_2048_8192_SHA384, short: pkcs1::<Sha384> };
const PKCS1_SHA512: Algorithm = &Rsa { long: ring::RSA_PKCS1_2048_8192_SHA512, short: pkcs1::<Sha512> };

/// Key, message and signature, as certificates and handshakes encode them.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

#[derive(Debug)]
struct Ecdsa {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        (self.verify)(key, message, signature).ok_or(InvalidSignature)
    }
}

fn p256<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(&D::digest(message), &p256::ecdsa::Signature::from_der(signature).ok()?).ok()
}

fn p384<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(&D::digest(message), &p384::ecdsa::Signature::from_der(signature).ok()?).ok()
}

fn p521<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(&D::digest(message), &p521::ecdsa::Signature::from_der(signature).ok()?).ok()
}

/// RSA by the length of the key: long ones are ring's, short ones are not.
#[derive(Debug)]
struct Rsa {
    long: Algorithm,
    short: Verify,
}

/// ring takes keys from here on.
const LONG_KEY_BITS: usize = 2048;

impl SignatureVerificationAlgorithm for Rsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.long.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.long.signature_alg_id()
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        if is_short(key) {
            (self.short)(key, message, signature).ok_or(InvalidSignature)
        } else {
            self.long.verify_signature(key, message, signature)
        }
    }
}

fn is_short(key: &[u8]) -> bool {
    let Ok(key) = rsa::pkcs1::RsaPublicKeyRef::try_from(key) else { return false };
    let modulus = key.modulus.as_bytes();
    // A modulus of 2047 bits takes as many bytes as one of 2048; its first bit tells.
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (modulus.len() * 8).saturating_sub(leading) < LONG_KEY_BITS
}

fn pss<D: Digest + rsa::sha2::digest::FixedOutputReset>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    rsa::PublicKey::from_pkcs1_der(key).ok()?.pss_verify::<D>(message, signature).ok()
}

fn pkcs1<D: Digest + rsa::pkcs8::AssociatedOid>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    rsa::PublicKey::from_pkcs1_der(key).ok()?.pkcs1v15_verify::<D>(message, signature).ok()
}
