//! Who is served next: a launch of `normal`, then one of `bulk`, then a look at an execution. But `bulk` keeps a tenth of
//! the launches, and looks keep a twentieth of all calls.

use crate::lane::Lane;

/// Of ten launches with both lanes waiting, this many are `normal` ones at most.
const NORMAL_IN_A_ROW: u32 = 9;
/// Of twenty calls with launches and looks waiting, this many are launches at most: looks have a floor of 5 % of the rate.
const LAUNCHES_IN_A_ROW: u32 = 19;

/// What a token of the bucket is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Of a job of this lane.
    Launch(Lane),
    /// At an execution that is followed to its end.
    Look,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    normal_in_a_row: u32,
    launches_in_a_row: u32,
}

impl Turn {
    /// The calls in the order in which one is to be made now, if there is one.
    pub fn order(&self) -> [Call; 3] {
        let [first, second] = if self.normal_in_a_row >= NORMAL_IN_A_ROW {
            [Call::Launch(Lane::Bulk), Call::Launch(Lane::Normal)]
        } else {
            [Call::Launch(Lane::Normal), Call::Launch(Lane::Bulk)]
        };
        if self.launches_in_a_row >= LAUNCHES_IN_A_ROW {
            [Call::Look, first, second]
        } else {
            [first, second, Call::Look]
        }
    }

    /// Notes that such a call was taken, while others waited or not.
    pub fn served(&mut self, call: Call) {
        match call {
            Call::Launch(lane) => {
                self.launches_in_a_row = (self.launches_in_a_row + 1).min(LAUNCHES_IN_A_ROW);
                self.normal_in_a_row = match lane {
                    Lane::Normal => (self.normal_in_a_row + 1).min(NORMAL_IN_A_ROW),
                    Lane::Bulk => 0,
                };
            }
            Call::Look => self.launches_in_a_row = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NORMAL: Call = Call::Launch(Lane::Normal);
    const BULK: Call = Call::Launch(Lane::Bulk);

    fn serve(turn: &mut Turn, waiting: &[Call]) -> Option<Call> {
        let call = turn.order().into_iter().find(|call| waiting.contains(call))?;
        turn.served(call);
        Some(call)
    }

    fn share(of: Call, waiting: &[Call]) -> usize {
        let mut turn = Turn::default();
        let served = (0..1000).filter_map(|_| serve(&mut turn, waiting));
        served.filter(|call| *call == of).count()
    }

    #[test]
    fn with_both_waiting_bulk_gets_a_tenth() {
        assert_eq!(share(BULK, &[NORMAL, BULK]), 100);
    }

    #[test]
    fn with_launches_always_waiting_looks_get_a_twentieth_and_bulk_its_tenth_of_the_rest() {
        assert_eq!(share(Call::Look, &[NORMAL, Call::Look]), 50);
        assert_eq!(share(Call::Look, &[NORMAL, BULK, Call::Look]), 50);
        assert_eq!(share(BULK, &[NORMAL, BULK, Call::Look]), 95);
    }

    #[test]
    fn without_launches_looks_take_everything() {
        assert_eq!(share(Call::Look, &[Call::Look]), 1000);
    }

    #[test]
    fn with_a_backlog_in_bulk_a_normal_job_is_next_or_next_but_one() {
        let mut turn = Turn::default();
        for _ in 0..50 {
            serve(&mut turn, &[BULK]);
        }
        assert_eq!(serve(&mut turn, &[NORMAL, BULK]), Some(NORMAL));
        for _ in 0..50 {
            serve(&mut turn, &[NORMAL]);
        }
        assert_eq!(serve(&mut turn, &[NORMAL, BULK]), Some(BULK));
        assert_eq!(serve(&mut turn, &[NORMAL, BULK]), Some(NORMAL));
    }

    proptest! {
        /// Whatever came before, and however many looks wait.
        #[test]
        fn a_launch_waits_for_one_look_at_most_and_a_look_for_nineteen_launches(
            before in proptest::collection::vec(0_usize..3, 0..100), waiting in 0_usize..3,
        ) {
            let launches: &[Call] = [&[NORMAL][..], &[BULK], &[NORMAL, BULK]][waiting];
            let all: Vec<Call> = launches.iter().copied().chain([Call::Look]).collect();
            let mut turn = Turn::default();
            for served in before {
                turn.served([NORMAL, BULK, Call::Look][served]);
            }
            let next: Vec<Call> = (0..100).filter_map(|_| serve(&mut turn, &all)).collect();
            prop_assert!(next.windows(2).all(|two| two.iter().any(|call| *call != Call::Look)));
            prop_assert!(next.windows(20).all(|many| many.contains(&Call::Look)));
            // A backlog of looks does not earn a burst of them: in any twenty calls there is one.
            let looks = |calls: &[Call]| calls.iter().filter(|call| **call == Call::Look).count();
            prop_assert!(next.windows(20).all(|many| looks(many) <= 2));
            prop_assert!(next[20..].windows(20).all(|many| looks(many) == 1));
        }
    }
}
