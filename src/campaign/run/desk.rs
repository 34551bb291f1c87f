//! What a runner decides, with time as an argument: which rows go now, and what results make of them. The journal is all
//! that it touches.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::super::journal::{
    Change, Counts, Journal, JournalError, Row, RowState, Run, RunState, Sending, Taken, Told,
};
use super::super::schedule::{self, Expiry, Opening, Pacer, Schedule};
use crate::job::{Job, OnUnknown};
use crate::lane::Lane;

/// Rows read from the journal at once, all zones together, and of one zone at least.
const PAGE: usize = 2_000;
const PAGE_OF_ZONE: usize = 20;

/// What is the same for all rows of a run.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When rows go.
    pub schedule: Schedule,
    /// The time zone of rows that name none.
    pub zone: TimeZone,
    /// The lane.
    pub lane: Lane,
    /// The flow, when it is the same for all.
    pub flow: Option<String>,
    /// Follow every execution to its end.
    pub track: bool,
    /// When nobody can say whether a row was launched.
    pub on_unknown: Option<OnUnknown>,
    /// What a worker takes for that when a job does not say.
    pub on_unknown_else: OnUnknown,
    /// Attempts for each row.
    pub max_attempts: Option<u32>,
    /// Failures in a row that pause the campaign; 0: none do.
    pub pause_on_failures: u32,
}

/// How much may go now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Rows.
    pub(super) rows: usize,
    /// What lies in the lane takes so long.
    pub(super) ahead: Duration,
}

/// What goes now.
#[derive(Debug)]
pub(super) struct Batch {
    /// The jobs, with the lines of their rows.
    pub(super) jobs: Vec<(u64, Job)>,
    /// When the next may go; `None`: when something else changes.
    pub(super) wake: Option<Timestamp>,
}

/// What came of a batch: the lines of its rows.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The broker has them.
    pub(super) confirmed: Vec<u64>,
    /// It certainly has not.
    pub(super) withdrawn: Vec<u64>,
    /// Nobody knows.
    pub(super) doubtful: Vec<u64>,
}

/// A zone's rows that are planned.
#[derive(Debug)]
struct Zone {
    name: Option<String>,
    zone: TimeZone,
    /// What is open, or opens next; `None` before that was asked.
    open: Option<Opening>,
    rows: VecDeque<Row>,
    /// The journal has no more of them.
    dry: bool,
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    journal: Journal,
    run: Run,
    terms: Terms,
    pacer: Pacer,
    zones: Vec<Zone>,
    counts: Counts,
    /// Launched rows whose end is awaited.
    followed: u64,
    /// Rows were published of which nobody knows whether the broker has them.
    doubts: bool,
    /// Failures in a row.
    streak: u32,
    /// Rows that were never to be launched.
    unfit: u64,
    /// So many first rows alone, which are followed whatever the terms say.
    first: Option<u64>,
}

impl Desk {
    /// For a run that begins, or goes on.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn new(journal: Journal, run: Run, terms: Terms, first: Option<u64>) -> Result<Self, JournalError> {
        let (published, last) = journal.published(run.id)?;
        let counts = journal.counts(run.id)?;
        let unfit = journal.unfit(run.id)?;
        let zones = journal.zones(run.id)?;
        let zones = zones
            .into_iter()
            .map(|(name, _)| Zone::new(name, &terms.zone))
            .collect();
        Ok(Self {
            pacer: Pacer::resume(terms.schedule.stagger, run.created, published, last),
            followed: journal.followed(run.id)?,
            doubts: counts.of(RowState::Sending) > 0,
            // Whoever asked to see the first ones has seen them, when it went on behind them.
            first: first.filter(|first| counts.total() - unfit - counts.of(RowState::Planned) <= *first),
            unfit,
            journal,
            run,
            terms,
            zones,
            counts,
            streak: 0,
        })
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// What is the same for all of its rows.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Rows by state.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Launched rows whose end is awaited.
    pub(super) fn followed(&self) -> u64 {
        self.followed
    }

    /// Goes on behind the first rows.
    pub(super) fn all(&mut self) {
        self.first = None;
    }

    /// Whether only the first rows are to go, and all of them have come to their end.
    pub(super) fn first_are_done(&self) -> bool {
        self.first.is_some() && self.allowed() == 0 && self.under_way() == 0 && self.followed == 0
    }

    /// Whether nothing of it was ever sent.
    pub fn is_untouched(&self) -> bool {
        self.counts.of(RowState::Planned) + self.unfit == self.counts.total()
    }

    /// The run was never there.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub(super) fn forget(&mut self) -> Result<(), JournalError> {
        self.journal.forget(&self.run)
    }

    /// Notes what keeps it from going on, for those who look.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(super) fn set_trouble(&mut self, trouble: Option<String>) -> Result<(), JournalError> {
        if self.run.trouble != trouble {
            self.journal.set_trouble(self.run.id, trouble.as_deref())?;
            self.run.trouble = trouble;
        }
        Ok(())
    }

    /// Rows that are published, or being so, and have no result.
    pub(super) fn under_way(&self) -> u64 {
        self.counts.of(RowState::Sending) + self.counts.of(RowState::Published)
    }

    /// Whether every row has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.counts.of(RowState::Planned) + self.under_way() + self.followed == 0
    }

    /// Planned rows that may go, for all that was asked.
    fn allowed(&self) -> u64 {
        let planned = self.counts.of(RowState::Planned);
        let begun = self.counts.total() - self.unfit - planned;
        self.first
            .map_or(planned, |first| planned.min(first.saturating_sub(begun)))
    }

    /// What goes now. Noted as being sent when this returns: a crash before they are leaves rows in doubt.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub(super) fn next(&mut self, now: Timestamp, room: Room) -> Result<Batch, JournalError> {
        let mut batch = Batch {
            jobs: Vec::new(),
            wake: None,
        };
        let mut sending = Vec::new();
        if self.doubts {
            self.doubts = false;
            self.resolve(now, &mut batch, &mut sending)?;
        }
        let most = room.rows.min(usize::try_from(self.allowed()).unwrap_or(usize::MAX));
        let mut wake = self.open(now, room.ahead)?;
        let mut left = most;
        while left > 0 {
            left -= 1;
            let due = self.pacer.next(now);
            let Some(zone) = self.choose(now) else { break };
            if due > now {
                wake = Some(wake.map_or(due, |wake| wake.min(due)));
                break;
            }
            let (Some(row), Some(open)) = (zone.rows.pop_front(), zone.open) else {
                break;
            };
            let used_up = zone.rows.is_empty() && !zone.dry;
            self.pacer.launched(now);
            self.counts.shift(RowState::Planned, RowState::Sending, 1);
            self.send(&row, &open, now, &mut batch, &mut sending);
            if used_up || left == 0 {
                // There may be more; its next rows are read when these are noted as being sent.
                wake = Some(now);
                break;
            }
        }
        batch.wake = wake;
        if !sending.is_empty() {
            self.journal.sending(self.run.id, &sending)?;
        }
        Ok(batch)
    }

    /// Looks which zones are open, and reads rows for them; when the next one opens.
    fn open(&mut self, now: Timestamp, ahead: Duration) -> Result<Option<Timestamp>, JournalError> {
        let page = (PAGE / self.zones.len().max(1)).max(PAGE_OF_ZONE);
        let goes = schedule::later(now, ahead);
        let schedule = &self.terms.schedule;
        let mut wake: Option<Timestamp> = None;
        for zone in &mut self.zones {
            if zone.rows.is_empty() && !zone.dry {
                zone.rows = self.journal.planned(self.run.id, zone.name.as_deref(), page)?.into();
                zone.dry = zone.rows.len() < page;
            }
            if zone.rows.is_empty() {
                continue;
            }
            if zone.open.is_none_or(|open| open.is_over(now)) {
                zone.open = schedule.opening(&zone.zone, now);
            }
            let Some(open) = zone.open else {
                // Its windows never open any more: the last dates that may be are over.
                let why = "its windows do not open any more";
                let moved = self.journal.never(self.run.id, zone.name.as_deref(), why)?;
                self.counts.shift(RowState::Planned, RowState::Expired, moved as u64);
                zone.rows.clear();
                zone.dry = true;
                continue;
            };
            // What is in the lane takes until its end: the next one is for these rows.
            if let Some(Expiry::Window(closes)) = schedule.expiry(&open, now)
                && closes <= goes
            {
                zone.open = schedule.opening(&zone.zone, closes);
            }
            if let Some(opens) = zone.open.map(|open| open.opens).filter(|opens| *opens > now) {
                wake = Some(wake.map_or(opens, |wake| wake.min(opens)));
            }
        }
        Ok(wake)
    }

    /// Of the zones that are open the one whose row stands first in the input.
    fn choose(&mut self, now: Timestamp) -> Option<&mut Zone> {
        let open = |zone: &&mut Zone| zone.open.is_some_and(|open| open.contains(now));
        let waiting = self.zones.iter_mut().filter(open);
        let with_row = waiting.filter(|zone| !zone.rows.is_empty());
        with_row.min_by_key(|zone| zone.rows.front().map(|row| row.planned.line))
    }

    fn send(&self, row: &Row, open: &Opening, now: Timestamp, batch: &mut Batch, sending: &mut Vec<Sending>) {
        let expiry = self.terms.schedule.expiry(open, now);
        let track = self.terms.track || self.first.is_some();
        sending.push(Sending {
            line: row.planned.line,
            expires: expiry.map(Expiry::at),
            window: matches!(expiry, Some(Expiry::Window(_))),
            track,
        });
        batch
            .jobs
            .push((row.planned.line, self.job(row, expiry.map(Expiry::at), track)));
    }

    /// The same id, whenever it is published: whoever follows the results knows it by that.
    fn job(&self, row: &Row, expires_at: Option<Timestamp>, track: bool) -> Job {
        Job {
            id: format!("{}:{}:{}", self.run.name, self.run.number, row.planned.key),
            id_given: true,
            flow_id: row.planned.flow_id.clone(),
            inputs: RawValue::from_string(row.planned.inputs.clone()).ok(),
            flow_version: None,
            name: None,
            campaign: Some(self.run.name.clone()),
            not_before: None,
            expires_at,
            max_attempts: self.terms.max_attempts,
            on_unknown: self.terms.on_unknown,
            track,
        }
    }

    /// Publishes rows again of which nobody knows whether the broker has them, with the same id; or with park leaves them
    /// to a person. Whoever was let down by a broker hears what it says first: results may tell.
    fn resolve(&mut self, now: Timestamp, batch: &mut Batch, sending: &mut Vec<Sending>) -> Result<(), JournalError> {
        let rows = self.journal.in_doubt(self.run.id)?;
        if self.terms.on_unknown.unwrap_or(self.terms.on_unknown_else) == OnUnknown::Park {
            let lines: Vec<_> = rows.iter().map(|row| row.planned.line).collect();
            let parked = self.journal.parked(self.run.id, &lines)?;
            self.counts.shift(RowState::Sending, RowState::Unknown, parked as u64);
            return Ok(());
        }
        for row in rows {
            let zone = Zone::new(row.planned.zone.clone(), &self.terms.zone).zone;
            let open = self
                .terms
                .schedule
                .opening(&zone, now)
                .filter(|open| open.contains(now));
            match open {
                Some(open) => self.send(&row, &open, now, batch, sending),
                // Its window is over, and so is the time of what may lie in the lane.
                None => self.back(&[row.planned.line])?,
            }
        }
        Ok(())
    }

    /// Notes what came of a batch.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(super) fn sent(&mut self, sent: &Sent) -> Result<(), JournalError> {
        if !sent.confirmed.is_empty() {
            let moved = self.journal.confirmed(self.run.id, &sent.confirmed)?;
            self.counts.shift(RowState::Sending, RowState::Published, moved as u64);
        }
        if !sent.withdrawn.is_empty() {
            self.back(&sent.withdrawn)?;
        }
        self.doubts |= !sent.doubtful.is_empty();
        Ok(())
    }

    fn back(&mut self, lines: &[u64]) -> Result<(), JournalError> {
        let moved = self.journal.withdrawn(self.run.id, lines)?;
        self.counts.shift(RowState::Sending, RowState::Planned, moved as u64);
        self.refill(lines.len());
        Ok(())
    }

    /// Rows are planned again: the journal has them.
    fn refill(&mut self, rows: usize) {
        if rows == 0 {
            return;
        }
        for zone in &mut self.zones {
            zone.dry = false;
            zone.rows.clear();
        }
    }

    /// Takes results in; the reason, when that were too many failures in a row.
    ///
    /// # Errors
    /// When they cannot be noted.
    pub(super) fn take_in(&mut self, told: &[Told], read_up_to: u64) -> Result<Heard, JournalError> {
        let Taken { changes, foreign } = self.journal.take_in(self.run.id, told, read_up_to)?;
        let mut heard = Heard {
            rows: changes.len(),
            foreign,
            tripped: None,
        };
        for change in &changes {
            self.counts.shift(change.from, change.to, 1);
            self.follow(change);
            heard.tripped = self.count(change).or(heard.tripped);
        }
        let again = changes.iter().filter(|change| change.to == RowState::Planned).count();
        self.refill(again);
        Ok(heard)
    }

    fn follow(&mut self, change: &Change) {
        match (change.from, change.to) {
            (_, RowState::Launched) if change.track => self.followed += 1,
            (RowState::Launched, _) if change.track => self.followed = self.followed.saturating_sub(1),
            _ => {}
        }
    }

    fn count(&mut self, change: &Change) -> Option<String> {
        match change.to {
            RowState::Launched => self.streak = 0,
            RowState::Dead | RowState::Unknown => self.streak += 1,
            RowState::Planned
            | RowState::Sending
            | RowState::Published
            | RowState::Expired
            | RowState::Cancelled
            | RowState::Unaccounted
            | RowState::Completed
            | RowState::Failed => {}
        }
        let most = self.terms.pause_on_failures;
        (most > 0 && self.streak >= most).then(|| {
            self.streak = 0;
            let why = change
                .error
                .as_deref()
                .or(change.reason.as_deref())
                .unwrap_or("no reason given");
            format!("{most} rows in a row were not launched; the last one: {why}")
        })
    }

    /// Nothing more is published: what is planned is cancelled, and what may be on its way is waited for.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(super) fn cancel(&mut self) -> Result<(), JournalError> {
        self.move_all(RowState::Sending, RowState::Published, None)?;
        self.move_all(
            RowState::Planned,
            RowState::Cancelled,
            Some("cancelled before it was published"),
        )?;
        self.doubts = false;
        Ok(())
    }

    /// Notes of all rows in one state that they are in another.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(super) fn move_all(&mut self, from: RowState, to: RowState, why: Option<&str>) -> Result<(), JournalError> {
        let moved = self.journal.move_all(self.run.id, from, to, why)?;
        self.counts.shift(from, to, moved as u64);
        Ok(())
    }

    /// Rows of which nothing was heard for so long.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(super) fn unaccounted(&mut self, silence: Duration) -> Result<(), JournalError> {
        let moved = self.journal.unaccounted(self.run.id, silence)?;
        self.counts
            .shift(RowState::Published, RowState::Unaccounted, moved as u64);
        Ok(())
    }

    /// Notes how the run stands.
    ///
    /// # Errors
    /// When it cannot be noted.
    pub(super) fn stand(&mut self, state: RunState, reason: Option<String>) -> Result<(), JournalError> {
        self.journal.set_state(self.run.id, state, reason.as_deref())?;
        self.run.state = state;
        self.run.reason = reason;
        Ok(())
    }
}

/// What results said.
#[derive(Debug)]
pub(super) struct Heard {
    /// Rows that stand otherwise.
    pub(super) rows: usize,
    /// Results of rows that were never sent from here.
    pub(super) foreign: u64,
    /// Why the campaign is to pause.
    pub(super) tripped: Option<String>,
}

impl Zone {
    fn new(name: Option<String>, or: &TimeZone) -> Self {
        // The check of the rows has found it right.
        let zone = name.as_deref().and_then(|name| schedule::zone(name).ok());
        Self {
            zone: zone.unwrap_or_else(|| or.clone()),
            name,
            open: None,
            rows: VecDeque::new(),
            dry: false,
        }
    }
}

/// How long so many jobs take at so many a second.
pub(super) fn takes(jobs: u64, per_second: Option<f64>) -> Duration {
    let secs = per_second.map_or(0.0, |rate| jobs as f64 / rate);
    SignedDuration::try_from_secs_f64(secs)
        .ok()
        .and_then(|long| Duration::try_from(long).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
