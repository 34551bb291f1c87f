//! A decision outlives its session. The broker takes the jobs back while their requests are on their way, or ends the
//! connection over which retries and dead letters are to go: each is done once all the same.

#![allow(
    clippy::print_stdout,
    reason = "the figures that it measures are shown with --nocapture"
)]

mod common;

use std::collections::{HashMap, HashSet};

use common::jobs::{apply_topology, bodies, job_of, launches_by_job, wait_done, wait_launches};
use common::wait::{SOON, eventually};
use common::worker::Builder;
use common::{Amqp, Node, Prefix, Rabbit, Sim, Worker, with_ctl};
use serde_json::json;

const GOOD: &str = "0f5e4b1c-0000-4000-8000-00000000000a";
const BUSY: &str = "0f5e4b1c-0000-4000-8000-00000000000b";
const REFUSED: &str = "0f5e4b1c-0000-4000-8000-00000000000c";
const EACH: usize = 12;
const JOBS: usize = 3 * EACH;

fn flow(n: usize) -> &'static str {
    [GOOD, BUSY, REFUSED][n % 3]
}

/// Ends a connection of the worker's as an administrator would, once it is there.
async fn close(node: &Node, role: &str, worker: &Worker) {
    let name = format!("flowlaunch {role} (process {})", worker.pid());
    let pid = eventually(&format!("the connection {name}"), SOON, async || {
        let listed = node.ctl(&[
            "-q",
            "--no-table-headers",
            "list_connections",
            "pid",
            "client_properties",
        ]);
        let found = listed.lines().find_map(|line| {
            let (pid, theirs) = line.split_once('\t')?;
            theirs.contains(&name).then(|| pid.to_owned())
        });
        found.ok_or(listed)
    })
    .await;
    node.ctl(&["-q", "close_connection", &pid, "a test"]);
}

struct Stage {
    node: Node,
    prefix: Prefix,
    sim: Sim,
    amqp: Amqp,
    worker: Worker,
}

impl Stage {
    /// Requests of three kinds are on their way; the answers take so many seconds.
    async fn set(node: &Node, story: &str, answer: u8, configure: impl Fn(Builder) -> Builder) -> Self {
        let prefix = Prefix::new(node, story);
        apply_topology(node, prefix.name());
        let sim = Sim::start().await;
        sim.set_rules(&json!([
            { "flowId": BUSY, "first": EACH, "status": 503, "delaySeconds": answer },
            { "flowId": REFUSED, "status": 422, "delaySeconds": answer },
            { "flowId": GOOD, "delaySeconds": answer },
        ]))
        .await;
        let amqp = Amqp::connect(node.url()).await;
        let jobs = bodies((0..JOBS).map(|n| job_of(flow(n), n)));
        amqp.publish_all(&format!("{prefix}.jobs"), "normal", jobs).await;
        let builder = Worker::builder(node.url(), prefix.name(), &sim.base_url(), &sim.login_url());
        let worker = configure(builder.set("retry.initial_delay", "250ms").set("api.timeout", "2m"))
            .ready()
            .await;
        eventually("all requests to be on their way", SOON, async || {
            match sim.requests().await.len() {
                JOBS => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
        Self {
            node: node.clone(),
            prefix,
            sim,
            amqp,
            worker,
        }
    }

    async fn in_flight(&self) -> usize {
        self.worker.metrics().await.get("flowlaunch_in_flight", &[]) as usize
    }

    /// What each of the three kinds comes to, once.
    async fn each_is_done_once(&self) {
        let Self {
            node,
            prefix,
            sim,
            amqp,
            worker,
        } = self;
        wait_launches(sim, 2 * EACH).await;
        wait_done(node, prefix.name(), worker).await;
        // Good ones once, busy ones a second time as their one delayed copy, refused ones never again.
        let requests = sim.requests().await;
        let of = |flow: &str| requests.iter().filter(|request| request["flowId"] == flow).count();
        assert_eq!((of(GOOD), of(BUSY), of(REFUSED)), (EACH, 2 * EACH, EACH));
        let by_job = launches_by_job(sim).await;
        assert_eq!(by_job.len(), 2 * EACH);
        assert!(by_job.values().all(|launches| launches.len() == 1), "{by_job:#?}");
        // One dead letter for each that was refused, and none that was parked.
        let letters = amqp.drain(&format!("{prefix}.dead")).await;
        let mut reasons: HashMap<_, usize> = HashMap::new();
        for letter in &letters {
            *reasons.entry(letter.header_str("x-flowlaunch-reason")).or_default() += 1;
        }
        assert_eq!(reasons, HashMap::from([(Some("refused".to_owned()), EACH)]));
        let failed = worker.metrics().await.get("flowlaunch_results_failed_total", &[]) as usize;
        let results = amqp.results(prefix.name(), JOBS.saturating_sub(failed), SOON).await;
        let told: HashSet<_> = results.iter().map(|result| result["jobId"].to_string()).collect();
        assert!(told.len() + failed >= JOBS);
        println!(
            "{prefix}: {} results of {} jobs, {failed} not confirmed",
            results.len(),
            told.len()
        );
    }
}

/// The consuming connection is closed, `times` times; the answers come after that.
async fn closed_in_mid_flight(story: &str, times: u8, configure: impl Fn(Builder) -> Builder) {
    // Closing takes its time: two calls of rabbitmqctl.
    let (node, _own) = with_ctl().await;
    let stage = Stage::set(&node, story, times * 12, configure).await;
    let Stage { node, sim, worker, .. } = &stage;
    for time in 1..=times {
        close(node, "consuming", worker).await;
        // All of them are with the worker again, while the first requests are still unanswered.
        let wanted = JOBS * (usize::from(time) + 1);
        eventually(&format!("{wanted} deliveries"), SOON, async || {
            match worker.metrics().await.get("flowlaunch_jobs_received_total", &[]) as usize {
                seen if seen >= wanted => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
    }
    assert_eq!(sim.requests().await.len(), JOBS, "a request went out for a redelivery");
    let in_flight = stage.in_flight().await;
    assert_eq!(in_flight, JOBS, "the answers came too early: the story shows nothing");
    stage.each_is_done_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_in_mid_flight_costs_no_second_launch_copy_or_dead_letter() {
    closed_in_mid_flight("session", 1, |builder| builder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_park_the_worker_that_knows_the_outcome_parks_nothing() {
    closed_in_mid_flight("session-park", 1, |builder| builder.set("retry.on_unknown", "park")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_twice_in_mid_flight_costs_no_second_launch_either() {
    closed_in_mid_flight("session-twice", 2, |builder| builder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publishing_connection_that_ends_with_retries_and_dead_letters_pending_costs_no_second_one() {
    // An alarm is the whole node's: the broker takes no publishes, and they wait.
    let rabbit = Rabbit::start().await;
    let mut stage = Stage::set(rabbit.node(), "pending", 12, |builder| builder).await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.000001"]);
    assert_eq!(stage.in_flight().await, JOBS, "the answers came too early");
    stage
        .worker
        .wait_readyz("readyz to tell of the alarm", |status, body| {
            status == 503 && body.contains("the broker blocks publishers")
        })
        .await;
    eventually("all to be answered", SOON, async || match stage.in_flight().await {
        0 => Ok(()),
        seen => Err(seen),
    })
    .await;
    assert_eq!(stage.amqp.count(&format!("{}.dead", stage.prefix)).await, Some(0));
    close(&stage.node, "publishing", &stage.worker).await;
    stage
        .worker
        .wait_readyz("the session to end", |_, body| {
            !body.contains("the broker blocks publishers")
        })
        .await;
    rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    stage.worker.wait_ready().await;
    stage.each_is_done_once().await;
}
