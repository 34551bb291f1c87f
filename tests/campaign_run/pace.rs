//! Pace, waves and ramp, as the API sees them.
//!
//! What is held against the plan is the simulator's record. Nobody launches faster than the plan, and who is behind it is so
//! by 2 % of a minute's launches at most. A launch may be half a second late and is made good; a machine that stands still
//! for longer than that moves the plan (the product never bursts to make up for it), so the time for which this one was seen
//! to stand still is granted: none at all, on a machine that has nothing else to do.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::wait::LONG;
use crate::stage::Stage;

/// A launch so late is in its turn, in seconds.
const LATE: f64 = 0.5;
/// A machine that stood still for less did no harm.
const STILL: Duration = Duration::from_millis(250);

/// How many launches the plan has before this time, from its first on, in seconds.
type Planned = fn(f64) -> f64;

struct Plan {
    args: [&'static str; 2],
    rows: usize,
    planned: Planned,
}

const PACE: Plan = Plan {
    args: ["--pace", "300/min"],
    rows: 310,
    planned: |at| (at * 5.0).floor() + 1.0,
};

#[tokio::test(flavor = "multi_thread")]
async fn pace_waves_and_ramp_are_kept_within_2_percent_and_nothing_goes_in_a_burst() {
    let fast = Plan {
        args: ["--pace", "3000/min"],
        rows: 3_050,
        planned: |at| (at * 50.0).floor() + 1.0,
    };
    let waves = Plan {
        args: ["--waves", "50/20s"],
        rows: 200,
        planned: |at| ((at / 20.0).floor() + 1.0) * 50.0,
    };
    // From 1 to 10 a second over a minute: 330 in it.
    let ramp = Plan {
        args: ["--ramp", "60/min..600/min:1m"],
        rows: 340,
        planned: |at| (at + 9.0 * at * at / 120.0).floor() + 1.0,
    };
    tokio::join!(
        keeps(PACE, Stage::embedded().await),
        keeps(fast, Stage::embedded().await),
        keeps(waves, Stage::embedded().await),
        keeps(ramp, Stage::embedded().await),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pace_is_kept_on_rabbitmq() {
    let stage = Stage::rabbitmq().await;
    let mut worker = stage.worker();
    worker.wait_ready().await;
    keeps(PACE, stage).await;
}

async fn keeps(plan: Plan, stage: Stage) {
    stage.rows(plan.rows);
    let stillness = Stillness::watch(stage.file("still", ""));
    let mut campaign = stage.campaign(&plan.args);
    assert_eq!(campaign.wait_for(LONG).await, 0, "{}", campaign.output());
    let still = stillness.end();
    let mut times: Vec<f64> = stage.sim.launches().await.iter().map(at).collect();
    assert_eq!(times.len(), plan.rows);
    times.sort_by(f64::total_cmp);

    // The plan begins where nobody is ahead of it: one that were too early would make all others late.
    let ahead_by = |begun: f64| {
        let ahead = |(n, at): (usize, &f64)| (n + 1) as f64 > (plan.planned)(at - begun);
        times.iter().enumerate().any(ahead)
    };
    let begun = bisect(times[0] - 60.0, times[0], ahead_by);
    let planned = |at: f64| if at < begun { 0.0 } else { (plan.planned)(at - begun) };
    let late = LATE + still;
    let minute = (plan.planned)(60.0 - 1e-9).min(plan.rows as f64);
    let behind = times
        .iter()
        .enumerate()
        .map(|(n, at)| planned(at - late).min(plan.rows as f64) - n as f64)
        .fold(0.0, f64::max);
    let in_second = |from: f64| times.iter().filter(|at| (from..from + 1.0).contains(*at)).count() as f64;
    // What was late goes with what is due.
    let most_more = times
        .iter()
        .map(|from| in_second(*from) - (planned(from + 1.0) - planned(from - late)))
        .fold(f64::MIN, f64::max);
    println!(
        "{}: {behind:.0} behind a plan of {minute:.0} a minute at most; the first {:.3} s after the plan's begin; {:.0} in one \
         second at most; the machine stood still for {still:.1} s",
        plan.args.join(" "),
        times[0] - begun,
        times.iter().map(|from| in_second(*from)).fold(0.0, f64::max),
    );
    assert!(behind <= minute * 0.02 + 1.0, "{behind} behind");
    assert!(times[0] - begun <= 1.2 + late, "somebody went before his turn");
    assert!(most_more <= 1.0, "{most_more} more in one second than were due");
}

fn at(launch: &serde_json::Value) -> f64 {
    launch["atMicros"].as_i64().unwrap() as f64 / 1e6
}

/// The latest time from `from` to `till` that is no `too_late`.
fn bisect(mut from: f64, mut till: f64, too_late: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..40 {
        let middle = f64::midpoint(from, till);
        *(if too_late(middle) { &mut till } else { &mut from }) = middle;
    }
    from
}

/// A thread that sleeps and writes to the disk, and notes when that takes too long.
struct Stillness {
    over: Arc<AtomicBool>,
    watch: thread::JoinHandle<Duration>,
}

impl Stillness {
    fn watch(path: std::path::PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let watch = thread::spawn(move || {
            let mut file = std::fs::File::create(path).unwrap();
            let mut still = Duration::ZERO;
            while !ended.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(Duration::from_millis(20));
                file.write_all(b".").unwrap();
                file.sync_data().unwrap();
                still += Some(begun.elapsed()).filter(|took| *took > STILL).unwrap_or_default();
            }
            still
        });
        Self { over, watch }
    }

    /// For how long the machine stood still meanwhile, in seconds.
    fn end(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        self.watch.join().unwrap().as_secs_f64()
    }
}
