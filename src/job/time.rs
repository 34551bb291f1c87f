//! Times on the wire: RFC 3339, and what to say of those that are not.

use jiff::Timestamp;

use super::malformed::clip;

/// Reads a time, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    match Rfc3339::of(text) {
        // What many write for "never" is a day after the last that can be reckoned with.
        Rfc3339::Shaped if text.starts_with("9999-12-31") => Ok(Timestamp::MAX),
        Rfc3339::Shaped => text
            .parse()
            .map_err(|_| format!("is not a time that exists: `{}`", clip(text))),
        Rfc3339::NoOffset => Err(format!(
            "`{}` names no time zone; end it with `Z` or an offset such as `+01:00`",
            clip(text)
        )),
        Rfc3339::Other => Err(format!(
            "must be RFC 3339, such as `2030-01-31T09:00:00Z`; this is `{}`",
            clip(text)
        )),
    }
}

/// The shape of a time. The parser behind it takes more of ISO 8601 than producers in other languages may rely on.
enum Rfc3339 {
    Shaped,
    NoOffset,
    Other,
}

impl Rfc3339 {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (Some(head), Some(tail)) = (bytes.get(..19), bytes.get(19..)) else {
            return Self::Other;
        };
        let headed = head.iter().enumerate().all(|(at, b)| match at {
            4 | 7 => *b == b'-',
            10 => matches!(b, b'T' | b't' | b' '),
            13 | 16 => *b == b':',
            _ => b.is_ascii_digit(),
        });
        let offset = match tail {
            [b'.', rest @ ..] => match rest.iter().position(|b| !b.is_ascii_digit()) {
                Some(0) => return Self::Other,
                Some(digits) => &rest[digits..],
                None if rest.is_empty() => return Self::Other,
                None => &[],
            },
            offset => offset,
        };
        match offset {
            _ if !headed => Self::Other,
            [b'Z' | b'z'] => Self::Shaped,
            [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].into_iter().all(u8::is_ascii_digit) => Self::Shaped,
            [] => Self::NoOffset,
            _ => Self::Other,
        }
    }
}
