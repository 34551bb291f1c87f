//! Lets launches go, one by one, as the stagger has it.
//!
//! Launch n is due at `origin` + due(n) ([`Stagger`]). The origin is the start, and is moved only when a launch does not go
//! in its turn:
//!
//! * Up to `LATE` (0.5 s) after it was due, it was in its turn: a timer or a confirm that came late, which the next ones
//!   make good, so that delays never add up. That is 0.5 s' worth in any minute, 0.8 %.
//! * Later than that something held it up: a pause, no row whose zone is open, the API's limit. What was not used is gone.
//!   The origin moves so that this launch was due when it went, and the next are due from there: never a burst.
//! * Within a wave all are due at once, and are slow because of the limits. There it is a launch a minute after the one
//!   before (or after a tenth of a wave's time, if that is less) that tells of a pause: the wave is taken up where it was,
//!   and the next starts its whole time later. So waves never run into one another after a pause.
//!
//! A ramp goes up by what was launched, not by the clock: after a pause it goes on from where it was.
//!
//! How many were launched, and when the last: that is all it takes to go on after a restart. What was late by then is not
//! made good, and the next wave comes a whole time after the last launch of the one before; so a restart is never faster.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::stagger::Stagger;
use super::zone::later;

/// Launches so late are still in their turn.
const LATE: Duration = Duration::from_millis(500);
/// A wave that nothing was launched of for so long was paused.
const QUIET: Duration = Duration::from_secs(60);

/// Says when the next launch may go.
#[derive(Clone, Debug)]
pub struct Pacer {
    stagger: Stagger,
    origin: Timestamp,
    launched: u64,
    last: Timestamp,
}

impl Pacer {
    /// For a campaign that begins.
    pub fn begin(stagger: Stagger, started: Timestamp) -> Self {
        Self {
            stagger,
            origin: started,
            launched: 0,
            last: started,
        }
    }

    /// For a campaign that goes on: so many were launched so far, the last at `last` (none: it begins at `started`).
    pub fn resume(stagger: Stagger, started: Timestamp, launched: u64, last: Option<Timestamp>) -> Self {
        let mut pacer = Self::begin(stagger, started);
        if let (Some(last), Some(n)) = (last, launched.checked_sub(1)) {
            pacer.launched = n;
            pacer.anchor(last);
            pacer.launched = launched;
            pacer.last = last;
        }
        pacer
    }

    /// When the next may go; a time that has passed means now. Asking again without a launch changes nothing, unless the
    /// clock was set back: then it is one gap from now, and not however long the clock takes to be there again.
    pub fn next(&mut self, now: Timestamp) -> Timestamp {
        let due = self.due();
        let Some(before) = self.launched.checked_sub(1) else {
            return due;
        };
        let gap = self.stagger.due(self.launched) - self.stagger.due(before);
        let latest = later(now, gap);
        if due > latest {
            self.anchor(latest);
        }
        due.min(latest)
    }

    /// One was launched, at this time.
    pub fn launched(&mut self, at: Timestamp) {
        let due = self.due();
        let in_turn_until = match self.stagger {
            Stagger::Waves(waves) if !self.launched.is_multiple_of(waves.size()) => {
                later(self.last, QUIET.min(waves.every() / 10).max(LATE))
            }
            Stagger::AtOnce | Stagger::Pace(_) | Stagger::Waves(_) | Stagger::Ramp(_) => later(due, LATE),
        };
        if at < due || at > in_turn_until {
            self.anchor(at);
        }
        self.launched += 1;
        self.last = at;
    }

    fn due(&self) -> Timestamp {
        later(self.origin, self.stagger.due(self.launched))
    }

    /// Moves the origin so that the next launch is due at this time.
    fn anchor(&mut self, at: Timestamp) {
        let due = SignedDuration::try_from(self.stagger.due(self.launched)).unwrap_or(SignedDuration::MAX);
        self.origin = at.checked_sub(due).unwrap_or(Timestamp::MIN);
    }
}

#[cfg(test)]
mod tests;
