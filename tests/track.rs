//! Executions followed to their end, on both brokers: by whichever worker is there, within the rate, and accounted for.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::story::{self, flow, job};
use common::wait::{LONG, eventually};
use common::worker::{Builder, run};
use common::{Prefix, Rabbit, Sim, Worker, shared};
use flowlaunch::broker::client::Broker;
use flowlaunch::broker::settings::{Declare, Settings};
use flowlaunch::broker::{BrowseError, Destination, Message};
use serde_json::{Value, json};
use tempfile::TempDir;

macro_rules! on_both {
    ($($story:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(super::Stage::embedded()).await;
            })*
        }

        mod rabbitmq {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(super::Stage::rabbitmq()).await;
            })*
        }
    };
}

on_both! {
    every_tracked_job_ends_once_with_its_state_and_no_other_is_looked_at,
    a_worker_that_is_killed_reports_every_end_all_the_same,
    trouble_on_the_way_is_waited_out_and_a_pause_of_everything_stops_no_look,
    under_a_saturated_lane_looks_keep_a_twentieth_and_the_limit_holds,
    what_is_no_execution_is_a_dead_letter,
}

/// A broker of a test's own.
struct Stage {
    dir: TempDir,
    url: String,
    prefix: String,
    _prefix: Option<Prefix>,
}

/// The ends by job id: outcome and state of each.
type Ends = BTreeMap<String, Vec<(String, String)>>;

impl Stage {
    fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        Self {
            dir,
            url,
            prefix: "flowlaunch".to_owned(),
            _prefix: None,
        }
    }

    fn rabbitmq() -> Self {
        let node = shared();
        let prefix = Prefix::new(&node, "track");
        Self {
            dir: tempfile::tempdir().unwrap(),
            url: node.url().to_owned(),
            prefix: prefix.name().to_owned(),
            _prefix: Some(prefix),
        }
    }

    fn worker(&self, sim: &Sim) -> Builder {
        let builder = Worker::builder(&self.url, &self.prefix, &sim.base_url(), &sim.login_url());
        std::fs::write(self.dir.path().join("flowlaunch.toml"), builder.toml()).unwrap();
        builder
    }

    fn say(&self, args: &[&str], stdin: &str) {
        let (code, said, error) = run(args, self.dir.path(), stdin);
        assert_eq!(code, 0, "{args:?}: {said}{error}");
    }

    fn publish(&self, jobs: impl IntoIterator<Item = Value>) {
        let lines: Vec<_> = jobs.into_iter().map(|job| job.to_string()).collect();
        self.say(&["publish", "--lane", "bulk"], &lines.join("\n"));
    }

    fn broker(&self) -> Broker {
        let settings = Settings {
            url: self.url.as_str().into(),
            prefix: self.prefix.clone(),
            declare: Declare::Create,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
        };
        // As the workers' default has it: it is an argument of a queue.
        Broker::new(&settings, Duration::from_secs(7 * 86_400)).unwrap()
    }

    /// The log of results, from its beginning.
    async fn results(&self) -> Vec<Value> {
        self.read_results().await.unwrap()
    }

    async fn read_results(&self) -> Result<Vec<Value>, BrowseError> {
        let browser = self.broker().browser();
        let mut all: Vec<Value> = Vec::new();
        let mut after = 0;
        loop {
            let page = browser.results(after, 1000, Duration::ZERO).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = *last;
            all.extend(
                page.iter()
                    .map(|(_, result)| serde_json::from_slice::<Value>(&result.body).unwrap()),
            );
        }
    }

    /// Waits until so many jobs have an end.
    async fn wait_ends(&self, wanted: usize) -> Ends {
        eventually(&format!("{wanted} ends"), LONG, async || {
            // A broker that was killed cannot be read at once.
            let ends = ends(&self.read_results().await.map_err(|error| error.to_string())?);
            if ends.len() >= wanted {
                Ok(ends)
            } else {
                Err(format!("{} ends", ends.len()))
            }
        })
        .await
    }

    /// Waits until so many jobs are launched, and settled.
    async fn wait_settled(&self, sim: &Sim, worker: &Worker, wanted: usize) {
        story::launched(sim, wanted, LONG).await;
        let settled = "flowlaunch_jobs_settled_total";
        worker
            .wait_metrics(settled, LONG, |metrics| metrics.get(settled, &[]) >= wanted as f64)
            .await;
    }
}

fn ends(results: &[Value]) -> Ends {
    let mut ends = Ends::new();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    for result in results {
        if matches!(result["outcome"].as_str(), Some("completed" | "failed")) {
            let end = (text(&result["outcome"]), text(&result["state"]));
            ends.entry(text(&result["jobId"])).or_default().push(end);
        }
    }
    ends
}

fn tracked(n: usize) -> Value {
    let mut job = job(&format!("tracked-{n}"), &flow(n % 3));
    job["track"] = json!(true);
    job["campaign"] = json!("spring");
    job
}

/// Looks that the simulator has answered, so or at all.
async fn looks(sim: &Sim, status: Option<&str>) -> u64 {
    let stats = sim.stats().await;
    let polls = stats["requests"]["poll"].as_object().unwrap();
    let wanted = polls
        .iter()
        .filter(|(answer, _)| status.is_none_or(|status| answer == &status));
    wanted.filter_map(|(_, count)| count.as_u64()).sum()
}

async fn every_tracked_job_ends_once_with_its_state_and_no_other_is_looked_at(stage: Stage) {
    const JOBS: usize = 20;
    let sim = Sim::start_with(&["--rate", "unlimited", "--run-seconds", "3", "--fail-share", "0.4"]).await;
    let mut worker = stage.worker(&sim).ready().await;
    stage.publish((0..5).map(|n| job(&format!("plain-{n}"), &flow(n))));
    stage.wait_settled(&sim, &worker, 5).await;
    stage.publish((0..JOBS).map(tracked));
    let ends = stage.wait_ends(JOBS).await;

    let results = stage.results().await;
    assert_eq!(results.len(), 5 + 2 * JOBS, "one of each: {results:?}");
    let mut launched: BTreeMap<&str, &Value> = BTreeMap::new();
    for result in &results {
        let id = result["jobId"].as_str().unwrap();
        if result["outcome"] == "launched" {
            launched.insert(id, result);
            continue;
        }
        // What follows a launch says of it what the launch said.
        for field in ["executionId", "flowId", "campaign", "lane", "attempts", "firstSeen"] {
            assert_eq!(result[field], launched[id][field], "{field} of {id}");
        }
        assert!(id.starts_with("tracked-"), "{result}");
    }
    let of = |outcome: &str| ends.values().filter(|end| end[0].0 == outcome).count();
    assert!(of("completed") > 0 && of("failed") > 0, "{ends:?}");
    for end in ends.values() {
        let known = [("completed", "Completed"), ("failed", "Failed")];
        let known = known.map(|(outcome, state)| (outcome.to_owned(), state.to_owned()));
        assert!(end.len() == 1 && known.contains(&end[0]), "{end:?}");
    }
    let metrics = worker.metrics().await;
    let ended = "flowlaunch_executions_ended_total";
    assert_eq!(metrics.get("flowlaunch_executions_tracked_total", &[]), JOBS as f64);
    for state in ["completed", "failed"] {
        assert_eq!(
            metrics.get(ended, &[("state", state)]),
            of(state) as f64,
            "{:?}",
            metrics.lines(ended)
        );
    }
    // Each was looked at, and nothing else was.
    let polls = metrics.get("flowlaunch_track_polls_total", &[]);
    assert!(
        polls >= JOBS as f64 && polls == looks(&sim, Some("200")).await as f64,
        "{polls}"
    );
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

async fn a_worker_that_is_killed_reports_every_end_all_the_same(stage: Stage) {
    const JOBS: usize = 60;
    let sim = Sim::start_with(&["--rate", "unlimited", "--run-seconds", "6", "--fail-share", "0.4"]).await;
    // Slowly, so that there are looks under way when it dies.
    let rules = json!([{ "endpoint": "poll", "delaySeconds": 0.3 }]);
    sim.set_rules(&rules).await;
    let mut worker = stage.worker(&sim).set("limits.concurrency", 16).ready().await;
    stage.publish((0..JOBS).map(tracked));
    stage.wait_settled(&sim, &worker, JOBS).await;
    eventually("a look", LONG, async || match looks(&sim, None).await {
        0 => Err("none"),
        _ => Ok(()),
    })
    .await;
    for some in [0, JOBS / 3, 2 * JOBS / 3] {
        stage.wait_ends(some).await;
        worker.kill();
        worker.start_again();
    }
    let ends = stage.wait_ends(JOBS).await;
    assert_eq!(ends.len(), JOBS);
    let mut repeated = 0;
    for (id, ends) in &ends {
        assert!(
            ends.iter().all(|end| *end == ends[0] && end.1 != "unknown"),
            "{id}: {ends:?}"
        );
        repeated += ends.len() - 1;
    }
    println!("{repeated} ends were told again");
    let launches = story::launches(&sim).await;
    assert!(
        launches.values().all(|times| times.len() == 1),
        "a look launches nothing"
    );
}

async fn trouble_on_the_way_is_waited_out_and_a_pause_of_everything_stops_no_look(stage: Stage) {
    const JOBS: usize = 6;
    let sim = Sim::start_with(&["--rate", "unlimited", "--run-seconds", "3"]).await;
    let mut worker = stage.worker(&sim).ready().await;
    let rule = |status: u16, first: usize| json!({ "endpoint": "poll", "status": status, "first": first });
    let mut throttled = rule(429, 1);
    throttled["retryAfterSeconds"] = json!(1);
    sim.set_rules(&json!([
        throttled,
        rule(404, 4),
        rule(503, 2),
        rule(403, 2),
        rule(500, 2)
    ]))
    .await;
    stage.publish((0..JOBS).map(tracked));
    stage.wait_settled(&sim, &worker, JOBS).await;
    stage.say(&["pause", "--all", "--reason", "test"], "");
    worker
        .wait_readyz("the pause to be known", |_, body| body.contains("paused"))
        .await;
    sim.revoke_tokens().await;
    stage.publish((JOBS..JOBS + 3).map(tracked));
    let ends = stage.wait_ends(JOBS).await;
    assert!(
        ends.values().all(|end| end.len() == 1 && end[0].0 == "completed"),
        "{ends:?}"
    );
    for (answer, times) in [("429", 1), ("404", 4), ("503", 2), ("403", 2), ("500", 2)] {
        assert_eq!(looks(&sim, Some(answer)).await, times, "{answer}");
    }
    // It was all about reading: nobody stopped launching for it, but for the pause.
    assert_eq!(sim.launches().await.len(), JOBS);
    stage.say(&["resume", "--all"], "");
    stage.wait_ends(JOBS + 3).await;
    worker.term();
    assert_eq!(worker.wait_exit().await, 0);
}

async fn under_a_saturated_lane_looks_keep_a_twentieth_and_the_limit_holds(stage: Stage) {
    const TRACKED: usize = 60;
    const PLAIN: usize = 500;
    // A little more than the worker takes: launches and looks that did not share would exceed it.
    let limit = ["--rate", "21/s", "--window", "sliding", "--window-seconds", "6"];
    let sim = Sim::start_with(&[&limit[..], &["--run-seconds", "3600"]].concat()).await;
    let worker = stage.worker(&sim).set("limits.rate", "1200/min").ready().await;
    stage.publish((0..TRACKED).map(tracked));
    story::launched(&sim, TRACKED, LONG).await;
    stage.publish((0..PLAIN).map(|n| job(&format!("plain-{n}"), &flow(n % 5))));
    let counts = async || {
        let stats = sim.stats().await;
        let polls = stats["requests"]["poll"]["200"].as_u64().unwrap_or(0);
        (stats["launches"].as_u64().unwrap(), polls)
    };
    // From when the lane is full, until before it is empty.
    story::launched(&sim, TRACKED + 20, LONG).await;
    let (launches, polls) = counts().await;
    story::launched(&sim, TRACKED + PLAIN - 20, LONG).await;
    let (launches, polls) = (counts().await.0 - launches, counts().await.1 - polls);
    let share = polls as f64 / (launches + polls) as f64;
    println!("{launches} launches and {polls} looks: {:.1} %", share * 100.0);
    assert!((0.04..0.06).contains(&share), "{share}");
    // With nothing to launch all of the rate is theirs.
    let before = counts().await.1;
    eventually("many looks", LONG, async || match counts().await.1 - before {
        more if more > 60 => Ok(()),
        more => Err(more),
    })
    .await;
    let stats = sim.stats().await;
    assert!(stats["maxRequestsInWindow"].as_u64().unwrap() <= 126, "{stats}");
    assert_eq!(stats["requests"]["launch"]["429"], Value::Null, "{stats}");
    assert_eq!(stats["requests"]["poll"]["429"], Value::Null, "{stats}");
    drop(worker);
}

async fn what_is_no_execution_is_a_dead_letter(stage: Stage) {
    let sim = Sim::start().await;
    let _worker = stage.worker(&sim).ready().await;
    let client = stage.broker().publisher_only().unwrap();
    let stray = Message::json(tracked(1).to_string());
    let publisher = client.publisher();
    publisher
        .publish(Destination::Track(Duration::ZERO), stray.clone(), LONG)
        .await
        .unwrap();
    let letter = eventually("a dead letter", LONG, async || {
        stage.broker().browser().dead(10).await.unwrap().pop().ok_or(())
    })
    .await;
    assert_eq!(letter.body, stray.body);
    let reason = letter
        .properties
        .headers
        .ours("reason")
        .and_then(|reason| reason.as_text());
    assert_eq!(reason, Some("malformed"));
    assert!(sim.launches().await.is_empty());
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_the_api_does_not_know_is_given_up() {
    let stage = Stage::embedded();
    let sim = Sim::start().await;
    sim.set_rules(&json!([{ "endpoint": "poll", "status": 404 }])).await;
    let worker = stage.worker(&sim).ready().await;
    stage.publish([tracked(1)]);
    let ends = stage.wait_ends(1).await;
    assert_eq!(ends["tracked-1"], [("failed".to_owned(), "unknown".to_owned())]);
    let results = stage.results().await;
    let error = &results.last().unwrap()["error"];
    assert_eq!(error["status"], 404);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("knows of no such execution"),
        "{error}"
    );
    assert_eq!(looks(&sim, None).await, 6);
    let metrics = worker.metrics().await;
    assert_eq!(
        metrics.get("flowlaunch_executions_ended_total", &[("state", "unknown")]),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_followed_outlives_a_restart_of_the_broker() {
    const JOBS: usize = 30;
    let mut rabbit = Rabbit::start().await;
    let stage = Stage {
        url: rabbit.url().to_owned(),
        ..Stage::embedded()
    };
    let sim = Sim::start_with(&["--rate", "unlimited", "--run-seconds", "12"]).await;
    let worker = stage.worker(&sim).ready().await;
    stage.publish((0..JOBS).map(tracked));
    stage.wait_settled(&sim, &worker, JOBS).await;
    rabbit.restart().await;
    let ends = stage.wait_ends(JOBS).await;
    assert!(
        ends.values().all(|end| end.iter().all(|end| end.0 == "completed")),
        "{ends:?}"
    );
    assert_eq!(sim.launches().await.len(), JOBS);
}
