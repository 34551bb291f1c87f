//! The delay ladder's arithmetic. Plain data, no I/O.
//!
//! A queue delivers in its own order, so a message with a long TTL holds up a short one behind it. The ladder has one
//! queue per *level*, each with one fixed TTL (0.25 s times a power of two), so within a queue all leave in the order in
//! which they came. A delay is written in binary into the routing key (`0.…0.1.0.1.normal`, the highest level first);
//! the exchange of each level sends a message either into its queue, which dead-letters to the next exchange after its
//! TTL, or straight on. NServiceBus and kombu delay in the same manner.

use std::time::Duration;

/// The ladder's unit: the TTL of level 0.
pub const UNIT: Duration = Duration::from_millis(250);

/// Levels of the ladder: the highest alone delays for 36 h, more than the longest pause that the API may name (24 h).
pub const LEVELS: usize = 20;

/// Delays up to this are one leg, rounded up; longer ones are rounded down, and what remains is delayed again.
pub const LAST_LEG: Duration = Duration::from_secs(30);

/// At most so many hops a leg: each costs the broker a write.
const SET_BITS: u32 = 4;

/// How far a canary's leg reaches: it passes every level that retries use (seven set bits, 31.75 s).
pub const CANARY: Leg = Leg { units: 0b111_1111 };

/// One passage through the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    units: u32,
}

impl Leg {
    /// The leg for a delay: at least the delay when that is 30 s or less (and less than 2 s more), less than it
    /// otherwise. Never none: the shortest is one unit.
    pub fn new(delay: Duration) -> Self {
        let longest = (1_u32 << LEVELS) - 1;
        if delay <= LAST_LEG {
            let units = u32::try_from(delay.as_millis().div_ceil(UNIT.as_millis())).unwrap_or(longest);
            Self {
                units: round_up(units.max(1)),
            }
        } else {
            let units = u32::try_from(delay.as_millis() / UNIT.as_millis()).unwrap_or(longest);
            Self {
                units: round_down(units.min(longest)),
            }
        }
    }

    /// How long it takes.
    pub fn duration(self) -> Duration {
        UNIT * self.units
    }

    /// The level at which a message enters.
    pub fn level(self) -> usize {
        self.units.ilog2() as usize
    }

    /// The routing key: the bits, highest level first, and where the message is due.
    pub fn routing_key(self, due: &str) -> String {
        let mut key = String::with_capacity(2 * LEVELS + due.len());
        for level in (0..LEVELS).rev() {
            key.push(if self.units >> level & 1 == 1 { '1' } else { '0' });
            key.push('.');
        }
        key.push_str(due);
        key
    }
}

/// The next number up with at most four set bits.
fn round_up(units: u32) -> u32 {
    let mut rounded = units;
    while rounded.count_ones() > SET_BITS {
        // Adding the lowest set bit carries it away: never more set bits than before.
        rounded += 1 << rounded.trailing_zeros();
    }
    rounded
}

/// The next number down with at most four set bits.
fn round_down(units: u32) -> u32 {
    let mut rounded = units;
    while rounded.count_ones() > SET_BITS {
        rounded &= rounded - 1;
    }
    rounded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_last_leg_is_never_early_and_late_by_less_than_two_seconds(ms in 0_u64..=30_000) {
            let delay = Duration::from_millis(ms);
            let leg = Leg::new(delay);
            prop_assert!(leg.duration() >= delay.max(UNIT));
            prop_assert!(leg.duration() <= delay + Duration::from_secs(2));
            prop_assert!(leg.units.count_ones() <= SET_BITS);
        }

        #[test]
        fn a_long_leg_is_never_late_and_covers_most_of_the_way(ms in 30_001_u64..=40_000_000_000) {
            let delay = Duration::from_millis(ms);
            let leg = Leg::new(delay);
            prop_assert!(leg.duration() <= delay);
            prop_assert!(leg.units.count_ones() <= SET_BITS);
            let most = delay.min(Duration::from_secs(3 * 86_400)) * 7 / 8;
            prop_assert!(leg.duration() + UNIT >= most);
        }

        #[test]
        fn legs_add_up_to_any_delay(secs in 0_u64..=90_000) {
            // The worker delays again by what remains, until nothing does.
            let mut left = Duration::from_secs(secs);
            let mut legs = 0;
            while !left.is_zero() {
                left = left.saturating_sub(Leg::new(left).duration());
                legs += 1;
            }
            prop_assert!(legs <= 8, "{legs} legs");
        }
    }

    #[test]
    fn the_key_reads_highest_level_first() {
        let leg = Leg::new(Duration::from_millis(1250));
        assert_eq!(leg.duration(), Duration::from_millis(1250));
        assert_eq!(leg.level(), 2);
        assert!(leg.routing_key("bulk").ends_with("0.1.0.1.bulk"));
        assert_eq!(leg.routing_key("bulk").split('.').count(), LEVELS + 1);
    }
}
