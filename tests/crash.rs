//! The worker dies, the broker dies: no job is lost, and a job is launched twice in the windows only that DESIGN names.

#![allow(
    clippy::print_stdout,
    reason = "the figures that it measures are shown with --nocapture"
)]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::amqp::queues;
use common::jobs::{
    apply_topology, bodies, flows_that_were_told, job_of, launch_count, launches_by_job, now_micros, slow,
    wait_abandoned, wait_done, wait_each_launched, wait_launches,
};
use common::story::flow;
use common::wait::{LONG, eventually, within};
use common::worker::Builder;
use common::{Amqp, Node, Prefix, Rabbit, Sim, Worker, shared};
use serde_json::{Value, json};

const JOBS: usize = 5_000;
const SLOTS: usize = 12;
/// What a worker with that many slots and no rate limit may have in hand of a lane.
const PREFETCH: usize = SLOTS * 16;
/// Nothing takes longer than this on a broker whose dead-lettering goes on, be the machine ever so slow.
const STILL: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_millis(40);
const REDELIVERED: [(&str, &str); 1] = [("window", "redelivered")];

struct Stage {
    sim: Sim,
    prefix: Prefix,
    amqp: Amqp,
    lane: String,
}

impl Stage {
    /// All jobs lie in the lane, each with a flow of its own; slow answers, so that there is always something in flight.
    async fn set(node: &Node, story: &str) -> Self {
        let prefix = Prefix::new(node, story);
        apply_topology(node, prefix.name());
        let sim = Sim::start().await;
        sim.set_rules(&json!([slow(ANSWER)])).await;
        let amqp = Amqp::connect(node.url()).await;
        let jobs = bodies((0..JOBS).map(|n| job_of(&flow(n), n)));
        amqp.publish_all(&format!("{prefix}.jobs"), "bulk", jobs).await;
        let lane = format!("{prefix}.jobs.bulk");
        Self {
            sim,
            prefix,
            amqp,
            lane,
        }
    }

    /// `Err` while a job is neither launched nor in the dead-letter queue, where the broker itself puts what it finds no
    /// way for as it starts: which jobs, and where something lies.
    async fn unaccounted(&self, node: &Node) -> Result<(), (Vec<usize>, Vec<(String, u64)>)> {
        let launched = launches_by_job(&self.sim).await;
        let mut missing: Vec<usize> = (0..JOBS).filter(|n| !launched.contains_key(n)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for letter in self.amqp.browse(&format!("{}.dead", self.prefix)).await {
            // A canary's letter is no job.
            if let Ok(job) = serde_json::from_slice::<Value>(&letter.body) {
                missing.retain(|n| job["inputs"]["n"] != *n);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut queues: Vec<_> = queues(node, self.prefix.name()).await.into_iter().collect();
        queues.retain(|(_, count)| *count > 0);
        Err((missing, queues))
    }

    fn worker(&self, node: &Node) -> Builder {
        Worker::builder(
            node.url(),
            self.prefix.name(),
            &self.sim.base_url(),
            &self.sim.login_url(),
        )
        .set("limits.concurrency", SLOTS)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_of_the_worker_lose_no_job_and_repeat_only_what_it_had_in_hand() {
    let node = shared();
    let stage = Stage::set(&node, "kill").await;
    let mut worker = stage.worker(&node).spawn();
    let mut kills = Vec::new();
    let (mut in_doubt, mut counted) = (0, 0.0);
    for kill in 1..=10 {
        wait_launches(&stage.sim, kill * 450).await;
        worker.wait_ready().await;
        counted += worker
            .metrics()
            .await
            .get("flowlaunch_possible_duplicates_total", &REDELIVERED);
        worker.kill();
        kills.push(now_micros());
        // There is no ladder in this story: what is not in the lane is acknowledged.
        let acknowledged = JOBS - wait_abandoned(&stage.amqp, &stage.lane).await;
        let launched = launches_by_job(&stage.sim).await.len();
        // Launched and not acknowledged: window 1, and nothing else.
        let doubtful = launched
            .checked_sub(acknowledged)
            .expect("a job was acknowledged and never launched");
        assert!(
            doubtful <= PREFETCH,
            "{doubtful} jobs were launched and not acknowledged"
        );
        in_doubt += doubtful;
        worker.start_again();
    }
    wait_each_launched(&stage.sim, JOBS).await;
    wait_done(&node, stage.prefix.name(), &worker).await;
    let last = worker.metrics().await;
    let counted_last = last.get("flowlaunch_possible_duplicates_total", &REDELIVERED);

    let by_job = launches_by_job(&stage.sim).await;
    let (mut extra, mut extra_last) = (0, 0.0);
    for (n, launches) in &by_job {
        for pair in launches.windows(2) {
            let between = |kill: &&i64| (pair[0].at_micros..pair[1].at_micros).contains(*kill);
            assert!(
                kills.iter().any(|kill| between(&kill)),
                "job {n} was launched twice by one worker: {pair:#?}"
            );
            extra += 1;
            extra_last += f64::from(u8::from(pair[1].at_micros > kills[9]));
        }
    }
    println!(
        "ten kills of the worker: {extra} launches repeated, {in_doubt} were launched and not acknowledged when it died; \
         possible_duplicates_total said {counted} before the kills and {counted_last} at the end"
    );
    assert!(extra <= in_doubt, "{extra} launches repeated, {in_doubt} in doubt");
    // The metrics of a killed worker are gone with it; those of the last one are whole.
    assert!(
        extra_last <= counted_last,
        "{extra_last} repeated, {counted_last} counted"
    );
    let results = stage.amqp.results(stage.prefix.name(), JOBS, LONG).await;
    let told: HashSet<_> = results.iter().map(|result| result["jobId"].to_string()).collect();
    assert_eq!(told.len(), JOBS);
    assert!(results.iter().all(|result| result["outcome"] == "launched"));
    assert_eq!(stage.amqp.count(&format!("{}.dead", stage.prefix)).await, Some(0));
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_park_ten_kills_of_the_worker_launch_nothing_twice() {
    let node = shared();
    let stage = Stage::set(&node, "kill-park").await;
    let mut worker = stage.worker(&node).set("retry.on_unknown", "park").spawn();
    for kill in 1..=10 {
        wait_launches(&stage.sim, kill * 280).await;
        worker.kill();
        worker.start_again();
    }
    worker.wait_ready().await;
    // All of it: launched, or parked.
    let results = stage.amqp.results(stage.prefix.name(), JOBS, LONG).await;
    wait_done(&node, stage.prefix.name(), &worker).await;

    let by_job = launches_by_job(&stage.sim).await;
    let twice: Vec<_> = by_job.iter().filter(|(_, launches)| launches.len() > 1).collect();
    assert!(twice.is_empty(), "{} jobs launched twice: {twice:#?}", twice.len());
    let letters = stage.amqp.drain(&format!("{}.dead", stage.prefix)).await;
    let mut parked = HashSet::new();
    for letter in &letters {
        assert_eq!(letter.header_str("x-flowlaunch-reason").as_deref(), Some("unknown"));
        parked.insert(usize::try_from(letter.json()["inputs"]["n"].as_u64().unwrap()).unwrap());
    }
    let lost: Vec<_> = (0..JOBS)
        .filter(|n| !by_job.contains_key(n) && !parked.contains(n))
        .collect();
    assert!(lost.is_empty(), "{} jobs lost: {lost:?}", lost.len());
    let both = parked.iter().filter(|n| by_job.contains_key(n)).count();
    println!(
        "ten kills with park: {} launched once, {} parked, {both} of them had been launched",
        by_job.len(),
        parked.len()
    );
    assert!(parked.len() <= 10 * PREFETCH, "only what was in hand may be parked");
    assert!(
        both > 0,
        "no kill met a launch between its request and its acknowledgement: the story shows nothing"
    );
    assert!(results.len() >= JOBS);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_of_the_broker_lose_no_job_and_the_same_worker_goes_on() {
    let mut rabbit = Rabbit::start().await;
    let node = rabbit.node().clone();
    let mut stage = Stage::set(&node, "broker").await;
    // Some take the ladder, so that copies are made while the broker dies.
    stage
        .sim
        .set_rules(&json!([{ "status": 503, "share": 0.05 }, slow(ANSWER)]))
        .await;
    // A younger queue of a killed 3.10 node comes back leaderless.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut worker = stage.worker(&node).set("retry.initial_delay", "500ms").ready().await;
    let pid = worker.pid();
    let mut kills = Vec::new();
    for kill in 1..=5 {
        wait_launches(&stage.sim, kill * 800).await;
        let killed = now_micros();
        rabbit.kill();
        worker
            .wait_readyz("readyz to be red", |status, body| {
                status == 503 && body.contains("no broker")
            })
            .await;
        kills.push((killed, now_micros()));
        rabbit.start_again().await;
        let before = launch_count(&stage.sim).await;
        worker.wait_ready().await;
        wait_launches(&stage.sim, before + 1).await;
    }
    stage.amqp = Amqp::connect(node.url()).await;
    let accounted = within(STILL, async || stage.unaccounted(&node).await).await;
    if let Err(why) = accounted {
        // 4.0.5's dead-lettering can stand still after a kill; the worker says so, and this is what it asks for.
        println!("after five kills of the broker: {why}; a restart, then");
        rabbit.restart().await;
        stage.amqp = Amqp::connect(node.url()).await;
        eventually("each job to be accounted for", LONG, async || {
            stage.unaccounted(&node).await
        })
        .await;
    }
    wait_done(&node, stage.prefix.name(), &worker).await;
    assert_eq!(worker.pid(), pid);
    let (by_job, delayed) = (
        launches_by_job(&stage.sim).await,
        flows_that_were_told(&stage.sim, 503).await,
    );
    let (mut extra, mut copied) = (0, 0);
    for (n, launches) in &by_job {
        for pair in launches.windows(2) {
            let (first, second) = (pair[0].at_micros, pair[1].at_micros);
            // The first may have been sent before the worker knew that its broker was dead.
            let straddles = kills.iter().any(|(killed, known)| first < *known && *killed < second);
            // Its copy was there as well, or a hop of the ladder was repeated.
            let is_copy = delayed.contains(&flow(*n)) && kills[0].0 < second;
            assert!(
                straddles || is_copy,
                "job {n} was launched twice within one session: {pair:#?}"
            );
            extra += 1;
            copied += u32::from(!straddles);
        }
    }
    let metrics = worker.metrics().await;
    let counted = metrics.get("flowlaunch_possible_duplicates_total", &[]);
    let unconfirmed = metrics.get("flowlaunch_results_failed_total", &[]);
    let results = stage.amqp.results(stage.prefix.name(), 0, LONG).await;
    let told: HashSet<_> = results.iter().map(|result| result["jobId"].to_string()).collect();
    println!(
        "five kills of the broker: {extra} launches repeated, {copied} of them within a session, of jobs that were delayed; {:?}; {} results of {} jobs, {unconfirmed} not confirmed at first",
        metrics.lines("flowlaunch_possible_duplicates_total"),
        results.len(),
        told.len(),
    );
    assert!(f64::from(extra) <= counted, "{extra} repeated, {counted} counted");
    assert!(f64::from(u32::try_from(JOBS - told.len()).unwrap()) <= unconfirmed);
    assert!(results.iter().all(|result| result["outcome"] == "launched"));
    // A hop of the ladder that finds its next exchange not yet bound, as the broker starts, goes to the dead letters.
    for letter in stage.amqp.drain(&format!("{}.dead", stage.prefix)).await {
        println!("a dead letter: {letter:?}");
        let reason = letter.header_str("x-flowlaunch-reason");
        assert_eq!(reason, None, "the worker made it: {letter:?}");
    }
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}
