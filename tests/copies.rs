//! The worker dies while it sends jobs back and dead-letters them: a job is never nowhere, and a copy whose original was
//! not acknowledged yet is all that there is twice.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::{BTreeMap, HashSet};

use common::jobs::{
    apply_topology, bodies, flows_that_were_told, job_of, launch_count, launches_by_job, now_micros, wait_abandoned,
    wait_done, wait_launches,
};
use common::story::flow;
use common::wait::{LONG, eventually};
use common::{Amqp, Message, Node, Prefix, Sim, Worker, shared};
use flowlaunch::broker::ladder::LEVELS;
use flowlaunch::broker::topology::Names;
use serde_json::json;

const JOBS: usize = 2_000;
const SLOTS: usize = 12;
/// What a worker with that many slots and no rate limit may have in hand of a lane.
const PREFETCH: usize = SLOTS * 16;

/// One in four is refused for good; of the others' answers one in four is a 503.
fn is_refused(n: usize) -> bool {
    n.is_multiple_of(4)
}

struct Stage {
    sim: Sim,
    amqp: Amqp,
    names: Names,
    prefix: Prefix,
}

impl Stage {
    /// All jobs lie in the lane, each with a flow of its own; slow answers, so that there is always something in flight.
    async fn set(node: &Node) -> Self {
        let prefix = Prefix::new(node, "copies");
        apply_topology(node, prefix.name());
        let sim = Sim::start().await;
        let refused: Vec<_> = (0..JOBS).filter(|n| is_refused(*n)).map(flow).collect();
        sim.set_rules(&json!([
            { "flowId": refused, "status": 422, "delaySeconds": 0.04 },
            { "share": 0.25, "status": 503, "delaySeconds": 0.04 },
            { "delaySeconds": 0.04 },
        ]))
        .await;
        let amqp = Amqp::connect(node.url()).await;
        let jobs = bodies((0..JOBS).map(|n| job_of(&flow(n), n)));
        amqp.publish_all(&format!("{prefix}.jobs"), "bulk", jobs).await;
        let names = Names::new(prefix.name());
        Self {
            sim,
            amqp,
            names,
            prefix,
        }
    }

    /// Messages in the ladder and in the lane, whose worker is dead. Looked at along the way that they take, so that one that
    /// moves meanwhile is seen twice rather than never.
    async fn waiting(&self) -> usize {
        let lane = self.names.lane(flowlaunch::lane::Lane::Bulk);
        wait_abandoned(&self.amqp, &lane).await;
        let levels = (0..LEVELS).rev().map(|level| self.names.delay(level));
        let mut waiting = 0;
        for queue in levels.chain([lane]) {
            waiting += self.amqp.count(&queue).await.unwrap() as usize;
        }
        waiting
    }

    /// What is there or was done beyond once for each job: by so much, at most, can launches and letters have been repeated in
    /// the end.
    async fn in_doubt(&self) -> usize {
        let waiting = self.waiting().await;
        let launched = launch_count(&self.sim).await;
        let dead = self.amqp.count(&self.names.dead()).await.unwrap() as usize;
        (waiting + launched + dead)
            .checked_sub(JOBS)
            .unwrap_or_else(|| panic!("{waiting} wait, {launched} launches, {dead} letters: the others are nowhere"))
    }
}

/// How many letters there are for each job.
fn by_job(letters: &[Message]) -> BTreeMap<usize, usize> {
    let mut by_job = BTreeMap::new();
    for letter in letters {
        let reason = letter.header_str("x-flowlaunch-reason");
        assert_eq!(reason.as_deref(), Some("refused"), "{letter:?}");
        let n = usize::try_from(letter.json()["inputs"]["n"].as_u64().unwrap()).unwrap();
        *by_job.entry(n).or_default() += 1;
    }
    by_job
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_among_retries_and_dead_letters_lose_no_job_and_repeat_only_what_was_in_hand() {
    let node = shared();
    let stage = Stage::set(&node).await;
    let mut worker = Worker::builder(
        node.url(),
        stage.prefix.name(),
        &stage.sim.base_url(),
        &stage.sim.login_url(),
    )
    .set("limits.concurrency", SLOTS)
    // Whoever meets 503s for ever must not be exhausted by them, nor be late for the end.
    .set("retry.max_attempts", 50)
    .set("retry.initial_delay", "250ms")
    .set("retry.max_delay", "1s")
    .spawn();
    let (mut kills, mut in_doubt) = (Vec::new(), vec![0]);
    for kill in 1..=10 {
        wait_launches(&stage.sim, kill * 130).await;
        worker.kill();
        kills.push(now_micros());
        let (before, now) = (in_doubt[kill - 1], stage.in_doubt().await);
        assert!(
            now <= before + PREFETCH,
            "{before} in doubt, and after the next kill {now}"
        );
        in_doubt.push(now);
        worker.start_again();
    }
    eventually("each job to be launched or refused", LONG, async || {
        let launched = launches_by_job(&stage.sim).await.len();
        let dead = by_job(&stage.amqp.browse(&stage.names.dead()).await).len();
        if launched + dead == JOBS {
            Ok(())
        } else {
            Err((launched, dead))
        }
    })
    .await;
    wait_done(&node, stage.prefix.name(), &worker).await;

    let (launches, delayed) = (
        launches_by_job(&stage.sim).await,
        flows_that_were_told(&stage.sim, 503).await,
    );
    let letters = by_job(&stage.amqp.drain(&stage.names.dead()).await);
    for n in 0..JOBS {
        let ends = (launches.contains_key(&n), letters.contains_key(&n));
        assert_eq!(ends, (!is_refused(n), is_refused(n)), "job {n}: launched, and dead");
    }
    let (mut again, mut copied) = (0, 0);
    for (n, launches) in &launches {
        for pair in launches.windows(2) {
            let (first, second) = (pair[0].at_micros, pair[1].at_micros);
            let straddles = kills.iter().any(|kill| (first..second).contains(kill));
            // Both it and its copy were there when the worker died.
            let is_copy = delayed.contains(&flow(*n)) && kills[0] < second;
            assert!(
                straddles || is_copy,
                "job {n} was launched twice by one worker: {pair:#?}"
            );
            again += 1;
            copied += usize::from(!straddles);
        }
    }
    let letters_again: usize = letters.values().map(|letters| letters - 1).sum();
    println!(
        "ten kills among retries and dead letters: {again} launches repeated, {copied} of them by one worker, of jobs that \
         were delayed, and {letters_again} letters; in doubt, kill by kill: {in_doubt:?}"
    );
    assert!(
        again + letters_again <= in_doubt[10],
        "{again} and {letters_again} repeated, {} in doubt",
        in_doubt[10]
    );
    let results = stage.amqp.results(stage.prefix.name(), JOBS, LONG).await;
    let told: HashSet<_> = results.iter().map(|result| result["jobId"].to_string()).collect();
    assert_eq!(told.len(), JOBS);
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}
