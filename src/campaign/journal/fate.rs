//! What a result makes of a row: pure. Results can repeat, come late, and be of a copy that was there before.

use jiff::Timestamp;

use super::{RowState, Told};

/// How a row stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) state: RowState,
    /// Until when what was published last may be launched.
    pub(super) expires: Option<Timestamp>,
    /// Whether that is the end of its window.
    pub(super) window: bool,
}

/// How it stands after that; `None`: as before.
pub(super) fn after(row: Standing, told: &Told) -> Option<RowState> {
    use RowState::{
        Cancelled, Completed, Dead, Expired, Failed, Launched, Planned, Published, Sending, Unaccounted, Unknown,
    };
    match (row.state, told.state) {
        // Launched is launched, whatever became of a copy. What comes after it is its end.
        (Completed | Failed, _) => None,
        (Launched, Completed | Failed) => Some(told.state),
        (Launched, _) => None,
        (_, Launched | Completed | Failed) => Some(told.state),
        // Of a copy that was there before this row was planned again: what was published since is on its way.
        (_, Expired) if row.expires.is_none_or(|expires| told.finished < expires) => None,
        (Sending | Published | Unaccounted, Expired) if row.window => Some(Planned),
        (Sending | Published | Unaccounted, Expired | Dead | Unknown | Cancelled) => Some(told.state),
        // Nothing is on its way, or a person or an earlier result has had the last word.
        (Planned | Dead | Expired | Cancelled | Unknown, _) => None,
        (Sending | Published | Unaccounted, Planned | Sending | Published | Unaccounted) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn told(state: RowState, second: i64) -> Told {
        Told {
            key: "a".to_owned(),
            state,
            execution_id: None,
            attempts: 1,
            reason: None,
            error: None,
            finished: at(second),
        }
    }

    fn row(state: RowState, window: bool) -> Standing {
        Standing {
            state,
            expires: Some(at(60)),
            window,
        }
    }

    #[test]
    fn a_launch_is_never_undone_and_is_always_news() {
        for state in RowState::ALL {
            let standing = row(state, true);
            let launched = after(standing, &told(RowState::Launched, 1));
            let is_known = matches!(state, RowState::Launched | RowState::Completed | RowState::Failed);
            assert_eq!(launched, (!is_known).then_some(RowState::Launched), "{state:?}");
            if is_known {
                for other in [
                    RowState::Dead,
                    RowState::Expired,
                    RowState::Cancelled,
                    RowState::Unknown,
                ] {
                    assert_eq!(after(standing, &told(other, 99)), None, "{state:?} {other:?}");
                }
            }
        }
        let end = after(row(RowState::Launched, true), &told(RowState::Failed, 1));
        assert_eq!(end, Some(RowState::Failed));
    }

    #[test]
    fn a_row_that_missed_its_window_alone_is_planned_again_once() {
        let late = told(RowState::Expired, 61);
        assert_eq!(after(row(RowState::Published, true), &late), Some(RowState::Planned));
        assert_eq!(after(row(RowState::Published, false), &late), Some(RowState::Expired));
        // The result repeats, and the row is planned, or published again with a later end.
        assert_eq!(after(row(RowState::Planned, true), &late), None);
        let again = Standing {
            expires: Some(at(86_400)),
            ..row(RowState::Published, true)
        };
        assert_eq!(after(again, &late), None);
    }

    #[test]
    fn what_is_not_on_its_way_cannot_die() {
        for dead in [RowState::Dead, RowState::Cancelled, RowState::Unknown] {
            assert_eq!(after(row(RowState::Planned, false), &told(dead, 1)), None);
            assert_eq!(after(row(RowState::Sending, false), &told(dead, 1)), Some(dead));
            assert_eq!(after(row(RowState::Unaccounted, false), &told(dead, 1)), Some(dead));
        }
    }
}
