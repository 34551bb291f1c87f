//! Jobs that can be told apart, and the account of each of them at the end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::wait::eventually;
use super::{Amqp, LONG, Message, Sim, story};

/// The flow of a job that is to meet nothing special.
pub const FLOW: &str = "3f1c2b7a-0000-4000-8000-000000000001";

/// A job with an id and an input that names it.
pub fn job(id: &str) -> Value {
    json!({ "flowId": FLOW, "id": id, "inputs": { "job": id } })
}

/// `count` of them, `<name>-0` and so on, as bytes.
pub fn jobs(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| job(&format!("{name}-{n}")).to_string().into_bytes())
        .collect()
}

/// How often each job was launched, by the simulator's record.
pub async fn launched(sim: &Sim) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for launch in sim.launches().await {
        let id = launch["inputs"]["job"]
            .as_str()
            .unwrap_or_else(|| panic!("a launch of no job of ours: {launch}"));
        *times.entry(id.to_owned()).or_default() += 1;
    }
    times
}

/// Waits until so many different jobs were launched; how often each was.
pub async fn wait_launched(sim: &Sim, wanted: usize) -> BTreeMap<String, usize> {
    // The whole record, many times a second, would be more work than the story's own.
    story::launched(sim, wanted, LONG).await;
    eventually(&format!("{wanted} jobs to be launched"), LONG, async || {
        let times = launched(sim).await;
        if times.len() >= wanted {
            Ok(times)
        } else {
            Err(times.len())
        }
    })
    .await
}

/// How many messages lie in the dead-letter queue.
pub async fn dead_count(amqp: &Amqp, prefix: &str) -> usize {
    amqp.count(&format!("{prefix}.dead")).await.unwrap_or(0) as usize
}

/// Takes the dead letters, for good, by the id in their body.
pub async fn dead_letters(amqp: &Amqp, prefix: &str) -> BTreeMap<String, Message> {
    let mut letters = BTreeMap::new();
    for letter in amqp.drain(&format!("{prefix}.dead")).await {
        let id = letter.json()["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no job of ours: {letter:?}"))
            .to_owned();
        assert!(
            letters.insert(id.clone(), letter).is_none(),
            "two dead letters for {id}"
        );
    }
    letters
}

/// Every one of `count` jobs called `name` was launched once, or else is one dead letter; none is both.
pub fn account(name: &str, count: usize, launched: &BTreeMap<String, usize>, dead: &BTreeMap<String, Message>) {
    let wrong: Vec<_> = (0..count)
        .map(|n| format!("{name}-{n}"))
        .map(|id| {
            (
                launched.get(&id).copied().unwrap_or(0),
                usize::from(dead.contains_key(&id)),
                id,
            )
        })
        .filter(|(launched, dead, _)| launched + dead != 1)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} jobs are not accounted for once (times launched, dead letters, id): {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
}
