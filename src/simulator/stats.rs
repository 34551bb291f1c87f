//! Counters and gauges.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::rate::Peak;
use super::rules::Endpoint;

/// What became of a request, as the counters tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Answered whole.
    Status(u16),
    /// Answered, cut short.
    Cut(u16),
    /// Reset without an answer.
    Reset,
    /// The client was gone before it had sent its request whole.
    Gone,
}

impl Ending {
    /// The status given, 0 when none was.
    pub(crate) fn status(self) -> u16 {
        match self {
            Ending::Status(status) | Ending::Cut(status) => status,
            Ending::Reset | Ending::Gone => 0,
        }
    }

    fn label(self) -> String {
        match self {
            Ending::Status(status) => status.to_string(),
            Ending::Cut(_) => "cut".to_owned(),
            Ending::Reset => "reset".to_owned(),
            Ending::Gone => "gone".to_owned(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    by_ending: BTreeMap<(Endpoint, Ending), u64>,
    pub(crate) requests_peak: Peak,
    pub(crate) launches_peak: Peak,
}

impl Stats {
    pub(crate) fn count(&mut self, endpoint: Endpoint, ending: Ending) {
        *self.by_ending.entry((endpoint, ending)).or_default() += 1;
    }

    pub(crate) fn of(&self, endpoint: Endpoint) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for ((_, ending), count) in self.by_ending.iter().filter(|((which, _), _)| *which == endpoint) {
            *counts.entry(ending.label()).or_default() += count;
        }
        counts
    }
}

/// How many at once, now and at most.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    /// One more, until the guard is dropped: however the request ends.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Inside(self)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

/// One that is in flight.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gauge);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
