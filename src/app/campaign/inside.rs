//! The worker in a runner's process: with the embedded broker a campaign needs nobody else.
//!
//! Two of them would have twice the limit. So there is none while another worker takes jobs, and of several runners one
//! has it, by a lock beside the broker's file; when that one is gone the next takes its place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::Assembled;
use crate::broker::sqlite::Sqlite;
use crate::campaign::journal::Hold;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::worker::Drained;
use crate::worker::health::WorkerHealth;

/// Between two looks whether somebody is still needed.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of it, as soon as there is one.
pub(super) type Known = Arc<OnceLock<Arc<WorkerHealth>>>;

/// Where a worker is, or will be when no other is left.
pub(super) struct Place {
    path: PathBuf,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    known: Known,
    worker: Option<Inside>,
}

struct Inside {
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<Drained>>,
    /// No other runner has one meanwhile.
    _hold: Hold,
}

impl Place {
    pub(super) fn new(path: &Path, config: Arc<Config>, metrics: Arc<Metrics>, known: Known) -> Self {
        Self {
            path: path.to_owned(),
            config,
            metrics,
            known,
            worker: None,
        }
    }

    pub(super) fn is_taken(&self) -> bool {
        self.worker.is_some()
    }

    /// Starts a worker, unless another one takes jobs.
    pub(super) async fn fill(&mut self) -> anyhow::Result<()> {
        let path = self.path.clone();
        let Some(hold) = spawn_blocking(move || vacant(&path)).await?? else {
            return Ok(());
        };
        let stop = CancellationToken::new();
        let assembled = Assembled::with(&self.config, stop.clone(), self.metrics.clone(), None).await?;
        let _ = self.known.set(assembled.health.clone());
        self.worker = Some(Inside {
            running: TaskTracker::new().spawn(assembled.run()),
            stop,
            _hold: hold,
        });
        Ok(())
    }

    /// Sees to it that there is one until it dies.
    pub(super) async fn keep(&mut self) -> anyhow::Error {
        loop {
            if let Some(worker) = &mut self.worker {
                return match (&mut worker.running).await.context("the worker died") {
                    Ok(Ok(_)) => anyhow!("the worker in this process has ended"),
                    Ok(Err(error)) | Err(error) => error,
                };
            }
            sleep(LOOK).await;
            if let Err(error) = self.fill().await {
                return error;
            }
        }
    }

    /// Ends it as a worker ends.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self.worker {
            Some(worker) if !worker.running.is_finished() => {
                worker.stop.cancel();
                worker.running.await.context("the worker died")?.map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The right to be the worker, when nobody is.
fn vacant(path: &Path) -> anyhow::Result<Option<Hold>> {
    const ROLE: &str = "worker";
    if consumed(path)? || Hold::is_taken(path, ROLE) {
        return Ok(None);
    }
    let hold = Hold::take(path, ROLE).context("cannot make a lock beside the broker's file")?;
    Ok(hold.filter(|_| !consumed(path).unwrap_or(true)))
}

fn consumed(path: &Path) -> anyhow::Result<bool> {
    let consumers = Sqlite::inspect(path)?.consumers;
    Ok(consumers.iter().flatten().any(|consumers| *consumers > 0))
}
