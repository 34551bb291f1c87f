//! When the rows of a campaign go: pure, with time as an argument.
//!
//! | asked | by |
//! | --- | --- |
//! | when may this zone's rows go? | [`Schedule::opening`]: its windows, not before the start |
//! | when may the next row go? | [`Pacer`]: the pace, the waves or the ramp |
//! | when is a launched row too late? | [`Schedule::expiry`]: its window's end, or `--expires-after`, whichever is earlier |
//! | what will come of all that? | [`forecast()`] |
//!
//! A row goes when its zone is open and the pacer lets one go. So the zones share the pace, and a closed one holds nobody
//! back.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

mod forecast;
mod not_on;
mod pacer;
mod stagger;
mod start;
mod windows;
mod zone;

pub use forecast::{Bin, Forecast, Rows, forecast};
pub use not_on::NotOn;
pub use pacer::Pacer;
pub use stagger::{Pace, Ramp, Stagger, Waves};
pub use start::{Beginning, Start};
pub use windows::{Opening, Windows};
pub(in crate::campaign) use zone::later;
pub use zone::{UnknownZone, zone};

/// Text to value and back, for serde: `#[serde(try_from = "String", into = "String")]`.
macro_rules! as_text {
    ($of:ty) => {
        impl TryFrom<String> for $of {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$of> for String {
            fn from(value: $of) -> Self {
                value.to_string()
            }
        }
    };
}
use as_text;

/// When the rows of a campaign go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Not before this.
    pub start: Option<Start>,
    /// How they are spread.
    pub stagger: Stagger,
    /// When they may go; always, without any.
    pub windows: Option<Windows>,
    /// How long after its launch was asked for a row is still worth launching.
    pub expires_after: Option<Duration>,
}

/// There are local times, and nothing says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is local time, and no time zone is given: add --timezone Europe/Berlin, or --timezone-column with the column \
     that holds each row's own"
)]
pub struct NoZone {
    what: &'static str,
}

/// Until when a row may be launched, and what it has missed after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Its window: it is planned again for the next.
    Window(Timestamp),
    /// Its own time: it has expired for good.
    Age(Timestamp),
}

impl Expiry {
    /// The job's `expiresAt`: at this very time it is too late.
    pub fn at(self) -> Timestamp {
        match self {
            Self::Window(at) | Self::Age(at) => at,
        }
    }
}

impl Schedule {
    /// # Errors
    /// When there are local times and no zone: neither one for all nor a column.
    pub fn check_zone(&self, given: bool) -> Result<(), NoZone> {
        let local_start = matches!(self.start, Some(Start::Local(_)));
        let what = match (&self.windows, local_start) {
            _ if given => return Ok(()),
            (Some(_), _) => "a window (or a date not to launch on)",
            (None, true) => "a start without an offset",
            (None, false) => return Ok(()),
        };
        Err(NoZone { what })
    }

    /// When rows of this zone may go: what is open at `from`, or opens next. `None` when nothing ever opens again.
    pub fn opening(&self, zone: &TimeZone, from: Timestamp) -> Option<Opening> {
        let start = self.start.map_or(Timestamp::MIN, |start| start.at(zone));
        let Some(windows) = &self.windows else {
            return Some(Opening {
                opens: start,
                closes: None,
            });
        };
        let open = windows.opening(zone, from.max(start))?;
        Some(Opening {
            opens: open.opens.max(start),
            ..open
        })
    }

    /// Until when a row may be launched that is let go at `at`, while this is open.
    pub fn expiry(&self, open: &Opening, at: Timestamp) -> Option<Expiry> {
        let window = open.closes.map(Expiry::Window);
        let age = self.expires_after.map(|age| Expiry::Age(zone::later(at, age)));
        match (window, age) {
            (Some(window), Some(age)) if age.at() < window.at() => Some(age),
            (Some(window), _) => Some(window),
            (None, age) => age,
        }
    }
}

#[cfg(test)]
mod tests;
