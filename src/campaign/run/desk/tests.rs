//! The desk by itself: its clock is an argument, its broker and its worker are a list.

use jiff::ToSpan as _;

use super::super::super::journal::{Loaded, NewRow, NewRun};
use super::*;
use crate::campaign::schedule::{Stagger, Windows};

mod days;
mod world;

use world::World;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn windows(text: &str) -> Option<Windows> {
    Some(text.parse().unwrap())
}

fn pace(text: &str) -> Stagger {
    Stagger::Pace(text.parse().unwrap())
}

const OFFICE: &str = "Mon-Fri 09:00-18:00";

#[test]
fn a_retry_after_of_two_hours_at_1755_calls_nobody_after_1800_and_everybody_the_next_day() {
    let schedule = Schedule {
        stagger: pace("60/min"),
        windows: windows(OFFICE),
        ..Schedule::default()
    };
    // 17:50 in Berlin.
    let mut world = World::new(schedule, &["Europe/Berlin"; 1_000], at("2027-01-13T16:50Z"));
    let (refused, closed) = (at("2027-01-13T16:55Z"), at("2027-01-13T17:00Z"));
    world.gate = Some((refused, refused + 2.hours()));
    world.run_to_its_end();
    let times = || world.launches.iter().map(|(when, _)| *when);
    let before = times().filter(|when| *when < refused).count();
    assert!((290..=301).contains(&before), "{before}");
    assert!(
        times().all(|when| when < refused || (at("2027-01-14T08:00Z")..at("2027-01-14T17:00Z")).contains(&when)),
        "{:?}",
        world.launches
    );
    world.assert_each_launched_once();
    // What could not be launched any more was not published either.
    let published = world.published.iter();
    assert!(
        published
            .map(|(when, _)| *when)
            .all(|when| when < closed || when >= at("2027-01-14T08:00Z"))
    );
}

#[test]
fn a_zone_all_of_whose_rows_were_on_their_way_at_a_restart_gets_them_again_when_they_miss_their_window() {
    let schedule = Schedule {
        windows: windows(OFFICE),
        ..Schedule::default()
    };
    let mut world = World::new(
        schedule,
        &["Asia/Tokyo", "America/New_York"],
        at("2027-01-13T08:59:50Z"),
    );
    // Tokyo's closes in ten seconds, and the worker is slower than that. New York's is not open yet.
    world.delays = vec![Duration::from_secs(30)];
    world.step();
    assert_eq!(world.desk.counts().of(RowState::Published), 1);
    world.restart();
    world.run_to_its_end();
    world.assert_each_launched_once();
    let tokyo = world.launches.iter().find(|(_, key)| key == "row-0").unwrap();
    assert_eq!(tokyo.0, at("2027-01-14T00:00:30Z"));
}

#[test]
fn what_could_only_lie_in_the_lane_until_its_window_ends_waits_for_the_next() {
    let schedule = Schedule {
        windows: windows(OFFICE),
        ..Schedule::default()
    };
    let mut world = World::new(schedule, &["Europe/Berlin"; 3], at("2027-01-13T16:59:30Z"));
    let mut room = Room {
        rows: 10,
        ahead: Duration::from_secs(30),
    };
    let batch = world.desk.next(world.now, room).unwrap();
    assert!(batch.jobs.is_empty());
    assert_eq!(batch.wake, Some(at("2027-01-14T08:00Z")));
    // With less ahead of them they go.
    room.ahead = Duration::from_secs(29);
    let mut world = World::new(world.desk.terms().schedule.clone(), &["Europe/Berlin"; 3], world.now);
    assert_eq!(world.desk.next(world.now, room).unwrap().jobs.len(), 3);
}

#[test]
fn the_first_rows_go_alone_and_the_others_when_they_are_let() {
    let mut world = World::new(Schedule::default(), &["UTC"; 5], at("2027-01-13T12:00Z"));
    world.desk.first = Some(2);
    world.step();
    assert_eq!(world.published.len(), 2);
    assert!(
        world.published.iter().all(|(_, job)| job.track),
        "they are followed to their end"
    );
    for _ in 0..5 {
        world.step();
    }
    assert_eq!(world.published.len(), 2);
    world.desk.all();
    world.run_to_its_end();
    assert_eq!(world.published.len(), 5);
    assert!(!world.published[4].1.track);
}

#[test]
fn a_row_that_expired_by_its_own_age_is_not_planned_again() {
    let schedule = Schedule {
        windows: windows(OFFICE),
        expires_after: Some(Duration::from_secs(60)),
        ..Schedule::default()
    };
    let mut world = World::new(schedule, &["UTC"; 2], at("2027-01-13T12:00Z"));
    world.delays = vec![Duration::from_secs(1), Duration::from_secs(61)];
    world.run_to_its_end();
    assert_eq!(world.launches.len(), 1);
    assert_eq!(world.desk.counts().of(RowState::Expired), 1);
}

#[test]
fn with_park_what_may_be_with_the_broker_is_not_published_again() {
    let mut world = World::new(Schedule::default(), &["UTC"; 4], at("2027-01-13T12:00Z"));
    world.desk.terms.on_unknown = Some(OnUnknown::Park);
    world.fates = vec![world::Fate::KilledBefore];
    world.run_to_its_end();
    assert_eq!(world.published.len(), 0);
    assert_eq!(world.desk.counts().of(RowState::Unknown), 4, "a person knows");
}

#[test]
fn so_many_failures_in_a_row_trip_it_and_a_launch_in_between_does_not_let_them_add_up() {
    let mut world = World::new(Schedule::default(), &["UTC"; 6], at("2027-01-13T12:00Z"));
    world.desk.terms.pause_on_failures = 3;
    let batch = world.desk.next(
        world.now,
        Room {
            rows: 10,
            ahead: Duration::ZERO,
        },
    );
    assert_eq!(batch.unwrap().jobs.len(), 6);
    let told = |n: u64, state| Told {
        key: format!("row-{n}"),
        state,
        execution_id: None,
        attempts: 1,
        reason: Some("refused".to_owned()),
        error: Some("no such flow".to_owned()),
        finished: at("2027-01-13T12:00:01Z"),
    };
    let mut hear = |rows: &[(u64, RowState)]| {
        let told: Vec<_> = rows.iter().map(|(n, state)| told(*n, *state)).collect();
        world.desk.take_in(&told, 1).unwrap().tripped
    };
    use RowState::{Dead, Launched};
    assert_eq!(hear(&[(0, Dead), (1, Dead), (2, Launched), (3, Dead), (4, Dead)]), None);
    let why = hear(&[(5, Dead)]).unwrap();
    assert!(why.contains("3 rows in a row") && why.contains("no such flow"), "{why}");
}
