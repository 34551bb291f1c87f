//! A broker that stands still: no confirm comes, no heartbeat, and no word that the connections are gone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::HashMap;

use common::jobs::{apply_topology, bodies, job_of, launches_by_job, wait_done, wait_launches};
use common::wait::eventually;
use common::{Amqp, LONG, Message, Prefix, Rabbit, Sim, Worker, story};
use serde_json::{Value, json};

const JOBS: usize = 1_500;

/// One in three is refused for good; of another third's answers three in ten are a 503.
fn flow(n: usize) -> String {
    story::flow(n % 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_under_load_is_told_and_costs_no_job() {
    let mut rabbit = Rabbit::start().await;
    let (node, prefix) = (rabbit.node().clone(), Prefix::new(rabbit.node(), "frozen"));
    apply_topology(&node, prefix.name());
    let sim = Sim::start().await;
    sim.set_rules(&json!([
        { "flowId": flow(0), "status": 422, "delaySeconds": 0.04 },
        { "flowId": flow(1), "share": 0.3, "status": 503, "delaySeconds": 0.04 },
        { "delaySeconds": 0.04 },
    ]))
    .await;
    let amqp = Amqp::connect(node.url()).await;
    let jobs = bodies((0..JOBS).map(|n| job_of(&flow(n), n)));
    amqp.publish_all(&format!("{prefix}.jobs"), "bulk", jobs).await;
    let mut worker = Worker::builder(node.url(), prefix.name(), &sim.base_url(), &sim.login_url())
        .set("limits.concurrency", 12)
        .set("retry.initial_delay", "250ms")
        .set("retry.max_attempts", 50)
        .ready()
        .await;
    let (pid, good) = (worker.pid(), JOBS - JOBS / 3);
    wait_launches(&sim, 200).await;

    rabbit.freeze();
    worker
        .wait_readyz("readyz to be red", |status, body| {
            status == 503 && body.contains("no broker")
        })
        .await;
    eventually("both connections to be given up", LONG, async || {
        let (_, status) = worker.get("/status").await?;
        let broker = serde_json::from_str::<Value>(&status).unwrap()["broker"].clone();
        let down = |side: &str| broker[side].as_str().is_some_and(|link| link.starts_with("down"));
        if down("consuming") && down("publishing") {
            Ok(())
        } else {
            Err(broker.to_string())
        }
    })
    .await;
    let before = launches_by_job(&sim).await.len();
    assert!(before < good, "all was done before: the story shows nothing");
    rabbit.thaw();
    worker.wait_ready().await;
    // The test's own connection may not have outlived it.
    let amqp = Amqp::connect(node.url()).await;
    let dead = format!("{prefix}.dead");
    eventually("each to be launched or refused", LONG, async || {
        let ends = (
            launches_by_job(&sim).await.len(),
            letters_by_job(&amqp.browse(&dead).await).len(),
        );
        if ends == (good, JOBS - good) { Ok(()) } else { Err(ends) }
    })
    .await;
    wait_done(&node, prefix.name(), &worker).await;
    assert_eq!(worker.pid(), pid);

    let launches: usize = launches_by_job(&sim).await.values().map(Vec::len).sum();
    let letters: usize = letters_by_job(&amqp.drain(&dead).await).values().sum();
    let (again, letters_again) = (launches - good, letters - (JOBS - good));
    let metrics = worker.metrics().await;
    let window = "flowlaunch_possible_duplicates_total";
    println!(
        "a broker that stands still: {before} launched before it was told; {again} launches and {letters_again} letters \
         repeated; {:?}",
        metrics.lines(window)
    );
    assert!(again as f64 <= metrics.get(window, &[]));
    assert!(letters_again as f64 <= metrics.get(window, &[("window", "copy")]));
}

/// How many letters there are for each job.
fn letters_by_job(letters: &[Message]) -> HashMap<u64, usize> {
    let mut by_job = HashMap::new();
    for letter in letters {
        let reason = letter.header_str("x-flowlaunch-reason");
        assert_eq!(reason.as_deref(), Some("refused"), "{letter:?}");
        *by_job
            .entry(letter.json()["inputs"]["n"].as_u64().unwrap())
            .or_default() += 1;
    }
    by_job
}
