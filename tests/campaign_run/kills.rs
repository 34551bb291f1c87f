//! Killed at any moment: every row is accounted for, and launched twice in the named windows only.

use std::time::Duration;

use crate::stage::{Stage, on_both};

const ROWS: usize = 50_000;
/// The worker's requests at once: what a kill can find launched and not yet told.
const SLOTS: usize = 8;
/// What a worker with that many slots and no rate limit may have in hand.
const IN_HAND: usize = SLOTS * 16;
/// What a runner may have published and not noted.
const BATCH: usize = 200;
/// 50,000 rows on a slow machine.
const WHOLE: Duration = Duration::from_secs(900);

on_both! {
    six_kills_of_runner_and_worker_account_for_each_of_50000_rows,
}

async fn six_kills_of_runner_and_worker_account_for_each_of_50000_rows(stage: Stage) {
    let stage = stage.set("limits.concurrency", SLOTS);
    stage.rows(ROWS);
    // On the embedded broker the worker is inside, and goes with its runner.
    let mut worker = stage.on_rabbitmq.then(|| stage.worker());
    let mut campaign = stage.campaign(&[]);
    for kill in 1..=6 {
        stage.wait_launched(kill * 7_000).await;
        if kill % 2 == 1 {
            campaign.kill();
            campaign = stage.campaign(&[]);
        } else if let Some(worker) = &mut worker {
            worker.kill();
            worker.start_again();
        } else {
            campaign.kill();
            campaign = stage.campaign(&[]);
        }
    }
    assert_eq!(campaign.wait_for(WHOLE).await, 0, "{}", campaign.output());
    let report = stage.report();
    assert_eq!(report.len(), ROWS);
    for (index, row) in report.iter().enumerate() {
        assert_eq!(row["key"], format!("row-{index}"));
        assert_eq!(row["state"], "launched", "{row}");
    }
    // What is told twice is told with one of the executions that there were.
    let launches = stage.launches_by_row().await;
    assert_eq!(launches.len(), ROWS, "each row was launched");
    let twice: usize = launches.values().map(|times| times - 1).sum();
    assert!(twice <= 6 * (IN_HAND + BATCH), "{twice} launched again");
    println!("{twice} of {ROWS} rows launched again after six kills");
    let status = stage.status().unwrap();
    assert_eq!(status["state"], "finished", "{status}");
}
