//! Until when a certificate is valid. A server certificate that has expired is used all the same, since a server that
//! does not start helps nobody, but it is worth a line in the log.
//!
//! Reads just as much of X.509 as leads to the two dates; anything unexpected on the way is `None`.

/// The dates of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// Reads a certificate in DER.
    pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
        let (_, certificate, _) = element(certificate, SEQUENCE)?;
        let (_, mut fields, _) = element(certificate, SEQUENCE)?;
        if fields.first() == Some(&EXPLICIT_VERSION) {
            (_, _, fields) = any_element(fields)?;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            (_, _, fields) = any_element(fields)?;
        }
        let (_, dates, _) = element(fields, SEQUENCE)?;
        let (kind, not_before, dates) = any_element(dates)?;
        let not_before = time(kind, not_before)?;
        let (kind, not_after, _) = any_element(dates)?;
        Some(Validity { not_before, not_after: time(kind, not_after)? })
    }
}

/// Tag, content and what follows of the element at the start of `input`.
fn any_element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let digits = usize::from(first & 0x7f);
        if digits == 0 || digits > 4 {
            return None;
        }
        let (number, rest) = rest.split_at_checked(digits)?;
        (number.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn element(input: &[u8], tag: u8) -> Option<(u8, &[u8], &[u8])> {
    any_element(input).filter(|(found, _, _)| *found == tag)
}

/// `YYMMDDhhmmssZ`, with four digits of the year in the generalized form.
fn time(kind: u8, text: &[u8]) -> Option<i64> {
    let year_digits = match kind {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == year_digits + 10)?;
    let (year, rest) = digits.split_at_checked(year_digits)?;
    let year = match number(year)? {
        year if kind == GENERALIZED_TIME => year,
        year if year < 50 => 2000 + year,
        year => 1900 + year,
    };
    let mut parts = rest.chunks(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    if !(1..=12).contains(&month) {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; years begin in March, so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 306 + 5) / 10 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn dates_are_counted_from_1970() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"000229000000Z"), Some(951_782_400));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000001Z"), Some(2_524_608_001));
        for wrong in [b"700101000000".as_slice(), b"7001010000Z", b"701301000000Z", b"70010100000xZ"] {
            assert_eq!(time(UTC_TIME, wrong), None);
        }
    }

    #[test]
    fn a_certificates_dates_are_found() {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("valid names");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2051, 2, 3));
        let certificate = params.self_signed(&KeyPair::generate().expect("key")).expect("self-signed");
        let expected = Validity { not_before: 1_577_836_800, not_after: 2_558_995_200 };
        assert_eq!(Validity::of(certificate.der()), Some(expected));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>) {
            let _ = Validity::of(&input);
        }
    }
}
