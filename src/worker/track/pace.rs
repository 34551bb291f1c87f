//! When an execution is looked at again, and when it is given up: pure policy, in numbers.
//!
//! | what was seen | what is decided |
//! | --- | --- |
//! | it runs | again after 2 s, 3 s, 4.5 s … 60 s |
//! | nothing of this id (404) | the same; six times in a row, which take half a minute from the launch on, and it is given up |
//! | nothing, for trouble (503, 403, no answer) | the same |
//! | throttled | again once the API allows it, and as if it had not been looked at |
//!
//! Given up is also what is not seen at its end 24 h after its launch, but never without a look: those hours may have been
//! spent waiting for one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first pause, how it grows, and the longest.
const FIRST: Duration = Duration::from_secs(2);
const GROWTH: f64 = 1.5;
const LONGEST: Duration = Duration::from_secs(60);
/// So much of each pause is random.
const JITTER: f64 = 0.2;
/// An execution that was just launched may not be found at once, and one that was never kept is never found.
const MISSING: u32 = 6;
/// For so long from its launch an execution is followed.
pub(super) const FOLLOWED: Duration = Duration::from_secs(24 * 3600);

/// How far the following of an execution has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Looks so far.
    pub(super) looks: u32,
    /// The last of them that found nothing, in a row.
    pub(super) missing: u32,
}

/// What a look that saw no end has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It runs.
    Running,
    /// The API knows of no such execution.
    Missing,
    /// Nothing: the API asks for a pause of this length.
    Throttled(Duration),
    /// Nothing, for another reason.
    Trouble,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is looked at again.
    Again {
        /// After so long.
        pause: Duration,
        /// With this written on it.
        progress: Progress,
    },
    /// The API has said too often that it is not there.
    Lost,
    /// It has taken too long.
    TooLong,
}

/// Decides about an execution that was launched `age` ago. `dice` is a random number of [0, 1).
pub(super) fn decide(before: Progress, seen: Seen, age: Duration, dice: f64) -> Next {
    let looks = before.looks.saturating_add(1);
    let missing = match seen {
        Seen::Throttled(named) => {
            return Next::Again {
                pause: named + pause(before.looks, dice),
                progress: before,
            };
        }
        Seen::Missing => before.missing.saturating_add(1),
        Seen::Running => 0,
        Seen::Trouble => before.missing,
    };
    if missing >= MISSING {
        return Next::Lost;
    }
    if age >= FOLLOWED {
        return Next::TooLong;
    }
    Next::Again {
        pause: pause(looks, dice),
        progress: Progress { looks, missing },
    }
}

/// The pause after so many looks; none has been made at the launch.
pub(super) fn pause(looks: u32, dice: f64) -> Duration {
    let grown = FIRST.as_secs_f64() * GROWTH.powi(i32::try_from(looks.min(100)).unwrap_or(100));
    let full = grown.min(LONGEST.as_secs_f64());
    Duration::from_secs_f64(full * (1.0 - JITTER * dice.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress(looks: u32, missing: u32) -> Progress {
        Progress { looks, missing }
    }

    #[test]
    fn the_pauses_in_numbers() {
        let pauses: Vec<_> = (0..11).map(|looks| pause(looks, 0.0).as_millis()).collect();
        assert_eq!(
            pauses,
            [
                2000, 3000, 4500, 6750, 10_125, 15_187, 22_781, 34_171, 51_257, 60_000, 60_000
            ]
        );
        assert_eq!(pause(0, 1.0), Duration::from_millis(1600));
    }

    #[test]
    fn what_is_not_found_is_given_up_after_half_a_minute_and_not_before() {
        let (mut before, mut age) = (Progress::default(), pause(0, 1.0));
        let given_up = loop {
            match decide(before, Seen::Missing, age, 1.0) {
                Next::Again { pause, progress } => (before, age) = (progress, age + pause),
                end @ (Next::Lost | Next::TooLong) => break end,
            }
        };
        assert_eq!(given_up, Next::Lost);
        assert!(age >= Duration::from_secs(30), "{age:?}");
        // Found once, it counts anew; what nobody saw is neither.
        let day = Duration::from_secs(3600);
        let Next::Again { progress: found, .. } = decide(progress(9, 5), Seen::Running, day, 0.0) else {
            panic!()
        };
        assert_eq!(found, progress(10, 0));
        let Next::Again { progress: trouble, .. } = decide(progress(9, 5), Seen::Trouble, day, 0.0) else {
            panic!()
        };
        assert_eq!(trouble, progress(10, 5));
    }

    proptest! {
        #[test]
        fn nothing_is_followed_for_longer_than_a_day_and_throttling_spends_nothing(
            looks in 0_u32..10_000, missing in 0_u32..5, secs in 0_u64..200_000, dice in 0.0_f64..1.0, named in 0_u64..86_400,
        ) {
            let (before, age) = (progress(looks, missing), Duration::from_secs(secs));
            for seen in [Seen::Running, Seen::Trouble] {
                match decide(before, seen, age, dice) {
                    Next::Again { pause, progress } => {
                        prop_assert!(age < FOLLOWED && pause <= LONGEST && pause >= FIRST.mul_f64(0.8));
                        prop_assert_eq!(progress.looks, looks + 1);
                    }
                    end @ (Next::Lost | Next::TooLong) => prop_assert!(age >= FOLLOWED && end == Next::TooLong),
                }
            }
            let named = Duration::from_secs(named);
            let Next::Again { pause, progress } = decide(before, Seen::Throttled(named), age, dice) else {
                panic!("given up without a look")
            };
            prop_assert!(pause > named && progress == before);
        }
    }
}
