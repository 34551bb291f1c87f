//! The composition root: puts the parts together, as the configuration says.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Health, Readiness};
use crate::admit::bucket::Bucket;
use crate::api::{BuildError, Client, MintResult, Tokens};
use crate::broker::amqp::{Amqp, Site, declare};
use crate::broker::settings::{Declare, Kind};
use crate::broker::topology::{Names, Topology};
use crate::check::{self, Findings, Standing};
use crate::config::{Config, ConfigError};
use crate::metrics::{Broker, Metrics, TokenResult};
use crate::retry::Policy;
use crate::worker::health::WorkerHealth;
use crate::worker::{Drained, Parts, Worker};

/// The topology that the configuration asks for.
pub fn topology(config: &Config) -> Topology {
    Topology::new(&Names::new(&config.broker.prefix), config.results.keep)
}

/// Connects and makes the topology, once.
pub async fn apply_topology(config: &Config) -> anyhow::Result<Topology> {
    let site = site(config)?;
    let connection = site.endpoint.connect("topology").await?;
    let made = declare::declare(&connection, &site.topology, Declare::Create).await;
    let _ = connection.close(200, "bye".into()).await;
    made?;
    Ok(topology(config))
}

/// Looks at everything that a worker needs: settings, broker, login, API.
pub async fn check(config: &Config) -> Findings {
    let mut findings = Findings::default();
    settings(config, &mut findings);
    match site(config) {
        Ok(site) => check::broker(&site, &mut findings).await,
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
        Ok((api, client, tokens)) => check::api(&api, &client, &tokens, &mut findings).await,
        Err(error) => findings.add(Standing::Fix, "api", error.reason()),
    }
    findings
}

/// Which settings are not the defaults, and where each was set.
fn settings(config: &Config, findings: &mut Findings) {
    let mut places: Vec<(String, Vec<String>)> = Vec::new();
    for (key, source) in config.set() {
        let place = source.place();
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, keys)) => keys.push(key),
            None => places.push((place, vec![key])),
        }
    }
    let places: Vec<_> = places
        .iter()
        .map(|(place, keys)| format!("set in {place}: {}", keys.join(", ")))
        .collect();
    let detail = if places.is_empty() {
        "every setting is the default".to_owned()
    } else {
        format!("known and in range; {}", places.join("; "))
    };
    findings.add(Standing::Ok, "configuration", detail);
}

/// A client of the broker that only publishes. Connects once first, so that a wrong URL is an error and not a wait.
pub async fn publisher(config: &Config) -> anyhow::Result<Amqp> {
    let site = Arc::new(site(config)?);
    first_contact(&site).await?;
    Ok(Amqp::publisher_only(site))
}

/// Where the broker is; only RabbitMQ is known so far.
pub fn site(config: &Config) -> Result<Site, ConfigError> {
    let key = config.broker_url_key();
    if let Ok(Kind::Sqlite(_)) = config.broker.url.kind() {
        let message = format!(
            "is {}, and the embedded broker is not in this version: give the URL of a RabbitMQ, for example \
             FLOWLAUNCH_BROKER__URL=amqp://user:password@host:5672/%2f",
            config.broker.url
        );
        return Err(config.fault(key, message));
    }
    Site::new(&config.broker, config.results.keep).map_err(|error| config.fault(key, error.to_string()))
}

/// What keeps a client of the API from being built is always a setting.
fn api_fault(config: &Config, error: &BuildError) -> ConfigError {
    match error {
        BuildError::Url { which, problem } => config.fault(&format!("api.{which}"), *problem),
        BuildError::CaFile { .. } | BuildError::NoCertificate { .. } => config.fault("api.ca_file", error.to_string()),
        BuildError::Http(_) => config.fault("api.base_url", error.to_string()),
    }
}

/// A mistake in the set-up (password, arguments of a queue) is told at once; what may pass by itself (a broker that is
/// still starting) is left to the supervisors.
async fn first_contact(site: &Site) -> anyhow::Result<()> {
    let connection = site.endpoint.connect("first contact").await?;
    let declared = declare::declare(&connection, &site.topology, site.declare).await;
    let _ = connection.close(200, "bye".into()).await;
    Ok(declared?)
}

/// Runs a worker until it is told to stop.
pub async fn worker(config: Config, stop: CancellationToken) -> anyhow::Result<Drained> {
    config.require_inputs_field()?;
    let api = config.api()?;
    let site = Arc::new(site(&config)?);
    let tasks = TaskTracker::new();
    let closing = CancellationToken::new();
    let (metrics, exporter) = Metrics::new(Broker::Amqp);
    let metrics = Arc::new(metrics);
    // The port is taken before anything is consumed: two workers with one address is a mistake to hear of early.
    let admin = Admin::bind(&config.admin).await?;
    let bucket = Bucket::new(config.limits.rate, config.limits.burst)?;
    let client = Client::new(&api).map_err(|error| api_fault(&config, &error))?;
    let minted = metrics.clone();
    let tokens = Tokens::new(&api, move |result| {
        minted.token_requests_total.of(token_result(result)).increment(1)
    })
    .map_err(|error| api_fault(&config, &error))?;
    let tokens = Arc::new(tokens);
    match first_contact(&site).await {
        Ok(()) => {}
        Err(error) if is_lasting(&error) => return Err(error),
        Err(error) => tracing::warn!(error = %format!("{error:#}"), "the broker is not there yet: waiting for it"),
    }
    let (broker, intake) = Amqp::start(site);
    let worker = Worker::new(
        Parts {
            client,
            tokens,
            bucket,
            policy: Policy::new(&config.retry),
            publisher: broker.publisher(),
            observed: broker.observed(),
            intake,
            results: config.results.enabled,
            metrics,
            concurrency: config.limits.concurrency as usize,
            drain_timeout: config.worker.drain_timeout,
        },
        stop,
    );
    let health = worker.health();
    let (beating, until) = (health.clone(), closing.clone());
    tasks.spawn(async move { until.run_until_cancelled(beating.beat()).await });
    tasks.spawn(admin.serve(Arc::new(Probe(health)), exporter, closing.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        rate = %config.limits.rate,
        concurrency = config.limits.concurrency,
        "working"
    );
    // Not on this, the main thread, which would have to be woken from the runtime's own for every job.
    let drained = tasks.spawn(worker.run()).await.context("the worker died")?;
    // The broker goes last: it carries the acknowledgements of what was just finished.
    broker.stop().await;
    closing.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(drained)
}

/// A fault that waiting does not mend.
fn is_lasting(error: &anyhow::Error) -> bool {
    use crate::broker::amqp::connection::ConnectError;

    if let Some(error) = error.downcast_ref::<declare::DeclareError>() {
        return !matches!(error, declare::DeclareError::Other { .. });
    }
    error.downcast_ref::<ConnectError>().is_some_and(|error| match error {
        ConnectError::Login { .. } | ConnectError::Vhost { .. } => true,
        ConnectError::Unreachable { .. } => false,
    })
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
