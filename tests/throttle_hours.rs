//! A Retry-After of hours, on a clock that the test moves by hand: the broker is scripted, the API the simulator itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::time::Duration;

use common::paused::{Still, settle, until, worker};
use flowlaunch::admit::settings::Rate;
use flowlaunch::broker::Destination;
use flowlaunch::lane::Lane;
use flowlaunch::simulator::{self, Simulator};
use serde_json::json;

const JOBS: usize = 200;
const TWO_HOURS: Duration = Duration::from_secs(7200);

fn launches(sim: &Simulator) -> u64 {
    sim.stats()["launches"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_two_hours_gives_the_jobs_back_and_consumes_again_shortly_before_it_opens() {
    let _still = Still::hold();
    let settings = json!({ "rate": "unlimited" });
    let sim = Simulator::start(simulator::Settings::default().patched(settings).unwrap()).unwrap();
    sim.set_rules(json!([{ "status": 429, "retryAfter": "hours", "first": 1 }]))
        .unwrap();
    let (broker, worker, _metrics) = worker(&sim, JOBS, Rate::Unlimited);
    let began = tokio::time::Instant::now();
    tokio::spawn(worker.run());

    until("the throttled job's delay, and the rest given back", &broker, |state| {
        state.published.len() == 1 && state.unacked == 0 && !broker.consumes()
    })
    .await;
    let before = launches(&sim);
    assert!(before < 4, "what was under way was launched, and no more: {before}");
    {
        let state = broker.look();
        assert_eq!(state.ready.len(), JOBS - 1 - usize::try_from(before).unwrap());
        let (to, copy) = &state.published[0];
        assert!(
            matches!(to, Destination::Delay(Lane::Bulk, delay) if *delay >= TWO_HOURS),
            "{to:?}"
        );
        let ours = |name| copy.properties.headers.ours(name).unwrap().as_int();
        assert_eq!((ours("attempts"), ours("throttled")), (Some(0), Some(1)));
        // Each goes back once: it is not taken again meanwhile.
        assert!(state.ready.iter().all(|(_, count)| *count <= 1));
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "the clock stood still so far");

    for seconds in [60, 3600, 7190] {
        tokio::time::advance(began + Duration::from_secs(seconds) - tokio::time::Instant::now()).await;
        settle().await;
        assert!(!broker.consumes(), "it consumes after {seconds} s");
    }
    tokio::time::advance(Duration::from_secs(9)).await;
    until("jobs to be in hand", &broker, |state| state.unacked > 0).await;
    settle().await;
    assert_eq!(launches(&sim), before, "launched a second before it opens");

    tokio::time::advance(Duration::from_secs(1)).await;
    until("all to be launched", &broker, |state| {
        state.ready.is_empty() && state.unacked == 0
    })
    .await;
    assert_eq!(
        launches(&sim),
        JOBS as u64 - 1,
        "all but the one that waits in the ladder"
    );
    assert_eq!(broker.look().acked, JOBS);
    assert_eq!(broker.look().published.len(), 1);
}
