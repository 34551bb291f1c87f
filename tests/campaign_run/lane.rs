//! A large campaign and single urgent jobs beside it: the campaign keeps a minute's work in its lane, and lets others by.

use std::path::Path;
use std::time::Duration;

use flowlaunch::broker::sqlite::Sqlite;

use crate::common::Amqp;
use crate::common::wait::{LONG, eventually};
use crate::stage::{FLOW, Stage, on_both};

const ROWS: usize = 100_000;
/// Launches a minute, and so the most that may lie ready.
const LIMIT: u64 = 300;
/// The runner sees the lane every two seconds, and counts other people's results for its own meanwhile.
const SLACK: u64 = 20;
/// What a worker of this rate takes in advance (see its `prefetch`).
const IN_HAND: u64 = 74;
const JOBS: usize = 10;
/// Bulk launches between the publish of a normal job and its own. One or two as a rule; on a machine that is slow to hand
/// it over more, and never the minute's work that lies in the lane.
const BEFORE: usize = 25;

on_both! {
    a_job_in_the_normal_lane_goes_before_all_that_a_campaign_of_100000_rows_has_published,
}

async fn a_job_in_the_normal_lane_goes_before_all_that_a_campaign_of_100000_rows_has_published(stage: Stage) {
    let stage = stage.set("limits.rate", format!("{LIMIT}/min"));
    stage.rows(ROWS);
    let _worker = stage.on_rabbitmq.then(|| stage.worker());
    let _campaign = stage.campaign(&[]);
    let most = &mut Most::default();
    eventually("a minute's work to lie in the lane", LONG, async || {
        most.look(&stage).await;
        if most.ready > LIMIT - SLACK && stage.launched().await > 0 {
            Ok(())
        } else {
            Err(most.ready)
        }
    })
    .await;
    let mut before = Vec::new();
    for n in 0..JOBS {
        let job = format!(r#"{{"id":"urgent-{n}","flowId":"{FLOW}","inputs":{{"n":"urgent-{n}"}}}}"#);
        stage.file("urgent.jsonl", &job);
        let (code, _, said) = stage.ask(&["publish", "urgent.jsonl"]);
        assert_eq!(code, 0, "{said}");
        let launched = stage.sim.launches().await.len();
        let place = eventually("the urgent job to be launched", LONG, async || {
            let launches = stage.sim.launches().await;
            let urgent = format!("urgent-{n}");
            let place = launches.iter().position(|launch| launch["inputs"]["n"] == *urgent);
            place.ok_or(launches.len())
        })
        .await;
        before.push(place.saturating_sub(launched));
        most.look(&stage).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("bulk launches before each of {JOBS} normal jobs: {before:?}; at most {most:?}");
    assert!(before.iter().all(|bulk| *bulk <= BEFORE), "{before:?}");
    assert!(most.ready <= LIMIT + SLACK, "{most:?}");
    assert!(most.published <= LIMIT + IN_HAND + SLACK, "{most:?}");
}

/// What was seen at most.
#[derive(Debug, Default)]
struct Most {
    /// Ready in the bulk lane.
    ready: u64,
    /// Rows that are published and have no result: those that lie ready, and what the worker has in hand.
    published: u64,
}

impl Most {
    async fn look(&mut self, stage: &Stage) {
        let ready = if stage.on_rabbitmq {
            let amqp = Amqp::connect(&stage.url).await;
            amqp.count(&format!("{}.jobs.bulk", stage.prefix)).await
        } else {
            let path = stage.url.strip_prefix("sqlite:").unwrap();
            let report = Sqlite::inspect(Path::new(path)).ok();
            report.and_then(|report| report.messages.iter().find(|(name, _)| *name == "bulk")?.1)
        };
        self.ready = self.ready.max(ready.unwrap_or(0).into());
        let status = stage.status().unwrap_or_default();
        let published = status["states"]["published"].as_u64().unwrap_or(0);
        self.published = self.published.max(published);
    }
}
