//! How much lies ready in the lane: what was seen last, and what went in and came out since.

/// Jobs that may lie ready while nobody knows how fast they are taken: without a limit a worker takes thousands a second.
const UNLIMITED: f64 = 10_000.0;
/// The work that lies ready at most, in seconds: what is published can be stopped, but not as fast as what is not.
const AHEAD_SECS: f64 = 60.0;

/// The estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    seen: Option<u64>,
    published: u64,
    ended: u64,
}

impl Ahead {
    /// So many were seen in the lane.
    pub(super) fn saw(&mut self, ready: Option<u32>) {
        *self = Self {
            seen: ready.map(u64::from),
            published: 0,
            ended: 0,
        };
    }

    /// So many were published.
    pub(super) fn published(&mut self, jobs: usize) {
        self.published += jobs as u64;
    }

    /// So many have come to their end.
    pub(super) fn ended(&mut self, jobs: usize) {
        self.ended += jobs as u64;
    }

    /// What lies there, as far as can be said: of so many that have no result, when the lane cannot be seen.
    pub(super) fn ready(&self, under_way: u64) -> u64 {
        match self.seen {
            Some(seen) => (seen + self.published).saturating_sub(self.ended),
            None => under_way,
        }
    }
}

/// How many may lie ready at this rate.
pub(super) fn most(per_second: Option<f64>) -> u64 {
    per_second.map_or(UNLIMITED, |rate| (rate * AHEAD_SECS).max(1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_work_lies_ready_and_what_is_seen_corrects_the_estimate() {
        assert_eq!(most(Some(5.0)), 300);
        assert_eq!(most(Some(0.001)), 1);
        let mut ahead = Ahead::default();
        assert_eq!(ahead.ready(7), 7, "nothing was seen yet");
        ahead.saw(Some(100));
        ahead.published(50);
        ahead.ended(20);
        assert_eq!(ahead.ready(7), 130);
        // Retries and other people's jobs end too.
        ahead.ended(500);
        assert_eq!(ahead.ready(7), 0);
        ahead.saw(Some(3));
        assert_eq!(ahead.ready(7), 3);
        ahead.saw(None);
        assert_eq!(ahead.ready(7), 7);
    }
}
