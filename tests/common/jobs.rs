//! What the stories of crashes and shutdowns share: plain jobs, the account of them, and the broker's state between acts.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::amqp::queues;
use super::wait::{LONG, SOON, eventually, until};
use super::{Amqp, Node, Sim, Worker};

/// The flow of every job that needs none of its own.
pub const FLOW: &str = "0f5e4b1c-0000-4000-8000-000000000001";

/// A job that says its number in its id and in its inputs.
pub fn job(n: usize) -> Value {
    job_of(FLOW, n)
}

pub fn job_of(flow: &str, n: usize) -> Value {
    json!({ "flowId": flow, "id": format!("job-{n}"), "inputs": { "n": n } })
}

pub fn bodies(jobs: impl IntoIterator<Item = Value>) -> Vec<Vec<u8>> {
    jobs.into_iter().map(|job| job.to_string().into_bytes()).collect()
}

/// Makes the topology, so that jobs can lie in the lanes before any worker is there.
pub fn apply_topology(node: &Node, prefix: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("broker.url = {:?}\nbroker.prefix = {prefix:?}\n", node.url());
    std::fs::write(dir.path().join("flowlaunch.toml"), config).unwrap();
    let (code, said, error) = super::worker::run(&["topology", "apply"], dir.path(), "");
    assert_eq!(code, 0, "{said}{error}");
}

/// A launch, as the simulator has it on record.
#[derive(Clone, Debug)]
pub struct Launch {
    pub at_micros: i64,
    pub line: Value,
}

/// The record by job number, each job's launches in order.
pub async fn launches_by_job(sim: &Sim) -> BTreeMap<usize, Vec<Launch>> {
    let mut by_job: BTreeMap<usize, Vec<Launch>> = BTreeMap::new();
    for line in sim.launches().await {
        let n = usize::try_from(line["inputs"]["n"].as_u64().unwrap()).unwrap();
        let at_micros = line["atMicros"].as_i64().unwrap();
        by_job.entry(n).or_default().push(Launch { at_micros, line });
    }
    by_job
}

/// Fails unless jobs `0..jobs` are on record, each exactly once.
pub async fn assert_launched_once_each(sim: &Sim, jobs: usize) {
    let by_job = launches_by_job(sim).await;
    let lost: Vec<usize> = (0..jobs).filter(|n| !by_job.contains_key(n)).collect();
    let more: Vec<_> = by_job.iter().filter(|(_, launches)| launches.len() > 1).collect();
    assert!(lost.is_empty(), "{} never launched: {lost:?}", lost.len());
    assert!(more.is_empty(), "{} launched more than once: {more:#?}", more.len());
    assert_eq!(by_job.len(), jobs, "strangers on record");
}

/// The flows of which a launch was answered so, by the record.
pub async fn flows_that_were_told(sim: &Sim, status: u16) -> HashSet<String> {
    let requests = sim.requests().await;
    let told = requests.iter().filter(|request| request["status"] == status);
    told.filter_map(|request| request["flowId"].as_str().map(str::to_owned))
        .collect()
}

pub async fn launch_count(sim: &Sim) -> usize {
    usize::try_from(sim.stats().await["launches"].as_u64().unwrap()).unwrap()
}

pub async fn wait_launches(sim: &Sim, wanted: usize) {
    eventually(&format!("{wanted} launches on record"), LONG, async || {
        let count = launch_count(sim).await;
        if count >= wanted { Ok(()) } else { Err(count) }
    })
    .await;
}

/// Waits until each of jobs `0..jobs` is on record.
pub async fn wait_each_launched(sim: &Sim, jobs: usize) {
    wait_launches(sim, jobs).await;
    eventually("each job on record", LONG, async || {
        let by_job = launches_by_job(sim).await;
        let missing: Vec<usize> = (0..jobs).filter(|n| !by_job.contains_key(n)).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    })
    .await;
}

/// Waits until nobody consumes from the lane any more, so that what a dead worker had is back; the messages in it.
pub async fn wait_abandoned(amqp: &Amqp, queue: &str) -> usize {
    let seen = eventually(&format!("{queue} without a consumer"), SOON, async || {
        match amqp.look(queue).await {
            Some((messages, 0)) => Ok(messages),
            seen => Err(seen),
        }
    })
    .await;
    usize::try_from(seen).unwrap()
}

/// Waits until the worker has nothing in hand and nothing of its jobs is on its way: only dead letters, results and
/// control lie anywhere (and the canary, on its way through the ladder).
pub async fn wait_done(node: &Node, prefix: &str, worker: &Worker) {
    until("nothing to be in hand", LONG, async || {
        let Ok((_, text)) = worker.get("/metrics").await else {
            return false;
        };
        let metrics = super::worker::Metrics::parse(&text);
        let received = metrics.get("flowlaunch_jobs_received_total", &[]);
        received > 0.0 && received == metrics.get("flowlaunch_jobs_settled_total", &[])
    })
    .await;
    eventually("the lanes and the ladder to be empty", LONG, async || {
        let kept = [".dead", ".results.log", ".control", ".canary"];
        let left: Vec<_> = queues(node, prefix)
            .await
            .into_iter()
            .filter(|(name, count)| *count > 0 && !kept.iter().any(|kept| name.ends_with(kept)))
            .collect();
        let total: u64 = left.iter().map(|(_, count)| count).sum();
        let canary = left.iter().all(|(name, _)| name.contains(".delay."));
        if total == 0 || (total == 1 && canary) {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;
}

/// Microseconds of the epoch, as the record has them.
pub fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Every launch takes so long to be answered; it is on record from its beginning.
pub fn slow(delay: Duration) -> Value {
    json!({ "delaySeconds": delay.as_secs_f64() })
}
