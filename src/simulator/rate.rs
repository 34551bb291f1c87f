//! Rates and the two kinds of window in which a server counts requests.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many requests are allowed: `300/min`, `5/s`, `18000/h`, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rate {
    /// No limit at all.
    Unlimited,
    /// So many per unit of so many seconds.
    Per {
        /// The number before the slash.
        count: u64,
        /// The length of the unit after it, in seconds.
        seconds: u64,
    },
}

impl Rate {
    /// How many requests one window of that many seconds lets pass; `None` without a limit.
    pub(crate) fn per_window(self, window_seconds: f64) -> Option<u64> {
        match self {
            Rate::Unlimited => None,
            // Rounded, because 0.1 s windows are not exact in binary.
            Rate::Per { count, seconds } => Some((count as f64 * window_seconds / seconds as f64).round() as u64),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a rate: write 300/min, 5/s, 18000/h or unlimited");
        if text == "unlimited" {
            return Ok(Rate::Unlimited);
        }
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        match count.trim().parse() {
            Ok(count) if count > 0 => Ok(Rate::Per { count, seconds }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Unlimited => f.write_str("unlimited"),
            Rate::Per { count, seconds: 1 } => write!(f, "{count}/s"),
            Rate::Per { count, seconds: 3600 } => write!(f, "{count}/h"),
            Rate::Per { count, .. } => write!(f, "{count}/min"),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        rate.to_string()
    }
}

/// How a server counts: nobody could verify which of the two the vendor uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// Begins with the first request after the last window ended; then the count starts at zero.
    #[default]
    Fixed,
    /// The requests of the last 60 s, at any moment.
    Sliding,
}

/// The limit in force: how many, in how long, counted how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) allowed: u64,
    pub(crate) length_us: i64,
    pub(crate) window: Window,
}

/// What a counted request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: bool,
    /// Requests let pass in the window, this one included if it was.
    pub(crate) used: u64,
    /// Until the next request passes for sure: the end of a fixed window, the oldest leaving a sliding one.
    pub(crate) reset_us: i64,
}

/// The count of one token. Times are microseconds and never go back.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    fixed_since: i64,
    fixed_used: u64,
    recent: VecDeque<i64>,
}

impl Counter {
    /// Counts a request under `limit`. Refused requests do not count.
    pub(crate) fn count(&mut self, limit: Limit, now: i64) -> Count {
        match limit.window {
            Window::Fixed => self.count_fixed(limit, now),
            Window::Sliding => self.count_sliding(limit, now),
        }
    }

    fn count_fixed(&mut self, limit: Limit, now: i64) -> Count {
        self.recent.clear();
        if self.fixed_used == 0 || now - self.fixed_since >= limit.length_us {
            self.fixed_since = now;
            self.fixed_used = 0;
        }
        let passed = self.fixed_used < limit.allowed;
        self.fixed_used += u64::from(passed);
        Count {
            passed,
            used: self.fixed_used,
            reset_us: self.fixed_since + limit.length_us - now,
        }
    }

    fn count_sliding(&mut self, limit: Limit, now: i64) -> Count {
        self.fixed_used = 0;
        forget_before(&mut self.recent, now - limit.length_us);
        let passed = (self.recent.len() as u64) < limit.allowed;
        if passed {
            self.recent.push_back(now);
        }
        // A limit lowered at run time leaves more in the window than it allows: all of the surplus must leave first.
        let surplus = self.recent.len().saturating_sub(limit.allowed.max(1) as usize);
        let oldest = self.recent.get(surplus).copied().unwrap_or(now);
        Count {
            passed,
            used: self.recent.len() as u64,
            reset_us: oldest + limit.length_us - now,
        }
    }
}

/// The most events that ever stood in one sliding window: the proof that a client kept its rate.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    recent: VecDeque<i64>,
    most: usize,
}

impl Peak {
    pub(crate) fn add(&mut self, length_us: i64, now: i64) {
        forget_before(&mut self.recent, now - length_us);
        self.recent.push_back(now);
        self.most = self.most.max(self.recent.len());
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }
}

fn forget_before(times: &mut VecDeque<i64>, limit: i64) {
    while times.front().is_some_and(|&at| at <= limit) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(window: Window, times: &[i64]) -> Vec<bool> {
        let mut counter = Counter::default();
        let limit = Limit {
            allowed: 2,
            length_us: 100,
            window,
        };
        times.iter().map(|&now| counter.count(limit, now).passed).collect()
    }

    #[test]
    fn a_fixed_window_starts_with_its_first_request_and_lets_two_bursts_meet() {
        let passed = pattern(Window::Fixed, &[0, 90, 95, 100, 101, 102]);
        assert_eq!(passed, [true, true, false, true, true, false]);
    }

    #[test]
    fn a_sliding_window_never_holds_more_than_allowed() {
        let passed = pattern(Window::Sliding, &[0, 90, 95, 100, 101, 190]);
        assert_eq!(passed, [true, true, false, true, false, true]);
    }

    #[test]
    fn the_reset_says_when_the_next_request_passes() {
        let limit = Limit {
            allowed: 1,
            length_us: 100,
            window: Window::Sliding,
        };
        let mut counter = Counter::default();
        counter.count(limit, 10);
        assert_eq!(
            counter.count(limit, 40),
            Count {
                passed: false,
                used: 1,
                reset_us: 70
            }
        );
        assert!(counter.count(limit, 110).passed);
    }

    #[test]
    fn rates_are_read_and_written() {
        for text in ["300/min", "5/s", "18000/h", "unlimited"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "0/min", "300", "300/day", "-1/s"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("300/min"), "{text}");
        }
        assert_eq!("300/min".parse::<Rate>().unwrap().per_window(2.0), Some(10));
    }

    #[test]
    fn a_peak_is_the_most_in_any_window() {
        let mut peak = Peak::default();
        [0, 10, 100, 105, 109, 300].into_iter().for_each(|at| peak.add(100, at));
        assert_eq!(peak.most(), 4);
    }
}
