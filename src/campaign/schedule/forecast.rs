//! What will come of a schedule: the campaign in fast motion, as its runner and the workers will go about it.
//!
//! * Of the zones that are open the row that stands first in the file goes, when the pacer lets one go.
//! * A row that was let go waits in the lane for the API's limit. The lane never holds more than `AHEAD` (a minute's
//!   work), so a pace above the limit comes to the limit.
//! * A row that would be launched after its window's end is left for the next; one whose own time is up by then has
//!   expired.
//!
//! What it does not foresee: refusals, outages, pauses, other jobs in the lanes.
//!
//! A million rows take a tenth of a second, and the memory that [`Rows`] has: kilobytes.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::zone::later;
use super::{Expiry, Opening, Pacer, Schedule};

mod bins;
mod rows;

pub use bins::Bin;
use bins::Bins;
pub use rows::Rows;

/// The work that lies ready in the lane at most.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// What will come of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The first launch.
    pub first: Option<Timestamp>,
    /// The last one.
    pub last: Option<Timestamp>,
    /// Rows that are launched.
    pub launched: u64,
    /// Rows whose own time is up before the API's limit lets them through.
    pub expired: u64,
    /// Rows whose zone never opens.
    pub never: u64,
    /// How long each bin is: an hour, unless the campaign takes weeks.
    pub bin: SignedDuration,
    /// The launches by time and zone.
    pub bins: Vec<Bin>,
}

/// What will come of this schedule, begun at `now`, when the API allows `limit` launches per second (`None`: any number).
pub fn forecast(rows: &Rows, schedule: &Schedule, limit: Option<f64>, now: Timestamp) -> Forecast {
    let waiting = rows.zones().iter().zip(rows.pages()).enumerate();
    let mut zones: Vec<Zone<'_>> = waiting
        .map(|(index, (zone, pages))| {
            let mut pages = pages.iter();
            Zone {
                index,
                zone,
                page: pages.next().copied(),
                pages,
                open: schedule.opening(zone, now),
            }
        })
        .collect();
    let mut run = Run {
        schedule,
        pacer: Pacer::begin(schedule.stagger, now),
        gap: limit.map_or(Duration::ZERO, |limit| {
            Duration::try_from_secs_f64(1.0 / limit).unwrap_or(Duration::MAX)
        }),
        now,
        free: now,
        first: None,
        last: None,
        launched: 0,
        expired: 0,
        bins: Bins::new(zones.len()),
    };
    while let Some((next, until)) = run.choose(&mut zones) {
        run.launch(&mut zones[next], until);
    }
    let (bin, bins) = run.bins.into_parts();
    Forecast {
        first: run.first,
        last: run.last,
        launched: run.launched,
        expired: run.expired,
        never: rows.len() - run.launched - run.expired,
        bin,
        bins,
    }
}

/// A zone's rows that are not launched yet.
struct Zone<'a> {
    index: usize,
    zone: &'a TimeZone,
    /// The page of the file in which the next stands, and how many of the zone's stand there.
    page: Option<(u64, u64)>,
    pages: std::slice::Iter<'a, (u64, u64)>,
    /// What is open, or opens next.
    open: Option<Opening>,
}

impl Zone<'_> {
    fn take(&mut self) {
        self.page = match self.page {
            Some((page, rows)) if rows > 1 => Some((page, rows - 1)),
            Some(_) | None => self.pages.next().copied(),
        };
    }
}

struct Run<'a> {
    schedule: &'a Schedule,
    pacer: Pacer,
    /// From one launch to the next, as the API allows.
    gap: Duration,
    now: Timestamp,
    /// When the API's limit lets the next one through.
    free: Timestamp,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    launched: u64,
    expired: u64,
    bins: Bins,
}

impl Run<'_> {
    /// The zone whose row is next, and until when that is sure: until another opens. Goes on to when one opens, if need be.
    fn choose(&mut self, zones: &mut [Zone<'_>]) -> Option<(usize, Timestamp)> {
        while self.now < Timestamp::MAX {
            let mut open_ones = Vec::new();
            let mut until = Timestamp::MAX;
            for zone in zones.iter_mut() {
                let Some((page, _)) = zone.page else { continue };
                if zone.open.is_some_and(|open| open.is_over(self.now)) {
                    zone.open = self.schedule.opening(zone.zone, self.now);
                }
                match zone.open {
                    Some(open) if open.opens > self.now => until = until.min(open.opens),
                    Some(_) => open_ones.push((page, zone.index)),
                    None => {}
                }
            }
            if let Some((_, index)) = open_ones.into_iter().min() {
                return Some((index, until));
            }
            // When nothing opens any more, this is the end of time.
            self.now = until;
        }
        None
    }

    /// Launches this zone's rows, one after the other, until its page ends, it closes, or another opens.
    fn launch(&mut self, zone: &mut Zone<'_>, until: Timestamp) {
        let Some((page, _)) = zone.page else { return };
        let Some(open) = zone.open else { return };
        while zone.page.is_some_and(|(at, _)| at == page) {
            let room = self.free.checked_sub(AHEAD).unwrap_or(Timestamp::MIN);
            self.now = self.pacer.next(self.now).max(self.now).max(room);
            if self.now >= until || open.is_over(self.now) {
                return;
            }
            let goes = self.free.max(self.now);
            match self
                .schedule
                .expiry(&open, self.now)
                .filter(|expiry| expiry.at() <= goes)
            {
                Some(Expiry::Window(closes)) => {
                    // What is in the lane takes until the window's end: the next one is for this row.
                    zone.open = self.schedule.opening(zone.zone, closes);
                    return;
                }
                Some(Expiry::Age(_)) => self.expired += 1,
                None => {
                    self.launched += 1;
                    self.first.get_or_insert(goes);
                    self.last = Some(goes);
                    self.free = later(goes, self.gap);
                    self.bins.count(goes, zone.index);
                }
            }
            self.pacer.launched(self.now);
            zone.take();
        }
    }
}

#[cfg(test)]
mod tests;
