//! Days on end, over the changes of the clock: any rows, windows and pace, a slow worker, a broker that does not answer,
//! and a runner that is killed.

use jiff::civil::Weekday;
use proptest::prelude::*;

use super::world::Fate;
use super::*;

const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Asia/Tokyo"];
/// When the clocks of Berlin and of New York change.
const CHANGES: [&str; 4] = [
    "2027-03-28T01:00Z",
    "2027-10-31T01:00Z",
    "2027-03-14T07:00Z",
    "2027-11-07T06:00Z",
];
const DAYS: [(&str, u8); 4] = [
    ("Mon-Sun", 0b111_1111),
    ("Mon-Fri", 0b001_1111),
    ("Sat-Sun", 0b110_0000),
    ("Sun", 0b100_0000),
];
const DAY: i64 = 24 * 60;
/// All times of windows here are multiples of it, and so are the changes of the clock.
const STEP: SignedDuration = SignedDuration::from_mins(30);
/// The longest gap between two launches of the staggers here.
const GAP: SignedDuration = SignedDuration::from_mins(10);

/// A window, in minutes of the day on which it opens.
#[derive(Clone, Copy, Debug)]
struct Span {
    days: usize,
    from: i64,
    till: i64,
}

impl Span {
    fn text(&self) -> String {
        let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
        format!("{} {}-{}", DAYS[self.days].0, clock(self.from), clock(self.till))
    }

    fn opens_on(&self, day: Weekday) -> bool {
        DAYS[self.days].1 & (1 << day.to_monday_zero_offset()) != 0
    }
}

/// Whether the clock on the wall shows a time of a window. No arithmetic on zones: it is what a person would look at.
fn shown(spans: &[Span], zone: &TimeZone, at: Timestamp) -> bool {
    let wall = zone.to_datetime(at);
    let minute = i64::from(wall.hour()) * 60 + i64::from(wall.minute());
    let (today, yesterday) = (wall.weekday(), wall.yesterday().unwrap().weekday());
    spans.iter().any(|span| {
        (span.opens_on(today) && (span.from..span.till).contains(&minute))
            || (span.opens_on(yesterday) && (span.from..span.till).contains(&(minute + DAY)))
    })
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (0..DAYS.len(), 0..48_i64, 1..=16_i64).prop_map(|(days, from, long)| Span {
        days,
        from: from * 30,
        till: (from + long) * 30,
    });
    // Half of them about the hours in which clocks change.
    let about = (0..DAYS.len(), 0..7_i64, 1..=5_i64).prop_map(|(days, from, long)| Span {
        days,
        from: from * 30,
        till: (from + long) * 30,
    });
    proptest::collection::vec(prop_oneof![span, about], 1..4)
}

fn staggers() -> impl Strategy<Value = Stagger> {
    let texts = prop_oneof![Just("1/min"), Just("20/min"), Just("600/min")];
    prop_oneof![
        texts.prop_map(pace),
        Just(Stagger::Waves("3/10m".parse().unwrap())),
        Just(Stagger::Ramp("1/min..60/min:5m".parse().unwrap())),
        Just(Stagger::AtOnce),
    ]
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        8 => Just(Fate::Confirmed),
        1 => Just(Fate::Withdrawn),
        1 => Just(Fate::Unanswered),
        1 => Just(Fate::Lost),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
    ];
    // One that is always confirmed, so that it ends.
    proptest::collection::vec(fate, 0..40).prop_map(|mut fates| {
        fates.push(Fate::Confirmed);
        fates
    })
}

/// A second mostly; minutes behind a backlog; hours behind a closed gate.
fn delays() -> impl Strategy<Value = Vec<Duration>> {
    let secs = prop_oneof![
        6 => Just(1_u64),
        2 => 60..1_800_u64,
        1 => 3_600..30_000_u64,
    ];
    proptest::collection::vec(secs.prop_map(Duration::from_secs), 1..20).prop_map(|mut delays| {
        delays.push(Duration::from_secs(1));
        delays
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_row_goes_once_in_a_window_of_its_own_clock(
        rows in proptest::collection::vec(0..ZONES.len(), 1..50),
        spans in spans(),
        stagger in staggers(),
        fates in fates(),
        delays in delays(),
        change in 0..CHANGES.len(),
        before in 0..48 * 60_i64,
    ) {
        let text = spans.iter().map(Span::text).collect::<Vec<_>>().join("; ");
        let schedule = Schedule { stagger, windows: windows(&text), ..Schedule::default() };
        let zones: Vec<&str> = rows.iter().map(|zone| ZONES[*zone]).collect();
        let begun = at(CHANGES[change]) - SignedDuration::from_mins(before);
        let mut world = World::new(schedule.clone(), &zones, begun);
        (world.fates, world.delays) = (fates, delays);
        let zone_of = |key: &str| {
            let n: usize = key.strip_prefix("row-").unwrap().parse().unwrap();
            schedule::zone(zones[n]).unwrap()
        };

        while !world.desk.is_over() {
            let now = world.now;
            let published = world.published.len();
            let wake = world.step();
            prop_assert!(now.duration_since(begun) < SignedDuration::from_hours(40 * 24), "{:?}", world.desk.counts());
            if world.published.len() > published || world.desk.is_over() {
                continue;
            }
            // Nothing went: then every zone that has rows is closed, or the stagger's next is soon.
            for name in ZONES {
                let zone = schedule::zone(name).unwrap();
                let open = schedule.opening(&zone, now).is_some_and(|open| open.contains(now));
                let planned = world.desk.journal().planned(world.desk.run().id, Some(name), 1).unwrap();
                let soon = wake.is_none_or(|wake| wake <= now + GAP);
                prop_assert!(!open || planned.is_empty() || soon, "{now}: {name} is open, and waits until {wake:?}");
            }
        }

        for (when, job) in &world.published {
            let zone = zone_of(job.id.rsplit(':').next().unwrap());
            prop_assert!(shown(&spans, &zone, *when), "{when}: {text} are closed in {zone:?}");
            let Some(expires) = job.expires_at else {
                let always = (0..8 * 48).all(|n| shown(&spans, &zone, *when + STEP * n));
                prop_assert!(always, "{text} do not close");
                continue;
            };
            // Open all the time until then; and then closed, or the clock goes back.
            let mut then = *when;
            while then < expires {
                prop_assert!(shown(&spans, &zone, then), "{then}, before {expires}: {text} in {zone:?}");
                then += STEP;
            }
            let changes = zone.following(expires - STEP).next().is_some_and(|change| change.timestamp() == expires);
            prop_assert!(!shown(&spans, &zone, expires) || changes, "{expires}: {text} are open in {zone:?}");
        }
        for (when, key) in &world.launches {
            prop_assert!(shown(&spans, &zone_of(key), *when), "{key} was called at {when}");
        }
        let times = world.times();
        prop_assert_eq!(times.len(), rows.len());
        for (key, times) in times {
            let doubts = world.doubts.get(key).copied().unwrap_or(0);
            prop_assert!(times <= 1 + doubts, "{key} was launched {times} times, and in doubt {doubts} times");
        }
    }
}
