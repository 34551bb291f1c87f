//! The lanes and what stands around them: their shares, and what happens when somebody misspells, fills or deletes a queue.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::BTreeMap;

use common::account::{account, dead_letters, job, jobs, launched, wait_launched};
use common::amqp::queues;
use common::wait::eventually;
use common::worker::Builder;
use common::{Amqp, LONG, Node, Prefix, Published, Sim, Worker, shared, worker};
use lapin::BasicProperties;
use lapin::options::QueueDeleteOptions;
use serde_json::json;

struct Rig {
    node: Node,
    prefix: Prefix,
    sim: Sim,
    amqp: Amqp,
}

impl Rig {
    async fn new(story: &str) -> Self {
        let node = shared();
        Self {
            prefix: Prefix::new(&node, story),
            sim: Sim::start().await,
            amqp: Amqp::connect(node.url()).await,
            node,
        }
    }

    fn builder(&self) -> Builder {
        let (base, login) = (self.sim.base_url(), self.sim.login_url());
        Worker::builder(self.node.url(), self.prefix.name(), &base, &login)
    }

    fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }

    /// The queues and exchanges, before there is a worker.
    fn declare(&self) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("flowlaunch.toml"), self.builder().toml()).unwrap();
        let (code, _, said) = worker::run(&["topology", "apply"], folder.path(), "");
        assert_eq!(code, 0, "{said}");
    }

    async fn publish(&self, lane: &str, name: &str, count: usize) {
        self.amqp.publish_all(&self.name("jobs"), lane, jobs(name, count)).await;
    }

    async fn delete(&self, queue: &str) {
        let queue = self.name(queue);
        let deleted = self
            .amqp
            .channel()
            .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
            .await;
        deleted.unwrap_or_else(|error| panic!("{queue}: {error}"));
    }

    /// Waits until each of `count` jobs called `name` was launched or lies among the dead letters.
    async fn wait_accounted(&self, count: usize) {
        eventually("every job to be launched or dead", LONG, async || {
            let done = launched(&self.sim).await.len();
            let dead = self.amqp.count(&self.name("dead")).await.unwrap_or(0) as usize;
            if done + dead >= count {
                Ok(())
            } else {
                Err((done, dead))
            }
        })
        .await;
    }

    /// No job is left in a lane or in the ladder. (A canary may be on its way.)
    async fn wait_lanes_empty(&self) {
        eventually("the lanes to be empty", LONG, async || {
            let left = queues(&self.node, self.prefix.name()).await;
            let lanes: u64 = left
                .iter()
                .filter(|(name, _)| name.contains(".jobs."))
                .map(|(_, count)| count)
                .sum();
            if lanes == 0 { Ok(()) } else { Err(left) }
        })
        .await;
    }

    /// The lane of each launch, in order: jobs are called after theirs.
    async fn order(&self) -> Vec<String> {
        let launches = self.sim.launches().await;
        let lane = |job: &str| job.split('-').next().unwrap_or_default().to_owned();
        launches
            .iter()
            .map(|launch| lane(launch["inputs"]["job"].as_str().unwrap()))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_full_queue_on_the_results_exchange_costs_no_job_anything_and_is_counted() {
    const JOBS: usize = 300;
    let rig = Rig::new("full").await;
    let mut worker = rig.builder().ready().await;
    let stranger = rig.name("strangers-queue");
    rig.amqp.declare_full(&stranger).await;
    rig.amqp.bind(&stranger, &rig.name("results"), "#").await;

    rig.publish("normal", "job", JOBS).await;
    let times = wait_launched(&rig.sim, JOBS).await;
    let settled = "flowlaunch_jobs_settled_total";
    let metrics = worker
        .wait_metrics(settled, LONG, |metrics| metrics.get(settled, &[]) >= JOBS as f64)
        .await;
    assert_eq!(
        metrics.get(settled, &[("verdict", "launched")]),
        JOBS as f64,
        "{:?}",
        metrics.lines(settled)
    );
    rig.wait_lanes_empty().await;
    account("job", JOBS, &times, &dead_letters(&rig.amqp, rig.prefix.name()).await);
    // Counted: all but the few that the stranger had room for.
    let taken = rig.amqp.count(&stranger).await.unwrap();
    assert_eq!(
        metrics.get("flowlaunch_results_failed_total", &[]),
        JOBS as f64 - f64::from(taken)
    );
    assert!(taken < 10, "it took {taken}");
    // And said: one line a job would be a flood, none would be silence.
    assert!(worker.log().contains("the result is not confirmed"), "{}", worker.log());
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
    assert_eq!(launched(&rig.sim).await, times, "none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_lane_is_a_dead_letter_and_a_number_with_and_without_the_mandatory_flag() {
    let rig = Rig::new("misspelt").await;
    let worker = rig.builder().ready().await;
    for (id, mandatory) in [("mandatory", true), ("not-mandatory", false)] {
        let properties = BasicProperties::default().with_message_id(id.into());
        let body = job(id).to_string();
        let published = rig
            .amqp
            .publish_with(&rig.name("jobs"), "norml", body.as_bytes(), properties, mandatory)
            .await;
        assert_eq!(published, Published::Confirmed, "{id}: somewhere, it is kept");
    }
    let depth = "flowlaunch_queue_messages";
    worker
        .wait_metrics(depth, LONG, |metrics| metrics.get(depth, &[("queue", "dead")]) == 2.0)
        .await;
    let letters = dead_letters(&rig.amqp, rig.prefix.name()).await;
    for id in ["mandatory", "not-mandatory"] {
        let letter = &letters[id];
        assert_eq!(letter.json(), job(id));
        assert_eq!(
            (letter.exchange.as_str(), letter.routing_key.as_str()),
            (rig.name("jobs").as_str(), "norml")
        );
    }
    assert!(rig.sim.launches().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_deleted_under_a_running_worker_loses_nothing_and_is_declared_anew() {
    const ROUNDS: usize = 20;
    let rig = Rig::new("deleted").await;
    let mut worker = rig.builder().ready().await;
    // Jobs keep coming while the lane goes: some find none, and are kept where they can be seen.
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            rig.wait_accounted(round * 10).await;
            rig.wait_lanes_empty().await;
            // Those in hand are launched; what was to acknowledge them is gone with the lane.
            rig.sim.set_rules(&json!([{ "delaySeconds": 1 }])).await;
            rig.publish("bulk", "in hand", 10).await;
            let flying = "flowlaunch_in_flight";
            worker
                .wait_metrics(flying, LONG, |metrics| metrics.get(flying, &[]) == 10.0)
                .await;
            rig.delete("jobs.bulk").await;
            rig.sim.clear_rules().await;
        }
        rig.publish("bulk", &format!("round{round}"), 10).await;
    }
    rig.wait_accounted(ROUNDS * 10 + 10).await;
    // The worker goes on: the lane stands again, is bound (that comes after), and is served.
    let lane = rig.name("jobs.bulk");
    eventually("the lane to have its consumer again", LONG, async || {
        match rig.amqp.look(&lane).await {
            Some((_, consumers)) if consumers > 0 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    rig.publish("bulk", "after", 10).await;
    eventually("the last ones to be launched", LONG, async || {
        let times = launched(&rig.sim).await;
        let after = times.keys().filter(|id| id.starts_with("after-")).count();
        if after == 10 { Ok(()) } else { Err(after) }
    })
    .await;
    let times = launched(&rig.sim).await;
    let dead = dead_letters(&rig.amqp, rig.prefix.name()).await;
    for round in 0..ROUNDS {
        account(&format!("round{round}"), 10, &times, &dead);
    }
    account("in hand", 10, &times, &BTreeMap::new());
    account("after", 10, &times, &dead);
    println!("{} of {} found no lane", dead.len(), ROUNDS * 10);
    let log = worker.log();
    assert!(
        log.contains(&rig.name("jobs.bulk")) && log.contains("deleted"),
        "the log names it: {log}"
    );
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_of_the_ladder_deleted_under_a_running_worker_loses_nothing_is_named_and_is_declared_anew() {
    let rig = Rig::new("level").await;
    let mut worker = rig
        .builder()
        .set("retry.initial_delay", "1s")
        .set("retry.max_delay", "1s")
        .ready()
        .await;
    // A delay of 1 s enters at level 2, or at level 1 when the jitter shortens it.
    for level in ["delay.00", "delay.01", "delay.02"] {
        rig.delete(level).await;
    }
    // A few in a row would pass for an outage, so good ones are between.
    rig.sim
        .set_rules(&json!([{ "status": 503, "every": 2, "first": 10 }]))
        .await;
    rig.publish("normal", "job", 40).await;
    rig.wait_accounted(40).await;
    let dead = dead_letters(&rig.amqp, rig.prefix.name()).await;
    account("job", 40, &launched(&rig.sim).await, &dead);
    println!("{} of 10 delayed jobs found no level", dead.len());
    for level in ["delay.00", "delay.01", "delay.02"] {
        eventually("the level to stand again", LONG, async || {
            rig.amqp.count(&rig.name(level)).await.ok_or("gone")
        })
        .await;
    }
    let log = worker.log();
    assert!(log.contains(&rig.name("delay.0")), "the log names it: {log}");
    // And retries work again.
    rig.sim.set_rules(&json!([{ "status": 503, "first": 1 }])).await;
    rig.publish("normal", "later", 1).await;
    wait_launched(&rig.sim, 41 - dead.len()).await;
    assert_eq!(launched(&rig.sim).await.get("later-0"), Some(&1));
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_lanes_full_normal_is_served_first_and_bulk_gets_a_tenth() {
    const EACH: usize = 600;
    let rig = Rig::new("share").await;
    rig.declare();
    rig.publish("bulk", "bulk", EACH).await;
    rig.publish("normal", "normal", EACH).await;
    let worker = rig.builder().set("limits.rate", "100/s").ready().await;
    wait_launched(&rig.sim, 2 * EACH).await;
    let order = rig.order().await;
    // While both had work: up to the last of the normal ones. The consumers start one after the other, hence not the first.
    let end = order.iter().rposition(|lane| lane == "normal").unwrap();
    let both = &order[20..end];
    let bulk = both.iter().filter(|lane| *lane == "bulk").count();
    println!("of {} launches with both lanes full {bulk} were bulk", both.len());
    assert!(10 * bulk >= both.len() - 10, "bulk got {bulk} of {}", both.len());
    assert!(
        8 * bulk <= both.len(),
        "normal is first: bulk got {bulk} of {}",
        both.len()
    );
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_job_behind_a_big_bulk_backlog_waits_about_one_token() {
    let rig = Rig::new("urgent").await;
    rig.declare();
    rig.publish("bulk", "bulk", 3_000).await;
    let worker = rig.builder().set("limits.rate", "10/s").ready().await;
    wait_launched(&rig.sim, 5).await;
    let mut waited = Vec::new();
    for n in 0..10 {
        let before = rig.sim.launches().await.len();
        rig.publish("normal", &format!("normal-{n}"), 1).await;
        let id = format!("normal-{n}-0");
        let at = eventually("the urgent job to be launched", LONG, async || {
            let launches = rig.sim.launches().await;
            launches
                .iter()
                .position(|launch| launch["inputs"]["job"] == id.as_str())
                .ok_or(launches.len())
        })
        .await;
        waited.push(at - before);
    }
    println!("bulk launches between publish and launch: {waited:?}");
    // Counted in launches, not seconds. One may be on its way, one may be launched while the test publishes.
    assert!(waited.iter().all(|tokens| *tokens <= 2), "{waited:?}");
    drop(worker);
}
