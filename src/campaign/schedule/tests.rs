//! The schedule as a whole: start, windows and expiry together.

use jiff::SignedDuration;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn berlin() -> TimeZone {
    zone("Europe/Berlin").unwrap()
}

fn office() -> Schedule {
    Schedule {
        windows: Some("Mon-Fri 09:00-18:00".parse().unwrap()),
        ..Schedule::default()
    }
}

#[test]
fn a_retry_after_of_two_hours_at_five_to_six_calls_nobody_after_six_and_everybody_the_next_day() {
    let schedule = office();
    // A Tuesday, in winter: 18:00 is 17:00 UTC.
    let let_go = at("2026-12-01T16:54:59Z");
    let open = schedule.opening(&berlin(), let_go).unwrap();
    let expiry = schedule.expiry(&open, let_go).unwrap();
    assert_eq!(expiry, Expiry::Window(at("2026-12-01T17:00Z")));

    // The gate opens two hours later: the job has expired by then, and its row has only missed its window.
    let gate_opens = at("2026-12-01T16:55Z") + SignedDuration::from_hours(2);
    assert!(expiry.at() <= gate_opens);
    for asked in [expiry.at(), gate_opens] {
        let next = schedule.opening(&berlin(), asked).unwrap();
        assert_eq!(next.opens, at("2026-12-02T08:00Z"));
        assert_eq!(
            schedule.expiry(&next, next.opens),
            Some(Expiry::Window(at("2026-12-02T17:00Z")))
        );
    }
}

#[test]
fn a_row_expires_with_its_window_or_with_its_own_time_whichever_is_earlier() {
    let let_go = at("2026-12-01T15:00Z");
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    for (expires_after, expiry) in [
        (None, Expiry::Window(at("2026-12-01T17:00Z"))),
        (hours(1), Expiry::Age(at("2026-12-01T16:00Z"))),
        (hours(2), Expiry::Window(at("2026-12-01T17:00Z"))),
        (hours(3), Expiry::Window(at("2026-12-01T17:00Z"))),
    ] {
        let schedule = Schedule {
            expires_after,
            ..office()
        };
        let open = schedule.opening(&berlin(), let_go).unwrap();
        assert_eq!(schedule.expiry(&open, let_go), Some(expiry));
    }
    let ageing = Schedule {
        expires_after: hours(1),
        ..Schedule::default()
    };
    let open = ageing.opening(&berlin(), let_go).unwrap();
    assert_eq!(ageing.expiry(&open, let_go), Some(Expiry::Age(at("2026-12-01T16:00Z"))));
    assert_eq!(Schedule::default().expiry(&open, let_go), None);
}

#[test]
fn nothing_opens_before_the_start() {
    let schedule = Schedule {
        start: Some("2026-12-01T12:00".parse().unwrap()),
        ..office()
    };
    let new_york = zone("America/New_York").unwrap();
    let now = at("2026-11-01T00:00Z");
    let open = schedule.opening(&berlin(), now).unwrap();
    assert_eq!(
        (open.opens, open.closes),
        (at("2026-12-01T11:00Z"), Some(at("2026-12-01T17:00Z")))
    );
    assert_eq!(schedule.opening(&new_york, now).unwrap().opens, at("2026-12-01T17:00Z"));

    // After the window of its day: the next one.
    let late = Schedule {
        start: Some("2026-12-01T18:00".parse().unwrap()),
        ..office()
    };
    assert_eq!(late.opening(&berlin(), now).unwrap().opens, at("2026-12-02T08:00Z"));

    let only_start = Schedule {
        windows: None,
        ..schedule
    };
    let open = only_start.opening(&berlin(), now).unwrap();
    assert_eq!((open.opens, open.closes), (at("2026-12-01T11:00Z"), None));
    // In the past it holds nothing back.
    let later = at("2027-01-01T00:00Z");
    assert!(only_start.opening(&berlin(), later).unwrap().contains(later));
}

#[test]
fn local_times_without_any_zone_are_an_error() {
    let local = Schedule {
        start: Some("2026-12-01T12:00".parse().unwrap()),
        ..Schedule::default()
    };
    let absolute = Schedule {
        start: Some("2026-12-01T12:00Z".parse().unwrap()),
        ..Schedule::default()
    };
    for (schedule, said) in [
        (office(), Some("a window (or a date not to launch on)")),
        (local, Some("a start without an offset")),
        (absolute, None),
        (Schedule::default(), None),
    ] {
        assert_eq!(schedule.check_zone(true), Ok(()));
        let error = schedule.check_zone(false).err().map(|error| error.to_string());
        match said {
            Some(said) => assert!(error.unwrap().starts_with(&format!("{said} ")), "{said}"),
            None => assert_eq!(error, None),
        }
    }
}

#[test]
fn a_campaign_file_holds_them_as_text() {
    let text = r#""Mon-Fri 09:00-18:00""#;
    let windows: Windows = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&windows).unwrap(), text);
    let error = serde_json::from_str::<Pace>(r#""fast""#).unwrap_err().to_string();
    assert!(error.contains("must be a pace"), "{error}");
}
