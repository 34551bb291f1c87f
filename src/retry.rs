//! What to do about an outcome: pure policy, in numbers.
//!
//! | outcome | what is decided |
//! | --- | --- |
//! | throttled, unreachable | delayed; no attempt is spent |
//! | transient | delayed; an attempt is spent; dead as `exhausted` when none is left |
//! | unknown | `relaunch`: as transient, `max_unknown` times at most, then dead as `unknown`; `park`: that at once |
//! | refused, forbidden | dead |
//! | unauthorized, misdirected | given back (the worker halts) |
//!
//! The delay before attempt n + 1 is `initial_delay` · 2ⁿ⁻¹, capped at `max_delay`, of which the upper half is random;
//! a Retry-After is a floor.

use std::time::Duration;

use crate::job::OnUnknown;
use crate::outcome::{Class, Failure, Reason};
use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use serde::Deserialize;

/// Backoff for a job that is throttled again and again, on top of what the API names.
const THROTTLED_FIRST: Duration = Duration::from_millis(500);
/// The same for a job that could not be sent.
const UNREACHABLE_FIRST: Duration = Duration::from_secs(1);

/// `[retry]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Attempts that a job may spend.
    pub max_attempts: u32,
    /// The first delay.
    #[serde(with = "crate::units::duration")]
    pub initial_delay: Duration,
    /// The longest delay.
    #[serde(with = "crate::units::duration")]
    pub max_delay: Duration,
    /// What to do when nobody knows whether it was launched.
    pub on_unknown: OnUnknown,
    /// How often a job may be relaunched after an unknown outcome.
    pub max_unknown: u32,
}

/// What a job has been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Attempts that counted.
    pub attempts: u32,
    /// Unknown outcomes among them.
    pub unknowns: u32,
    /// How often it was throttled (counts for the backoff alone).
    pub throttled: u32,
}

/// What the job itself says about retrying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Instead of `retry.max_attempts`.
    pub max_attempts: Option<u32>,
    /// Instead of `retry.on_unknown`.
    pub on_unknown: Option<OnUnknown>,
}

/// What is decided about a job that was not launched.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It goes back through the ladder.
    Delay {
        /// For so long.
        delay: Duration,
        /// With this written on it.
        spent: Spent,
    },
    /// It is a dead letter.
    Dead {
        /// For this reason.
        reason: Reason,
        /// With this written on it.
        spent: Spent,
    },
    /// It goes back as it came.
    GiveBack,
}

/// The policy.
#[derive(Clone, Debug)]
pub struct Policy {
    max_attempts: u32,
    initial_delay: Duration,
    max_delay: Duration,
    on_unknown: OnUnknown,
    max_unknown: u32,
}

impl Policy {
    /// From the settings, which the configuration has checked.
    pub fn new(settings: &Settings) -> Self {
        Self {
            max_attempts: settings.max_attempts,
            initial_delay: settings.initial_delay,
            max_delay: settings.max_delay.max(settings.initial_delay),
            on_unknown: settings.on_unknown,
            max_unknown: settings.max_unknown,
        }
    }

    /// What an unknown outcome means for a job that says nothing about it.
    pub fn on_unknown(&self) -> OnUnknown {
        self.on_unknown
    }

    /// Decides about a job that was not launched. `dice` is a random number of [0, 1).
    pub fn decide(&self, failure: &Failure, spent: Spent, wishes: Wishes, dice: f64) -> Decision {
        match failure.class {
            Class::Throttled => {
                let spent = Spent {
                    throttled: spent.throttled.saturating_add(1),
                    ..spent
                };
                let named = failure.retry_after.unwrap_or_default();
                // Never earlier than the API said, and not all in the same moment either.
                let extra = self.curve(THROTTLED_FIRST, spent.throttled, dice);
                Decision::Delay {
                    delay: named + extra,
                    spent,
                }
            }
            Class::Unreachable => {
                let floor = failure.retry_after.unwrap_or_default();
                Decision::Delay {
                    delay: self.curve(UNREACHABLE_FIRST, 1, dice).max(floor),
                    spent,
                }
            }
            Class::Transient => self.again(failure, bump(spent), wishes, dice),
            Class::Unknown => {
                let spent = Spent {
                    unknowns: spent.unknowns.saturating_add(1),
                    ..bump(spent)
                };
                match wishes.on_unknown.unwrap_or(self.on_unknown) {
                    OnUnknown::Park => Decision::Dead {
                        reason: Reason::Unknown,
                        spent,
                    },
                    OnUnknown::Relaunch if spent.unknowns > self.max_unknown => Decision::Dead {
                        reason: Reason::Unknown,
                        spent,
                    },
                    OnUnknown::Relaunch => self.again(failure, spent, wishes, dice),
                }
            }
            Class::Refused => Decision::Dead {
                reason: Reason::Refused,
                spent: bump(spent),
            },
            Class::Forbidden => Decision::Dead {
                reason: Reason::Forbidden,
                spent: bump(spent),
            },
            Class::Unauthorized | Class::Misdirected => Decision::GiveBack,
        }
    }

    fn again(&self, failure: &Failure, spent: Spent, wishes: Wishes, dice: f64) -> Decision {
        if spent.attempts >= wishes.max_attempts.unwrap_or(self.max_attempts) {
            return Decision::Dead {
                reason: Reason::Exhausted,
                spent,
            };
        }
        let floor = failure.retry_after.unwrap_or_default();
        Decision::Delay {
            delay: self.curve(self.initial_delay, spent.attempts, dice).max(floor),
            spent,
        }
    }

    /// first · 2ⁿ⁻¹, capped; the upper half of it is random.
    fn curve(&self, first: Duration, n: u32, dice: f64) -> Duration {
        // The crate's own randomness is off: randomness is an argument here.
        let mut curve = ExponentialBackoff {
            current_interval: first.min(self.max_delay),
            initial_interval: first.min(self.max_delay),
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: self.max_delay,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // Past 64 doublings any first delay has met any cap.
        let full = (0..n.clamp(1, 64))
            .filter_map(|_| curve.next_backoff())
            .last()
            .unwrap_or(self.max_delay);
        full.min(self.max_delay).mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
    }
}

fn bump(spent: Spent) -> Spent {
    Spent {
        attempts: spent.attempts.saturating_add(1),
        ..spent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Policy {
        Policy::new(&Settings {
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            on_unknown: OnUnknown::Relaunch,
            max_unknown: 1,
        })
    }

    fn decide(class: Class, spent: Spent, wishes: Wishes) -> Decision {
        policy().decide(&Failure::new(class, "test"), spent, wishes, 0.5)
    }

    #[test]
    fn being_throttled_or_unreachable_never_spends_an_attempt() {
        for class in [Class::Throttled, Class::Unreachable] {
            let before = Spent {
                attempts: 2,
                unknowns: 1,
                throttled: 40,
            };
            let Decision::Delay { spent, .. } = decide(class, before, Wishes::default()) else {
                panic!("{class}")
            };
            assert_eq!((spent.attempts, spent.unknowns), (2, 1));
        }
    }

    #[test]
    fn transient_spends_attempts_until_there_is_none() {
        let mut spent = Spent::default();
        for n in 1..3 {
            let Decision::Delay { spent: next, .. } = decide(Class::Transient, spent, Wishes::default()) else {
                panic!("attempt {n}")
            };
            assert_eq!(next.attempts, n);
            spent = next;
        }
        let dead = decide(Class::Transient, spent, Wishes::default());
        assert!(matches!(dead, Decision::Dead { reason: Reason::Exhausted, spent } if spent.attempts == 3));
    }

    #[test]
    fn the_jobs_own_max_attempts_counts_instead() {
        let wishes = Wishes {
            max_attempts: Some(1),
            on_unknown: None,
        };
        let dead = decide(Class::Transient, Spent::default(), wishes);
        assert!(matches!(
            dead,
            Decision::Dead {
                reason: Reason::Exhausted,
                ..
            }
        ));
    }

    #[test]
    fn unknown_is_relaunched_once_then_dead_and_parked_at_once() {
        let Decision::Delay { spent, .. } = decide(Class::Unknown, Spent::default(), Wishes::default()) else {
            panic!()
        };
        assert_eq!((spent.attempts, spent.unknowns), (1, 1));
        let dead = decide(Class::Unknown, spent, Wishes::default());
        assert!(matches!(
            dead,
            Decision::Dead {
                reason: Reason::Unknown,
                ..
            }
        ));
        let park = Wishes {
            on_unknown: Some(OnUnknown::Park),
            max_attempts: None,
        };
        let dead = decide(Class::Unknown, Spent::default(), park);
        assert!(matches!(
            dead,
            Decision::Dead {
                reason: Reason::Unknown,
                ..
            }
        ));
    }

    #[test]
    fn refusals_are_dead_letters_and_faults_of_the_set_up_go_back() {
        let dead = |class| match decide(class, Spent::default(), Wishes::default()) {
            Decision::Dead { reason, .. } => Some(reason),
            Decision::Delay { .. } | Decision::GiveBack => None,
        };
        assert_eq!(dead(Class::Refused), Some(Reason::Refused));
        assert_eq!(dead(Class::Forbidden), Some(Reason::Forbidden));
        for class in [Class::Unauthorized, Class::Misdirected] {
            assert_eq!(decide(class, Spent::default(), Wishes::default()), Decision::GiveBack);
        }
    }

    #[test]
    fn the_curve_in_numbers() {
        let delays: Vec<_> = (1..=12)
            .map(|n| policy().curve(Duration::from_secs(1), n, 1.0).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(policy().curve(Duration::from_secs(1), 3, 0.0), Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn a_retry_after_is_a_floor_and_the_cap_a_cap(n in 0_u32..10_000, dice in 0.0_f64..1.0, named in 0_u64..90_000) {
            let failure = Failure { retry_after: Some(Duration::from_secs(named)), ..Failure::new(Class::Transient, "x") };
            let wishes = Wishes { max_attempts: Some(u32::MAX), on_unknown: None };
            let spent = Spent { attempts: n, ..Spent::default() };
            let Decision::Delay { delay, .. } = policy().decide(&failure, spent, wishes, dice) else { panic!() };
            prop_assert!(delay >= Duration::from_secs(named));
            prop_assert!(delay <= Duration::from_secs(named.max(300)));
        }

        #[test]
        fn a_throttled_job_never_comes_back_before_the_time_named(n in 0_u32..10_000, dice in 0.0_f64..1.0, named in 1_u64..86_400) {
            let failure = Failure { retry_after: Some(Duration::from_secs(named)), ..Failure::new(Class::Throttled, "x") };
            let spent = Spent { throttled: n, ..Spent::default() };
            let Decision::Delay { delay, .. } = policy().decide(&failure, spent, Wishes::default(), dice) else { panic!() };
            prop_assert!(delay > Duration::from_secs(named));
            prop_assert!(delay <= Duration::from_secs(named + 300));
        }
    }
}
