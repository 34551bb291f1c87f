//! A histogram that stays small, however long a campaign takes.

use jiff::{SignedDuration, Timestamp};

/// Bins at most; when a campaign takes longer, two become one.
const MOST: usize = 400;
const HOUR: i64 = 3600;

/// What is launched in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bin {
    /// When it begins.
    pub begins: Timestamp,
    /// Launches of each zone, in the order of [`Rows::zones`](super::Rows::zones).
    pub launches: Vec<u64>,
}

/// Bins of an hour, of two, of four…
#[derive(Debug)]
pub(super) struct Bins {
    zones: usize,
    /// Where the first bin begins, in seconds: on the hour.
    begins: Option<i64>,
    hours: i64,
    bins: Vec<Vec<u64>>,
}

impl Bins {
    pub(super) fn new(zones: usize) -> Self {
        Self {
            zones,
            begins: None,
            hours: 1,
            bins: Vec::new(),
        }
    }

    /// Counts a launch; they come in the order of time.
    pub(super) fn count(&mut self, at: Timestamp, zone: usize) {
        let at = at.as_second();
        let begins = *self.begins.get_or_insert(at - at.rem_euclid(HOUR));
        let bin = loop {
            let bin = usize::try_from((at - begins) / (self.hours * HOUR)).unwrap_or_default();
            if bin < MOST {
                break bin;
            }
            self.halve();
        };
        if bin >= self.bins.len() {
            self.bins.resize_with(bin + 1, || vec![0; self.zones]);
        }
        self.bins[bin][zone] += 1;
    }

    fn halve(&mut self) {
        self.hours *= 2;
        let pairs = self.bins.chunks(2);
        let summed = pairs.map(|pair| {
            (0..self.zones)
                .map(|zone| pair.iter().map(|bin| bin[zone]).sum())
                .collect()
        });
        self.bins = summed.collect();
    }

    /// How long each bin is, and the bins.
    pub(super) fn into_parts(self) -> (SignedDuration, Vec<Bin>) {
        let length = SignedDuration::from_hours(self.hours);
        let first = self.begins.and_then(|at| Timestamp::from_second(at).ok());
        let begins = std::iter::successors(first, |at| at.checked_add(length).ok());
        let bins = begins.zip(self.bins);
        (
            length,
            bins.map(|(begins, launches)| Bin { begins, launches }).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_for_each_hour_and_a_number_for_each_zone() {
        let mut bins = Bins::new(2);
        for (at, zone) in [
            ("2026-12-01T09:59Z", 0),
            ("2026-12-01T10:00Z", 1),
            ("2026-12-01T12:30Z", 1),
        ] {
            bins.count(at.parse().unwrap(), zone);
        }
        let (length, bins) = bins.into_parts();
        assert_eq!(length, SignedDuration::from_hours(1));
        assert_eq!(bins[0].begins, "2026-12-01T09:00Z".parse().unwrap());
        let launches: Vec<_> = bins.into_iter().map(|bin| bin.launches).collect();
        assert_eq!(launches, [[1, 0], [0, 1], [0, 0], [0, 1]]);
    }

    #[test]
    fn a_century_has_no_more_bins_than_a_week_and_loses_no_launch() {
        let mut bins = Bins::new(1);
        for hour in 0..1_000_000 {
            bins.count(Timestamp::from_second(hour * HOUR).unwrap(), 0);
        }
        let (length, bins) = bins.into_parts();
        assert!(bins.len() <= MOST && length == SignedDuration::from_hours(4096));
        assert_eq!(bins.iter().map(|bin| bin.launches[0]).sum::<u64>(), 1_000_000);
    }
}
