//! The worker: from a delivery to its settlement.
//!
//! `dispatch` takes jobs off the lanes as admission allows and starts an `attempt` for each, and between them looks at
//! executions that are followed to their end (`track`); `settle` is the only place that settles.

mod attempt;
mod dispatch;
mod examine;
pub mod follow;
mod hands;
pub mod health;
mod ledger;
mod letters;
pub mod settings;
mod settle;
pub(crate) mod stamp;
mod track;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::ledger::Ledger;
use self::stamp::Stamp;
use crate::admit::bucket::Bucket;
use crate::admit::gate::Gate;
use crate::api::{Client, Tokens};
use crate::broker::{Delivery, Followed, Intake, Observed, Publish};
use crate::control::{Control, Subject};
use crate::job::{Job, Malformed};
use crate::lane::Lane;
use crate::metrics::Metrics;
use crate::retry::Policy;

/// A delivery in our hands, decoded.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) delivery: Delivery,
    pub(crate) lane: Lane,
    pub(crate) job: Result<Job, Malformed>,
    pub(crate) stamp: Stamp,
    /// By what the ledger knows it.
    key: Option<ledger::Key>,
}

/// What every part of the worker needs.
pub struct Context {
    /// The API.
    pub client: Client,
    /// Its token.
    pub tokens: Arc<Tokens>,
    /// The rate limit.
    pub bucket: Bucket,
    /// What single outcomes mean for all.
    pub gate: Arc<Gate>,
    /// What is decided about an outcome.
    pub policy: Policy,
    /// Copies and results go out here.
    pub publisher: Arc<dyn Publish>,
    /// What is seen of the broker.
    pub observed: Observed,
    /// What is paused or cancelled.
    pub control: Control,
    /// Whether results are published.
    pub results: bool,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Requests at once.
    pub slots: Arc<Semaphore>,
    ledger: Ledger,
    /// Everything that is under way.
    tasks: TaskTracker,
    /// Work that failed the last look comes back here.
    again: mpsc::UnboundedSender<Box<Work>>,
    /// Set when the worker was told to stop.
    draining: CancellationToken,
    /// When the runtime last ran a task of ours.
    heartbeat: Mutex<Instant>,
}

/// The parts that a worker is made of.
#[expect(missing_docs, reason = "see Context")]
pub struct Parts {
    pub client: Client,
    pub tokens: Arc<Tokens>,
    pub bucket: Bucket,
    pub policy: Policy,
    pub publisher: Arc<dyn Publish>,
    pub observed: Observed,
    pub intake: Intake,
    pub followed: mpsc::UnboundedReceiver<Followed>,
    pub results: bool,
    pub metrics: Arc<Metrics>,
    pub concurrency: usize,
    pub drain_timeout: Duration,
}

/// How a worker's end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Jobs that were still under way when the time was up; the broker redelivers them.
    pub cut_short: usize,
}

/// A worker, ready to run.
pub struct Worker {
    context: Arc<Context>,
    dispatcher: dispatch::Dispatcher,
    followed: mpsc::UnboundedReceiver<Followed>,
    drain_timeout: Duration,
}

impl Worker {
    /// Puts a worker together; `stop` tells it to drain.
    pub fn new(parts: Parts, stop: CancellationToken) -> Self {
        let (again, returned) = mpsc::unbounded_channel();
        let (rate, concurrency) = (parts.bucket.rate(), parts.concurrency);
        let prefetch = dispatch::Prefetch {
            jobs: prefetch(rate, concurrency),
            looks: prefetch_of_looks(rate, concurrency),
        };
        let context = Arc::new(Context {
            client: parts.client,
            tokens: parts.tokens,
            bucket: parts.bucket,
            gate: Arc::new(Gate::default()),
            policy: parts.policy,
            publisher: parts.publisher,
            observed: parts.observed,
            control: Control::default(),
            results: parts.results,
            metrics: parts.metrics,
            slots: Arc::new(Semaphore::new(parts.concurrency)),
            // Both lanes' prefetch can be unacknowledged, and as much again can have acknowledgements under way.
            ledger: Ledger::new(4 * usize::from(prefetch.jobs) + parts.concurrency),
            tasks: TaskTracker::new(),
            again,
            draining: stop,
            heartbeat: Mutex::new(Instant::now()),
        });
        let dispatcher = dispatch::Dispatcher::new(context.clone(), parts.intake, returned, prefetch);
        Self {
            context,
            dispatcher,
            followed: parts.followed,
            drain_timeout: parts.drain_timeout,
        }
    }

    /// What people are told about it.
    pub fn health(&self) -> Arc<health::WorkerHealth> {
        Arc::new(health::WorkerHealth::new(self.context.clone()))
    }

    /// Works until told to stop, then finishes what is in flight and gives the rest back.
    pub async fn run(mut self) -> Drained {
        let working = async {
            self.dispatcher.run().await;
            tokio::time::timeout(self.drain_timeout, self.dispatcher.drain()).await
        };
        // Followed to the end: what is cancelled while it drains is not launched either.
        let finished = tokio::select! {
            finished = working => finished,
            () = follow::follow(&*self.context.publisher, &self.context.control, &mut self.followed) => unreachable!("it never ends by itself"),
            () = self.context.client.close_unused() => unreachable!("it never ends by itself"),
        };
        Drained {
            cut_short: finished.map_or_else(|_| self.context.tasks.len(), |()| 0),
        }
    }
}

/// How many jobs to have in hand a lane: enough for the slots and the rate, never minutes of work, since an
/// unacknowledged job must stay far below RabbitMQ's limit of 30 minutes.
fn prefetch(rate: Option<f64>, concurrency: usize) -> u16 {
    /// Answers that take longer than this are rare; so many seconds of work can be in flight.
    const IN_FLIGHT_SECS: f64 = 15.0;
    /// And so many wait for their turn.
    const WAITING_SECS: f64 = 2.0;
    /// Without a limit: a round trip to the broker for each of these is no bottleneck.
    const UNLIMITED: usize = 1500;
    let jobs = match rate {
        Some(rate) => {
            let in_flight = (rate * IN_FLIGHT_SECS).min(concurrency as f64);
            (in_flight + rate * WAITING_SECS).ceil().clamp(1.0, UNLIMITED as f64) as usize
        }
        // Four of five wait for the confirm of their result: measured with 64 slots, half as many cost a tenth of the rate.
        None => (concurrency * 16).clamp(64, UNLIMITED),
    };
    u16::try_from(jobs).unwrap_or(u16::MAX)
}

/// How many executions to have in hand: with launches always waiting each gets its look within a minute, and never all
/// slots are taken by looks that nobody answers.
fn prefetch_of_looks(rate: Option<f64>, concurrency: usize) -> u16 {
    /// The share of the rate that looks always have.
    const FLOOR: f64 = 0.05;
    const WITHIN_SECS: f64 = 60.0;
    let slots = (concurrency / 4).max(1);
    let looks = rate.map_or(slots, |rate| (rate * FLOOR * WITHIN_SECS) as usize);
    u16::try_from(looks.clamp(1, slots)).unwrap_or(u16::MAX)
}

impl Work {
    /// Decodes a delivery; one that cannot be read is work too.
    fn decode(delivery: Delivery, lane: Lane, policy: &Policy) -> Self {
        let now = Timestamp::now();
        let properties = &delivery.message.properties;
        let stamp = Stamp::read(&properties.headers, now);
        let job = match properties.headers.ours("version").map(crate::broker::Value::as_int) {
            None | Some(Some(1)) => Job::decode(
                &delivery.message.body,
                properties.message_id.as_deref(),
                policy.on_unknown(),
            ),
            Some(_) => Err(Malformed {
                field: Some("header x-flowlaunch-version".to_owned()),
                position: None,
                message: "only version 1 is known here: upgrade the workers before the producers".to_owned(),
                partial: Box::default(),
            }),
        };
        let key = job.as_ref().ok().and_then(|job| ledger::Key::of(job, &stamp));
        Self {
            delivery,
            lane,
            job,
            stamp,
            key,
        }
    }

    /// The job, as far as control is concerned.
    fn subject(&self) -> Option<Subject> {
        let job = self.job.as_ref().ok()?;
        Some(Subject {
            lane: self.lane,
            flow: job.flow_id.clone(),
            id: job.id.clone(),
            campaign: job.campaign.clone(),
        })
    }

    /// The flow, when the job could be read.
    pub(crate) fn flow(&self) -> Option<&str> {
        self.job.as_ref().ok().map(|job| job.flow_id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{prefetch, prefetch_of_looks};

    #[test]
    fn prefetch_is_enough_for_the_slots_and_never_minutes_of_work() {
        assert_eq!(prefetch(Some(5.0), 64), 74);
        assert_eq!(prefetch(Some(1.0 / 60.0), 64), 1);
        assert_eq!(prefetch(Some(100.0), 64), 264);
        assert_eq!(prefetch(None, 64), 1024);
        for rate in [0.01_f64, 0.5, 1.0, 5.0, 50.0, 500.0, 5000.0] {
            let jobs = f64::from(prefetch(Some(rate), 64));
            assert!(jobs / rate <= 120.0_f64.max(1.0 / rate), "{rate}: {jobs}");
        }
    }

    #[test]
    fn looks_never_take_all_slots_nor_wait_for_minutes() {
        for (rate, concurrency, looks) in [
            (Some(5.0), 64, 15),
            (Some(100.0), 64, 16),
            (Some(0.01), 64, 1),
            (None, 64, 16),
            (None, 1, 1),
        ] {
            assert_eq!(prefetch_of_looks(rate, concurrency), looks);
        }
    }
}
