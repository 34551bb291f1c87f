//! The main job: 2,000 mixed jobs from a program that is not ours, every outcome among them, each accounted for once.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect"
)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::wait::eventually;
use common::{Amqp, Prefix, Sim, Worker, python, shared};
use serde_json::{Value, json};

const JOBS: usize = 2_000;

/// What is to become of a job, by what was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Good,
    Throttled,
    Transient,
    Exhausted,
    UnknownOnce,
    UnknownTwice,
    Parked,
    Refused(u16),
    Forbidden,
    Expired,
    Malformed,
    Later,
}

impl Kind {
    /// The outcome and the reason that its result must bear.
    fn fate(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Good | Self::Throttled | Self::Transient | Self::UnknownOnce | Self::Later => ("launched", None),
            Self::Exhausted => ("dead", Some("exhausted")),
            Self::UnknownTwice | Self::Parked => ("dead", Some("unknown")),
            Self::Refused(_) => ("dead", Some("refused")),
            Self::Forbidden => ("dead", Some("forbidden")),
            Self::Expired => ("dead", Some("expired")),
            Self::Malformed => ("dead", Some("malformed")),
        }
    }

    fn of(n: usize) -> Self {
        match n % 100 {
            0 => Self::Throttled,
            1 => Self::Transient,
            2 => Self::UnknownOnce,
            3 if n < 500 => Self::Exhausted,
            4 if n < 500 => Self::UnknownTwice,
            5 => Self::Parked,
            6 => Self::Refused([400, 404, 405, 409, 410, 413, 415, 422, 418, 451][n / 100 % 10]),
            7 => Self::Forbidden,
            8 => Self::Expired,
            9 => Self::Malformed,
            10 => Self::Later,
            _ => Self::Good,
        }
    }
}

/// One flow a job that is to meet a fault, so that rules can tell them apart.
fn flow(n: usize) -> String {
    format!("0f5e4b1c-0000-4000-8000-{n:012x}")
}

fn message(n: usize) -> Value {
    let mut body = json!({ "flowId": flow(n), "id": format!("job-{n}"), "inputs": { "n": n } });
    match Kind::of(n) {
        Kind::Parked => body["onUnknown"] = json!("park"),
        Kind::Exhausted => body["maxAttempts"] = json!(2),
        Kind::Expired => body["expiresAt"] = json!("2020-01-01T00:00:00Z"),
        Kind::Malformed => {
            body.as_object_mut().unwrap().remove("inputs");
            body["inputData"] = json!({ "n": n });
        }
        Kind::Later => {
            body["notBefore"] = json!((jiff::Timestamp::now() + Duration::from_secs(3)).to_string());
        }
        _ => {}
    }
    let lane = if n.is_multiple_of(3) { "normal" } else { "bulk" };
    json!({ "lane": lane, "body": body, "properties": { "message_id": format!("job-{n}") } })
}

fn rules() -> Value {
    let flows =
        |kind: fn(Kind) -> bool| -> Vec<String> { (0..JOBS).filter(|n| kind(Kind::of(*n))).map(flow).collect() };
    let mut rules = Vec::new();
    // A rule counts over all its flows, so what is to happen once a job is one rule each.
    for n in 0..JOBS {
        match Kind::of(n) {
            Kind::Throttled => {
                rules.push(json!({ "flowId": flow(n), "status": 429, "retryAfterSeconds": 1, "first": 1 }))
            }
            Kind::Transient => rules.push(json!({ "flowId": flow(n), "status": 503, "first": 1 })),
            Kind::UnknownOnce => rules.push(json!({ "flowId": flow(n), "status": 500, "first": 1 })),
            Kind::Refused(status) => rules.push(json!({ "flowId": flow(n), "status": status })),
            _ => {}
        }
    }
    rules.push(json!({ "flowId": flows(|kind| kind == Kind::Exhausted), "status": 503 }));
    rules.push(json!({ "flowId": flows(|kind| kind == Kind::UnknownTwice), "status": 504 }));
    rules.push(json!({ "flowId": flows(|kind| kind == Kind::Parked), "reset": "afterBody" }));
    rules.push(json!({ "flowId": flows(|kind| kind == Kind::Forbidden), "status": 403 }));
    Value::Array(rules)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_mixed_jobs_are_each_accounted_for_once() {
    let node = shared();
    let prefix = Prefix::new(&node, "mixed");
    let sim = Sim::start().await;
    sim.set_rules(&rules()).await;
    let mut worker = Worker::builder(node.url(), prefix.name(), &sim.base_url(), &sim.login_url())
        .set("retry.initial_delay", "250ms")
        .ready()
        .await;

    let messages: Vec<Value> = (0..JOBS).map(message).collect();
    let ends = python::publish_mixed(node.url(), prefix.name(), &messages, &[]).await;
    assert_eq!(ends["confirmed"], JOBS, "{ends}");

    let amqp = Amqp::connect(node.url()).await;
    let results = amqp.results(prefix.name(), JOBS, Duration::from_secs(180)).await;

    // Results: one a job, with the right reason.
    let mut by_job: HashMap<&str, &Value> = HashMap::new();
    for result in &results {
        let id = result["jobId"].as_str().unwrap();
        assert!(by_job.insert(id, result).is_none(), "two results for {id}");
    }
    let mut wrong = Vec::new();
    for n in 0..JOBS {
        let Some(result) = by_job.get(format!("job-{n}").as_str()) else {
            wrong.push(format!("job-{n}: no result"));
            continue;
        };
        let (outcome, reason) = Kind::of(n).fate();
        if result["outcome"] != outcome || result["reason"].as_str() != reason {
            wrong.push(format!("{:?}: {result}", Kind::of(n)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );

    // The API: every job that was launched, once, with its inputs byte for byte.
    let mut launched: BTreeMap<String, usize> = BTreeMap::new();
    for launch in sim.launches().await {
        let n: usize = launch["inputs"]["n"].to_string().parse().unwrap();
        assert_eq!(launch["inputsText"], format!("{{\"n\": {n}}}").as_str());
        assert_eq!(launch["flowId"], flow(n).as_str());
        *launched.entry(format!("job-{n}")).or_default() += 1;
    }
    let expected: Vec<String> = (0..JOBS)
        .filter(|n| Kind::of(*n).fate().0 == "launched")
        .map(|n| format!("job-{n}"))
        .collect();
    assert_eq!(launched.len(), expected.len());
    assert!(
        expected.iter().all(|id| launched.get(id) == Some(&1)),
        "a job was launched twice or never"
    );

    // The dead letters: the rest, with reason, sentence and the original bytes.
    let dead = format!("{prefix}.dead");
    amqp.wait_count(&dead, (JOBS - expected.len()) as u32).await;
    for letter in amqp.drain(&dead).await {
        let id = letter.message_id().unwrap();
        let n: usize = id.strip_prefix("job-").unwrap().parse().unwrap();
        let (_, reason) = Kind::of(n).fate();
        assert_eq!(letter.header_str("x-flowlaunch-reason").as_deref(), reason, "{id}");
        assert_eq!(letter.body, message_body(&messages[n]), "{id}: not the original bytes");
        let error = letter.header_str("x-flowlaunch-error").unwrap();
        match Kind::of(n) {
            Kind::Malformed => assert!(
                error.contains("inputData") && error.contains("inputs") && error.contains("byte"),
                "{error}"
            ),
            Kind::Refused(status) => {
                assert_eq!(letter.header_int("x-flowlaunch-status"), Some(i64::from(status)));
                assert!(error.contains(&status.to_string()), "{error}");
            }
            Kind::Forbidden => assert!(error.contains("architect:flow:launch"), "{error}"),
            _ => assert!(!error.is_empty()),
        }
    }

    // And nothing is left anywhere else. (The canary may be on its way through the ladder.)
    eventually("the queues to be empty", Duration::from_secs(60), async || {
        let left: Vec<_> = common::amqp::queues(&node, prefix.name())
            .await
            .into_iter()
            .filter(|(name, count)| {
                *count > 0
                    && !name.ends_with(".results.log")
                    && !name.ends_with(".control")
                    && !name.ends_with(".canary")
            })
            .collect();
        let total: u64 = left.iter().map(|(_, count)| count).sum();
        if total <= u64::from(left.iter().all(|(name, _)| name.contains(".delay."))) {
            Ok(())
        } else {
            Err(left)
        }
    })
    .await;

    // The worker's own account agrees.
    let metrics = worker.metrics().await;
    let settled = |verdict| metrics.get("flowlaunch_jobs_settled_total", &[("verdict", verdict)]) as usize;
    assert_eq!(settled("launched"), expected.len());
    assert_eq!(settled("dead"), JOBS - expected.len());
    let received = metrics.get("flowlaunch_jobs_received_total", &[]);
    assert_eq!(
        received,
        metrics.get("flowlaunch_jobs_settled_total", &[]),
        "received less settled is what is in hand"
    );

    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

/// The bytes that the Python program sent: it writes an object as JSON in its own manner, so ask it for the text instead.
fn message_body(message: &Value) -> Vec<u8> {
    python_json(&message["body"]).into_bytes()
}

/// Python's `json.dumps`: a space behind each comma and colon.
fn python_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(k, v)| format!("{}: {}", json!(k), python_json(v)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
