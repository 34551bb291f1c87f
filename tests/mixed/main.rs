//! The main job: 2,000 mixed jobs from a program that is not ours, every outcome among them, each accounted for once.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect"
)]

#[path = "../common/mod.rs"]
mod common;
mod kinds;

use std::collections::{BTreeMap, HashSet};

use common::account::dead_count;
use common::wait::eventually;
use common::{Amqp, LONG, Node, Prefix, Sim, Worker, python, shared};
use kinds::{JOBS, Kind, flow, message, rules};
use serde_json::{Value, json};

struct Story {
    // The worker goes before its broker.
    worker: Worker,
    sim: Sim,
    node: Node,
    prefix: Prefix,
    amqp: Amqp,
    messages: Vec<Value>,
    results: usize,
}

impl Story {
    async fn begin() -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, "mixed");
        let sim = Sim::start().await;
        sim.set_rules(&rules()).await;
        let worker = Worker::builder(node.url(), prefix.name(), &sim.base_url(), &sim.login_url())
            .set("retry.initial_delay", "250ms")
            .ready()
            .await;
        Self {
            worker,
            sim,
            amqp: Amqp::connect(node.url()).await,
            node,
            prefix,
            messages: (0..JOBS).map(message).collect(),
            results: 0,
        }
    }

    async fn publish(&mut self, wanted: impl Fn(Kind) -> bool) {
        let numbers: Vec<usize> = (0..JOBS).filter(|n| wanted(Kind::of(*n))).collect();
        let messages: Vec<Value> = numbers.iter().map(|n| self.messages[*n].clone()).collect();
        let ends = python::publish_mixed(self.node.url(), self.prefix.name(), &messages, &[]).await;
        assert_eq!(ends["confirmed"], messages.len(), "{ends}");
        self.results += numbers.iter().filter(|n| !Kind::of(**n).dies_in_the_broker()).count();
    }

    /// Of all that was published so far.
    async fn wait_results(&self) -> Vec<Value> {
        self.amqp.results(self.prefix.name(), self.results, LONG).await
    }

    /// One a job that a worker has seen, with the right reason.
    async fn check_results(&self) {
        let results = self.wait_results().await;
        let mut by_job: BTreeMap<&str, &Value> = BTreeMap::new();
        for result in &results {
            let id = result["jobId"].as_str().unwrap();
            assert!(by_job.insert(id, result).is_none(), "two results for {id}");
        }
        let mut wrong = Vec::new();
        for n in 0..JOBS {
            let kind = Kind::of(n);
            let told = by_job.remove(format!("job-{n}").as_str()).map(|result| {
                let of = |field: &str| result[field].as_str();
                (of("outcome"), of("reason"), result["attempts"].as_u64())
            });
            let (outcome, reason, attempts) = kind.fate();
            let expected = (!kind.dies_in_the_broker()).then_some((Some(outcome), reason, Some(attempts)));
            if told != expected {
                wrong.push(format!("job-{n}, {kind:?}: {told:?}"));
            }
        }
        let first = &wrong[..wrong.len().min(10)];
        assert!(wrong.is_empty(), "{} wrong: {first:#?}", wrong.len());
        assert!(by_job.is_empty(), "results of nobody's: {by_job:?}");
    }

    /// Every job that was launched, as often as it had to be, with its inputs byte for byte, and none too early.
    async fn check_launches(&self) {
        let mut launched = vec![0; JOBS];
        for launch in self.sim.launches().await {
            let n: usize = launch["inputs"]["n"].to_string().parse().unwrap();
            assert_eq!(launch["inputsText"], format!("{{\"n\": {n}}}").as_str());
            assert_eq!(launch["flowId"], flow(n).as_str());
            if let Some(not_before) = self.messages[n]["body"]["notBefore"].as_str() {
                let not_before: jiff::Timestamp = not_before.parse().unwrap();
                let at = launch["atMicros"].as_i64().unwrap();
                assert!(at >= not_before.as_microsecond(), "job-{n}: {launch}");
            }
            launched[n] += 1;
        }
        let wrong: Vec<_> = (0..JOBS).filter(|n| launched[*n] != Kind::of(*n).launches()).collect();
        let says: Vec<_> = wrong.iter().map(|n| (n, Kind::of(*n), launched[*n])).collect();
        assert!(says.is_empty(), "launched too often or too seldom: {says:?}");
    }

    /// The rest, each once, with reason, sentence and the original bytes.
    async fn check_dead_letters(&self) {
        let mut dead: HashSet<usize> = (0..JOBS).filter(|n| !Kind::of(*n).is_launched()).collect();
        let queue = format!("{}.dead", self.prefix);
        // Twenty sessions end of the poison before the broker puts it away.
        eventually("the dead letters", LONG, async || {
            let count = dead_count(&self.amqp, self.prefix.name()).await;
            if count >= dead.len() { Ok(()) } else { Err(count) }
        })
        .await;
        for letter in python::drain(self.node.url(), &queue).await {
            let job: Value = serde_json::from_str(letter["body"].as_str().unwrap()).unwrap();
            let n: usize = job["id"].as_str().unwrap()["job-".len()..].parse().unwrap();
            assert!(
                dead.remove(&n),
                "job-{n} has two dead letters, or none was due: {letter}"
            );
            let sent = &self.messages[n];
            assert_eq!(letter["body"], python_json(&sent["body"]), "not the original bytes");
            assert_eq!(letter["properties"]["message_id"], sent["properties"]["message_id"]);
            check_reason(Kind::of(n), &letter, self.prefix.name());
        }
        assert!(dead.is_empty(), "{dead:?}");
    }

    /// Nothing is left anywhere else. (The canary may be on its way through the ladder.)
    async fn check_queues(&self) {
        eventually("the queues to be empty", LONG, async || {
            let left: Vec<_> = common::amqp::queues(&self.node, self.prefix.name())
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
    }

    /// The worker's own account agrees.
    async fn check_metrics(&self) {
        let metrics = self.worker.metrics().await;
        let jobs = |wanted: fn(Kind) -> bool| (0..JOBS).filter(|n| wanted(Kind::of(*n))).count() as f64;
        let settled = |verdict| metrics.get("flowlaunch_jobs_settled_total", &[("verdict", verdict)]);
        assert_eq!(settled("launched"), jobs(Kind::is_launched));
        assert_eq!(
            settled("dead"),
            jobs(|kind| !kind.is_launched() && !kind.dies_in_the_broker())
        );
        assert_eq!(
            metrics.get("flowlaunch_jobs_received_total", &[]),
            metrics.get("flowlaunch_jobs_settled_total", &[]),
            "received less settled is what is in hand"
        );
        for outcome in OUTCOMES {
            let attempts = metrics.get("flowlaunch_launch_attempts_total", &[("outcome", outcome)]);
            assert!(attempts > 0.0, "no attempt was {outcome}");
        }
        let twice = metrics.get("flowlaunch_possible_duplicates_total", &[("window", "relaunched")]);
        assert_eq!(twice, jobs(Kind::is_relaunched));
    }
}

/// Those of an attempt, all of them.
const OUTCOMES: [&str; 9] = [
    "launched",
    "throttled",
    "unreachable",
    "transient",
    "unknown",
    "refused",
    "forbidden",
    "unauthorized",
    "misdirected",
];

fn check_reason(kind: Kind, letter: &Value, prefix: &str) {
    let headers = &letter["headers"];
    if kind.dies_in_the_broker() {
        let (text, exchange) = (headers.to_string(), format!("{prefix}.jobs"));
        assert!(!text.contains("x-flowlaunch-"), "{kind:?}: {letter}");
        let is_so = match kind {
            Kind::Poison => text.contains("delivery_limit"),
            _ => letter["routing_key"] == "norml" && letter["exchange"] == exchange.as_str(),
        };
        assert!(is_so, "{kind:?}: {letter}");
        return;
    }
    assert_eq!(headers["x-flowlaunch-reason"].as_str(), kind.fate().1, "{letter}");
    let error = headers["x-flowlaunch-error"].as_str().unwrap();
    let says = |words: &[&str]| assert!(words.iter().all(|word| error.contains(word)), "{kind:?}: {error}");
    match kind {
        Kind::Malformed => says(&["inputData", "inputs", "byte"]),
        Kind::Refused(status) => {
            assert_eq!(headers["x-flowlaunch-status"], status);
            says(&[&status.to_string()]);
        }
        Kind::Forbidden => says(&["architect:flow:launch"]),
        _ => assert!(!error.is_empty()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_mixed_jobs_are_each_accounted_for_once() {
    let mut story = Story::begin().await;
    story.publish(|kind| !kind.comes_alone()).await;
    story.wait_results().await;

    story.sim.set_open(false).await;
    story.publish(|kind| kind == Kind::Unreachable).await;
    let attempts = "flowlaunch_launch_attempts_total";
    story
        .worker
        .wait_metrics(attempts, LONG, |metrics| {
            metrics.get(attempts, &[("outcome", "unreachable")]) > 0.0
        })
        .await;
    story.sim.set_open(true).await;
    story.wait_results().await;
    // Half a minute each, until the halted worker's probe.
    for halting in [Kind::Misdirected, Kind::Unauthorized] {
        story.publish(|kind| kind == halting).await;
        story.wait_results().await;
    }
    story.publish(|kind| kind == Kind::Poison).await;

    // The dead letters first: their number says when the broker has done with the last.
    story.check_dead_letters().await;
    story.check_results().await;
    story.check_launches().await;
    story.check_queues().await;
    story.check_metrics().await;
    story.worker.term();
    assert_eq!(story.worker.wait_exit().await, 0);
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
