//! The pacer: in numbers, late, paused, restarted, and never faster than its plan.

use proptest::prelude::*;

use super::super::stagger::{Pace, Ramp, Waves};
use super::*;

const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn pace(text: &str) -> Stagger {
    Stagger::Pace(text.parse::<Pace>().unwrap())
}

fn waves(text: &str) -> Stagger {
    Stagger::Waves(text.parse::<Waves>().unwrap())
}

fn ramp(text: &str) -> Stagger {
    Stagger::Ramp(text.parse::<Ramp>().unwrap())
}

fn after(seconds: f64) -> Timestamp {
    START + SignedDuration::from_secs_f64(seconds)
}

fn seconds(at: Timestamp) -> f64 {
    at.duration_since(START).as_secs_f64()
}

/// Launches `n`, each `late` after it was due; the times, in seconds.
fn run(pacer: &mut Pacer, mut now: Timestamp, n: usize, mut late: impl FnMut(usize) -> f64) -> Vec<f64> {
    let launch = |at: usize| {
        now = later(pacer.next(now).max(now), Duration::from_secs_f64(late(at)));
        pacer.launched(now);
        seconds(now)
    };
    (0..n).map(launch).collect()
}

fn within(times: &[f64], from: f64, length: f64) -> usize {
    times.iter().filter(|at| **at >= from && **at < from + length).count()
}

#[test]
fn each_is_due_when_the_plan_has_it() {
    let mut pacer = Pacer::begin(pace("120/min"), START);
    assert_eq!(run(&mut pacer, START, 4, |_| 0.0), [0.0, 0.5, 1.0, 1.5]);
    let mut pacer = Pacer::begin(Stagger::AtOnce, START);
    assert_eq!(run(&mut pacer, START, 3, |_| 0.0), [0.0, 0.0, 0.0]);
    let mut pacer = Pacer::begin(waves("2/10m"), START);
    assert_eq!(run(&mut pacer, START, 5, |_| 0.0), [0.0, 0.0, 600.0, 600.0, 1200.0]);
}

#[test]
fn timers_that_wake_late_never_add_up() {
    let mut pacer = Pacer::begin(pace("300/min"), START);
    let times = run(&mut pacer, START, 30_000, |_| 0.02);
    assert!((times[29_999] - 5999.82).abs() < 1e-6, "{}", times[29_999]);
}

#[test]
fn a_pause_is_not_made_good_in_a_burst() {
    let mut pacer = Pacer::begin(pace("60/min"), START);
    run(&mut pacer, START, 10, |_| 0.0);
    // Nothing was eligible for an hour.
    assert_eq!(run(&mut pacer, after(3600.0), 3, |_| 0.0), [3600.0, 3601.0, 3602.0]);
}

#[test]
fn a_wave_as_slow_as_the_limits_does_not_put_the_next_off() {
    let mut pacer = Pacer::begin(waves("500/10m"), START);
    // Five a second.
    let times = run(&mut pacer, START, 501, |n| if n % 500 == 0 { 0.0 } else { 0.2 });
    assert!((times[499] - 99.8).abs() < 1e-6);
    assert_eq!(times[500], 600.0);
}

#[test]
fn a_wave_that_was_paused_is_taken_up_and_the_next_is_a_whole_time_later() {
    let mut pacer = Pacer::begin(waves("500/10m"), START);
    run(&mut pacer, START, 300, |_| 0.0);
    let times = run(&mut pacer, after(540.0), 201, |_| 0.0);
    assert_eq!((times[0], times[199], times[200]), (540.0, 540.0, 1140.0));
    // Paused between waves: the next starts at once, since the last is more than its time ago.
    let times = run(&mut pacer, after(5000.0), 500, |_| 0.0);
    assert_eq!((times[0], times[498], times[499]), (5000.0, 5000.0, 5600.0));
}

#[test]
fn a_ramp_goes_on_after_a_pause_from_where_it_was() {
    let mut pacer = Pacer::begin(ramp("60/min..600/min:10m"), START);
    let before = run(&mut pacer, START, 100, |_| 0.0);
    let gap = before[99] - before[98];
    let again = run(&mut pacer, after(90_000.0), 2, |_| 0.0);
    assert!(((again[1] - again[0]) - gap).abs() < 0.01);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut pacer = Pacer::resume(pace("60/min"), START, 0, None);
    assert_eq!(pacer.next(START), START);
    let mut pacer = Pacer::resume(pace("60/min"), START, 100, Some(after(99.0)));
    assert_eq!(pacer.next(after(99.5)), after(100.0));
    // Within a wave the rest goes at once; the next is a whole time after the last launch.
    let mut pacer = Pacer::resume(waves("500/10m"), START, 300, Some(after(60.0)));
    assert_eq!(pacer.next(after(70.0)), after(60.0));
    let times = run(&mut pacer, after(70.0), 201, |_| 0.0);
    assert_eq!((times[0], times[199], times[200]), (70.0, 70.0, 660.0));
    let mut pacer = Pacer::resume(waves("500/10m"), START, 500, Some(after(100.0)));
    assert_eq!(pacer.next(after(110.0)), after(700.0));
}

#[test]
fn a_clock_that_was_set_back_stops_nothing() {
    let mut pacer = Pacer::begin(pace("60/min"), START);
    run(&mut pacer, after(3600.0), 10, |_| 0.0);
    // An hour back: one gap from now, whenever it is asked.
    assert_eq!(pacer.next(after(9.0)), after(10.0));
    assert_eq!(pacer.next(after(9.5)), after(10.0));
    assert_eq!(run(&mut pacer, after(10.0), 3, |_| 0.0), [10.0, 11.0, 12.0]);
}

/// Late by milliseconds mostly, sometimes by half a second, seldom paused for a minute or hours.
fn delays() -> impl Strategy<Value = Vec<f64>> {
    let delay = prop_oneof![
        60 => 0.0_f64..0.01,
        10 => 0.0_f64..0.6,
        1 => 0.6_f64..90.0,
        1 => 3600.0_f64..20_000.0,
    ];
    proptest::collection::vec(delay, 600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn never_faster_than_the_pace_in_any_minute(per_minute in 1_usize..2000, late in delays(), restart in 0_usize..600) {
        let stagger = pace(&format!("{per_minute}/min"));
        let mut pacer = Pacer::begin(stagger, START);
        let mut times = run(&mut pacer, START, restart, |n| late[n]);
        let last = times.last().map(|at| after(*at));
        let mut pacer = Pacer::resume(stagger, START, restart as u64, last);
        times.extend(run(&mut pacer, last.unwrap_or(START), 600 - restart, |n| late[restart + n]));
        let most = (per_minute as f64 * 1.02).max(per_minute as f64 + 1.0) + 1e-9;
        for at in &times {
            prop_assert!(within(&times, *at, 60.0) as f64 <= most, "{at}: {}", within(&times, *at, 60.0));
        }
    }

    #[test]
    fn as_fast_as_the_pace_in_every_minute(
        per_minute in 50_usize..1500,
        stall in 0.0_f64..0.4,
        late in proptest::collection::vec(0.0_f64..0.02, 96),
    ) {
        let mut pacer = Pacer::begin(pace(&format!("{per_minute}/min")), START);
        let times = run(&mut pacer, START, per_minute * 3, |n| *late.get(n % 97).unwrap_or(&stall));
        for from in [0.0, 17.0, 60.0, 113.0] {
            let launched = within(&times, from, 60.0) as f64;
            let planned = per_minute as f64;
            prop_assert!((launched - planned).abs() <= planned * 0.02 + 1.0, "{from}: {launched}");
        }
    }

    #[test]
    fn waves_start_their_whole_time_apart(size in 1_usize..50, late in delays(), restart in 0_usize..600) {
        let stagger = waves(&format!("{size}/10m"));
        let mut pacer = Pacer::begin(stagger, START);
        let mut times = run(&mut pacer, START, restart, |n| late[n]);
        let last = times.last().map(|at| after(*at));
        let mut pacer = Pacer::resume(stagger, START, restart as u64, last);
        times.extend(run(&mut pacer, last.unwrap_or(START), 600 - restart, |n| late[restart + n]));
        let starts: Vec<f64> = times.iter().copied().step_by(size).collect();
        for pair in starts.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 600.0 - LATE.as_secs_f64() - 1e-6, "{pair:?}");
        }
    }

    #[test]
    fn a_ramp_is_never_faster_than_its_plan_and_never_starts_again(late in delays(), from in 1_u32..100, to in 100_u32..600) {
        let stagger = ramp(&format!("{from}/min..{to}/min:5m"));
        let mut pacer = Pacer::begin(stagger, START);
        let times = run(&mut pacer, START, 600, |n| late[n]);
        for n in 1..600 {
            let planned = (stagger.due(n as u64) - stagger.due(0)).as_secs_f64();
            prop_assert!(times[n] - times[0] >= planned - LATE.as_secs_f64() - 1e-6);
        }
    }
}
