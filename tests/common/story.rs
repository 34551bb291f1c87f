//! What stories share: jobs with a name, and an account of what became of each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::wait::eventually;
use super::{Amqp, Sim};

/// One flow a number.
pub fn flow(n: usize) -> String {
    format!("0f5e4b1c-0000-4000-8000-{n:012x}")
}

/// A job; its id goes to the API as the execution's name, by which the simulator's record knows it again.
pub fn job(id: &str, flow: &str) -> Value {
    json!({ "id": id, "name": id, "flowId": flow, "inputs": { "id": id } })
}

/// Publishes jobs into a lane, each confirmed.
pub async fn publish(amqp: &Amqp, prefix: &str, lane: &str, jobs: impl IntoIterator<Item = Value>) {
    let bodies = jobs.into_iter().map(|job| job.to_string().into_bytes());
    amqp.publish_all(&format!("{prefix}.jobs"), lane, bodies).await;
}

/// Waits until the simulator has accepted so many launches.
pub async fn launched(sim: &Sim, wanted: usize, deadline: Duration) {
    eventually(&format!("{wanted} launches"), deadline, async || {
        match sim.stats().await["launches"].as_u64() {
            Some(launches) if launches >= wanted as u64 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
}

/// When each job was launched, by id, in microseconds: more than one time is more than one call.
pub async fn launches(sim: &Sim) -> BTreeMap<String, Vec<i64>> {
    let mut by_job: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for launch in sim.launches().await {
        let id = launch["name"].as_str().unwrap().to_owned();
        by_job.entry(id).or_default().push(launch["atMicros"].as_i64().unwrap());
    }
    by_job
}

/// The results by job id; `wanted` jobs must have one each.
pub async fn results(amqp: &Amqp, prefix: &str, wanted: usize, deadline: Duration) -> BTreeMap<String, Value> {
    let mut by_job = BTreeMap::new();
    for result in amqp.results(prefix, wanted, deadline).await {
        let id = result["jobId"].as_str().unwrap().to_owned();
        let before = by_job.insert(id, result);
        assert!(before.is_none(), "two results: {before:?}");
    }
    assert_eq!(by_job.len(), wanted);
    by_job
}

/// Each of so many jobs was launched once, at its first attempt, and none is dead.
pub async fn all_launched_at_the_first_attempt(sim: &Sim, amqp: &Amqp, prefix: &str, wanted: usize) {
    for (id, result) in results(amqp, prefix, wanted, super::LONG).await {
        assert_eq!(result["outcome"], "launched", "{id}: {result}");
        assert_eq!(
            result["attempts"], 1,
            "{id} spent an attempt that was not its fault: {result}"
        );
    }
    let launches = launches(sim).await;
    assert_eq!(launches.len(), wanted);
    let twice: Vec<_> = launches.iter().filter(|(_, times)| times.len() != 1).collect();
    assert!(twice.is_empty(), "launched twice: {twice:?}");
    assert_eq!(amqp.count(&format!("{prefix}.dead")).await, Some(0));
}
