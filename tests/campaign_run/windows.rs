//! Windows, by the machine's own clock: a minute that closes, and one that opens later.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::json;

use crate::common::wait::{SOON, eventually};
use crate::stage::{Stage, on_both};

/// What a run of some minutes may take on a slow machine.
const WHOLE: Duration = Duration::from_secs(900);

on_both! {
    a_gate_that_is_closed_past_the_windows_end_calls_nobody_until_the_next_window_and_then_everybody,
}

async fn a_gate_that_is_closed_past_the_windows_end_calls_nobody_until_the_next_window_and_then_everybody(
    stage: Stage,
) {
    // More than go in the first window, at five a second.
    const ROWS: usize = 500;
    let stage = stage.set("limits.rate", "5/s");
    stage.rows(ROWS);
    let mut worker = stage.on_rabbitmq.then(|| stage.worker());
    if let Some(worker) = &mut worker {
        worker.wait_ready().await;
    }
    // The first window has 45 s at least, and 105 s at most.
    let (begun, minute) = (Timestamp::now(), SignedDuration::from_mins(1));
    let closes = (begun + SignedDuration::from_secs(75)).round(Unit::Minute).unwrap();
    let opens = closes + minute;
    let clock = |at: Timestamp| at.strftime("%H:%M").to_string();
    let windows = format!(
        "Mon-Sun {}-{}; Mon-Sun {}-{}",
        clock(begun),
        clock(closes),
        clock(opens),
        clock(opens + 15 * minute)
    );
    let mut campaign = stage.campaign(&["--windows", &windows, "--timezone", "UTC"]);
    stage.wait_launched(5).await;

    until(closes - SignedDuration::from_secs(20)).await;
    stage
        .sim
        .set_rules(&json!([{ "endpoint": "launch", "status": 429, "retryAfter": "seconds", "retryAfterSeconds": 65 }]))
        .await;
    eventually("the API to say when to come back", SOON, async || {
        let requests = stage.sim.requests().await;
        let refused = requests.iter().filter(|request| request["status"] == 429).count();
        if refused > 0 { Ok(()) } else { Err(requests.len()) }
    })
    .await;
    stage.sim.clear_rules().await;
    assert!(Timestamp::now() < closes, "a machine so slow shows nothing here");
    let before = stage.launched().await;

    assert_eq!(campaign.wait_for(WHOLE).await, 0, "{}", campaign.output());
    let at = |request: &serde_json::Value| Timestamp::from_microsecond(request["atMicros"].as_i64().unwrap()).unwrap();
    for request in stage.sim.requests().await {
        let at = at(&request);
        assert!(at < closes || at >= opens, "{at} is between {closes} and {opens}");
    }
    assert_eq!(stage.launched().await, ROWS as u64);
    assert!((5..ROWS as u64).contains(&before), "{before} in the first window");
    let launches = stage.launches_by_row().await;
    assert_eq!(launches.len(), ROWS, "each row was launched once");
    for row in stage.report() {
        assert_eq!(row["state"], "launched", "{row}");
    }
    println!(
        "{before} rows in the first window, {} in the second",
        ROWS as u64 - before
    );
}

/// Until the clock shows it.
async fn until(at: Timestamp) {
    let left = at.duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
}
