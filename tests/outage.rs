//! The API gone for a while, and one flow that is broken for good: the first is not many failed jobs, the second no outage.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Instant;

use common::wait::eventually;
use common::{Amqp, LONG, Node, Prefix, Sim, Worker, shared, story};
use serde_json::{Value, json};

struct Rig {
    worker: Worker,
    sim: Sim,
    amqp: Amqp,
    prefix: Prefix,
    _node: Node,
}

impl Rig {
    async fn new(story: &str, rate: &str) -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, story);
        let sim = Sim::start().await;
        let worker = Worker::builder(node.url(), prefix.name(), &sim.base_url(), &sim.login_url())
            .set("limits.rate", rate)
            .set("api.timeout", "1s")
            .set("api.connect_timeout", "1s")
            .set("retry.initial_delay", "500ms")
            .ready()
            .await;
        let amqp = Amqp::connect(node.url()).await;
        Self {
            worker,
            sim,
            amqp,
            prefix,
            _node: node,
        }
    }

    async fn publish(&self, lane: &str, jobs: impl IntoIterator<Item = Value>) {
        story::publish(&self.amqp, self.prefix.name(), lane, jobs).await;
    }

    async fn attempts(&self, outcome: &str) -> f64 {
        let metrics = self.worker.metrics().await;
        metrics.get("flowlaunch_launch_attempts_total", &[("outcome", outcome)])
    }

    /// Waits for so many more attempts that end so: in an outage each is one job's that tries.
    async fn tries(&self, outcome: &str, more: f64) {
        let before = self.attempts(outcome).await;
        eventually(&format!("{more} more {outcome}"), LONG, async || {
            let seen = self.attempts(outcome).await;
            if seen >= before + more { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

fn by_outcome(results: &BTreeMap<String, Value>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for result in results.values() {
        let reason = result["reason"].as_str().unwrap_or("");
        *counts
            .entry(format!("{} {reason}", result["outcome"].as_str().unwrap()))
            .or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_the_middle_of_5000_jobs_exhausts_a_handful_and_loses_none() {
    const JOBS: usize = 5000;
    const RATE: usize = 200;
    let rig = Rig::new("outage", "12000/min").await;
    for (lane, first) in [("normal", 0), ("bulk", 1)] {
        let jobs = (first..JOBS)
            .step_by(2)
            .map(|n| story::job(&format!("job-{n}"), &story::flow(n % 50)));
        rig.publish(lane, jobs).await;
    }
    story::launched(&rig.sim, JOBS / 3, LONG).await;
    // The requests that are cut off here may have been launched: they are relaunched once.
    rig.sim.set_open(false).await;
    rig.tries("unreachable", 4.0).await;
    rig.sim.set_rules(&json!([{ "status": 503 }])).await;
    rig.sim.set_open(true).await;
    rig.tries("transient", 2.0).await;
    rig.sim.set_rules(&json!([{ "delaySeconds": 30 }])).await;
    rig.tries("unknown", 2.0).await;
    let over = jiff::Timestamp::now().as_microsecond();
    rig.sim.clear_rules().await;

    let results = story::results(&rig.amqp, rig.prefix.name(), JOBS, LONG).await;
    let ends = by_outcome(&results);
    let dead = results.values().filter(|result| result["outcome"] == "dead").count();
    let dead_letters = rig.amqp.drain(&format!("{}.dead", rig.prefix)).await.len();
    assert_eq!(dead, dead_letters);
    assert!(dead <= 20, "{ends:?}");

    let launches = story::launches(&rig.sim).await;
    let never = results
        .iter()
        .filter(|(id, result)| result["outcome"] == "launched" && !launches.contains_key(*id));
    assert_eq!(never.count(), 0, "reported as launched, and never were");
    let again = launches.values().filter(|times| times.len() > 1).count();
    let unknown = rig.attempts("unknown").await;
    assert!(
        again as f64 <= unknown,
        "{again} launched again, and only {unknown} that nobody knew of"
    );

    let mut after: Vec<i64> = launches.into_values().flatten().filter(|at| *at >= over).collect();
    after.sort_unstable();
    let full = after
        .windows(RATE)
        .find(|second| second[RATE - 1] - second[0] <= 1_050_000)
        .map(|second| second[0]);
    let seconds = |at: i64| (at - over) as f64 / 1e6;
    println!(
        "{ends:?}; {unknown} unknown, {again} of them launched twice; first launch {:.1} s after the end, {RATE} a second from {:?} s on",
        seconds(after[0]),
        full.map(seconds)
    );
    assert!(full.is_some(), "the full rate never came back");
    // The last pause before the next try is 15 s at most.
    assert!(seconds(after[0]) < 30.0);
    // One launch ends the outage for all: in the ten seconds from there, at least half of what the rate allows.
    let soon = after.iter().filter(|at| **at < after[0] + 10_000_000).count();
    assert!(soon >= 10 * RATE / 2, "{soon} launches in the first ten seconds");
}

/// Outages that the worker took a flow's failures for.
fn outages(rig: &Rig) -> usize {
    let lines = rig.worker.log_lines();
    let is_outage = |line: &&Value| {
        line["message"]
            .as_str()
            .is_some_and(|message| message.starts_with("an outage:"))
    };
    lines.iter().filter(is_outage).count()
}

/// What became of jobs of the flow that answers 500 for ever, so far: tried in vain, and dead.
async fn broken_so_far(rig: &Rig) -> (f64, f64) {
    let metrics = rig.worker.metrics().await;
    let dead = metrics.get(
        "flowlaunch_jobs_settled_total",
        &[("verdict", "dead"), ("reason", "unknown")],
    );
    let tried = metrics.get("flowlaunch_launch_attempts_total", &[("outcome", "unknown")]);
    (tried, dead)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_flow_among_good_ones_slows_nobody() {
    const JOBS: usize = 3000;
    let rig = Rig::new("broken", "6000/min").await;
    let broken = story::flow(99);
    rig.sim.set_rules(&json!([{ "flowId": broken, "status": 500 }])).await;
    let is_broken = |n: usize| n % 20 < 2; // one in ten, in either lane
    for (lane, first) in [("normal", 0), ("bulk", 1)] {
        let jobs = (first..JOBS).step_by(2).map(|n| {
            let flow = if is_broken(n) {
                broken.clone()
            } else {
                story::flow(n % 7)
            };
            story::job(&format!("job-{n}"), &flow)
        });
        rig.publish(lane, jobs).await;
    }
    let began = Instant::now();
    story::launched(&rig.sim, JOBS * 9 / 10, LONG).await;
    // The rest, broken ones only, may well be one: nobody waits for it.
    let (took, outages) = (began.elapsed(), outages(&rig));
    let (tried, dead) = broken_so_far(&rig).await;
    println!("2,700 good jobs in {took:?}; {tried} calls in vain between them, {dead} jobs dead; {outages} outages");
    assert!(tried >= 300.0, "the broken flow was not among them: {tried}");
    // Three times it could be the API that fails; after that it is the flow.
    assert!(outages <= 3, "{outages} outages for one broken flow");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_broken_flow_at_the_head_of_the_lane_hold_up_no_other_flow() {
    let rig = Rig::new("head", "6000/min").await;
    let broken = story::flow(99);
    rig.sim.set_rules(&json!([{ "flowId": broken, "status": 500 }])).await;
    let bad = (0..150).map(|n| story::job(&format!("bad-{n}"), &broken));
    let good = (0..600).map(|n| story::job(&format!("good-{n}"), &story::flow(n % 7)));
    rig.publish("bulk", bad.chain(good)).await;
    let began = Instant::now();
    story::launched(&rig.sim, 600, LONG).await;
    let (took, outages) = (began.elapsed(), outages(&rig));
    let (tried, dead) = broken_so_far(&rig).await;
    println!(
        "600 good jobs behind 150 bad ones in {took:?}; {tried} calls in vain, {dead} jobs dead; {outages} outages"
    );
    assert!(dead < 150.0, "the bad ones were got rid of first");
    // Five failures in a row are one, and another flow's job, which tries next, ends it. After four such the flow is known,
    // and makes one a second at most. (Not known, it would make one of each five or six of its jobs: 25 or more.)
    assert!((1..=10).contains(&outages), "{outages} outages for one broken flow");
}
