//! Which lane is served next: `normal` first, and `bulk` at least every tenth.

use crate::lane::Lane;

/// Of ten launches with both lanes waiting, this many are `normal` ones at most.
const NORMAL_IN_A_ROW: u32 = 9;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    normal_in_a_row: u32,
}

impl Turn {
    /// The lanes in the order in which to look for a job now.
    pub fn order(&self) -> [Lane; 2] {
        if self.normal_in_a_row >= NORMAL_IN_A_ROW {
            [Lane::Bulk, Lane::Normal]
        } else {
            [Lane::Normal, Lane::Bulk]
        }
    }

    /// Notes that a job of `lane` was taken while the other lane had work or not.
    pub fn served(&mut self, lane: Lane) {
        self.normal_in_a_row = match lane {
            Lane::Normal => (self.normal_in_a_row + 1).min(NORMAL_IN_A_ROW),
            Lane::Bulk => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(turn: &mut Turn, normal: bool, bulk: bool) -> Option<Lane> {
        let ready = |lane: &Lane| match lane {
            Lane::Normal => normal,
            Lane::Bulk => bulk,
        };
        let lane = turn.order().into_iter().find(ready)?;
        turn.served(lane);
        Some(lane)
    }

    #[test]
    fn with_both_waiting_bulk_gets_a_tenth() {
        let mut turn = Turn::default();
        let served: Vec<_> = (0..1000).filter_map(|_| serve(&mut turn, true, true)).collect();
        assert_eq!(served.iter().filter(|lane| **lane == Lane::Bulk).count(), 100);
    }

    #[test]
    fn with_a_backlog_in_bulk_a_normal_job_is_next_or_next_but_one() {
        let mut turn = Turn::default();
        for _ in 0..50 {
            serve(&mut turn, false, true);
        }
        assert_eq!(serve(&mut turn, true, true), Some(Lane::Normal));
        for _ in 0..50 {
            serve(&mut turn, true, false);
        }
        assert_eq!(serve(&mut turn, true, true), Some(Lane::Bulk));
        assert_eq!(serve(&mut turn, true, true), Some(Lane::Normal));
    }
}
