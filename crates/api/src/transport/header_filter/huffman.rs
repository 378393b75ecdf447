//! Decodes HPACK's Huffman code (RFC 7541, appendix B).
//!
//! The code is canonical: of two codes of the same length the one of the smaller byte comes first, and shorter codes
//! come before longer ones. So the lengths say everything.

const LENGTH_MAX: usize = 30;

/// Length of the code of each byte, in bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26,
];

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    first: u32,
    count: u32,
    /// Where the bytes that they stand for begin in `Code::bytes`.
    at: usize,
}

struct Code {
    /// All bytes in the order of their codes.
    bytes: [u8; 256],
    of_length: [Codes; LENGTH_MAX + 1],
}

static CODE: Code = build();

const fn build() -> Code {
    let mut code = Code { bytes: [0; 256], of_length: [Codes { first: 0, count: 0, at: 0 }; LENGTH_MAX + 1] };
    let (mut length, mut at, mut next) = (1, 0, 0);
    while length <= LENGTH_MAX {
        next <<= 1;
        let begin = at;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                code.bytes[at] = byte as u8;
                at += 1;
            }
            byte += 1;
        }
        let count = (at - begin) as u32;
        code.of_length[length] = Codes { first: next, count, at: begin };
        next += count;
        length += 1;
    }
    code
}

/// Appends what `coded` stands for; `None` if it is no whole text.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (mut code, mut length) = (0u32, 0usize);
    for byte in coded {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let codes = CODE.of_length.get(length)?;
            let nth = code.wrapping_sub(codes.first);
            if nth < codes.count {
                text.push(*CODE.bytes.get(codes.at + nth as usize)?);
                (code, length) = (0, 0);
            }
        }
    }
    // The last byte is filled up with ones.
    (length < 8 && code == (1 << length) - 1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hex: &str) -> Option<String> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
        let coded: Vec<u8> = digits.chunks(2).map(byte).collect();
        let mut text = Vec::new();
        decode(&coded, &mut text)?;
        Some(String::from_utf8(text).expect("a text"))
    }

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn texts_of_the_rfc() {
        let table = [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            ("6402", "302"),
            ("aec3 771a 4b", "private"),
            ("d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3", "https://www.example.com"),
            (
                "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 \
                 b106 3d50 07",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ];
        for (coded, text) in table {
            assert_eq!(decoded(coded).as_deref(), Some(text));
        }
    }

    #[test]
    fn wrong_ends_and_the_end_of_string_are_refused() {
        // "a" filled up with zeros, with a whole byte too much, and the code that must not occur.
        for coded in ["18", "1fff", "ffffffff"] {
            assert_eq!(decoded(coded), None, "{coded}");
        }
        assert_eq!(decoded("1f").as_deref(), Some("a"));
    }
}
