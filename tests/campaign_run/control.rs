//! Pause, resume and cancel: what is not published stays, what is published is stopped too, and restarts change nothing.

use serde_json::json;

use crate::common::wait::{LONG, eventually};
use crate::stage::{Stage, on_both};

on_both! {
    paused_and_everything_restarted_every_row_goes_once_when_resumed,
    a_cancelled_run_with_20_jobs_in_delay_queues_launches_none_of_them,
    failures_in_a_row_pause_it_and_the_rest_waits_for_a_person,
}

async fn paused_and_everything_restarted_every_row_goes_once_when_resumed(stage: Stage) {
    const ROWS: usize = 400;
    let stage = stage.set("limits.rate", "20/s");
    stage.rows(ROWS);
    let mut worker = stage.on_rabbitmq.then(|| stage.worker());
    let mut campaign = stage.campaign(&[]);
    stage.wait_launched(100).await;
    let (code, said, why) = stage.ask(&["campaign", "pause", "spring", "--reason", "wrong text"]);
    assert_eq!(code, 0, "{said}{why}");
    let standing = eventually("the pause to be in the status", LONG, async || {
        let status = stage.status().unwrap_or_default();
        if status["state"] == "paused" {
            Ok(status)
        } else {
            Err(status)
        }
    })
    .await;
    assert!(
        standing["reason"].as_str().unwrap().contains("wrong text"),
        "{standing}"
    );
    // Everything ends, and comes again.
    assert_eq!(campaign.term().await, 143, "the same command goes on");
    if let Some(worker) = &mut worker {
        worker.term();
        assert_eq!(worker.wait_exit().await, 0);
        worker.start_again();
    }
    let paused = stage.launched().await;
    let mut campaign = stage.campaign(&[]);
    eventually("the new runner to know of the pause", LONG, async || {
        let said = campaign.output();
        if said.contains("wrong text") { Ok(()) } else { Err(said) }
    })
    .await;
    // What was under way when the pause came may have ended since; then it stands still.
    let settled = eventually("nothing to be launched for two seconds", LONG, async || {
        let before = stage.launched().await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let after = stage.launched().await;
        if before == after {
            Ok(after)
        } else {
            Err((before, after))
        }
    })
    .await;
    assert!(
        settled <= paused + 8,
        "{paused} launched when it was paused, {settled} later"
    );
    assert!(settled < ROWS as u64);
    let (code, _, why) = stage.ask(&["campaign", "resume", "spring"]);
    assert_eq!(code, 0, "{why}");
    assert_eq!(campaign.wait().await, 0, "{}", campaign.output());
    let launches = stage.launches_by_row().await;
    assert_eq!(launches.len(), ROWS);
    let twice: Vec<_> = launches.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "launched again: {twice:?}");
    assert_eq!(stage.status().unwrap()["state"], "finished");
}

async fn a_cancelled_run_with_20_jobs_in_delay_queues_launches_none_of_them(stage: Stage) {
    const ROWS: usize = 20;
    let stage = stage.set("retry.initial_delay", "20s");
    // Every call fails in a way that is tried again, after 10 to 20 s.
    stage
        .sim
        .set_rules(&json!([{ "endpoint": "launch", "status": 503 }]))
        .await;
    stage.rows(ROWS);
    let mut worker = stage.on_rabbitmq.then(|| stage.worker());
    let campaign = stage.campaign(&["--pause-on-failures", "0"]);
    eventually("20 calls that failed", LONG, async || {
        let requests = stage.sim.requests().await.len();
        if requests >= ROWS { Ok(()) } else { Err(requests) }
    })
    .await;
    let (code, said, why) = stage.ask(&["campaign", "cancel", "spring", "--yes"]);
    assert_eq!(code, 0, "{said}{why}");
    // Every worker restarts; the API works again.
    campaign.kill();
    if let Some(worker) = &mut worker {
        worker.kill();
    }
    stage.sim.clear_rules().await;
    if let Some(worker) = &mut worker {
        worker.start_again();
    }
    let mut campaign = stage.campaign(&["--pause-on-failures", "0"]);
    assert_eq!(campaign.wait().await, 1, "{}", campaign.output());
    let report = stage.report();
    assert_eq!(report.len(), ROWS);
    for row in &report {
        assert_eq!(row["state"], "cancelled", "{row}");
    }
    assert_eq!(stage.launched().await, 0);
    assert_eq!(stage.status().unwrap()["state"], "cancelled");
    // It is over for good, unless somebody says otherwise.
    let (code, _, why) = stage.ask(&[
        "campaign",
        "run",
        "rows.csv",
        "--name",
        "spring",
        "--key",
        "id",
        "--flow-id",
        crate::stage::FLOW,
    ]);
    assert_eq!(code, 2, "{why}");
    assert!(why.contains("--again"), "{why}");
    let mut again = stage.campaign(&["--again"]);
    assert_eq!(again.wait().await, 0, "{}", again.output());
    assert_eq!(stage.launched().await, ROWS as u64);
    assert_eq!(stage.status().unwrap()["run"], 2);
}

async fn failures_in_a_row_pause_it_and_the_rest_waits_for_a_person(stage: Stage) {
    const ROWS: usize = 800;
    let stage = stage.set("limits.rate", "20/s");
    stage
        .sim
        .set_rules(&json!([{ "endpoint": "launch", "status": 400 }]))
        .await;
    stage.rows(ROWS);
    let _worker = stage.on_rabbitmq.then(|| stage.worker());
    let mut campaign = stage.campaign(&["--pause-on-failures", "5"]);
    let standing = eventually("it to pause itself", LONG, async || {
        let status = stage.status().unwrap_or_default();
        if status["state"] == "paused" {
            Ok(status)
        } else {
            Err(status)
        }
    })
    .await;
    let why = standing["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("5 rows in a row were not launched"), "{why}");
    stage.sim.clear_rules().await;
    let (code, _, said) = stage.ask(&["campaign", "resume", "spring"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(campaign.wait().await, 1, "{}", campaign.output());
    let dead = stage.report().iter().filter(|row| row["state"] == "dead").count();
    assert!((5..200).contains(&dead), "{dead} dead");
    assert_eq!(stage.launched().await as usize, ROWS - dead);
}
