//! The API gone for an hour, on a clock that the test moves by hand: the broker is scripted, the API the simulator itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect, and prints its figures"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::http;
use common::paused::{ANSWER, Still, settle, until, worker};
use common::scripted::Scripted;
use flowlaunch::broker::{Destination, Message};
use flowlaunch::metrics::Exporter;
use flowlaunch::simulator::{Simulator, Start};
use flowlaunch::worker::health::WorkerHealth;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

const JOBS: usize = 5_000;
const SLOTS: usize = 4;
/// 12,000 a minute, a hair less for the network's jitter.
const RATE: f64 = 199.0;
/// The bucket repays wake-ups that are late by twice this.
const TICK: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// So long one that tries waits for a choice of flows.
const GATHER: Duration = Duration::from_millis(200);
const A_THIRD_OF_AN_HOUR: Duration = Duration::from_secs(1200);
/// Of RabbitMQ, for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

struct Rig {
    sim: Simulator,
    broker: Arc<Scripted>,
    health: Arc<WorkerHealth>,
    metrics: Exporter,
    _still: Still,
}

impl Rig {
    async fn start() -> Self {
        let still = Still::hold();
        let start = Start {
            settings: Start::default()
                .settings
                .patched(json!({ "rate": "unlimited" }))
                .unwrap(),
            control: Some(Start::default().listen),
            ..Start::default()
        };
        let sim = Simulator::begin(start).unwrap();
        let (broker, worker, metrics) = worker(&sim, JOBS, "12000/min".parse().unwrap());
        let health = worker.health();
        tokio::spawn(worker.run());
        Self {
            sim,
            broker,
            health,
            metrics,
            _still: still,
        }
    }

    async fn set_open(&self, open: bool) {
        let url = format!("{}/_sim/listener", self.sim.control_url());
        let said = http::with_json(Method::PUT, &url, &json!({ "open": open }))
            .await
            .unwrap();
        assert_eq!(said.0, 200, "{said:?}");
    }

    fn launches(&self) -> usize {
        usize::try_from(self.sim.stats()["launches"].as_u64().unwrap()).unwrap()
    }

    /// How often each job was launched.
    async fn launches_by_job(&self) -> BTreeMap<String, i64> {
        let (_, lines) = http::get(&format!("{}/_sim/launches", self.sim.control_url()))
            .await
            .unwrap();
        let mut by_job = BTreeMap::new();
        for line in lines.lines() {
            let launch: Value = serde_json::from_str(line).unwrap();
            *by_job.entry(launch["name"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        by_job
    }

    fn attempts(&self, outcome: &str) -> usize {
        let metrics = common::worker::Metrics::parse(&self.metrics.render());
        metrics.get("flowlaunch_launch_attempts_total", &[("outcome", outcome)]) as usize
    }

    /// Until the next one may try: nothing while one does, `None` while all may.
    fn next_try(&self) -> Option<Duration> {
        let seconds = self.health.status()["gate"]["opensInSeconds"].as_f64()?;
        Some(Duration::from_secs_f64(seconds))
    }

    /// Moves the clock on until so many more are launched; at no tick are there fewer than the rate allows.
    async fn launch_at_full_rate(&self, more: usize) {
        let (began, before) = (Instant::now(), self.launches());
        while self.launches() < before + more {
            advance(TICK).await;
            let allowed = (RATE * began.elapsed().as_secs_f64()) as usize;
            until("launches at the full rate", &self.broker, |_| {
                self.launches() >= before + allowed.min(more)
            })
            .await;
        }
    }

    /// Moves the clock on to the next try.
    async fn one_tries(&self) {
        let pause = self.next_try().expect("an outage");
        assert!(pause <= LONGEST_PAUSE, "the next try is in {pause:?}");
        // A hair more: the seconds were rounded.
        advance(pause + Duration::from_millis(1)).await;
        settle().await;
        advance(GATHER + Duration::from_millis(1)).await;
    }

    /// And until it has come to something.
    async fn wait_tried(&self) {
        until("the outcome of a try", &self.broker, |_| {
            self.next_try() != Some(Duration::ZERO)
        })
        .await;
    }

    /// A part of the outage, in which every request comes to that. Returns how many there were.
    async fn a_third_of_an_hour(&self, outcome: &str) -> usize {
        let (began, before) = (Instant::now(), self.attempts(outcome));
        while began.elapsed() < A_THIRD_OF_AN_HOUR {
            let launches = self.launches();
            self.one_tries().await;
            if outcome == "unknown" {
                until("a request", &self.broker, |_| self.launches() > launches).await;
                advance(ANSWER).await;
            }
            self.wait_tried().await;
        }
        self.attempts(outcome) - before
    }

    /// Each job was launched, and once but for those whose end nobody knew; who only waited was left alone.
    async fn assert_all_accounted_for(&self) {
        let launches = self.launches_by_job().await;
        let [unreachable, transient, unknown] =
            ["unreachable", "transient", "unknown"].map(|outcome| self.attempts(outcome));
        let state = self.broker.look();
        let (given_back, in_vain): (Vec<_>, Vec<_>) = state.published.iter().partition(|(to, _)| is_give_back(to));
        let dead = in_vain.iter().filter(|(to, _)| *to == Destination::Dead).count();
        assert_eq!(
            in_vain.len(),
            unreachable + transient + unknown,
            "a copy for each that tried in vain"
        );
        let mut spent: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (_, copy) in &in_vain {
            let most = spent.entry(id(copy)).or_default();
            *most = (*most).max(spent_by(copy));
        }
        let attempts: i64 = spent.values().map(|(attempts, _)| attempts).sum();
        assert_eq!(
            attempts as usize,
            transient + unknown,
            "attempts were spent by others than those that tried"
        );
        for n in 0..JOBS {
            let id = format!("job-{n}");
            let times = launches.get(&id).copied().unwrap_or(0_i64);
            let (_, unknowns) = spent.get(&id).copied().unwrap_or_default();
            assert!(
                (1..=1 + unknowns).contains(&times),
                "{id} was launched {times} times, {unknowns} unknown"
            );
        }
        println!(
            "{unreachable} unreachable, {transient} transient, {unknown} unknown, {dead} dead; {} jobs tried in vain; given back \
             {} times by a nack and {} as a copy, none was in hand for longer than {:?}",
            spent.len(),
            state.returned,
            given_back.len(),
            state.longest
        );
        assert!(dead <= 20, "{dead} dead");
        assert!(
            state.longest < PATIENCE,
            "a job was unacknowledged for {:?}",
            state.longest
        );
    }
}

/// A job that went back as it came, and not by a nack.
fn is_give_back(to: &Destination) -> bool {
    matches!(to, Destination::Delay(_, delay) if *delay <= Duration::from_millis(1))
}

/// What a copy says of itself: attempts, and how many of them nobody knows the end of.
fn spent_by(copy: &Message) -> (i64, i64) {
    let ours = |name| copy.properties.headers.ours(name).unwrap().as_int().unwrap();
    (ours("attempts"), ours("unknowns"))
}

fn id(copy: &Message) -> String {
    let job: Value = serde_json::from_slice(&copy.body).unwrap();
    job["id"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_api_costs_only_those_that_tried_an_attempt_and_the_full_rate_is_back_with_the_first_launch()
 {
    let rig = Rig::start().await;
    rig.launch_at_full_rate(JOBS / 3).await;
    // All slots are cut off: launched, and nobody told us.
    rig.sim.set_rules(json!([{ "delaySeconds": 60 }])).unwrap();
    rig.launch_at_full_rate(SLOTS).await;
    rig.set_open(false).await;
    while rig.next_try().is_none() {
        advance(TICK).await;
        settle().await;
    }
    let refused = rig.a_third_of_an_hour("unreachable").await;
    rig.sim.set_rules(json!([{ "status": 503 }])).unwrap();
    rig.set_open(true).await;
    let busy = rig.a_third_of_an_hour("transient").await;
    rig.sim.set_rules(json!([{ "delaySeconds": 60 }])).unwrap();
    let silent = rig.a_third_of_an_hour("unknown").await;
    rig.sim.set_rules(json!([])).unwrap();

    let (over, before) = (Instant::now(), rig.launches());
    rig.one_tries().await;
    rig.wait_tried().await;
    let first = over.elapsed();
    assert_eq!(rig.launches(), before + 1, "the first that tries is launched");
    assert!(first < LONGEST_PAUSE + Duration::from_secs(1), "after {first:?}");
    assert_eq!(rig.next_try(), None, "and then all may");
    let left = {
        let state = rig.broker.look();
        JOBS + state.published.len() - state.acked
    };
    rig.launch_at_full_rate(left).await;
    until("all to be acknowledged", &rig.broker, |state| {
        state.acked == JOBS + state.published.len()
    })
    .await;
    println!(
        "an hour: {refused} tries were refused, {busy} got a 503, {silent} no answer; the first of {left} launched {first:?} \
         after its end, all at the full rate from there on"
    );
    rig.assert_all_accounted_for().await;
}
