//! How people write durations.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads `250ms`, `15s`, `5m`, `2h30m`, `7d`; a day is 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("must be a duration such as \"15s\", \"250ms\", \"5m\", \"2h30m\" or \"7d\", not {text:?}");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0_u64;
    let mut after = usize::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() && tail.is_empty() && !number.is_empty() {
            return Err(format!("has no unit: write \"{text}s\" if seconds are meant"));
        }
        let place = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        // Units fall from the left to the right, each once: "30m2h" is more likely a slip than meant.
        if after != usize::MAX && place <= after {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total = number
            .checked_mul(UNITS[place].1)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(wrong)?;
        (after, rest) = (place, tail);
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration as [`parse_duration`] reads it.
pub fn format_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, length) in UNITS {
        if left >= length {
            text.push_str(&format!("{}{name}", left / length));
            left %= length;
        }
    }
    text
}

/// For serde: `#[serde(with = "crate::units::duration")]`.
pub mod duration {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    /// Reads a duration from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write() {
        for (text, millis) in [
            ("15s", 15_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("2h30m", 9_000_000),
            ("7d", 604_800_000),
            ("1m500ms", 60_500),
            (" 0s ", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "5 m",
            "30m2h",
            "1s1s",
            "3w",
            "99999999999999999d",
            "PT5S",
            "5M",
        ] {
            assert!(parse_duration(text).unwrap_err().contains("such as \"15s\""), "{text}");
        }
        assert_eq!(
            parse_duration("15").unwrap_err(),
            "has no unit: write \"15s\" if seconds are meant"
        );
    }

    proptest! {
        #[test]
        fn written_and_read_back(millis in 0_u64..1_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_a_duration_or_a_reason(text in ".*") {
            let _ = parse_duration(&text);
        }
    }
}
