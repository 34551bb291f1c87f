//! Openings against a walk from minute to minute over the changes of the clock, in zones that change it in odd ways.

use std::collections::BTreeMap;

use jiff::Unit;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 9] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "America/Havana",
    "Asia/Beirut",
    "Pacific/Chatham",
    "America/Santiago",
];
/// Days walked before the change of the clock and after it.
const WALKED: i64 = 3;

/// What is open from minute to minute, found without any arithmetic on zones: a minute is open when what the clock shows
/// is covered by a window, and the clock has not yet shown the end of that cover.
fn walk(windows: &Windows, zone: &TimeZone, around: Timestamp) -> BTreeMap<Timestamp, bool> {
    let day = |n: i64| SignedDuration::from_hours(24 * n);
    let first = zone.to_datetime(around - day(WALKED + 12)).date();
    let epoch = first.to_datetime(Time::midnight());
    let mut covered = vec![false; ((2 * WALKED + 26) * DAY) as usize];
    let mut date = first;
    for n in 0..2 * WALKED + 24 {
        let today = 1 << date.weekday().to_monday_zero_offset();
        for span in windows
            .spans
            .iter()
            .filter(|span| span.days & today != 0 && !windows.not_on.contains(date))
        {
            for minute in span.from..span.till {
                covered[(n * DAY + i64::from(minute)) as usize] = true;
            }
        }
        date = date.tomorrow().unwrap();
    }
    let mut shown_most = 0;
    let minutes = (-(WALKED + 2) * DAY..WALKED * DAY).map(|n| around + SignedDuration::from_mins(n));
    minutes
        .map(|at| {
            let shown = zone.to_datetime(at).since((Unit::Minute, epoch)).unwrap().get_minutes() as usize;
            shown_most = shown_most.max(shown);
            // All that was shown from here on is covered too: its end was not yet shown.
            (at, (shown..=shown_most).all(|minute| covered[minute]))
        })
        .collect()
}

fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let from = at("2025-01-01T00:00Z");
    let mut changes: Vec<_> = zone.following(from).map(|change| change.timestamp()).take(8).collect();
    if changes.is_empty() {
        changes.push(from);
    }
    changes
}

fn any_windows() -> impl Strategy<Value = Windows> {
    // Short ones and long ones, at night when clocks change, and on the quarter, so that they touch.
    let quarter = prop_oneof![3 => 0_u16..20, 1 => 0_u16..96];
    let length = prop_oneof![1_u16..8, 1_u16..96];
    let span = (quarter, length, 1_u8..128).prop_map(|(from, length, days)| Span {
        from: from * 15,
        till: (from + length) * 15,
        days,
    });
    proptest::collection::vec(span, 1..5).prop_map(|mut spans| {
        spans.sort_unstable();
        Windows {
            spans,
            not_on: NotOn::default(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_opening_is_what_a_walk_from_minute_to_minute_finds(
        windows in any_windows(),
        place in 0..ZONES.len(),
        change in any::<prop::sample::Index>(),
        left_out in proptest::option::of(-3_i64..4),
        starts in proptest::collection::vec(-3 * DAY..2 * DAY, 12),
    ) {
        let zone = zone(ZONES[place]).unwrap();
        let around = *change.get(&changes(&zone));
        let left_out = left_out.map(|days| zone.to_datetime(around + SignedDuration::from_hours(24 * days)).date());
        let windows = windows.but_not_on(left_out.into_iter().collect());
        let walked = walk(&windows, &zone, around);
        let end = *walked.last_key_value().unwrap().0;
        let mut last = Timestamp::MIN;
        let mut starts = starts;
        starts.sort_unstable();
        for from in starts.into_iter().map(|n| around + SignedDuration::from_mins(n)) {
            let open = windows.opening(&zone, from).unwrap();
            let closes = open.closes.unwrap_or(Timestamp::MAX);
            prop_assert!(open.opens < closes && from < closes);
            prop_assert!(last <= open.opens, "later asked, never earlier told");
            last = open.opens;
            // Not open before, all open within, not open at the end: none is missed, none is too long.
            let opens = open.opens.min(end).max(from);
            for (at, is_open) in walked.range(from..opens) {
                prop_assert!(!is_open, "{at} is open, but not before {}", open.opens);
            }
            for (at, is_open) in walked.range(opens..closes.min(end).max(opens)) {
                prop_assert!(is_open, "{at} is closed, but within {open:?}");
            }
            for (at, is_open) in walked.range(closes..).take(1) {
                prop_assert!(!is_open, "{at} is open, but closes then: {open:?}");
            }
        }
    }
}
