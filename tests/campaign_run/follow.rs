//! Followed to their end: all rows, or the first ones before the rest is asked for.

use serde_json::Value;

use crate::stage::{Stage, on_both};

on_both! {
    tracked_rows_are_accounted_for_by_their_end,
    the_first_rows_are_followed_to_their_end_before_the_rest_goes,
}

fn states(report: &[Value]) -> Vec<&str> {
    report.iter().map(|row| row["state"].as_str().unwrap()).collect()
}

async fn tracked_rows_are_accounted_for_by_their_end(stage: Stage) {
    const ROWS: usize = 30;
    stage.rows(ROWS);
    let mut worker = stage.on_rabbitmq.then(|| stage.worker());
    let campaign = stage.campaign(&["--track"]);
    stage.wait_launched(10).await;
    // Who follows them dies on the way.
    campaign.kill();
    if let Some(worker) = &mut worker {
        worker.kill();
        worker.start_again();
    }
    let mut campaign = stage.campaign(&["--track"]);
    assert_eq!(campaign.wait().await, 0, "{}", campaign.output());
    let report = stage.report();
    assert_eq!(states(&report), ["completed"; ROWS]);
    for row in &report {
        assert!(row["executionId"].as_str().unwrap().starts_with("exec-"), "{row}");
    }
}

async fn the_first_rows_are_followed_to_their_end_before_the_rest_goes(stage: Stage) {
    const ROWS: usize = 200;
    stage.rows(ROWS);
    let _worker = stage.on_rabbitmq.then(|| stage.worker());
    // Nobody can be asked: they are shown, and that is all.
    let mut campaign = stage.campaign(&["--first", "5"]);
    assert_eq!(campaign.wait().await, 1, "{}", campaign.output());
    let said = campaign.output();
    assert_eq!(said.matches("completed").count(), 6, "a line each, and the sum: {said}");
    assert!(said.contains("without --first"), "{said}");
    assert_eq!(stage.launched().await, 5);
    let report = stage.report();
    assert_eq!(states(&report)[..5], ["completed"; 5]);
    assert!(states(&report)[5..].iter().all(|state| *state == "planned"));
    let mut campaign = stage.campaign(&["--first", "5", "--yes"]);
    assert_eq!(campaign.wait().await, 0, "{}", campaign.output());
    assert_eq!(stage.launched().await, ROWS as u64);
    assert_eq!(states(&stage.report())[5..], ["launched"; ROWS - 5]);
}
