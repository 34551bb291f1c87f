//! How launches are spread: as people write it, and in numbers.

use proptest::prelude::*;

use super::*;

fn pace(text: &str) -> Pace {
    text.parse().unwrap()
}

fn due(stagger: Stagger, n: u64) -> f64 {
    stagger.due(n).as_secs_f64()
}

#[test]
fn as_people_write_it() {
    for (text, shown) in [("120/min", "120/min"), (" 2 / s ", "2/s"), ("5000/hour", "5000/h")] {
        assert_eq!(pace(text).to_string(), shown);
    }
    for (text, shown) in [("500/10m", "500/10m"), ("1/90s", "1/1m30s"), (" 20 / 1d ", "20/1d")] {
        assert_eq!(text.parse::<Waves>().unwrap().to_string(), shown);
    }
    for (text, shown) in [
        ("10/min..300/min:30m", "10/min..300/min:30m"),
        ("1/s .. 60/h : 90m", "1/s..60/h:1h30m"),
    ] {
        assert_eq!(text.parse::<Ramp>().unwrap().to_string(), shown);
    }
}

#[test]
fn what_is_wrong_is_told_what_it_should_look_like() {
    for text in ["", "120", "0/min", "unlimited", "1.5/s", "120/day", "-1/min"] {
        let error = text.parse::<Pace>().unwrap_err();
        assert!(error.contains("such as \"120/min\""), "{error}");
    }
    assert!("500/10m".parse::<Pace>().unwrap_err().contains("would be waves"));
    for text in ["", "500", "0/10m", "500/0s", "500/min", "500/10", "x/10m"] {
        let error = text.parse::<Waves>().unwrap_err();
        assert!(error.contains("such as \"500/10m\""), "{error}");
    }
    for text in [
        "",
        "10/min",
        "10/min..300/min",
        "10/min..300/min:0s",
        "0/min..1/min:1m",
        "10..300:30m",
        "1/s..unlimited:1m",
    ] {
        let error = text.parse::<Ramp>().unwrap_err();
        assert!(error.contains("such as \"10/min..300/min:30m\""), "{error}");
    }
}

#[test]
fn only_one_of_them() {
    let (pace, waves) = (pace("1/s"), "5/10m".parse().unwrap());
    assert_eq!(Stagger::one_of(None, None, None), Ok(Stagger::AtOnce));
    assert_eq!(Stagger::one_of(Some(pace), None, None), Ok(Stagger::Pace(pace)));
    let error = Stagger::one_of(Some(pace), Some(waves), None).unwrap_err();
    assert!(error.contains("exclude each other"));
}

#[test]
fn a_pace_is_even() {
    let stagger = Stagger::Pace(pace("120/min"));
    assert_eq!(due(stagger, 0), 0.0);
    assert_eq!(due(stagger, 1), 0.5);
    assert_eq!(due(stagger, 1_000_000), 500_000.0);
    // A third of a second never adds up to an error.
    assert_eq!(due(Stagger::Pace(pace("180/min")), 180_000), 60_000.0);
    assert_eq!(Stagger::Pace(pace("1/h")).due(u64::MAX).as_secs(), u64::MAX);
}

#[test]
fn waves_are_at_the_start_of_each_time() {
    let stagger = Stagger::Waves("500/10m".parse().unwrap());
    for (n, seconds) in [(0, 0.0), (499, 0.0), (500, 600.0), (999, 600.0), (1000, 1200.0)] {
        assert_eq!(due(stagger, n), seconds);
    }
}

#[test]
fn a_ramp_goes_from_the_first_pace_to_the_second_over_its_time_and_stays_there() {
    let stagger = Stagger::Ramp("10/min..300/min:30m".parse().unwrap());
    // 155 a minute on the average: 4650 in half an hour, a quarter of the way up after half the time: 1237.5.
    assert_eq!(due(stagger, 0), 0.0);
    assert!((due(stagger, 4650) - 1800.0).abs() < 1e-6);
    assert!((due(stagger, 1237) - 900.0).abs() < 0.5);
    assert!((due(stagger, 4950) - 1860.0).abs() < 1e-6);
    // Downwards too.
    let down = Stagger::Ramp("300/min..10/min:30m".parse().unwrap());
    assert!((due(down, 4650) - 1800.0).abs() < 1e-3);
    assert!((due(down, 4660) - 1860.0).abs() < 1e-3);
}

#[test]
fn what_it_asks_of_the_api() {
    assert_eq!(Stagger::AtOnce.per_second(), None);
    assert_eq!(Stagger::Pace(pace("120/min")).per_second(), Some(2.0));
    assert_eq!(Stagger::Waves("600/10m".parse().unwrap()).per_second(), Some(1.0));
    assert_eq!(
        Stagger::Ramp("10/min..300/min:30m".parse().unwrap()).per_second(),
        Some(5.0)
    );
}

fn paces() -> impl Strategy<Value = Pace> {
    let unit = prop_oneof![Just(Unit::Second), Just(Unit::Minute), Just(Unit::Hour)];
    (1_u32.., unit).prop_map(|(launches, per)| Pace { launches, per })
}

proptest! {
    #[test]
    fn written_and_read_back(pace in paces(), to in paces(), size in 1_u32.., millis in 1_u64..10_000_000_000) {
        let time = Duration::from_millis(millis);
        prop_assert_eq!(pace.to_string().parse(), Ok(pace));
        let waves = Waves { size, every: time };
        prop_assert_eq!(waves.to_string().parse(), Ok(waves));
        let ramp = Ramp { from: pace, to, over: time };
        prop_assert_eq!(ramp.to_string().parse(), Ok(ramp));
    }

    #[test]
    fn any_text_is_one_or_a_reason(text in ".*") {
        let _ = (text.parse::<Pace>(), text.parse::<Waves>(), text.parse::<Ramp>());
    }

    #[test]
    fn later_launches_are_never_due_earlier(from in paces(), to in paces(), minutes in 1_u64..1000, n in 0_u64..1_000_000_000) {
        let over = Duration::from_secs(minutes * 60);
        for stagger in [
            Stagger::Pace(from),
            Stagger::Waves(Waves { size: from.launches, every: over }),
            Stagger::Ramp(Ramp { from, to, over }),
        ] {
            prop_assert!(stagger.due(n) <= stagger.due(n + 1), "{stagger:?}");
        }
    }

    #[test]
    fn a_ramp_has_launched_by_then_what_its_plan_says(from in 1_u32..1000, to in 1_u32..1000, minutes in 1_u64..100, share in 0.0_f64..2.0) {
        let (r0, r1, over) = (f64::from(from) / 60.0, f64::from(to) / 60.0, minutes as f64 * 60.0);
        let text = format!("{from}/min..{to}/min:{minutes}m");
        let ramp: Ramp = text.parse().unwrap();
        let n = (share * over * (r0 + r1) / 2.0) as u64;
        let at = ramp.due(n).as_secs_f64();
        let ramped = at.min(over);
        let planned = r0 * ramped + (r1 - r0) * ramped * ramped / (2.0 * over) + (at - ramped) * r1;
        prop_assert!((planned - n as f64).abs() < 0.01, "{planned} instead of {n}");
    }
}
