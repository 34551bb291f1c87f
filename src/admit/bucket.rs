//! The token bucket: never more than the API allows, and 99 % of it.
//!
//! The API counts calls in a window (60 s) against an allowance A. A bucket of capacity B that refills at r lets at most
//! ⌊B + r·W⌋ calls through in any time W. What the API sees in 60 s was sent in at most 60 s + J (the network's jitter),
//! so with r = (A + 1 − B) / (60 s + J), less a hair, no window ever holds more than A.
//!
//! B is the burst plus 20 ms of the rate: a timer that wakes late is repaid. (governor alone, at burst 1, never repays a
//! late wake-up and was measured at 97 %.) One launch is `CELLS` of governor's cells, so that B need not be whole.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

use super::settings::Rate;

/// governor's cells for one launch.
const CELLS: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// Calls sent in this much more than a window may arrive within it.
const JITTER: Duration = Duration::from_millis(250);
/// Wake-ups this late are repaid.
const LATE: Duration = Duration::from_millis(20);

/// tokio's clock for governor, so that a paused test clock pauses the bucket too.
#[derive(Clone, Debug)]
pub struct TokioClock(Instant);

impl Default for TokioClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

/// Why a limit cannot be kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BucketError {
    /// More at once than the whole allowance.
    #[error("limits.burst = {burst} is more than limits.rate allows in its window ({allowed}): lower the burst")]
    BurstOverRate {
        /// The burst.
        burst: u32,
        /// The allowance of one window.
        allowed: f64,
    },
}

/// A permit younger than this was not waited with. (Looking into the bucket costs a cell, so it is not done each time.)
const FRESH: Duration = Duration::from_millis(5);

/// Permission for one call that counts against the quota, and since when it is held. Not spending it wastes it: see
/// [`Bucket::pass_on`].
#[derive(Debug)]
#[must_use = "a permit that is dropped is quota that nobody uses"]
pub struct Permit(Nanos);

/// The bucket, shared by everything in this process that calls the API.
#[derive(Debug)]
pub struct Bucket<C: Clock<Instant = Nanos> = TokioClock> {
    limiter: Option<RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>>,
    clock: C,
    rate: Option<f64>,
    cells: u32,
    /// A permit that was passed on. One at most: more would be a burst.
    spare: AtomicBool,
    taken: AtomicU64,
}

impl Bucket {
    /// A bucket on tokio's clock.
    pub fn new(rate: Rate, burst: u32) -> Result<Self, BucketError> {
        Self::with_clock(rate, burst, TokioClock::default())
    }
}

impl<C: Clock<Instant = Nanos> + Clone> Bucket<C> {
    /// A bucket on another clock.
    pub fn with_clock(rate: Rate, burst: u32, clock: C) -> Result<Self, BucketError> {
        let unlimited = |clock| Self {
            limiter: None,
            clock,
            rate: None,
            cells: 0,
            spare: AtomicBool::new(false),
            taken: AtomicU64::new(0),
        };
        let Some((allowed, window)) = rate.allowance() else {
            return Ok(unlimited(clock));
        };
        let capacity = f64::from(burst) + allowed / window.as_secs_f64() * LATE.as_secs_f64();
        if f64::from(burst) > allowed.floor().max(1.0) {
            return Err(BucketError::BurstOverRate { burst, allowed });
        }
        let refill = (allowed + 1.0 - capacity) * (1.0 - 1e-6) / (window + JITTER).as_secs_f64();
        // Rounded up to whole nanoseconds, and the capacity down to whole cells: rounding never allows more.
        let period = Duration::from_nanos((1e9 / (refill * f64::from(CELLS.get()))).ceil() as u64);
        let cells = NonZeroU32::new((capacity * f64::from(CELLS.get())) as u32).unwrap_or(CELLS);
        let Some(quota) = Quota::with_period(period).map(|quota| quota.allow_burst(cells)) else {
            return Ok(unlimited(clock));
        };
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        let rate = Some(1.0 / (period.as_secs_f64() * f64::from(CELLS.get())));
        Ok(Self {
            limiter: Some(limiter),
            rate,
            cells: cells.get(),
            ..unlimited(clock)
        })
    }

    /// Takes a permit now, or says how long to wait for one.
    pub fn try_take(&self) -> Result<Permit, Duration> {
        if !self.spare.swap(false, Ordering::AcqRel)
            && let Some(limiter) = &self.limiter
        {
            match limiter.check_n(CELLS) {
                // A capacity below one launch is impossible: burst is 1 at least.
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(not_yet)) => {
                    let wait = not_yet.earliest_possible().duration_since(self.clock.now());
                    return Err(wait.into());
                }
            }
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(Permit(self.clock.now()))
    }

    /// Waits for a permit.
    pub async fn take(&self) -> Permit {
        loop {
            match self.try_take() {
                Ok(permit) => return permit,
                Err(wait) => sleep(wait).await,
            }
        }
    }

    /// To be called when a permit is about to be used. While it was waited with (an empty lane, a closed gate), the bucket
    /// went on filling; what it holds beyond its capacity, with the permit in it, is forfeit. Without this the permit and
    /// a full bucket would be one call more than the API allows.
    pub fn spend(&self, permit: &Permit) {
        let held = Duration::from(self.clock.now().duration_since(permit.0));
        let Some(limiter) = self.limiter.as_ref().filter(|_| held > FRESH) else {
            return;
        };
        if let Ok(Ok(state)) = limiter.check_n(NonZeroU32::MIN) {
            let level = state.remaining_burst_capacity() + 1;
            let excess = (level + CELLS.get()).saturating_sub(self.cells);
            if let Some(more) = excess.checked_sub(1).and_then(NonZeroU32::new) {
                let _forfeit = limiter.check_n(more);
            }
        }
    }

    /// Gives back a permit that was not used, for whoever comes next.
    pub fn pass_on(&self, _permit: Permit) {
        if !self.spare.swap(true, Ordering::AcqRel) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Launches per second that it allows; `None` when unlimited.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Permits taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    /// Takes everything that the bucket gives for `length`, waking up to `late` too late each time; returns the times.
    fn run(rate: &str, burst: u32, length: Duration, mut late: impl FnMut() -> Duration) -> Vec<Duration> {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::with_clock(rate.parse().unwrap(), burst, clock.clone()).unwrap();
        let mut now = Duration::ZERO;
        let mut times = Vec::new();
        while now < length {
            match bucket.try_take() {
                Ok(_) => times.push(now),
                Err(wait) => {
                    let step = wait + late();
                    clock.advance(step);
                    now += step;
                }
            }
        }
        times
    }

    fn most_in_any(times: &[Duration], window: Duration) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (last, time) in times.iter().enumerate() {
            while *time - times[first] > window {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }

    #[test]
    fn ninety_nine_percent_of_the_allowance_is_used_with_late_wake_ups() {
        for (rate, allowed) in [
            ("300/min", 300),
            ("6000/min", 6000),
            ("60000/min", 60_000),
            ("5/s", 300),
        ] {
            let mut turn = 0_u64;
            let late = || {
                turn += 1;
                Duration::from_micros(turn * 7919 % 3000)
            };
            let minutes = 10;
            let times = run(rate, 1, Duration::from_secs(60 * minutes), late);
            let used = times.len() as f64 / (allowed * minutes) as f64;
            assert!(used >= 0.99, "{rate}: {used}");
            assert!(
                most_in_any(&times, Duration::from_secs(60) + JITTER) <= allowed as usize,
                "{rate}"
            );
        }
    }

    #[test]
    fn the_burst_is_spent_first_and_is_no_more_than_it_says() {
        let bucket = Bucket::with_clock("300/min".parse().unwrap(), 5, FakeRelativeClock::default()).unwrap();
        for _ in 0..5 {
            let _ = bucket.try_take().unwrap();
        }
        assert!(bucket.try_take().is_err());
    }

    #[test]
    fn a_permit_that_was_waited_with_is_part_of_the_burst() {
        for burst in [1, 5] {
            let clock = FakeRelativeClock::default();
            let bucket = Bucket::with_clock("300/min".parse().unwrap(), burst, clock.clone()).unwrap();
            let permit = bucket.try_take().unwrap();
            clock.advance(Duration::from_secs(600));
            bucket.spend(&permit);
            let more = std::iter::from_fn(|| bucket.try_take().ok()).count();
            assert_eq!(more, burst as usize - 1, "with the permit in hand that is the burst");
        }
    }

    #[test]
    fn a_burst_over_the_allowance_is_refused() {
        let error = Bucket::new("5/min".parse().unwrap(), 6).unwrap_err();
        assert!(error.to_string().contains("limits.burst = 6"), "{error}");
    }

    #[test]
    fn a_permit_that_is_passed_on_is_the_next_one_and_only_once() {
        let bucket = Bucket::with_clock("60/min".parse().unwrap(), 2, FakeRelativeClock::default()).unwrap();
        let (a, b) = (bucket.try_take().unwrap(), bucket.try_take().unwrap());
        assert!(bucket.try_take().is_err());
        bucket.pass_on(a);
        bucket.pass_on(b);
        let _ = bucket.try_take().unwrap();
        assert!(
            bucket.try_take().is_err(),
            "two permits passed on are one: the other would be a burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_a_paused_clock() {
        let bucket = Bucket::new("60/min".parse().unwrap(), 1).unwrap();
        let start = Instant::now();
        for _ in 0..4 {
            let _ = bucket.take().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(2900));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_allowance(per_min in 1_u32..2000, burst in 1_u32..20, seed in 0_u64..1000) {
            prop_assume!(burst <= per_min);
            let mut turn = seed;
            let late = || {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Duration::from_micros((turn >> 33) % 50_000)
            };
            let times = run(&format!("{per_min}/min"), burst, Duration::from_secs(200), late);
            prop_assert!(most_in_any(&times, Duration::from_secs(60) + JITTER) <= per_min as usize);
        }
    }
}
