//! CRC-32C of concatenated parts from the CRCs of the parts.
//!
//! A CRC is a remainder of polynomials over GF(2): `crc(a ‖ b) = crc(a) · x^(8·len(b)) + crc(b)`. The powers are
//! products of three table entries (one per byte of the length), so that a part costs three short multiplications
//! whatever its length; the crate's own combine squares matrices and costs microseconds.

use model::{VersionedRevision, revision_key};

/// The Castagnoli polynomial, bits reversed; x^0 is the top bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;

/// `a · b` modulo the polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        bit >>= 1;
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    product
}

/// Powers `x^(8 · 256^row · i)` for i below 256.
const fn powers() -> [[u32; 256]; 4] {
    let mut table = [[ONE; 256]; 4];
    // x^8: eight places below the top bit.
    let mut base = ONE >> 8;
    let mut row = 0;
    while row < 4 {
        let mut i = 1;
        while i < 256 {
            table[row][i] = multiply(table[row][i - 1], base);
            i += 1;
        }
        base = multiply(table[row][255], base);
        row += 1;
    }
    table
}

static POWERS: [[u32; 256]; 4] = powers();

/// The CRC of two parts one behind the other; `behind_len` is the second one's length in bytes.
pub(crate) fn combine(front: u32, behind: u32, behind_len: u32) -> u32 {
    let mut shifted = front;
    for (row, byte) in POWERS.iter().zip(behind_len.to_le_bytes()) {
        if byte != 0 {
            shifted = multiply(row[usize::from(byte)], shifted);
        }
    }
    shifted ^ behind
}

/// Of etcd's revision key of a put.
pub(crate) fn revision_key_crc(at: VersionedRevision) -> u32 {
    crc32c::crc32c(&revision_key(at))
}

/// Of etcd's revision key of a deletion (it has one byte more) and the encoded key behind it.
pub(crate) fn tombstone_crc(at: VersionedRevision, key: &[u8]) -> u32 {
    let marked = crc32c::crc32c_append(revision_key_crc(at), b"t");
    crc32c::crc32c_append(marked, &crate::version::tombstone_payload(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn combined_is_the_crc_of_both(front: Vec<u8>, behind in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let both = crc32c::crc32c(&[front.as_slice(), &behind].concat());
            let (front, behind_crc) = (crc32c::crc32c(&front), crc32c::crc32c(&behind));
            prop_assert_eq!(combine(front, behind_crc, behind.len() as u32), both);
        }

        #[test]
        fn long_parts_too(front: u32, behind: u32, length in 1u32..) {
            let expected = crc32c::crc32c_combine(front, behind, length as usize);
            prop_assert_eq!(combine(front, behind, length), expected);
        }
    }
}
