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
    /// In the worker's hands, on their way.
    pub in_flight: u64,
    /// Waiting for another try.
    pub delayed: u32,
    /// Open, or why not.
    pub gate: String,
}

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
}

impl Log {
    /// Reads on.
    async fn read(&mut self) -> anyhow::Result<()> {
        loop {
            let page = self.browser.results(self.after, PAGE, Duration::ZERO).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.after = *last;
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
        let (health, admin) = (assembled.health.clone(), assembled.admin.address().to_string());
        let worker = TaskTracker::new().spawn(assembled.run());
        Ok(Self {
            log: Log {
                browser: broker.browser(),
                after: 0,
                ended: BTreeMap::new(),
                twice: Vec::new(),
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
        self.log.read().await?;
        let status = self.health.status();
        let waiting = crate::broker::sqlite::Sqlite::inspect(&self.folder.path().join("demo.db"))?;
        let delayed = waiting.messages.iter().find(|(name, _)| *name == "delayed");
        let gate = match (status["gate"]["halted"].as_str(), status["gate"]["closed"].as_str()) {
            (Some(reason), _) => format!("halted: {reason}"),
            (None, Some(closed)) => closed.to_owned(),
            (None, None) => "open".to_owned(),
        };
        Ok(Progress {
            jobs: self.plan.jobs,
            launched: self.log.count(ResultOutcome::Launched),
            dead: self.log.count(ResultOutcome::Dead),
            in_flight: status["underWay"].as_u64().unwrap_or(0),
            delayed: delayed.and_then(|(_, count)| *count).unwrap_or(0),
            gate,
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
            unaccounted: self.unaccounted(),
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

    /// Jobs whose end is not known, or not the one that they must have.
    fn unaccounted(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.log.twice.iter().map(|id| format!("{id}: two results")).collect();
        for (id, kind) in kinds(self.plan.jobs) {
            let ended = self.log.ended.get(&id);
            let reason = ended.and_then(|record| record.reason).map(|reason| reason.as_str());
            match (ended, kind.must_die_of()) {
                (None, _) => wrong.push(format!("{id}: no result")),
                (Some(_), Some(must)) if reason != Some(must) => {
                    wrong.push(format!("{id}: {} and not {must}", reason.unwrap_or("launched")));
                }
                (Some(_), None) if !matches!(reason, None | Some("unknown")) => {
                    wrong.push(format!("{id}: {}", reason.unwrap_or_default()));
                }
                (Some(_), _) => {}
            }
        }
        wrong
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

/// A server that counts, and misbehaves a little: two seconds of 429, a few 503s and 500s, and answers that are lost.
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
        { "name": "answer lost", "every": 300, "reset": "afterBody", "launches": true },
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
