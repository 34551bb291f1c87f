//! A campaign's runner with all that it needs; with the embedded broker a worker of its own too.

mod inside;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::inside::{Known, Place};
use super::{broker, kind};
use crate::admin::{self, Admin, Health, Readiness};
use crate::broker::client::{Broker, Client};
use crate::broker::{Followed, Publish};
use crate::campaign::begin::Begun;
use crate::campaign::journal::{Hold, RowState};
use crate::campaign::run::{Desk, Ended, Ports, Progress, Runner};
use crate::config::Config;
use crate::control::Control;
use crate::metrics::{CampaignRows, Exporter, Metrics};
use crate::worker::follow::follow;

/// Results before a run began are not its own; clocks of several machines differ by less than this.
const BEFORE: i64 = 300;

/// What a worker says of itself when all is well.
const WORKING: &str = "working";
/// And what it says of pauses begins so.
const PAUSED: &str = "paused: ";

/// What is asked for besides the campaign.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nobody is to launch from here.
    pub no_worker: bool,
    /// Metrics and probes, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Nothing lies anywhere and nothing was heard for so long: what has no result is unaccounted.
    pub give_up_after: Duration,
}

/// Who launches what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// A worker in this process.
    Here,
    /// Workers elsewhere.
    Elsewhere,
    /// Another worker, and when there is none any more one in this process.
    InTurn,
}

/// A campaign that is run.
pub struct Campaign {
    runner: Runner,
    progress: watch::Receiver<Progress>,
    launcher: Launcher,
    client: Client,
    control: Control,
    followed: tokio::sync::mpsc::UnboundedReceiver<Followed>,
    publisher: Arc<dyn Publish>,
    worker: Option<Place>,
    health: Known,
    rows: CampaignRows,
    exporter: Exporter,
    admin: Option<Admin>,
    closing: CancellationToken,
    /// Nobody else runs it meanwhile.
    _hold: Hold,
}

/// Finds what keeps a campaign from being run, before its rows are read; `here`: unless told otherwise, launches go out
/// from this process.
///
/// # Errors
/// When a setting is in its way.
pub fn check(config: &Config, here: bool) -> anyhow::Result<()> {
    config.require_inputs_field()?;
    if matches!(broker(config)?, Broker::Embedded { .. }) && here {
        config.api()?;
    }
    if !config.results.enabled {
        let why = "a campaign learns from the results what became of its rows: set it to true, for the workers too";
        return Err(config.fault("results.enabled", why).into());
    }
    Ok(())
}

/// What keeps the worker in this process from launching, as soon as there is one.
fn standing(health: Known) -> Arc<dyn Fn() -> Option<String> + Send + Sync> {
    Arc::new(move || {
        let standing = health.get()?.standing();
        // Pauses are the runner's own business; others' are none of it.
        let passes = standing.reason == WORKING || standing.reason.starts_with(PAUSED);
        (!standing.ready || !passes).then_some(standing.reason)
    })
}

/// Works on a thread of its own, which ends with it: what it took of memory is given back.
///
/// # Errors
/// When there can be no thread.
pub fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (told, done) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new().name("rows".to_owned()).spawn(move || {
        let _within = runtime.enter();
        // Nobody waits any more: the process ends.
        let _ = told.send(work());
    })?;
    Ok(done)
}

impl Campaign {
    /// Connects, and starts a worker where there is to be one. Publishes nothing yet.
    ///
    /// # Errors
    /// When the broker or the API's settings are no good, or a port is in use.
    pub async fn start(config: &Arc<Config>, begun: Begun, options: &Options) -> anyhow::Result<Self> {
        let broker = broker(config)?;
        let admin = match options.listen {
            Some(listen) => Some(Admin::bind(&admin::Settings { listen }).await?),
            None => None,
        };
        broker.first_contact().await?;
        let run = begun.desk.run().clone();
        let states = RowState::ALL.into_iter().map(RowState::as_str);
        let (metrics, rows, exporter) = Metrics::with_campaign(kind(&broker), &run.name, states);
        let health = Known::new(OnceLock::new());
        let mut worker = match &broker {
            Broker::Embedded { path, .. } if !options.no_worker => {
                Some(Place::new(path, config.clone(), Arc::new(metrics), health.clone()))
            }
            Broker::Embedded { .. } | Broker::RabbitMq(_) => None,
        };
        if let Some(worker) = &mut worker {
            worker.fill().await?;
        }
        let client = broker.publisher_only()?;
        client.watch_queues();
        // One that begins looks at all that is kept: whether its name was run from another journal before.
        let since = u64::try_from(run.created.as_second() - BEFORE).ok();
        let since = since.filter(|_| !begun.desk.is_untouched());
        let results = client.follow_results(run.results_after, since);
        let control = Control::default();
        let ports = Ports {
            publisher: client.publisher(),
            observed: client.observed(),
            results,
            control: control.clone(),
            standing: standing(health.clone()),
            rate: config.limits.rate.per_window(Duration::from_secs(1)),
            give_up_after: options.give_up_after,
            now: Arc::new(Timestamp::now),
        };
        let runner = Runner::new(begun.desk, ports);
        Ok(Self {
            progress: runner.progress(),
            runner,
            launcher: match &worker {
                Some(worker) if worker.is_taken() => Launcher::Here,
                Some(_) => Launcher::InTurn,
                None => Launcher::Elsewhere,
            },
            control,
            followed: client.follow(),
            publisher: client.publisher(),
            client,
            worker,
            health,
            rows,
            exporter,
            admin,
            closing: CancellationToken::new(),
            _hold: begun.hold,
        })
    }

    /// How far it has come, from now on.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Who launches.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// Where metrics and probes are served, if anywhere.
    pub fn listens(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Goes on behind the first rows.
    pub fn all(&mut self) {
        self.runner.all();
    }

    /// The desk, to look at.
    pub fn look<T>(&self, look: impl FnOnce(&Desk) -> T) -> T {
        self.runner.look(look)
    }

    /// Works until there is nothing left to do, or it is told to stop.
    ///
    /// # Errors
    /// When the journal cannot be used any more, or the worker died.
    pub async fn run(&mut self, stop: &CancellationToken) -> anyhow::Result<Ended> {
        let reported = Arc::new(Reported {
            progress: self.progress.clone(),
            worker: self.health.clone(),
        });
        if let Some(admin) = self.admin.take() {
            let served = admin.serve(reported, self.exporter.clone(), self.closing.clone());
            TaskTracker::new().spawn(served);
        }
        let mut progress = self.progress.clone();
        let counting = async {
            loop {
                let counts = progress.borrow_and_update().counts;
                for state in RowState::ALL {
                    self.rows.set(state.as_str(), counts.of(state));
                }
                if progress.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let worker = async {
            match &mut self.worker {
                Some(worker) => worker.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = self.runner.run(stop) => Ok(ended?),
            () = follow(&*self.publisher, &self.control, &mut self.followed) => Err(anyhow!("control is not followed any more")),
            () = admin::upkeep(self.exporter.clone()) => Err(anyhow!("the metrics are not kept any more")),
            () = counting => Err(anyhow!("the rows are not counted any more")),
            died = worker => Err(died),
        }
    }

    /// Ends the worker as a worker ends, and closes the rest.
    ///
    /// # Errors
    /// When the worker died.
    pub async fn stop(self) -> anyhow::Result<()> {
        let ended = match self.worker {
            Some(worker) => worker.stop().await,
            None => Ok(()),
        };
        self.client.stop().await;
        self.closing.cancel();
        ended
    }
}

/// The campaign, as the admin listener sees it.
struct Reported {
    progress: watch::Receiver<Progress>,
    worker: Known,
}

impl Health for Reported {
    fn ready(&self) -> Readiness {
        let trouble = self.progress.borrow().trouble.clone();
        Readiness {
            ready: trouble.is_none(),
            reason: trouble.unwrap_or_else(|| Readiness::ok().reason),
            detail: Value::Null,
        }
    }

    fn heartbeat(&self) -> Instant {
        self.worker.get().map_or_else(Instant::now, |worker| worker.heartbeat())
    }

    fn status(&self) -> Value {
        let progress = self.progress.borrow().clone();
        let rows = RowState::ALL.map(|state| (state.as_str().to_owned(), json!(progress.counts.of(state))));
        json!({
            "campaign": progress.campaign,
            "run": progress.run,
            "state": progress.state.as_str(),
            "reason": progress.reason,
            "trouble": progress.trouble,
            "rows": rows.into_iter().collect::<serde_json::Map<_, _>>(),
            "worker": self.worker.get().map(|worker| worker.status()),
        })
    }

    fn refresh(&self) {
        if let Some(worker) = self.worker.get() {
            worker.refresh();
        }
    }
}
