//! Windows as people write them.
//!
//! ```text
//! windows = group { (";" | ",") group }
//! group   = days " " times { "," times }          Mon-Fri 09:00-12:00, 13:00-18:00
//! days    = day ["-" day] { "," day ["-" day] }   Mon,Wed-Fri; Fri-Mon is Friday to Monday
//! times   = HH:MM "-" HH:MM                       22:00-02:00 crosses midnight; 24:00 only as an end
//! ```
//!
//! A comma separates days, times and groups alike. It is never ambiguous: what begins with a letter is a day, and belongs to
//! the next times; times without a day are of the days before, up to the next semicolon.

use std::fmt;
use std::str::FromStr;

use super::{DAY, NotOn, Span, Windows};

const DAYS: [(&str, &str); 7] = [
    ("Mon", "Monday"),
    ("Tue", "Tuesday"),
    ("Wed", "Wednesday"),
    ("Thu", "Thursday"),
    ("Fri", "Friday"),
    ("Sat", "Saturday"),
    ("Sun", "Sunday"),
];

super::super::as_text!(Windows);

impl FromStr for Windows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut spans = Vec::new();
        for group in text.split(';') {
            self::group(group, &mut spans).map_err(|why| {
                format!("must be days and times such as \"Mon-Fri 09:00-18:00, Sat 10:00-14:00\"; in {text:?} {why}")
            })?;
        }
        spans.sort_unstable();
        spans.dedup();
        let not_on = NotOn::default();
        Ok(Self { spans, not_on })
    }
}

/// What stands between semicolons.
fn group(text: &str, spans: &mut Vec<Span>) -> Result<(), String> {
    // The days that wait for their times, and those that the last times had.
    let (mut waiting, mut held) = (0, 0);
    for part in text.split(',').map(str::trim) {
        let times_at = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
        let (days, times) = part.split_at(times_at);
        let days = days.trim_end();
        if part.is_empty() {
            return Err("there is nothing before or after a separator".to_owned());
        }
        if !days.is_empty() {
            waiting |= self::days(days)?;
        }
        if times.is_empty() {
            continue;
        }
        if waiting != 0 {
            held = std::mem::take(&mut waiting);
        }
        if held == 0 {
            return Err(format!(
                "{times:?} names no day (for every day write \"Mon-Sun {times}\")"
            ));
        }
        let (from, till) = self::times(times)?;
        spans.push(Span { from, till, days: held });
    }
    match waiting {
        0 => Ok(()),
        _ => Err(format!("{:?} ends with a day that has no times", text.trim())),
    }
}

fn days(text: &str) -> Result<u8, String> {
    let mut ends = text.split('-').map(day);
    let first = ends.next().unwrap_or_else(|| day(text))?;
    let last = ends.next().unwrap_or(Ok(first))?;
    if ends.next().is_some() {
        return Err(format!("{text:?} is no day and no range of days"));
    }
    let length = (last + 7 - first) % 7;
    Ok((0..=length).fold(0, |days, n| days | 1 << ((first + n) % 7)))
}

fn day(text: &str) -> Result<usize, String> {
    let name = text.trim();
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    let found = DAYS.iter().position(|(short, long)| is(short) || is(long));
    found.ok_or_else(|| format!("{name:?} is no day (they are Mon, Tue, Wed, Thu, Fri, Sat, Sun)"))
}

fn times(text: &str) -> Result<(u16, u16), String> {
    let both = text
        .split_once('-')
        .and_then(|(from, till)| Some((time(from)?, time(till)?)));
    let day = DAY as u16;
    match both {
        None => Err(format!("{text:?} is no two times such as 09:00-18:00")),
        Some((from, _)) if from == day => Err(format!("{text:?} begins at 24:00, which is only an end; write 00:00")),
        Some((from, till)) if from == till => Err(format!("{text:?} is empty; a whole day is 00:00-24:00")),
        Some((from, till)) if till < from => Ok((from, till + day)),
        Some(both) => Ok(both),
    }
}

/// `9:00`, `09:00`, `24:00`, in minutes.
fn time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (hour, minute): (u16, u16) = (number(hours)?, number(minutes)?);
    let shaped = matches!(hours.len(), 1 | 2) && minutes.len() == 2 && minute < 60;
    let time = hour.checked_mul(60)?.checked_add(minute)?;
    (shaped && i64::from(time) <= DAY).then_some(time)
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, span) in self.spans.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "; " })?;
            write!(f, "{} ", DaysShown(span.days))?;
            let till = match i64::from(span.till) {
                till if till > DAY => till - DAY,
                till => till,
            };
            let from = span.from;
            write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, till / 60, till % 60)?;
        }
        Ok(())
    }
}

struct DaysShown(u8);

impl fmt::Display for DaysShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |day: usize| day < 7 && self.0 & 1 << day != 0;
        let mut comma = "";
        let mut day = 0;
        while day < 7 {
            let run = (day..7).take_while(|day| has(*day)).count();
            match run {
                0 => {}
                1 => write!(f, "{comma}{}", DAYS[day].0)?,
                _ => write!(f, "{comma}{}-{}", DAYS[day].0, DAYS[day + run - 1].0)?,
            }
            if run > 0 {
                comma = ",";
            }
            day += run.max(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_people_write_them() {
        for (text, shown) in [
            ("Mon-Fri 09:00-18:00", "Mon-Fri 09:00-18:00"),
            ("mon-fri 9:00 - 18:00", "Mon-Fri 09:00-18:00"),
            ("Mon,Wed 09:00-12:00", "Mon,Wed 09:00-12:00"),
            ("Monday, Wednesday 09:00-12:00", "Mon,Wed 09:00-12:00"),
            (
                "Mon-Fri 09:00-12:00, 13:00-18:00",
                "Mon-Fri 09:00-12:00; Mon-Fri 13:00-18:00",
            ),
            (
                "Mon 09:00-12:00, Tue,Thu 10:00-11:00",
                "Mon 09:00-12:00; Tue,Thu 10:00-11:00",
            ),
            (
                "Sat 10:00-14:00; Mon-Fri 09:00-18:00",
                "Mon-Fri 09:00-18:00; Sat 10:00-14:00",
            ),
            ("Fri-Mon 09:00-10:00", "Mon,Fri-Sun 09:00-10:00"),
            ("Fri 22:00-02:00", "Fri 22:00-02:00"),
            ("Fri 22:00-00:00", "Fri 22:00-24:00"),
            ("Mon-Sun 00:00-24:00", "Mon-Sun 00:00-24:00"),
            ("Sun 00:00-24:00, Sun 00:00-24:00", "Sun 00:00-24:00"),
        ] {
            assert_eq!(text.parse::<Windows>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!("Mon-Sun 00:00-24:00".parse(), Ok(Windows::always()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("", "nothing before or after"),
            ("Mon-Fri 09:00-18:00,", "nothing before or after"),
            (
                "09:00-18:00",
                "names no day (for every day write \"Mon-Sun 09:00-18:00\")",
            ),
            ("Mon 09:00-12:00; 13:00-18:00", "names no day"),
            ("Mon-Fri", "has no times"),
            ("Mon 09:00-10:00, Tue", "has no times"),
            ("Mo 09:00-18:00", "\"Mo\" is no day"),
            ("Mon-Wed-Fri 09:00-18:00", "no range of days"),
            ("Mon Tue 09:00-18:00", "\"Mon Tue\" is no day"),
            ("Mon 9-18", "no two times"),
            ("Mon 09:00", "no two times"),
            ("Mon 09:00-25:00", "no two times"),
            ("Mon 09:60-18:00", "no two times"),
            ("Mon 09:00-24:01", "no two times"),
            ("Mon 09:00-18:00 Tue", "no two times"),
            ("Mon 09:00-18:00 +02:00", "no two times"),
            ("Mon 009:00-18:00", "no two times"),
            ("Mon 09:+1-18:00", "no two times"),
            ("Mon 24:00-02:00", "only an end"),
            ("Mon 09:00-09:00", "a whole day is 00:00-24:00"),
        ] {
            let error = text.parse::<Windows>().unwrap_err();
            assert!(
                error.contains(why) && error.contains("such as \"Mon-Fri 09:00-18:00"),
                "{text}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn written_and_read_back(given in proptest::collection::vec((1_u8..128, 0_u16..1440, 1_u16..1440), 1..6)) {
            let mut spans: Vec<_> = given.into_iter().map(|(days, from, length)| Span { from, till: from + length, days }).collect();
            spans.sort_unstable();
            spans.dedup();
            let windows = Windows { spans, not_on: NotOn::default() };
            prop_assert_eq!(windows.to_string().parse(), Ok(windows));
        }

        #[test]
        fn any_text_is_windows_or_a_reason(text in "[Mon,Fri:;0-9 -]*|.*") {
            let _ = text.parse::<Windows>();
        }
    }
}
