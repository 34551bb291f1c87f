//! `--start`: not before this.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::zone::instant;

/// When a campaign begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Start {
    /// For each row when its own clock shows this.
    Local(DateTime),
    /// For all at once.
    At(Timestamp),
}

/// When rows may begin to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// At this time, which is to come.
    At(Timestamp),
    /// Now: the start was this long ago already, and people should be told.
    Late(Timestamp),
}

impl Start {
    /// The instant that is meant, for rows of this zone.
    pub fn at(self, zone: &TimeZone) -> Timestamp {
        match self {
            Self::Local(shown) => instant(zone, shown).unwrap_or(Timestamp::MAX),
            Self::At(at) => at,
        }
    }

    /// When rows of this zone begin to go, now that it is `now`.
    pub fn beginning(self, zone: &TimeZone, now: Timestamp) -> Beginning {
        match self.at(zone) {
            at if at < now => Beginning::Late(at),
            at => Beginning::At(at),
        }
    }
}

super::as_text!(Start);

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "must be a date and a time such as \"2026-12-01T09:00\" (by the clock of each row), or with an offset such \
                 as \"2026-12-01T09:00+01:00\" or \"2026-12-01T09:00Z\", not {text:?}"
            )
        };
        let given = text.trim();
        let local = shown_in(given).ok_or_else(wrong)?;
        if local == given.len() {
            return given.parse().map(Self::Local).map_err(|_| wrong());
        }
        given.parse().map(Self::At).map_err(|_| wrong())
    }
}

/// How long the date and the time are, without what follows. The parsers behind this take more of ISO 8601 than people
/// expect: a date alone, weeks, a time zone in brackets that contradicts the offset.
fn shown_in(text: &str) -> Option<usize> {
    let shaped = |text: &str, shape: &str| {
        text.len() >= shape.len()
            && text.bytes().zip(shape.bytes()).all(|(b, s)| match s {
                b'0' => b.is_ascii_digit(),
                b'T' => matches!(b, b'T' | b't' | b' '),
                s => b == s,
            })
    };
    let shown = ["0000-00-00T00:00:00", "0000-00-00T00:00"]
        .into_iter()
        .find(|shape| shaped(text, shape))?
        .len();
    let offset = text.get(shown..)?;
    let known = match offset.len() {
        0 => true,
        1 => offset.eq_ignore_ascii_case("z"),
        6 => shaped(offset, "+00:00") || shaped(offset, "-00:00"),
        _ => false,
    };
    known.then_some(shown)
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(shown) => write!(f, "{shown}"),
            Self::At(at) => write!(f, "{at}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::zone::zone;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_start_is_local_to_each_row_or_for_all_at_once() {
        let (berlin, kolkata) = (zone("Europe/Berlin").unwrap(), zone("Asia/Kolkata").unwrap());
        for (text, shown, in_berlin, in_kolkata) in [
            (
                "2026-12-01T09:00",
                "2026-12-01T09:00:00",
                "2026-12-01T08:00Z",
                "2026-12-01T03:30Z",
            ),
            (
                " 2026-12-01 09:00:30 ",
                "2026-12-01T09:00:30",
                "2026-12-01T08:00:30Z",
                "2026-12-01T03:30:30Z",
            ),
            (
                "2026-12-01T09:00Z",
                "2026-12-01T09:00:00Z",
                "2026-12-01T09:00Z",
                "2026-12-01T09:00Z",
            ),
            (
                "2026-12-01T09:00-05:00",
                "2026-12-01T14:00:00Z",
                "2026-12-01T14:00Z",
                "2026-12-01T14:00Z",
            ),
        ] {
            let start: Start = text.parse().unwrap();
            assert_eq!(start.to_string(), shown);
            assert_eq!(shown.parse(), Ok(start));
            assert_eq!(start.at(&berlin), at(in_berlin));
            assert_eq!(start.at(&kolkata), at(in_kolkata));
        }
    }

    #[test]
    fn what_is_no_start_is_told_what_one_looks_like() {
        for text in [
            "",
            "now",
            "2026-12-01",
            "09:00",
            "2026-12-01T9:00",
            "2026-13-01T09:00",
            "2026-02-30T09:00",
            "2026-12-01T09",
            "2026-12-01T09:00[Europe/Berlin]",
            "2026-12-01T09:00+01:00[America/New_York]",
            "2026-12-01T09:00+0100",
            "2026-12-01T25:00",
            "01.12.2026 09:00",
            "2026-12-01T09:00ü",
        ] {
            let error = text.parse::<Start>().unwrap_err();
            assert!(error.contains("such as \"2026-12-01T09:00\""), "{text}: {error}");
        }
    }

    #[test]
    fn a_start_in_the_past_begins_now_and_says_so() {
        let start: Start = "2026-12-01T09:00".parse().unwrap();
        let (berlin, new_york) = (zone("Europe/Berlin").unwrap(), zone("America/New_York").unwrap());
        let now = at("2026-12-01T10:00Z");
        assert_eq!(start.beginning(&berlin, now), Beginning::Late(at("2026-12-01T08:00Z")));
        assert_eq!(start.beginning(&new_york, now), Beginning::At(at("2026-12-01T14:00Z")));
    }

    #[test]
    fn a_start_in_a_gap_is_at_its_end_and_a_repeated_one_the_first() {
        let berlin = zone("Europe/Berlin").unwrap();
        let start = |text: &str| text.parse::<Start>().unwrap().at(&berlin);
        assert_eq!(start("2026-03-29T02:30"), at("2026-03-29T01:00Z"));
        assert_eq!(start("2026-10-25T02:30"), at("2026-10-25T00:30Z"));
    }
}
