//! The end that was asked for: what is in flight finishes, the rest is given back, and nobody is launched twice for it.

#![allow(
    clippy::print_stdout,
    reason = "the figures that it measures are shown with --nocapture"
)]

mod common;

use std::time::{Duration, Instant};

use common::jobs::{
    apply_topology, assert_launched_once_each, bodies, job, launch_count, launches_by_job, slow, wait_abandoned,
    wait_done, wait_launches,
};
use common::worker::Builder;
use common::{Amqp, Node, Prefix, Sim, Worker, shared};
use nix::sys::signal::Signal;
use serde_json::json;

const JOBS: usize = 400;
const SLOTS: usize = 16;

struct Stage {
    node: Node,
    sim: Sim,
    prefix: Prefix,
    amqp: Amqp,
    lane: String,
}

impl Stage {
    /// All jobs lie in the lane, and each launch takes that long.
    async fn set(story: &str, answer: Duration) -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, story);
        apply_topology(&node, prefix.name());
        let sim = Sim::start().await;
        sim.set_rules(&json!([slow(answer)])).await;
        let amqp = Amqp::connect(node.url()).await;
        amqp.publish_all(&format!("{prefix}.jobs"), "normal", bodies((0..JOBS).map(job)))
            .await;
        let lane = format!("{prefix}.jobs.normal");
        Self {
            node,
            sim,
            prefix,
            amqp,
            lane,
        }
    }

    fn worker(&self) -> Builder {
        Worker::builder(
            self.node.url(),
            self.prefix.name(),
            &self.sim.base_url(),
            &self.sim.login_url(),
        )
        .set("limits.concurrency", SLOTS)
    }

    /// A second worker takes what is left, at full speed.
    async fn go_on(&self, builder: Builder) -> Worker {
        self.sim.clear_rules().await;
        let worker = builder.ready().await;
        wait_done(&self.node, self.prefix.name(), &worker).await;
        worker
    }
}

fn says(worker: &Worker, words: &str) -> bool {
    let said = |line: &serde_json::Value| line["message"].as_str().is_some_and(|message| message.contains(words));
    worker.log_lines().iter().any(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_finishes_what_is_in_flight_and_gives_back_the_rest() {
    let stage = Stage::set("term", Duration::from_secs(2)).await;
    let mut worker = stage.worker().ready().await;
    wait_launches(&stage.sim, SLOTS).await;
    let began = Instant::now();
    worker.term();
    worker
        .wait_readyz("readyz to say that it drains", |status, body| {
            status == 503 && body.contains("draining")
        })
        .await;
    assert_eq!(worker.wait_exit().await, 0);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}: worker.drain_timeout is 25 s");
    assert!(says(&worker, "everything in flight has finished"), "{}", worker.log());

    // Whoever was launched had an answer, and is acknowledged; everybody else is back.
    let launches = stage.sim.launches().await;
    assert!(launches.iter().all(|launch| launch["answer"] == "sent"), "{launches:?}");
    let back = wait_abandoned(&stage.amqp, &stage.lane).await;
    assert_eq!(back, JOBS - launches.len());
    println!(
        "SIGTERM under load: {} finished, {back} given back, after {took:?}",
        launches.len()
    );

    stage.go_on(stage.worker()).await;
    assert_launched_once_each(&stage.sim, JOBS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopping_worker_gives_back_is_not_parked_by_the_next_one() {
    let stage = Stage::set("term-park", Duration::from_secs(1)).await;
    let park = || stage.worker().set("retry.on_unknown", "park");
    let mut worker = park().ready().await;
    wait_launches(&stage.sim, SLOTS).await;
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);

    stage.go_on(park()).await;
    assert_eq!(stage.amqp.count(&format!("{}.dead", stage.prefix)).await, Some(0));
    assert_launched_once_each(&stage.sim, JOBS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_timeout_that_is_too_short_says_so_and_the_jobs_come_back() {
    let stage = Stage::set("drain", Duration::from_secs(10)).await;
    let mut worker = stage.worker().set("worker.drain_timeout", "1s").ready().await;
    wait_launches(&stage.sim, SLOTS).await;
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
    assert!(
        says(&worker, "ended before everything in flight had finished"),
        "{}",
        worker.log()
    );
    let warned = worker
        .log_lines()
        .into_iter()
        .find(|line| line["jobs"].is_number())
        .unwrap();
    assert_eq!(warned["jobs"], SLOTS, "{warned}");
    assert_eq!(launch_count(&stage.sim).await, SLOTS);
    assert_eq!(wait_abandoned(&stage.amqp, &stage.lane).await, JOBS);

    // Window 1: those that were cut short are launched again, and nobody else.
    stage.go_on(stage.worker()).await;
    let by_job = launches_by_job(&stage.sim).await;
    let twice = by_job.values().filter(|launches| launches.len() == 2).count();
    assert_eq!((by_job.len(), twice), (JOBS, SLOTS));
    assert_eq!(launch_count(&stage.sim).await, JOBS + SLOTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_with_the_signals_exit_code() {
    let stage = Stage::set("twice", Duration::from_secs(600)).await;
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        stage.sim.forget().await;
        let mut worker = stage
            .worker()
            .set("worker.drain_timeout", "10m")
            .set("api.timeout", "10m")
            .ready()
            .await;
        wait_launches(&stage.sim, SLOTS).await;
        worker.signal(signal);
        worker
            .wait_readyz("readyz to say that it drains", |_, body| body.contains("draining"))
            .await;
        worker.signal(signal);
        // Its answers and its drain time are ten minutes away; `wait_exit` waits for one.
        assert_eq!(worker.wait_exit().await, code, "{signal}");
        assert!(says(&worker, "ended at once"), "{}", worker.log());
        assert_eq!(
            wait_abandoned(&stage.amqp, &stage.lane).await,
            JOBS,
            "all of them are back"
        );
    }
}
