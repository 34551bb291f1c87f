//! The demo: simulator, embedded broker and worker in one process and a temporary folder, and the account of every job.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Assembled, broker};
use crate::broker::{Browse, Destination, Lane, Message};
use crate::config::Config;
use crate::outcome::Reason;
use crate::result::{ResultOutcome, ResultRecord};
use crate::simulator::{Settings, Simulator, Start, read_rules};
use crate::worker::Drained;
use crate::worker::health::WorkerHealth;

/// The simulator counts requests in windows of this length, so that a run of half a minute sees several.
const WINDOW_SECS: f64 = 6.0;
/// Flows that there are.
const FLOWS: [&str; 4] = [
    "5f4e9a4e-3c0a-4c63-9a0f-0f7f8f1d2c3b",
    "6a3c1f02-8b1d-4d57-9c55-1f0a2b3c4d5e",
    "7b9d2e13-7c2e-4e68-8d66-2a1b3c4d5e6f",
    "8c0e3f24-6d3f-4f79-9e77-3b2c4d5e6f70",
];
/// And one that there is not.
const NO_FLOW: &str = "00000000-0000-4000-8000-000000000404";
/// Publishing and reading results, at most.
const LIMIT: Duration = Duration::from_secs(30);
const PAGE: usize = 500;

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Jobs, the bad ones among them.
    pub jobs: usize,
    /// `limits.rate`, of the worker and of the simulator.
    pub rate: String,
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Jobs in all.
    pub jobs: usize,
    /// Launched so far.
    pub launched: usize,
    /// Dead so far.
    pub dead: usize,
    /// In a lane.
    pub waiting: u32,
    /// In the worker's hands, on their way.
    pub in_flight: u64,
    /// Waiting for another try.
    pub delayed: u32,
    /// Open, or why not.
    pub gate: String,
    /// How long ago the last result came.
    pub quiet: Duration,
    /// The worker has ended, whyever.
    pub alone: bool,
}

/// A job that was sent on its way long ago has a result by then, and one that waits for the rate to allow it is given
/// this on top of that.
const QUIET: Duration = Duration::from_secs(10);

impl Progress {
    /// Whether another result can come; `period` is the time that the rate gives each job.
    pub fn is_over(&self, period: Duration) -> bool {
        let still = self.waiting == 0 && self.delayed == 0 && self.in_flight == 0 && self.gate == OPEN;
        self.launched + self.dead >= self.jobs || self.alone || still && self.quiet > QUIET + 2 * period
    }
}

const OPEN: &str = "open";

/// What became of every job.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Jobs published.
    pub jobs: usize,
    /// Launched, by the results.
    pub launched: usize,
    /// Dead, by reason.
    pub dead: BTreeMap<&'static str, usize>,
    /// Jobs without a result, or with one that cannot be.
    pub unaccounted: Vec<String>,
    /// Launches that the simulator accepted; an answer that was lost is one too.
    pub accepted: u64,
    /// Answers of 429.
    pub throttled: u64,
    /// Calls of the launch endpoint.
    pub calls: u64,
    /// Calls that the rate would have allowed in that time.
    pub allowed: Option<u64>,
    /// Seconds from the first publish to the last result.
    pub seconds: f64,
}

/// A demo under way.
pub struct Demo {
    plan: Plan,
    folder: TempDir,
    config: Config,
    simulator: Simulator,
    health: Arc<WorkerHealth>,
    admin: String,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<anyhow::Result<Drained>>,
    log: Log,
    began: Instant,
}

/// The results so far.
struct Log {
    browser: Arc<dyn Browse>,
    after: u64,
    ended: BTreeMap<String, ResultRecord>,
    twice: Vec<String>,
    /// When the last one came.
    latest: Instant,
}

impl Log {
    /// Reads on.
    async fn read(&mut self) -> anyhow::Result<()> {
        loop {
            let page = self.browser.results(self.after, PAGE, Duration::ZERO).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.after = *last;
            self.latest = Instant::now();
            for (_, message) in &page {
                let record: ResultRecord =
                    serde_json::from_slice(&message.body).context("a result of no known shape")?;
                let id = record.job_id.clone();
                if self.ended.insert(id.clone(), record).is_some() {
                    self.twice.push(id);
                }
            }
        }
    }

    fn count(&self, outcome: ResultOutcome) -> usize {
        self.ended.values().filter(|record| record.outcome == outcome).count()
    }
}

impl Demo {
    /// Starts simulator and worker, and publishes the jobs.
    ///
    /// # Errors
    /// When the plan makes no sense, or something does not start.
    pub async fn start(plan: Plan, stop: &CancellationToken) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("flowlaunch-demo-").tempdir()?;
        let simulator = simulator(&plan)?;
        let config = config(folder.path(), &plan, &simulator)?;
        let broker = broker(&config)?;
        let publishing = broker.publisher_only()?;
        let began = Instant::now();
        publish(&plan, &*publishing.publisher()).await?;
        publishing.stop().await;
        // A signal ends the demo, and with it the worker; the end of the jobs ends the worker alone.
        let stop = stop.child_token();
        let assembled = Assembled::new(&config, stop.clone()).await?;
        let health = assembled.health.clone();
        let admin = assembled.admin.as_ref();
        let admin = admin.map_or_else(String::new, |(admin, _)| admin.address().to_string());
        let worker = TaskTracker::new().spawn(assembled.run());
        Ok(Self {
            log: Log {
                browser: broker.browser(),
                after: 0,
                ended: BTreeMap::new(),
                twice: Vec::new(),
                latest: began,
            },
            plan,
            folder,
            config,
            simulator,
            health,
            admin,
            stop,
            worker,
            began,
        })
    }

    /// The time that the rate gives each job.
    pub fn period(&self) -> Duration {
        let a_second = self.config.limits.rate.per_window(Duration::from_secs(1));
        a_second.map_or(Duration::ZERO, |jobs| Duration::from_secs_f64(1.0 / jobs))
    }

    /// How it logs: only what went wrong.
    pub fn log(&self) -> &crate::telemetry::Settings {
        &self.config.log
    }

    /// Where the worker's metrics and probes are served.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Where the simulator is.
    pub fn simulator(&self) -> &str {
        self.simulator.url()
    }

    /// The folder with the embedded broker's file and the settings.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How far it has come.
    ///
    /// # Errors
    /// When the results cannot be read.
    pub async fn progress(&mut self) -> anyhow::Result<Progress> {
        // Looked at first: what it did last is read then.
        let alone = self.worker.is_finished();
        self.log.read().await?;
        let status = self.health.status();
        let waiting = crate::broker::sqlite::Sqlite::inspect(&self.folder.path().join("demo.db"))?;
        let count = |queue: &str| {
            let found = waiting.messages.iter().find(|(name, _)| *name == queue);
            found.and_then(|(_, count)| *count).unwrap_or(0)
        };
        let gate = match (status["gate"]["halted"].as_str(), status["gate"]["closed"].as_str()) {
            (Some(reason), _) => format!("halted: {reason}"),
            (None, Some(closed)) => closed.to_owned(),
            (None, None) => OPEN.to_owned(),
        };
        Ok(Progress {
            jobs: self.plan.jobs,
            launched: self.log.count(ResultOutcome::Launched),
            dead: self.log.count(ResultOutcome::Dead),
            waiting: count("normal") + count("bulk"),
            in_flight: status["underWay"].as_u64().unwrap_or(0),
            delayed: count("delayed"),
            gate,
            quiet: self.log.latest.elapsed(),
            alone,
        })
    }

    /// The account, as things stand.
    pub fn account(&self) -> Account {
        let seconds = self.began.elapsed().as_secs_f64();
        let stats = self.simulator.stats();
        let of = |status: &str| stats["requests"]["launch"][status].as_u64().unwrap_or(0);
        let calls = stats["requests"]["launch"].as_object();
        let mut dead = BTreeMap::new();
        for record in self.log.ended.values() {
            if let Some(reason) = record.reason {
                *dead.entry(reason.as_str()).or_default() += 1;
            }
        }
        let mut account = Account {
            jobs: self.plan.jobs,
            launched: self.log.count(ResultOutcome::Launched),
            dead,
            unaccounted: unaccounted(self.plan.jobs, &self.log.ended, &self.log.twice),
            accepted: stats["launches"].as_u64().unwrap_or(0),
            throttled: of("429"),
            calls: calls.map_or(0, |calls| calls.values().filter_map(Value::as_u64).sum()),
            allowed: None,
            seconds,
        };
        let allowed = self.config.limits.rate.per_window(Duration::from_secs_f64(seconds));
        account.allowed = allowed.map(|calls| calls as u64);
        // Each launch that was accepted belongs to one that was launched, or to one whose answer was lost.
        let lost = account.dead.get("unknown").copied().unwrap_or(0) as u64;
        let launched = account.launched as u64;
        if !(launched..=launched + lost).contains(&account.accepted) {
            account.unaccounted.push(format!(
                "{launched} jobs were launched, and the simulator has {} on record",
                account.accepted
            ));
        }
        account
    }

    /// Ends worker and simulator.
    ///
    /// # Errors
    /// When the worker died.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.worker.await.context("the worker died")??;
        self.simulator.stop().await;
        Ok(())
    }
}

/// Jobs whose end is not known, or not the one that they must have.
fn unaccounted(jobs: usize, ended: &BTreeMap<String, ResultRecord>, twice: &[String]) -> Vec<String> {
    let mut wrong: Vec<String> = twice.iter().map(|id| format!("{id}: two results")).collect();
    for (id, kind) in kinds(jobs) {
        let Some(record) = ended.get(&id) else {
            wrong.push(format!("{id}: no result"));
            continue;
        };
        let reason = record.reason.map_or("launched", Reason::as_str);
        match kind.must_die_of() {
            Some(must) if reason != must => wrong.push(format!("{id}: {reason} and not {must}")),
            // A good one dies of one thing only: nobody can tell whether it was launched.
            None if !matches!(reason, "launched" | "unknown") => wrong.push(format!("{id}: {reason}")),
            Some(_) | None => {}
        }
    }
    wrong
}

/// What is wrong with a job, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    Misspelt,
    NoFlowId,
    UnknownFlow,
    Expired,
}

impl Kind {
    /// A good one can die all the same: when its answer was lost.
    const fn must_die_of(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::Misspelt | Self::NoFlowId => Some("malformed"),
            Self::UnknownFlow => Some("refused"),
            Self::Expired => Some("expired"),
        }
    }
}

/// Every job's id, and what is wrong with it: one in a hundred, or so.
fn kinds(jobs: usize) -> impl Iterator<Item = (String, Kind)> {
    (0..jobs).map(|n| {
        let kind = match n % 400 {
            90 => Kind::Misspelt,
            170 => Kind::NoFlowId,
            250 => Kind::UnknownFlow,
            330 => Kind::Expired,
            _ => Kind::Good,
        };
        (format!("demo-{:04}", n + 1), kind)
    })
}

fn job(n: usize, id: &str, kind: Kind) -> Value {
    let inputs = json!({ "customer": format!("customer-{n}@example.com"), "amount": n % 90 + 10 });
    let flow = FLOWS[n % FLOWS.len()];
    match kind {
        Kind::Good => json!({ "id": id, "flowId": flow, "inputs": inputs }),
        Kind::Misspelt => json!({ "id": id, "flowId": flow, "inputData": inputs }),
        Kind::NoFlowId => json!({ "id": id, "inputs": inputs }),
        Kind::UnknownFlow => json!({ "id": id, "flowId": NO_FLOW, "inputs": inputs }),
        Kind::Expired => json!({ "id": id, "flowId": flow, "inputs": inputs, "expiresAt": "2020-01-01T00:00:00Z" }),
    }
}

async fn publish(plan: &Plan, publisher: &dyn crate::broker::Publish) -> anyhow::Result<()> {
    let sending = kinds(plan.jobs).enumerate().map(|(n, (id, kind))| {
        let message = Message {
            body: job(n, &id, kind).to_string().into(),
            ..Message::default()
        };
        publisher.publish(Destination::Lane(Lane::Bulk), message, LIMIT)
    });
    for sent in futures_util::future::join_all(sending).await {
        sent?;
    }
    Ok(())
}

/// A server that counts, and misbehaves a little: two seconds of 429, a few 503s and 500s, and answers that are lost. The
/// last two befall good jobs only: a bad one must die of what is wrong with it.
fn simulator(plan: &Plan) -> anyhow::Result<Simulator> {
    let flows: Vec<_> = FLOWS
        .iter()
        .enumerate()
        .map(|(n, id)| json!({ "id": id, "name": format!("Demo flow {}", n + 1) }))
        .collect();
    let settings: Settings = serde_json::from_value(merged(
        serde_json::to_value(Settings::default())?,
        json!({
            "rate": plan.rate, "windowSeconds": WINDOW_SECS, "rateHeaders": true, "flows": flows,
            "clientId": "demo", "clientSecret": "demo-secret", "seed": 1,
        }),
    ))
    .with_context(|| format!("--rate {}", plan.rate))?;
    let rules = read_rules(json!([
        { "name": "closed", "status": 429, "fromSeconds": 5.0, "untilSeconds": 5.5, "retryAfterSeconds": 2 },
        { "name": "busy", "status": 503, "every": 70 },
        { "name": "broken", "flowId": FLOWS, "status": 500, "every": 400 },
        { "name": "answer lost", "flowId": FLOWS, "every": 300, "reset": "afterBody", "launches": true },
        { "name": "slow", "every": 3, "delaySeconds": 0.2 },
        { "delaySeconds": 0.05 },
    ]))
    .map_err(|error| anyhow::anyhow!("{error}"))?;
    Simulator::begin(Start {
        settings,
        rules,
        ..Start::default()
    })
}

fn merged(mut base: Value, more: Value) -> Value {
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    base
}

/// The demo's own settings, and nobody else's.
fn config(folder: &Path, plan: &Plan, simulator: &Simulator) -> anyhow::Result<Config> {
    let url = simulator.url();
    let text = format!(
        "# The settings of this demo.\n\
         broker.url = \"sqlite:{}\"\n\
         api.base_url = \"{url}\"\napi.login_url = \"{url}\"\n\
         api.client_id = \"demo\"\napi.client_secret = \"demo-secret\"\n\
         limits.rate = {:?}\nlimits.concurrency = 16\n\
         # A job whose answer was lost may have been launched: a person decides, and nobody is called twice.\n\
         retry.on_unknown = \"park\"\nretry.initial_delay = \"500ms\"\n\
         admin.listen = \"127.0.0.1:0\"\nlog.filter = \"error\"\n",
        folder.join("demo.db").display(),
        plan.rate,
    );
    let path = folder.join("flowlaunch.toml");
    std::fs::write(&path, text)?;
    if plan.jobs == 0 {
        bail!("--jobs 0: there is nothing to show");
    }
    Ok(Config::load_from(Some(&path), [], &[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reason: Option<Reason>) -> ResultRecord {
        let outcome = if reason.is_some() { "dead" } else { "launched" };
        let mut record: ResultRecord = serde_json::from_value(json!({
            "jobId": "x", "outcome": outcome, "attempts": 1, "finishedAt": "2026-01-01T00:00:00Z", "lane": "bulk",
        }))
        .unwrap();
        record.reason = reason;
        record
    }

    /// What every job of a hundred must come to, with some other ends.
    fn ended(others: &[(usize, Option<Reason>)]) -> BTreeMap<String, ResultRecord> {
        let mut ended: BTreeMap<_, _> = kinds(100)
            .map(|(id, kind)| (id, record(kind.must_die_of().map(|_| Reason::Malformed))))
            .collect();
        for (n, reason) in others {
            ended.insert(format!("demo-{n:04}"), record(*reason));
        }
        ended
    }

    #[test]
    fn every_job_must_come_to_the_end_that_it_must_have() {
        let wrong = |others: &[(usize, Option<Reason>)]| unaccounted(100, &ended(others), &[]);
        assert!(wrong(&[]).is_empty());
        assert!(wrong(&[(5, Some(Reason::Unknown))]).is_empty(), "its answer was lost");
        assert_eq!(wrong(&[(91, None)]), ["demo-0091: launched and not malformed"]);
        assert_eq!(
            wrong(&[(91, Some(Reason::Refused))]),
            ["demo-0091: refused and not malformed"]
        );
        assert_eq!(wrong(&[(5, Some(Reason::Refused))]), ["demo-0005: refused"]);
        assert_eq!(wrong(&[(5, Some(Reason::Exhausted))]), ["demo-0005: exhausted"]);
        let mut one_short = ended(&[]);
        one_short.remove("demo-0007");
        assert_eq!(unaccounted(100, &one_short, &[]), ["demo-0007: no result"]);
        assert_eq!(
            unaccounted(100, &ended(&[]), &["demo-0003".to_owned()]),
            ["demo-0003: two results"]
        );
    }

    #[test]
    fn it_is_over_when_no_result_can_come_any_more() {
        let (period, long) = (Duration::from_secs(1), Duration::from_secs(13));
        let lost = Progress {
            jobs: 10,
            launched: 8,
            dead: 1,
            quiet: long,
            gate: OPEN.to_owned(),
            ..Progress::default()
        };
        assert!(lost.is_over(period), "a job is gone");
        assert!(!lost.is_over(4 * period), "it may still wait for the rate to allow it");
        for (why, more) in [
            (
                "a result just came",
                Progress {
                    quiet: period,
                    ..lost.clone()
                },
            ),
            (
                "it waits",
                Progress {
                    waiting: 1,
                    ..lost.clone()
                },
            ),
            (
                "it is delayed",
                Progress {
                    delayed: 1,
                    ..lost.clone()
                },
            ),
            (
                "it is on its way",
                Progress {
                    in_flight: 1,
                    ..lost.clone()
                },
            ),
            (
                "it is in hand, behind the gate",
                Progress {
                    gate: "an outage".to_owned(),
                    ..lost.clone()
                },
            ),
        ] {
            assert!(!more.is_over(period), "{why}");
            assert!(
                Progress {
                    alone: true,
                    ..more.clone()
                }
                .is_over(period),
                "the worker is gone"
            );
            assert!(Progress { dead: 2, ..more }.is_over(period), "all have ended");
        }
    }
}
