//! Time zones by their IANA names, and the instants that their clocks mean.
//!
//! The machine's own database is read where there is one, since it is kept up to date; on a machine without one
//! (a container of a single file) the copy that is compiled in stands for it. That costs 0.2 MB of the program's size.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// What databases hold beside the zones: places of nowhere, the machine's own zone, and copies that count leap seconds.
const NO_ZONES: [&str; 4] = ["Etc/Unknown", "Factory", "localtime", "posixrules"];
const NO_ZONES_BELOW: [&str; 2] = ["posix/", "right/"];
/// A name less like any zone's than this is no slip of one.
const CLOSE: f64 = 0.85;

/// No time zone of the IANA database has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownZone {
    /// What was given.
    pub given: String,
}

impl std::error::Error for UnknownZone {}

impl fmt::Display for UnknownZone {
    // The nearest name is looked for here and not before: it takes a third of a millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.given.is_empty() {
            return f.write_str("no time zone is given; it is an IANA name such as \"Europe/Berlin\"");
        }
        write!(f, "{:?} is no time zone; it must be an IANA name ", self.given)?;
        match nearest(&self.given) {
            Some(name) => write!(f, "(did you mean \"{name}\"?)"),
            None => f.write_str("such as \"Europe/Berlin\""),
        }
    }
}

/// The time zone of this IANA name, in any case of letters.
///
/// # Errors
/// For anything else: an offset, an abbreviation that is none of the database's, nothing.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    let name = name.trim();
    Some(name)
        .filter(|name| is_zone(name))
        .and_then(|name| jiff::tz::db().get(name).ok())
        .ok_or_else(|| UnknownZone { given: name.to_owned() })
}

fn is_zone(name: &str) -> bool {
    let begins = |with: &str| {
        name.get(..with.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(with))
    };
    !NO_ZONES.iter().any(|no| name.eq_ignore_ascii_case(no)) && !NO_ZONES_BELOW.iter().any(|no| begins(no))
}

/// The zone that was probably meant: by its last part ("Berlin"), or by its letters.
fn nearest(given: &str) -> Option<&'static str> {
    static NAMES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let names = jiff::tz::db().available().map(|name| name.as_str().to_owned());
        let mut names: Vec<_> = names
            .filter(|name| is_zone(name))
            .map(|name| (name.to_lowercase(), name))
            .collect();
        names.sort();
        names
    });
    let given = given.to_lowercase().replace(' ', "_");
    let last_part = |name: &str| name.rsplit_once('/').is_some_and(|(_, last)| last == given);
    let found = names.iter().find(|(plain, _)| last_part(plain)).or_else(|| {
        let scored = names
            .iter()
            .map(|known| (strsim::jaro_winkler(&known.0, &given), known));
        let (score, known) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (score > CLOSE).then_some(known)
    });
    found.map(|(_, name)| name.as_str())
}

/// When the clocks of the zone show this for the first time; when they leave it out, the moment at which they jump over it.
/// `None` beyond the years that can be told.
pub(super) fn instant(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(shown);
    let offset = ambiguous.offset();
    // By the offset that holds after the gap this lies before the gap, by less than the gap is long.
    let earlier = ambiguous.earlier().ok()?;
    match offset {
        AmbiguousOffset::Gap { after, .. } => {
            let jump = zone.following(earlier).find(|change| change.offset() == after);
            jump.map(|change| change.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => Some(earlier),
    }
}

/// So much later, or the end of time.
pub(in crate::campaign) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_an_iana_name_and_nothing_else() {
        for (given, name) in [
            ("Europe/Berlin", "Europe/Berlin"),
            (" america/new_york ", "America/New_York"),
            ("Asia/Kolkata", "Asia/Kolkata"),
            ("UTC", "UTC"),
        ] {
            assert_eq!(zone(given).unwrap().iana_name(), Some(name));
        }
        for given in [
            "",
            "+01:00",
            "GMT+1",
            "CEST",
            "Berlin",
            "localtime",
            "Etc/Unknown",
            "right/Europe/Berlin",
            "CET-1CEST,M3.5.0,M10.5.0/3",
            "../../etc/passwd",
            "Europe",
            "ü",
        ] {
            assert!(zone(given).is_err(), "{given}");
        }
    }

    #[test]
    fn the_name_that_was_meant_is_named() {
        for (given, said) in [
            ("Berlin", "did you mean \"Europe/Berlin\"?"),
            ("new york", "did you mean \"America/New_York\"?"),
            ("Europe/Brelin", "did you mean \"Europe/Berlin\"?"),
            ("Amercia/Chicago", "did you mean \"America/Chicago\"?"),
            ("+01:00", "such as \"Europe/Berlin\""),
            ("", "no time zone is given"),
        ] {
            let error = zone(given).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_compiled_in_database_knows_the_zones_of_the_machine_that_has_none() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        assert!(bundled.get("Australia/Lord_Howe").is_ok());
    }

    #[test]
    fn a_time_in_a_gap_is_its_end_and_a_repeated_one_the_first() {
        for (name, shown, instant_meant) in [
            ("Europe/Berlin", "2026-03-29T01:59", "2026-03-29T00:59Z"),
            ("Europe/Berlin", "2026-03-29T02:00", "2026-03-29T01:00Z"),
            ("Europe/Berlin", "2026-03-29T02:59", "2026-03-29T01:00Z"),
            ("Europe/Berlin", "2026-03-29T03:00", "2026-03-29T01:00Z"),
            ("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30Z"),
            ("Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:00Z"),
            ("America/New_York", "2026-03-08T02:30", "2026-03-08T07:00Z"),
            ("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30Z"),
            // Half an hour only.
            ("Australia/Lord_Howe", "2026-10-04T02:15", "2026-10-03T15:30Z"),
            ("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45Z"),
            // A whole day that never was.
            ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00Z"),
        ] {
            let meant = instant(&zone(name).unwrap(), shown.parse().unwrap());
            assert_eq!(meant, Some(instant_meant.parse().unwrap()), "{name} {shown}");
        }
    }
}
