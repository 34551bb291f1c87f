//! When to come back: the time that the API named, in whichever of its forms.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Less than a second counts as one: no answer may make us spin.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// More than a day counts as a day: a broken clock must not put a job away for years.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// After a 429: `Retry-After`, else what is left of the rate window, else the number in the message.
pub fn throttled(headers: &HeaderMap, message: &str, now: Timestamp) -> Option<Duration> {
    header(headers, now)
        .or_else(|| seconds(headers.get("inin-ratelimit-reset")?.to_str().ok()?))
        .or_else(|| in_message(message))
}

/// After any other answer: `Retry-After` alone, for the vendor sends `inin-ratelimit-reset` on ordinary ones too.
pub fn header(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds(value).or_else(|| {
        let until = date(value)?;
        // The sender's clock against the sender's clock: ours may be minutes off.
        let sent = headers
            .get(DATE)
            .and_then(|date| date.to_str().ok())
            .and_then(self::date)
            .unwrap_or_else(|| TimeZone::UTC.to_datetime(now));
        // A date in the past means now, as 0 does.
        Some(clamp(
            Duration::try_from(until.duration_since(sent)).unwrap_or_default(),
        ))
    })
}

/// A number of seconds. A fraction, which no standard allows, is rounded up; a sign makes it garbage.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let round_up = u64::from(fraction.bytes().any(|b| b != b'0'));
    // Digits alone fail to parse only when there are too many of them.
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    Some(clamp(Duration::from_secs(whole.saturating_add(round_up))))
}

/// RFC 9110, section 5.6.7: a recipient must read all three forms. Always UTC; the day of the week is not looked at, since a
/// wrong one is no reason to come back too early.
fn date(text: &str) -> Option<DateTime> {
    const IMF_FIXDATE: &str = "%d %b %Y %H:%M:%S GMT";
    const RFC_850: &str = "%d-%b-%y %H:%M:%S GMT";
    const ASCTIME: &str = "%b %e %H:%M:%S %Y";
    let (_weekday, date) = text.trim().split_once(' ')?;
    [IMF_FIXDATE, RFC_850, ASCTIME]
        .iter()
        .find_map(|format| DateTime::strptime(format, date).ok())
}

/// The vendor's "Retry the request in [3] seconds". Only what follows the word counts: "300 requests per 60 seconds" may
/// stand before it.
fn in_message(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let after = &message[message.find("retry")?..];
    let before_unit = &after[..after.find("second")?];
    let before_unit = before_unit.trim_end_matches([' ', ']']);
    let start = before_unit
        .trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
        .len();
    let (lead, number) = before_unit.split_at(start);
    if lead.ends_with('-') { None } else { seconds(number) }
}

fn clamp(time: Duration) -> Duration {
    time.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn retry_after(value: &str) -> Option<u64> {
        header(&headers(&[("retry-after", value)]), now()).map(|d| d.as_secs())
    }

    #[test]
    fn a_number_of_seconds() {
        for (value, expected) in [
            ("3", Some(3)),
            (" 58 ", Some(58)),
            ("0", Some(1)),
            ("0.2", Some(1)),
            ("1.0", Some(1)),
            ("2.5", Some(3)),
            ("86400", Some(86_400)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("NaN", None),
            ("inf", None),
            ("3, 5", None),
            (".", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_in_each_of_its_three_forms_against_our_clock() {
        for (value, expected) in [
            ("Sun, 01 Mar 2026 12:00:30 GMT", Some(30)),
            ("Mon, 01 Mar 2026 12:00:30 GMT", Some(30)),
            ("Sunday, 01-Mar-26 12:00:30 GMT", Some(30)),
            ("Sun Mar  1 12:00:30 2026", Some(30)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(1)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(1)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400)),
            ("Sun, 32 Mar 2026 12:00:30 GMT", None),
        ] {
            assert_eq!(retry_after(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_read_against_the_responses_own() {
        // Their clock is an hour behind ours.
        let answer = headers(&[
            ("retry-after", "Sun, 01 Mar 2026 11:00:30 GMT"),
            ("date", "Sun, 01 Mar 2026 11:00:00 GMT"),
        ]);
        assert_eq!(header(&answer, now()), Some(Duration::from_secs(30)));
        let garbled = headers(&[("retry-after", "Sun, 01 Mar 2026 12:00:07 GMT"), ("date", "yesterday")]);
        assert_eq!(header(&garbled, now()), Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_sources_in_their_order() {
        let message = "Retry the request in [3] seconds";
        let after = |pairs: &[_], message| throttled(&headers(pairs), message, now()).map(|d| d.as_secs());
        assert_eq!(
            after(&[("retry-after", "9"), ("inin-ratelimit-reset", "61")], message),
            Some(9)
        );
        assert_eq!(
            after(&[("retry-after", "-9"), ("inin-ratelimit-reset", "61")], message),
            Some(61)
        );
        assert_eq!(after(&[], message), Some(3));
        assert_eq!(after(&[], "slow down"), None);
    }

    #[test]
    fn outside_of_a_429_the_rate_window_says_nothing() {
        assert_eq!(header(&headers(&[("inin-ratelimit-reset", "61")]), now()), None);
    }

    #[test]
    fn the_number_in_the_message() {
        for (message, expected) in [
            ("Retry the request in [3] seconds", Some(3)),
            (
                "300 requests per 60 seconds exceeded. RETRY the request in [12] seconds.",
                Some(12),
            ),
            ("Retry in 2.5 seconds", Some(3)),
            ("Please retry after 1 second", Some(1)),
            ("Retry in [-3] seconds", None),
            ("Retry in a few seconds", None),
            ("60 seconds", None),
            ("İ retry in [4] seconds", Some(4)),
        ] {
            assert_eq!(in_message(message).map(|d| d.as_secs()), expected, "{message:?}");
        }
    }

    fn within(time: Option<Duration>) -> bool {
        time.is_none_or(|time| (SHORTEST..=LONGEST).contains(&time))
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read_within_bounds(value in "[ -~]{0,40}", message in ".{0,80}") {
            let headers = headers(&[("retry-after", &value), ("inin-ratelimit-reset", &value)]);
            prop_assert!(within(throttled(&headers, &message, now())));
            let retry = format!("retry {value} seconds");
            prop_assert!(within(in_message(&retry)), "{}", retry);
        }

        #[test]
        fn seconds_are_never_early(value in 0_u64..200_000) {
            let expected = value.clamp(1, 86_400);
            prop_assert_eq!(retry_after(&value.to_string()), Some(expected));
            let message = format!("Retry the request in [{value}] seconds");
            prop_assert_eq!(in_message(&message), Some(Duration::from_secs(expected)));
        }

        #[test]
        fn a_date_is_as_far_off_as_it_says(ahead in -100_000_i64..100_000) {
            let until = now() + jiff::SignedDuration::from_secs(ahead);
            let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&until).unwrap();
            prop_assert_eq!(retry_after(&text), Some(u64::try_from(ahead.clamp(1, 86_400)).unwrap()));
        }
    }
}
