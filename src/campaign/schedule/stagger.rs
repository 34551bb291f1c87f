//! How launches are spread: a pace, waves, or a ramp.
//!
//! | | the n-th launch (from 0) is due, counted from the first, after |
//! | --- | --- |
//! | nothing given | no time at all: the limits alone decide |
//! | `120/min` | n · 0.5 s |
//! | `500/10m` | ⌊n / 500⌋ · 10 min |
//! | `10/min..300/min:30m` | the time t with r₀·t + (r₁ − r₀)·t² / 2D = n; past D the rest at r₁ |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::as_text;
use crate::admit::settings::{Rate, Unit};
use crate::units::{format_duration, parse_duration};

/// How the launches of a campaign are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stagger {
    /// Not at all: as fast as the limits allow.
    #[default]
    AtOnce,
    /// `--pace`
    Pace(Pace),
    /// `--waves`
    Waves(Waves),
    /// `--ramp`
    Ramp(Ramp),
}

/// `120/min`: one launch after the other, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pace {
    launches: u32,
    per: Unit,
}

/// `500/10m`: so many at the start of each such time, and within a wave as fast as the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waves {
    size: u32,
    every: Duration,
}

/// `10/min..300/min:30m`: from the first pace to the second, evenly, over this time; then the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ramp {
    from: Pace,
    to: Pace,
    over: Duration,
}

impl Stagger {
    /// The one that is given.
    ///
    /// # Errors
    /// When two are.
    pub fn one_of(pace: Option<Pace>, waves: Option<Waves>, ramp: Option<Ramp>) -> Result<Self, String> {
        match (pace, waves, ramp) {
            (None, None, None) => Ok(Self::AtOnce),
            (Some(pace), None, None) => Ok(Self::Pace(pace)),
            (None, Some(waves), None) => Ok(Self::Waves(waves)),
            (None, None, Some(ramp)) => Ok(Self::Ramp(ramp)),
            _ => Err("pace, waves and ramp exclude each other: give one of them".to_owned()),
        }
    }

    /// Launches per second that it comes to when it is at its fastest, waves over their whole time; `None` when the limits
    /// alone decide. More than the API allows cannot be kept.
    pub fn per_second(&self) -> Option<f64> {
        match self {
            Self::AtOnce => None,
            Self::Pace(pace) => Some(pace.per_second()),
            Self::Waves(waves) => Some(f64::from(waves.size) / waves.every.as_secs_f64()),
            Self::Ramp(ramp) => Some(ramp.from.per_second().max(ramp.to.per_second())),
        }
    }

    /// When launch `n` (from 0) is due, counted from the first.
    pub(super) fn due(&self, n: u64) -> Duration {
        match self {
            Self::AtOnce => Duration::ZERO,
            Self::Pace(pace) => pace.due(n),
            Self::Waves(waves) => waves.due(n),
            Self::Ramp(ramp) => ramp.due(n),
        }
    }
}

impl Pace {
    fn per_second(&self) -> f64 {
        f64::from(self.launches) / self.per.duration().as_secs_f64()
    }

    fn due(&self, n: u64) -> Duration {
        // In whole nanoseconds from the first launch, so that rounding never adds up.
        let nanos = u128::from(n) * self.per.duration().as_nanos() / u128::from(self.launches);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, (nanos % 1_000_000_000) as u32)
    }
}

impl Waves {
    /// How many launches a wave has.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.size)
    }

    /// How long it is from the start of one to that of the next.
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    fn due(&self, n: u64) -> Duration {
        let waves = u32::try_from(n / self.size()).unwrap_or(u32::MAX);
        self.every.saturating_mul(waves)
    }
}

impl Ramp {
    fn due(&self, n: u64) -> Duration {
        let (from, to, over) = (self.from.per_second(), self.to.per_second(), self.over.as_secs_f64());
        let n = n as f64;
        let ramped = (from + to) / 2.0 * over;
        let seconds = if n <= ramped {
            // The root of r₀·t + (r₁ − r₀)·t² / 2D = n, in the form that holds when both paces are the same.
            2.0 * n / (from + (from * from + 2.0 * (to - from) / over * n).max(0.0).sqrt())
        } else {
            over + (n - ramped) / to
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

as_text!(Pace);
as_text!(Waves);
as_text!(Ramp);

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Rate::Per(launches, per)) => Ok(Self { launches, per }),
            Ok(Rate::Unlimited) | Err(_) if text.parse::<Waves>().is_ok() => {
                Err(format!("must be a pace such as \"120/min\"; {text:?} would be waves"))
            }
            Ok(Rate::Unlimited) | Err(_) => Err(format!(
                "must be a pace of 1 at least, such as \"120/min\", \"2/s\" or \"5000/h\", not {text:?}"
            )),
        }
    }
}

impl FromStr for Waves {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("must be waves of 1 at least and the time from one to the next, such as \"500/10m\", not {text:?}")
        };
        let (size, every) = text.split_once('/').ok_or_else(wrong)?;
        let size = size.trim().parse().ok().filter(|size| *size > 0).ok_or_else(wrong)?;
        let every = parse_duration(every)
            .ok()
            .filter(|every| !every.is_zero())
            .ok_or_else(wrong)?;
        Ok(Self { size, every })
    }
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "must be two paces and the time from the first to the second, such as \"10/min..300/min:30m\", not {text:?}"
            )
        };
        let (from, rest) = text.split_once("..").ok_or_else(wrong)?;
        let (to, over) = rest.split_once(':').ok_or_else(wrong)?;
        let over = parse_duration(over)
            .ok()
            .filter(|over| !over.is_zero())
            .ok_or_else(wrong)?;
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) => Ok(Self { from, to, over }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rate::Per(self.launches, self.per).fmt(f)
    }
}

impl fmt::Display for Waves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.size, format_duration(self.every))
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}:{}", self.from, self.to, format_duration(self.over))
    }
}

#[cfg(test)]
mod tests;
