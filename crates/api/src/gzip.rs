//! Messages that a client has compressed with gzip, as etcd takes them. Answers are never compressed: who compresses
//! has to take what is not.
//!
//! Texts and codes are grpc-go's. Invariant: no more is unpacked than a message may have.

use crate::status::{Code, Status};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use std::io::{ErrorKind, Read};

/// The message that was compressed, of at most `bytes_max`.
pub(crate) fn unpack(packed: &[u8], bytes_max: usize) -> Result<Bytes, Status> {
    let mut decoder = MultiGzDecoder::new(packed);
    let has_header = decoder.header().is_some();
    let mut message = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    if let Err(error) = (&mut decoder).take(limit).read_to_end(&mut message) {
        let text = match error.kind() {
            ErrorKind::UnexpectedEof if has_header => "grpc: failed to read decompressed data: unexpected EOF",
            ErrorKind::UnexpectedEof => "grpc: failed to decompress the message: unexpected EOF",
            _ if has_header => "grpc: failed to read decompressed data: gzip: invalid checksum",
            _ => "grpc: failed to decompress the message: gzip: invalid header",
        };
        return Err(Status::new(Code::Internal, text.to_string()));
    }
    if message.len() > bytes_max {
        let text = format!("grpc: received message after decompression larger than max {bytes_max}");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    Ok(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    #[test]
    fn a_message_is_unpacked_up_to_the_limit() {
        assert_eq!(unpack(&packed(b"message"), 7), Ok(Bytes::from_static(b"message")));
        let text = "grpc: received message after decompression larger than max 6";
        assert_eq!(unpack(&packed(b"message"), 6), Err(Status::new(Code::ResourceExhausted, text.to_string())));
        let bomb = packed(&vec![0; 32 << 20]);
        assert_eq!(unpack(&bomb, 1 << 20).expect_err("too large").code, Code::ResourceExhausted);
    }

    #[test]
    fn whatever_is_no_gzip_is_refused() {
        let good = packed(b"message");
        let mut wrong = good.clone();
        *wrong.last_mut().expect("it has bytes") ^= 1;
        for bad in [&wrong[..], &good[..good.len() - 3], &good[..5], b"not gzip at all", b""] {
            let refused = unpack(bad, 100).expect_err("refused");
            assert!(refused.code == Code::Internal && refused.message.starts_with("grpc: failed to "), "{refused:?}");
        }
    }
}
