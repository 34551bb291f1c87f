//! The forecast: first and last launch, by the hour and the zone, and what expires.

use super::super::{Stagger, zone};
use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rows(blocks: &[(&str, u64)]) -> Rows {
    let mut rows = Rows::default();
    for (name, n) in blocks {
        let zone = zone(name).unwrap();
        (0..*n).for_each(|_| rows.add(&zone));
    }
    rows
}

fn pace(text: &str) -> Schedule {
    Schedule {
        stagger: Stagger::Pace(text.parse().unwrap()),
        ..Schedule::default()
    }
}

fn windows(schedule: Schedule, text: &str) -> Schedule {
    Schedule {
        windows: Some(text.parse().unwrap()),
        ..schedule
    }
}

/// Each hour in which something is launched, with the launches of each zone.
fn by_hour(forecast: &Forecast) -> Vec<(String, Vec<u64>)> {
    assert_eq!(forecast.bin, SignedDuration::from_hours(1));
    let busy = forecast.bins.iter().filter(|bin| bin.launches.iter().any(|n| *n > 0));
    busy.map(|bin| (format!("{:.13}", bin.begins.to_string()), bin.launches.clone()))
        .collect()
}

#[test]
fn a_pace_below_the_limit_is_the_pace_and_one_above_comes_to_the_limit() {
    let now = at("2026-12-01T08:00Z");
    let rows = rows(&[("UTC", 12_001)]);
    for (schedule, limit, last) in [
        (pace("120/min"), Some(5.0), "2026-12-01T09:40Z"),
        (pace("600/min"), Some(5.0), "2026-12-01T08:40Z"),
        (Schedule::default(), Some(5.0), "2026-12-01T08:40Z"),
        (pace("600/min"), None, "2026-12-01T08:20Z"),
        (Schedule::default(), None, "2026-12-01T08:00Z"),
    ] {
        let forecast = forecast(&rows, &schedule, limit, now);
        assert_eq!((forecast.first, forecast.last), (Some(now), Some(at(last))));
        assert_eq!((forecast.launched, forecast.expired, forecast.never), (12_001, 0, 0));
    }
}

#[test]
fn launches_by_hour_and_zone_and_a_closed_zone_holds_nobody_back() {
    let schedule = windows(pace("100/h"), "Mon-Fri 09:00-11:00");
    // The file begins with New York, which opens six hours after Berlin.
    let rows = rows(&[("America/New_York", 150), ("Europe/Berlin", 250)]);
    let forecast = forecast(&rows, &schedule, Some(5.0), at("2026-12-01T00:00Z"));
    assert_eq!(
        by_hour(&forecast),
        [
            ("2026-12-01T08".to_owned(), vec![0, 100]),
            ("2026-12-01T09".to_owned(), vec![0, 100]),
            ("2026-12-01T14".to_owned(), vec![100, 0]),
            ("2026-12-01T15".to_owned(), vec![50, 0]),
            ("2026-12-02T08".to_owned(), vec![0, 50]),
        ]
    );
    assert_eq!(forecast.last, Some(at("2026-12-02T08:29:24Z")));
}

#[test]
fn of_the_open_zones_the_row_goes_that_stands_first_in_the_file() {
    let schedule = windows(pace("3000/h"), "Mon-Fri 09:00-18:00");
    let rows = rows(&[
        ("Europe/Berlin", 2000),
        ("Europe/London", 1000),
        ("Europe/Berlin", 3000),
    ]);
    let forecast = forecast(&rows, &schedule, None, at("2026-12-01T00:00Z"));
    // London opens an hour later, when all that stood before it and a page behind it has gone.
    assert_eq!(
        by_hour(&forecast),
        [
            ("2026-12-01T08".to_owned(), vec![3000, 0]),
            ("2026-12-01T09".to_owned(), vec![2000, 1000]),
        ]
    );
}

#[test]
fn what_the_limit_would_let_through_after_the_windows_end_is_left_for_the_next() {
    let schedule = windows(Schedule::default(), "Mon-Fri 09:00-10:00");
    let rows = rows(&[("UTC", 20_000)]);
    let forecast = forecast(&rows, &schedule, Some(5.0), at("2026-12-01T09:30Z"));
    // Half an hour, then an hour.
    assert_eq!(
        by_hour(&forecast),
        [
            ("2026-12-01T09".to_owned(), vec![9000]),
            ("2026-12-02T09".to_owned(), vec![11_000]),
        ]
    );
}

#[test]
fn rows_expire_whose_own_time_is_up_before_the_limit_lets_them_through() {
    let expiring = |schedule, seconds| Schedule {
        expires_after: Some(Duration::from_secs(seconds)),
        ..schedule
    };
    let now = at("2026-12-01T08:00Z");
    let rows = rows(&[("UTC", 10_000)]);
    // Twice the limit: once the wait in the lane is half a minute, every second one expires.
    let half = forecast(&rows, &expiring(pace("600/min"), 30), Some(5.0), now);
    assert!((4800..5000).contains(&half.expired), "{}", half.expired);
    assert_eq!(half.launched + half.expired, 10_000);
    // The lane never holds more than a minute's work.
    assert_eq!(
        forecast(&rows, &expiring(pace("600/min"), 61), Some(5.0), now).expired,
        0
    );
    assert_eq!(
        forecast(&rows, &expiring(pace("300/min"), 1), Some(5.0), now).expired,
        0
    );
}

#[test]
fn waves_and_ramps_and_a_start_that_is_to_come() {
    let now = at("2026-12-01T08:00Z");
    let waves = Schedule {
        stagger: Stagger::Waves("500/30m".parse().unwrap()),
        start: Some("2026-12-01T10:00Z".parse().unwrap()),
        ..Schedule::default()
    };
    let told = forecast(&rows(&[("UTC", 1600)]), &waves, Some(5.0), now);
    assert_eq!(told.first, Some(at("2026-12-01T10:00Z")));
    assert_eq!(told.last, Some(at("2026-12-01T11:30:19.8Z")));
    let ramp = Schedule {
        stagger: Stagger::Ramp("10/min..300/min:30m".parse().unwrap()),
        ..Schedule::default()
    };
    let told = forecast(&rows(&[("UTC", 4651)]), &ramp, Some(5.0), now);
    assert_eq!(told.last, Some(at("2026-12-01T08:30Z")));
}

#[test]
fn no_rows_and_rows_without_end() {
    let now = at("2026-12-01T08:00Z");
    let nothing = forecast(&Rows::default(), &pace("1/s"), Some(5.0), now);
    assert_eq!((nothing.first, nothing.last, nothing.launched), (None, None, 0));
    // A start at the end of time.
    let never = Schedule {
        start: Some("9999-12-31T12:00".parse().unwrap()),
        ..Schedule::default()
    };
    let told = forecast(&rows(&[("America/New_York", 10)]), &never, Some(5.0), now);
    assert_eq!((told.launched, told.never), (0, 10));
}

#[test]
fn of_a_million_rows_in_four_zones_none_is_lost() {
    let names = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney"];
    let zones = names.map(|name| zone(name).unwrap());
    let mut rows = Rows::default();
    for n in 0..1_000_000_usize {
        rows.add(&zones[n * 7 % 4]);
    }
    let schedule = windows(pace("280/min"), "Mon-Fri 09:00-18:00");
    let forecast = forecast(&rows, &schedule, Some(4.95), at("2026-12-01T00:00Z"));
    assert_eq!(forecast.launched, 1_000_000);
    let counted: u64 = forecast.bins.iter().flat_map(|bin| &bin.launches).sum();
    assert_eq!(counted, 1_000_000);
}
