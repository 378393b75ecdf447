//! Reading the text of one value as Go does: the same texts are valid, and the complaints are worded alike, because
//! operators and their scripts know them.

use super::Kind;
use super::url::{self, Url};
use crate::config::durations;
use crate::config::gates::{self, GateChoice};
use std::fmt;

/// A value after syntax and type were checked; whether it makes sense is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Bool(bool),
    /// Of the kinds `Signed`, `Unsigned` and `Unsigned32`, within their widths.
    Number(i128),
    /// Nanoseconds.
    Duration(i64),
    /// In ascending order of their text.
    Urls(Vec<Url>),
    List(Vec<String>),
    Gates(Vec<GateChoice>),
}

/// As one would write it on the command line, for the log.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Bool(on) => on.fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Duration(nanoseconds) => f.write_str(&durations::text((*nanoseconds).into())),
            Value::Urls(urls) => f.write_str(&url::join(urls)),
            Value::List(words) => f.write_str(&words.join(",")),
            Value::Gates(choices) => {
                let choices = choices.iter().map(|choice| format!("{}={}", choice.name, choice.on));
                f.write_str(&choices.collect::<Vec<_>>().join(","))
            }
        }
    }
}

const PARSE_ERROR: &str = "parse error";
const OUT_OF_RANGE: &str = "value out of range";

impl Value {
    pub fn parse(kind: Kind, text: &str) -> Result<Value, String> {
        match kind {
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| PARSE_ERROR.to_owned()),
            Kind::Signed => parse_number(text, i64::MIN.into(), i64::MAX.into()).map(Value::Number),
            Kind::Unsigned => parse_number(text, 0, u64::MAX.into()).map(Value::Number),
            Kind::Unsigned32 => parse_number(text, 0, u32::MAX.into()).map(Value::Number),
            Kind::Duration => parse_duration(text).map(Value::Duration).ok_or_else(|| PARSE_ERROR.to_owned()),
            Kind::Urls => url::parse_list(text).map(Value::Urls),
            Kind::Origins => {
                if text != "*" {
                    url::parse_list(text)?;
                }
                Ok(Value::Text(text.to_owned()))
            }
            Kind::List | Kind::Words => Ok(Value::List(split_list(text))),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err("invalid value".to_owned()),
            Kind::Gates => gates::parse(text).map(Value::Gates),
        }
    }

    /// What bounds apply to: a number, or the nanoseconds of a duration.
    pub fn number(&self) -> Option<i128> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Duration(nanoseconds) => Some((*nanoseconds).into()),
            _ => None,
        }
    }
}

/// The words of a comma-separated list; the empty text is the empty list.
fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() { Vec::new() } else { text.split(',').map(|word| word.trim().to_owned()).collect() }
}

pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn parse_number(text: &str, min: i128, max: i128) -> Result<i128, String> {
    // Go's unsigned parser knows no sign at all.
    if min == 0 && text.starts_with(['-', '+']) {
        return Err(PARSE_ERROR.to_owned());
    }
    let number = parse_integer(&without_underscores(text).ok_or(PARSE_ERROR)?)?;
    if number < min || number > max { Err(OUT_OF_RANGE.to_owned()) } else { Ok(number) }
}

/// An underscore may stand between two digits, or between the base's prefix and a digit.
fn without_underscores(text: &str) -> Option<String> {
    let digits = text.trim_start_matches(['-', '+']);
    let body = digits.get(2..).filter(|_| has_prefix(digits)).unwrap_or(digits);
    let after_prefix = body.len() != digits.len();
    let mut before = after_prefix;
    for byte in body.bytes() {
        match byte {
            b'_' if !before => return None,
            b'_' => before = false,
            _ if byte.is_ascii_hexdigit() => before = true,
            _ => return None,
        }
    }
    if !before && !body.is_empty() { None } else { Some(text.replace('_', "")) }
}

fn has_prefix(digits: &str) -> bool {
    digits.starts_with('0') && digits.get(1..2).is_some_and(|base| "xXoObB".contains(base))
}

/// A Go integer literal without underscores: optional sign, then decimal, `0x`, `0o`, `0b` or octal by a leading zero.
pub fn parse_integer(text: &str) -> Result<i128, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_str() {
        "0" => (10, "0"),
        other => {
            if let Some(body) = other.strip_prefix("0x") {
                (16, body)
            } else if let Some(body) = other.strip_prefix("0o") {
                (8, body)
            } else if let Some(body) = other.strip_prefix("0b") {
                (2, body)
            } else if let Some(body) = other.strip_prefix('0') {
                (8, body)
            } else {
                (10, other)
            }
        }
    };
    if body.is_empty() || !body.chars().all(|digit| digit.is_digit(radix)) {
        return Err(PARSE_ERROR.to_owned());
    }
    let magnitude = i128::from_str_radix(body, radix).map_err(|_| OUT_OF_RANGE.to_owned())?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// A Go duration such as `1h30m`, `1.5s` or `-100ms`; nanoseconds, or `None` if it is none or does not fit.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (part, after) = parse_duration_part(rest)?;
        total = total.checked_add(part)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// One `number unit` at the front of `text`, in nanoseconds, and what follows it.
fn parse_duration_part(text: &str) -> Option<(i128, &str)> {
    let (whole, after_whole) = split_digits(text);
    let (fraction, after_number) = match after_whole.strip_prefix('.') {
        Some(after_point) => split_digits(after_point),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = after_number.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_end);
    let unit_ns: i128 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut part = whole.checked_mul(unit_ns)?;
    // More digits than these are below a nanosecond for every unit.
    let fraction = &fraction[..fraction.len().min(18)];
    if !fraction.is_empty() {
        let digits = u32::try_from(fraction.len()).ok()?;
        part += fraction.parse::<i128>().ok()?.checked_mul(unit_ns)? / 10_i128.pow(digits);
    }
    Some((part, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("0", Some(0)),
            ("100ms", Some(100 * MS)),
            ("1h30m", Some(5_400_000 * MS)),
            ("1.5s", Some(1_500 * MS)),
            (".5s", Some(500 * MS)),
            ("-1s", Some(-1_000 * MS)),
            ("1\u{b5}s", Some(1_000)),
            ("1s2ms3us4ns", Some(1_002_003_004)),
            ("2562047h47m16.854775807s", Some(i64::MAX)),
            ("2562047h47m16.854775808s", None),
            ("5", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1s ", None),
            ("-", None),
            ("1ss", None),
            ("99999999999999999999999999999999999999999h", None),
            ("0.00000000000000000000000000000001s", Some(0)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_gos() {
        let signed = |text| Value::parse(Kind::Signed, text);
        assert_eq!(signed("-1"), Ok(Value::Number(-1)));
        assert_eq!(signed("+7"), Ok(Value::Number(7)));
        assert_eq!(signed("0x10"), Ok(Value::Number(16)));
        assert_eq!(signed("010"), Ok(Value::Number(8)));
        assert_eq!(signed("0b11"), Ok(Value::Number(3)));
        assert_eq!(signed("9223372036854775807"), Ok(Value::Number(i64::MAX.into())));
        assert_eq!(signed("-9223372036854775808"), Ok(Value::Number(i64::MIN.into())));
        assert_eq!(signed("9223372036854775808"), Err(OUT_OF_RANGE.to_owned()));
        assert_eq!(signed("1_000_000"), Ok(Value::Number(1_000_000)));
        assert_eq!(signed("0x_1_0"), Ok(Value::Number(16)));
        assert_eq!(signed("-0_7"), Ok(Value::Number(-7)));
        for text in ["", "abc", "1 ", "-", "0x", "--1", "1.5", "08", "_1", "1_", "1__0", "_", "0_x1", "0x1_", "-_1"] {
            assert_eq!(signed(text), Err(PARSE_ERROR.to_owned()), "{text:?}");
        }
        assert_eq!(Value::parse(Kind::Unsigned, "+1"), Err(PARSE_ERROR.to_owned()));
        assert_eq!(Value::parse(Kind::Unsigned32, "4294967296"), Err(OUT_OF_RANGE.to_owned()));
    }

    #[test]
    fn r87_numbers_at_and_beyond_every_width() {
        let widths = [
            (Kind::Signed, i128::from(i64::MIN), i128::from(i64::MAX)),
            (Kind::Unsigned, 0, i128::from(u64::MAX)),
            (Kind::Unsigned32, 0, i128::from(u32::MAX)),
        ];
        for (kind, min, max) in widths {
            assert_eq!(Value::parse(kind, &min.to_string()), Ok(Value::Number(min)));
            assert_eq!(Value::parse(kind, &max.to_string()), Ok(Value::Number(max)));
            assert!(Value::parse(kind, &(min - 1).to_string()).is_err());
            assert!(Value::parse(kind, &(max + 1).to_string()).is_err());
            assert!(Value::parse(kind, &"9".repeat(500)).is_err());
        }
    }
}
