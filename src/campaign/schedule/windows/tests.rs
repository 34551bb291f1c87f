//! Windows on the time line: each sentence of the rules; all of them together against a walk from minute to minute.

use super::super::zone::zone;
use super::*;

mod walk;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next openings from a time on, `from/to` in UTC.
fn openings(windows: &Windows, name: &str, from: &str, n: usize) -> Vec<String> {
    let zone = zone(name).unwrap();
    let mut from = at(from);
    let mut found = Vec::new();
    for _ in 0..n {
        let open = windows.opening(&zone, from).unwrap();
        let closes = open.closes.unwrap();
        found.push(format!("{:.16}/{:.16}", open.opens.to_string(), closes.to_string()));
        from = closes;
    }
    found
}

fn windows(text: &str) -> Windows {
    text.parse().unwrap()
}

#[test]
fn what_is_open_or_the_next_and_the_end_is_exclusive() {
    let office = windows("Mon-Fri 09:00-18:00");
    let berlin = zone("Europe/Berlin").unwrap();
    // 2026-11-27 is a Friday.
    for (now, opens) in [
        ("2026-11-27T07:59Z", "2026-11-27T08:00Z"),
        ("2026-11-27T08:00Z", "2026-11-27T08:00Z"),
        ("2026-11-27T16:59:59.999Z", "2026-11-27T08:00Z"),
        ("2026-11-27T17:00Z", "2026-11-30T08:00Z"),
        ("2026-11-29T12:00Z", "2026-11-30T08:00Z"),
    ] {
        assert_eq!(office.opening(&berlin, at(now)).unwrap().opens, at(opens), "{now}");
    }
    let open = office.opening(&berlin, at("2026-11-27T12:00Z")).unwrap();
    assert!(open.contains(at("2026-11-27T16:59:59Z")) && !open.contains(at("2026-11-27T17:00Z")));
}

#[test]
fn windows_cross_midnight_and_belong_to_the_date_on_which_they_open() {
    let night = windows("Fri 22:00-02:00");
    assert_eq!(
        openings(&night, "UTC", "2026-11-28T01:00Z", 2),
        ["2026-11-27T22:00/2026-11-28T02:00", "2026-12-04T22:00/2026-12-05T02:00"]
    );
    // Saturday is no day to begin on: Friday's night is as it was.
    let saturday = night.clone().but_not_on("2026-11-28".parse().unwrap());
    assert_eq!(
        openings(&saturday, "UTC", "2026-11-27T00:00Z", 1),
        ["2026-11-27T22:00/2026-11-28T02:00"]
    );
    let friday = night.but_not_on("2026-11-27".parse().unwrap());
    assert_eq!(
        openings(&friday, "UTC", "2026-11-27T00:00Z", 1),
        ["2026-12-04T22:00/2026-12-05T02:00"]
    );
}

#[test]
fn what_overlaps_or_touches_is_one() {
    for (text, joined) in [
        ("Mon 09:00-12:00, 12:00-15:00", "2026-11-30T09:00/2026-11-30T15:00"),
        ("Mon 09:00-12:00, 10:00-11:00", "2026-11-30T09:00/2026-11-30T12:00"),
        ("Mon 20:00-24:00; Tue 00:00-06:00", "2026-11-30T20:00/2026-12-01T06:00"),
        ("Mon-Fri 00:00-24:00", "2026-11-30T00:00/2026-12-05T00:00"),
    ] {
        assert_eq!(
            openings(&windows(text), "UTC", "2026-11-29T12:00Z", 1),
            [joined],
            "{text}"
        );
    }
    // Asked in its midst, it still began when it began.
    let week = windows("Mon-Fri 00:00-24:00");
    assert_eq!(
        openings(&week, "UTC", "2026-12-04T12:00Z", 1),
        ["2026-11-30T00:00/2026-12-05T00:00"]
    );
}

#[test]
fn all_day_every_day_never_closes_but_for_the_dates_that_are_left_out() {
    let utc = TimeZone::UTC;
    let now = at("2026-12-01T12:00Z");
    let open = Windows::always().opening(&utc, now).unwrap();
    assert!(open.opens <= now && open.closes.is_none());
    let holidays = Windows::always().but_not_on("2026-12-25\n2026-12-26\n2028-01-01".parse().unwrap());
    assert_eq!(
        holidays.opening(&utc, now).unwrap().closes,
        Some(at("2026-12-25T00:00Z"))
    );
    let after = holidays.opening(&utc, at("2026-12-25T12:00Z")).unwrap();
    assert_eq!(
        (after.opens, after.closes),
        (at("2026-12-27T00:00Z"), Some(at("2028-01-01T00:00Z")))
    );
    let last = holidays.opening(&utc, at("2028-01-01T00:00Z")).unwrap();
    assert_eq!((last.opens, last.closes), (at("2028-01-02T00:00Z"), None));
}

#[test]
fn years_of_dates_left_out_are_looked_past() {
    let years: NotOn = iter::successors(Some(jiff::civil::date(2026, 1, 1)), |date| date.tomorrow().ok())
        .take(2000)
        .collect();
    let windows = windows("Sat 10:00-11:00").but_not_on(years);
    let open = windows.opening(&TimeZone::UTC, at("2026-01-01T00:00Z")).unwrap();
    assert_eq!(open.opens, at("2031-06-28T10:00Z"));
}

#[test]
fn a_time_in_a_gap_is_its_end() {
    // 2026-03-29: 02:00 is 03:00 in Berlin, at 01:00 UTC.
    let next = |text: &str| openings(&windows(text), "Europe/Berlin", "2026-03-28T12:00Z", 1);
    assert_eq!(next("Sun 02:30-06:00"), ["2026-03-29T01:00/2026-03-29T04:00"]);
    assert_eq!(next("Sun 01:00-02:30"), ["2026-03-29T00:00/2026-03-29T01:00"]);
    // Nothing is left of it: the next is a week later.
    assert_eq!(next("Sun 02:00-03:00"), ["2026-04-05T00:00/2026-04-05T01:00"]);
    assert_eq!(next("Sun 02:15-02:45"), ["2026-04-05T00:15/2026-04-05T00:45"]);
    // What the gap brings together is one.
    assert_eq!(
        next("Sun 01:00-02:15, 02:45-04:00"),
        ["2026-03-29T00:00/2026-03-29T02:00"]
    );
}

#[test]
fn a_repeated_time_is_the_first() {
    // 2026-10-25: 03:00 is 02:00 again in Berlin, at 01:00 UTC.
    let next = |text: &str, n| openings(&windows(text), "Europe/Berlin", "2026-10-24T12:00Z", n);
    assert_eq!(
        next("Sun 02:15-02:45", 2),
        ["2026-10-25T00:15/2026-10-25T00:45", "2026-11-01T01:15/2026-11-01T01:45"]
    );
    assert_eq!(next("Sun 01:00-02:30", 1), ["2026-10-24T23:00/2026-10-25T00:30"]);
    assert_eq!(next("Sun 01:00-04:00", 1), ["2026-10-24T23:00/2026-10-25T03:00"]);
    // Two that touch at a repeated time leave no hole.
    assert_eq!(
        next("Sun 01:00-02:30, 02:30-04:00", 1),
        ["2026-10-24T23:00/2026-10-25T03:00"]
    );
}

#[test]
fn nobody_is_called_before_the_window_because_the_clock_went_back() {
    // The clock shows 02:00 again after 02:59: until it shows 02:15 again, the window is closed.
    let next = openings(&windows("Sun 02:15-04:00"), "Europe/Berlin", "2026-10-24T12:00Z", 2);
    assert_eq!(
        next,
        ["2026-10-25T00:15/2026-10-25T01:00", "2026-10-25T01:15/2026-10-25T03:00"]
    );
}

#[test]
fn nine_to_six_is_nine_to_six_whatever_is_done_to_the_clock() {
    let office = windows("Mon-Sun 09:00-18:00");
    for (name, from, expected) in [
        (
            "Europe/Berlin",
            "2026-03-28T00:00Z",
            ["2026-03-28T08:00/2026-03-28T17:00", "2026-03-29T07:00/2026-03-29T16:00"],
        ),
        (
            "Europe/Berlin",
            "2026-10-24T00:00Z",
            ["2026-10-24T07:00/2026-10-24T16:00", "2026-10-25T08:00/2026-10-25T17:00"],
        ),
        (
            "America/New_York",
            "2026-10-31T05:00Z",
            ["2026-10-31T13:00/2026-10-31T22:00", "2026-11-01T14:00/2026-11-01T23:00"],
        ),
        (
            "Asia/Kolkata",
            "2026-10-24T00:00Z",
            ["2026-10-24T03:30/2026-10-24T12:30", "2026-10-25T03:30/2026-10-25T12:30"],
        ),
    ] {
        assert_eq!(openings(&office, name, from, 2), expected, "{name}");
    }
}
