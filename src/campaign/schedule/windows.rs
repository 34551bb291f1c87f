//! `--windows`: when rows may go, by the clock of each row's zone.
//!
//! A window is open from its opening time on and until just before its end, on the dates of its days; one that ends at or
//! before its opening time crosses midnight and belongs to the date on which it opens. Windows that overlap or touch are
//! one.
//!
//! What a change of the clock does:
//!
//! * A time that the clock leaves out is the moment at which it jumps. A window in which nothing is left does not exist.
//! * A time that is shown twice is the first: a window that ends then is over, and stays so.
//! * When the clock goes back to before the opening time, the window is closed until it is shown again. So whoever is
//!   called sees a time of the window on the wall.
//!
//! The dates' windows are joined by what the clock shows, then laid on the time line: the other way round, two that touch
//! at a time that is shown twice would leave a hole.

use std::iter;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::not_on::NotOn;
use super::zone::instant;

mod text;

/// What may be open at a date began in the week before it, or is open for ever.
const DAYS_BACK: i64 = 9;
/// Windows come every week; one may be lost to a change of the clock.
const DAYS_AHEAD: i64 = 15;
/// What is open for so long, over every day of the week, never closes.
const FOR_EVER: SignedDuration = SignedDuration::from_hours(8 * 24);
const DAY: i64 = 24 * 60;

/// When rows may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Windows {
    /// By their opening times.
    spans: Vec<Span>,
    not_on: NotOn,
}

/// A window on each of some days, in minutes of the day; one that crosses midnight ends above 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: u16,
    till: u16,
    /// A bit for each day, Monday the lowest.
    days: u8,
}

/// A time in which rows may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// From this on.
    pub opens: Timestamp,
    /// Until just before this; `None` when it never closes.
    pub closes: Option<Timestamp>,
}

impl Opening {
    /// Is it open at this time?
    pub fn contains(&self, at: Timestamp) -> bool {
        self.opens <= at && !self.is_over(at)
    }

    /// Is it closed at this time, for good?
    pub fn is_over(&self, at: Timestamp) -> bool {
        self.closes.is_some_and(|closes| closes <= at)
    }
}

impl Windows {
    /// All day, every day: for dates not to launch on, without windows.
    pub fn always() -> Self {
        let (from, till, days) = (0, DAY as u16, 0b111_1111);
        Self {
            spans: vec![Span { from, till, days }],
            not_on: NotOn::default(),
        }
    }

    /// The same, with nothing that opens on these dates. They are no part of its text.
    #[must_use]
    pub fn but_not_on(self, not_on: NotOn) -> Self {
        Self { not_on, ..self }
    }

    /// What is open at `from` in this zone, or opens next. `None` when nothing does before time ends.
    pub fn opening(&self, zone: &TimeZone, from: Timestamp) -> Option<Opening> {
        let now = zone.to_datetime(from);
        let today = now.date();
        let first = today.checked_sub(DAYS_BACK.days()).ok()?;
        let last = self.not_on.last().unwrap_or(today).max(today);
        let last = last.checked_add(DAYS_AHEAD.days()).ok()?;

        // What ended two days ago by the clock has ended, whatever was done to the clock.
        let ended = (DAYS_BACK - 2) * DAY;
        let shown = joined(self.spans_of(first, last)).skip_while(|(_, till)| *till < ended);
        let openings = joined(shown.flat_map(|(from, till)| on_the_time_line(zone, first, from, till)));
        let (opens, closes) = openings.into_iter().find(|(_, closes)| *closes > from)?;

        let end = instant(zone, last.to_datetime(Time::midnight()))?;
        let for_ever = closes > end && closes.duration_since(opens) > FOR_EVER;
        let closes = (!for_ever).then_some(closes);
        Some(Opening { opens, closes })
    }

    /// The windows of these dates, in minutes of the clock from the first date on, in order.
    fn spans_of(&self, first: Date, last: Date) -> impl Iterator<Item = (i64, i64)> {
        let dates = iter::successors(Some(first), |date| date.tomorrow().ok()).take_while(move |date| *date <= last);
        dates
            .zip(0..)
            .filter(|(date, _)| !self.not_on.contains(*date))
            .flat_map(|(date, n)| {
                let day = 1 << date.weekday().to_monday_zero_offset();
                let spans = self.spans.iter().filter(move |span| span.days & day != 0);
                spans.map(move |span| (n * DAY + i64::from(span.from), n * DAY + i64::from(span.till)))
            })
    }
}

/// When the clock of the zone shows a time of this window, and has not shown its end yet.
fn on_the_time_line(zone: &TimeZone, first: Date, from: i64, till: i64) -> Vec<(Timestamp, Timestamp)> {
    let shown = |minutes| {
        let midnight = first.to_datetime(Time::midnight());
        midnight.checked_add(SignedDuration::from_mins(minutes)).ok()
    };
    let both = shown(from).zip(shown(till));
    let pieces = both.and_then(|(from, till)| pieces(zone, from, till));
    pieces.unwrap_or_default()
}

fn pieces(zone: &TimeZone, from: DateTime, till: DateTime) -> Option<Vec<(Timestamp, Timestamp)>> {
    let (opens, closes) = (instant(zone, from)?, instant(zone, till)?);
    let changes = zone.following(opens).map(|change| change.timestamp());
    let mut pieces = Vec::with_capacity(1);
    let mut begun = opens;
    for end in changes.take_while(|at| *at < closes).chain([closes]) {
        // Between two changes the clock is off by the same all the time.
        let offset = zone.to_offset(begun);
        let piece = (
            offset.to_timestamp(from).ok()?.max(begun),
            offset.to_timestamp(till).ok()?.min(end),
        );
        if piece.0 < piece.1 {
            pieces.push(piece);
        }
        begun = end;
    }
    Some(pieces)
}

/// What overlaps or touches is one. They come in the order of their beginnings.
fn joined<T: Ord + Copy>(mut spans: impl Iterator<Item = (T, T)>) -> impl Iterator<Item = (T, T)> {
    let mut held = spans.next();
    iter::from_fn(move || {
        let mut whole = held.take()?;
        for next in spans.by_ref() {
            if next.0 > whole.1 {
                held = Some(next);
                break;
            }
            whole.1 = whole.1.max(next.1);
        }
        Some(whole)
    })
}

#[cfg(test)]
mod tests;
