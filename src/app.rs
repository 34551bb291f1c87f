//! The composition root: puts the parts together, as the configuration says.

pub mod campaign;
pub mod control;
pub mod demo;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Health, Readiness};
use crate::admit::bucket::Bucket;
use crate::api::{BuildError, Client, MintResult, Tokens};
use crate::broker::client::{Broker, Client as BrokerClient};
use crate::broker::settings::Declare;
use crate::broker::sqlite::Sqlite;
use crate::broker::topology::{Names, Topology};
use crate::check::{self, Findings, Standing};
use crate::config::{Config, ConfigError, Setting};
use crate::direct::{Call, Direct};
use crate::metrics::{Broker as BrokerKind, Exporter, Metrics, TokenResult};
use crate::outcome::Failure;
use crate::retry::Policy;
use crate::worker::health::WorkerHealth;
use crate::worker::{Drained, Parts, Worker};

/// The topology that the configuration asks for.
pub fn topology(config: &Config) -> Topology {
    Topology::new(&Names::new(&config.broker.prefix), config.results.keep)
}

/// Connects and makes what is to stand on the broker, once; says what stands.
pub async fn apply_topology(config: &Config) -> anyhow::Result<String> {
    match broker(config)? {
        Broker::RabbitMq(site) => {
            site.make("topology", Declare::Create).await?;
            let Topology {
                exchanges,
                queues,
                bindings,
            } = &site.topology;
            let (exchanges, queues, bindings) = (exchanges.len(), queues.len(), bindings.len());
            Ok(format!(
                "{exchanges} exchanges, {queues} queues and {bindings} bindings stand"
            ))
        }
        Broker::Embedded { path, .. } => {
            Sqlite::look(&path, true)?;
            Ok(format!(
                "{} is there; the embedded broker needs nothing else",
                path.display()
            ))
        }
    }
}

/// Looks at everything that a worker needs: settings, broker, login, API; and at one flow.
pub async fn check(config: &Config, flow_id: Option<&str>) -> Findings {
    let mut findings = Findings::default();
    settings(config, &mut findings);
    match broker(config) {
        Ok(Broker::RabbitMq(site)) => check::broker(&site, &mut findings).await,
        Ok(Broker::Embedded { path, create, .. }) => check::embedded(&path, create, &mut findings),
        Err(error) => findings.add(Standing::Fix, "broker", error.reason()),
    }
    if let Err(error) = config.require_inputs_field() {
        findings.add(Standing::Fix, "inputs", error.reason());
    }
    let built = config.api().and_then(|api| {
        let fault = |error: BuildError| api_fault(config, &error);
        let client = Client::new(&api).map_err(fault)?;
        let tokens = Tokens::new(&api, |_| ()).map_err(fault)?;
        Ok((api, client, tokens))
    });
    match built {
        Ok((api, client, tokens)) => check::api(&api, &client, &tokens, flow_id, &mut findings).await,
        Err(error) => findings.add(Standing::Fix, "api", error.reason()),
    }
    findings
}

/// Which settings are not the defaults, what they are, and where each was set: a line for each.
fn settings(config: &Config, findings: &mut Findings) {
    let mut places: Vec<(String, String)> = Vec::new();
    for Setting { key, value, source } in config.set() {
        let line = match value {
            Some(value) => format!("\n  {key} = {value}"),
            None => format!("\n  {key} (not shown)"),
        };
        let place = source.place();
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, lines)) => lines.push_str(&line),
            None => places.push((place, line)),
        }
    }
    let places: Vec<_> = places
        .into_iter()
        .map(|(place, lines)| format!("set in {place}:{lines}"))
        .collect();
    let detail = if places.is_empty() {
        "every setting is the default".to_owned()
    } else {
        format!("known and in range; {}\nall else is the default", places.join("\n"))
    };
    findings.add(Standing::Ok, "configuration", detail);
}

/// What a person's own calls need: connects to nothing yet.
pub fn direct(
    config: &Config,
    stop: CancellationToken,
    waiting: fn(Call, &Failure, Duration),
) -> anyhow::Result<Direct> {
    let api = config.api()?;
    let fault = |error: BuildError| api_fault(config, &error);
    Ok(Direct {
        client: Client::new(&api).map_err(fault)?,
        tokens: Tokens::new(&api, |_| ()).map_err(fault)?,
        bucket: Bucket::new(config.limits.rate, config.limits.burst)?,
        policy: Policy::new(&config.retry),
        stop,
        waiting,
    })
}

/// A client of the broker that only publishes. Connects once first, so that a wrong URL is an error and not a wait.
pub async fn publisher(config: &Config) -> anyhow::Result<BrokerClient> {
    let broker = broker(config)?;
    broker.first_contact().await?;
    broker.publisher_only()
}

/// Where the broker is.
fn broker(config: &Config) -> Result<Broker, ConfigError> {
    Broker::new(&config.broker, config.results.keep)
        .map_err(|error| config.fault(config.broker_url_key(), error.to_string()))
}

/// What keeps a client of the API from being built is always a setting.
fn api_fault(config: &Config, error: &BuildError) -> ConfigError {
    match error {
        BuildError::Url { which, problem } => config.fault(&format!("api.{which}"), *problem),
        BuildError::CaFile { .. } | BuildError::NoCertificate { .. } => config.fault("api.ca_file", error.to_string()),
        BuildError::Http(_) => config.fault("api.base_url", error.to_string()),
    }
}

/// Runs a worker until it is told to stop.
pub async fn worker(config: Config, stop: CancellationToken) -> anyhow::Result<Drained> {
    Assembled::new(&config, stop).await?.run().await
}

/// A worker with all that it needs, and the admin listener, unless somebody else has one.
struct Assembled {
    worker: Worker,
    health: Arc<WorkerHealth>,
    broker: BrokerClient,
    admin: Option<(Admin, Exporter)>,
}

impl Assembled {
    async fn new(config: &Config, stop: CancellationToken) -> anyhow::Result<Self> {
        let (metrics, exporter) = Metrics::new(kind(&broker(config)?));
        // The port is taken before anything is consumed: two workers with one address is a mistake to hear of early.
        let admin = Admin::bind(&config.admin).await?;
        Self::with(config, stop, Arc::new(metrics), Some((admin, exporter))).await
    }

    async fn with(
        config: &Config,
        stop: CancellationToken,
        metrics: Arc<Metrics>,
        admin: Option<(Admin, Exporter)>,
    ) -> anyhow::Result<Self> {
        config.require_inputs_field()?;
        let api = config.api()?;
        let broker = broker(config)?;
        let bucket = Bucket::new(config.limits.rate, config.limits.burst)?;
        let client = Client::new(&api).map_err(|error| api_fault(config, &error))?;
        let minted = metrics.clone();
        let tokens = Tokens::new(&api, move |result| {
            minted.token_requests_total.of(token_result(result)).increment(1)
        })
        .map_err(|error| api_fault(config, &error))?;
        // What may pass by itself (a broker that is still starting) is left to the supervisors.
        match broker.first_contact().await {
            Ok(()) => {}
            Err(error) if error.is_lasting() => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the broker is not there yet: waiting for it"),
        }
        let (broker, intake) = broker.start()?;
        let followed = broker.follow();
        let worker = Worker::new(
            Parts {
                client,
                tokens: Arc::new(tokens),
                bucket,
                policy: Policy::new(&config.retry),
                publisher: broker.publisher(),
                observed: broker.observed(),
                intake,
                followed,
                results: config.results.enabled,
                metrics,
                concurrency: config.limits.concurrency as usize,
                drain_timeout: config.worker.drain_timeout,
            },
            stop,
        );
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            rate = %config.limits.rate,
            concurrency = config.limits.concurrency,
            "working"
        );
        Ok(Self {
            health: worker.health(),
            worker,
            broker,
            admin,
        })
    }

    async fn run(self) -> anyhow::Result<Drained> {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let (beating, until) = (self.health.clone(), closing.clone());
        tasks.spawn(async move { until.run_until_cancelled(beating.beat()).await });
        if let Some((admin, exporter)) = self.admin {
            let probe = Arc::new(Probe(self.health));
            tasks.spawn(admin.serve(probe, exporter, closing.clone()));
        }
        // Not on this, the main thread, which would have to be woken from the runtime's own for every job.
        let drained = tasks.spawn(self.worker.run()).await.context("the worker died")?;
        // The broker goes last: it carries the acknowledgements of what was just finished.
        self.broker.stop().await;
        closing.cancel();
        tasks.close();
        tasks.wait().await;
        Ok(drained)
    }
}

const fn kind(broker: &Broker) -> BrokerKind {
    match broker {
        Broker::RabbitMq(_) => BrokerKind::Amqp,
        Broker::Embedded { .. } => BrokerKind::Sqlite,
    }
}

const fn token_result(result: MintResult) -> TokenResult {
    match result {
        MintResult::Ok => TokenResult::Ok,
        MintResult::Refused => TokenResult::Refused,
        MintResult::Throttled => TokenResult::Throttled,
        MintResult::Failed => TokenResult::Failed,
    }
}

/// The worker, as the admin listener sees it.
struct Probe(Arc<WorkerHealth>);

impl Health for Probe {
    fn ready(&self) -> Readiness {
        let standing = self.0.standing();
        Readiness {
            ready: standing.ready,
            reason: standing.reason,
            detail: serde_json::Value::Null,
        }
    }

    fn heartbeat(&self) -> Instant {
        self.0.heartbeat()
    }

    fn status(&self) -> serde_json::Value {
        self.0.status()
    }

    fn refresh(&self) {
        self.0.refresh();
    }
}
