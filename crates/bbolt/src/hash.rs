//! The SHA-256 that etcd puts behind the pages of a snapshot.

use crate::read_at::{ReadAt, read_up_to};
use crate::{Error, Result};
use sha2::{Digest, Sha256};

const HASH_BYTES: u64 = 32;
/// Every page size is a multiple of this, so a file that is 32 bytes longer than one has a hash.
const BLOCK_BYTES: u64 = 512;
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailingHash {
    /// A copy of a database has none.
    None,
    Matches,
    /// The file was changed or cut.
    Differs,
}

impl TrailingHash {
    /// Reads the whole file if there is one.
    pub fn verify(file: &(impl ReadAt + ?Sized)) -> Result<TrailingHash> {
        let bytes = file.len().map_err(|error| Error::Read { offset: 0, error })?;
        if bytes % BLOCK_BYTES != HASH_BYTES {
            return Ok(TrailingHash::None);
        }
        let content = bytes - HASH_BYTES;
        let (mut hash, mut at) = (Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        while at < content {
            let wanted = usize::try_from(content - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let read = read_up_to(file, &mut chunk[..wanted], at)?;
            if read == 0 {
                return Ok(TrailingHash::Differs);
            }
            hash.update(&chunk[..read]);
            at += read as u64;
        }
        let mut expected = [0; HASH_BYTES as usize];
        read_up_to(file, &mut expected, content)?;
        let matches = hash.finalize()[..] == expected;
        Ok(if matches { TrailingHash::Matches } else { TrailingHash::Differs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found_by_the_length_and_compared() {
        let mut file = vec![7; 1024];
        assert_eq!(TrailingHash::verify(&file).expect("read"), TrailingHash::None);
        file.extend(Sha256::digest(&file));
        assert_eq!(TrailingHash::verify(&file).expect("read"), TrailingHash::Matches);
        file[5] ^= 1;
        assert_eq!(TrailingHash::verify(&file).expect("read"), TrailingHash::Differs);
    }
}
