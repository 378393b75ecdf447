//! Errors that say what the machine is short of at the moment, and nothing about a disk.

use rustix::io::Errno;
use std::io::{Error, ErrorKind};

/// The process or the machine has no descriptor or no memory left, or a call was interrupted. What was asked for did
/// not happen, and the same call may succeed later. A lack of space is not meant: it has other remedies.
pub fn is_shortage(error: &Error) -> bool {
    let kind = matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::Interrupted | ErrorKind::WouldBlock);
    // Descriptors have no kind of their own.
    kind || is_out_of_descriptors(error)
}

/// Neither this process (EMFILE) nor the machine (ENFILE) has a descriptor left.
pub fn is_out_of_descriptors(error: &Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_from_a_failed_disk() {
        for passing in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR, Errno::AGAIN] {
            assert!(is_shortage(&passing.into()), "{passing}");
        }
        for other in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::NOENT, Errno::BADF] {
            assert!(!is_shortage(&other.into()), "{other}");
        }
        assert!(!is_shortage(&ErrorKind::UnexpectedEof.into()));
    }
}
