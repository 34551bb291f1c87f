//! A broker that takes no publishes, because its memory is full: work waits, nothing is lost, and nobody is called whose
//! result could not be told.

mod common;

use std::time::{Duration, Instant};

use common::jobs::{
    apply_topology, assert_launched_once_each, bodies, job, launch_count, launches_by_job, now_micros, slow,
    wait_abandoned, wait_done, wait_each_launched, wait_launches,
};
use common::{Amqp, LONG, Rabbit, Sim, Worker};
use serde_json::json;

const JOBS: usize = 2_000;
/// The node is the test's own, and goes with it.
const PREFIX: &str = "t";

struct Stage {
    sim: Sim,
    amqp: Amqp,
    worker: Worker,
    rabbit: Rabbit,
}

impl Stage {
    /// Work goes on, and then the alarm does; returns once the worker knows.
    async fn set() -> Self {
        // An alarm is the whole node's.
        let rabbit = Rabbit::start().await;
        apply_topology(rabbit.node(), PREFIX);
        let sim = Sim::start().await;
        sim.set_rules(&json!([slow(Duration::from_millis(40))])).await;
        let amqp = Amqp::connect(rabbit.url()).await;
        amqp.publish_all(&format!("{PREFIX}.jobs"), "bulk", bodies((0..JOBS).map(job)))
            .await;
        let mut worker = Worker::builder(rabbit.url(), PREFIX, &sim.base_url(), &sim.login_url())
            .set("limits.concurrency", 16)
            .ready()
            .await;
        wait_launches(&sim, 300).await;
        rabbit.ctl(&["set_vm_memory_high_watermark", "0.000001"]);
        worker
            .wait_readyz("readyz to tell of the alarm", |status, body| {
                status == 503 && body.contains("the broker blocks publishers")
            })
            .await;
        worker
            .wait_metrics("flowlaunch_in_flight", LONG, |metrics| {
                metrics.get("flowlaunch_in_flight", &[]) == 0.0
            })
            .await;
        Self {
            sim,
            amqp,
            worker,
            rabbit,
        }
    }

    fn clear(&self) {
        self.rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_memory_alarm_lasts_no_launch_begins_and_then_work_goes_on_with_nothing_lost() {
    let mut stage = Stage::set().await;
    let before = launch_count(&stage.sim).await;
    assert!(before < JOBS, "all was done before the alarm");
    // Long enough for a worker that goes on to be seen: it did hundreds in that time.
    let looking = Instant::now();
    while looking.elapsed() < Duration::from_secs(4) {
        assert_eq!(launch_count(&stage.sim).await, before, "a launch began");
        let (status, body) = stage.worker.readyz().await.unwrap();
        assert_eq!(status, 503, "{body}");
    }
    let cleared = now_micros();
    stage.clear();
    stage.worker.wait_ready().await;
    wait_each_launched(&stage.sim, JOBS).await;
    wait_done(stage.rabbit.node(), PREFIX, &stage.worker).await;
    assert_launched_once_each(&stage.sim, JOBS).await;
    let early = launches_by_job(&stage.sim).await.into_values().flatten();
    assert_eq!(early.filter(|launch| launch.at_micros < cleared).count(), before);
    let results = stage.amqp.results(PREFIX, JOBS, LONG).await;
    assert_eq!(results.len(), JOBS, "one result a job: a confirm's clock stands still");
    let metrics = stage.worker.metrics().await;
    assert_eq!(metrics.get("flowlaunch_results_failed_total", &[]), 0.0);
    stage.worker.term();
    assert_eq!(stage.worker.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_in_an_alarm_leaves_nobody_to_be_called_twice() {
    let mut stage = Stage::set().await;
    let launched = launch_count(&stage.sim).await;
    stage.worker.term();
    assert_eq!(stage.worker.wait_exit().await, 0);
    // What was launched is acknowledged, though its result could not be told.
    let lane = format!("{PREFIX}.jobs.bulk");
    assert_eq!(wait_abandoned(&stage.amqp, &lane).await, JOBS - launched);

    stage.clear();
    stage.worker.start_again();
    wait_each_launched(&stage.sim, JOBS).await;
    wait_done(stage.rabbit.node(), PREFIX, &stage.worker).await;
    assert_launched_once_each(&stage.sim, JOBS).await;
}
