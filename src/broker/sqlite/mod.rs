//! The embedded broker: one file, no server, many processes of one host.
//!
//! Every process has one thread that writes (`keeper`), all that is wanted meanwhile in one durable transaction. A message
//! waits in the file until it is due; who takes it writes its own number on it, and deletes it when it is settled. What a
//! process holds comes back when its lock is free (`lease`), never by a timer.

mod browse;
mod consumer;
mod follow;
mod keeper;
mod lease;
mod place;
mod properties;
mod publisher;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::keeper::{Keeper, Order};
pub use self::store::OpenError;
use self::store::{Counts, Store};
use super::{Appetite, Browse, Followed, Intake, Link, Observed, Publish, QueueReport};

/// How often the queues are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How long the last commit may take when asked to stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A running client.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    publisher: Arc<publisher::Publisher>,
    observed: Observed,
    orders: Sender<Order>,
    consuming: CancellationToken,
    /// Ends when the consumer has.
    consumer: Option<oneshot::Receiver<()>>,
    tasks: TaskTracker,
}

impl Sqlite {
    /// Opens the file and starts both sides; the intake takes nothing until its appetite says so.
    ///
    /// # Errors
    /// When the file cannot be used; see [`OpenError`].
    pub fn start(path: &Path, create: bool, keep: Duration) -> anyhow::Result<(Self, Intake)> {
        let (normal_tx, normal_rx) = mpsc::unbounded_channel();
        let (bulk_tx, bulk_rx) = mpsc::unbounded_channel();
        let (track_tx, track_rx) = mpsc::unbounded_channel();
        let (appetite_tx, appetite_rx) = watch::channel(Appetite::Nothing);
        let (taking_tx, taking_rx) = watch::channel(Appetite::Nothing);
        let (queues_tx, queues_rx) = watch::channel(QueueReport::default());
        let news = Arc::new(Notify::new());
        let counter = Store::open(path, create)?;
        let mut sqlite = Self::open(path, create, keep, news.clone(), true)?;
        sqlite.observed.queues = queues_rx;
        let consumer = consumer::Consumer::new(
            [normal_tx, bulk_tx, track_tx],
            appetite_rx,
            taking_tx,
            sqlite.orders.clone(),
            news,
        );
        let (running, done) = oneshot::channel::<()>();
        let until = sqlite.consuming.clone();
        sqlite.tasks.spawn(async move {
            consumer.run(until).await;
            drop(running);
        });
        sqlite.consumer = Some(done);
        let until = sqlite.consuming.clone();
        sqlite
            .tasks
            .spawn(async move { until.run_until_cancelled(count(counter, queues_tx)).await });
        Ok((
            sqlite,
            Intake {
                lanes: [normal_rx, bulk_rx],
                track: track_rx,
                appetite: appetite_tx,
                taking: taking_rx,
            },
        ))
    }

    /// Opens the file and starts the publishing side alone.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn publisher_only(path: &Path, create: bool, keep: Duration) -> anyhow::Result<Self> {
        Self::open(path, create, keep, Arc::default(), false)
    }

    fn open(path: &Path, create: bool, keep: Duration, news: Arc<Notify>, consumes: bool) -> anyhow::Result<Self> {
        let store = Store::open(path, create)?;
        let (orders, inbox) = channel();
        let (link_tx, link) = watch::channel(Link::Up);
        let mut keeper = Keeper::new(store, inbox, link_tx, news, keep);
        if consumes {
            keeper.join()?;
        }
        let tasks = TaskTracker::new();
        tasks.spawn_blocking(move || keeper.run());
        Ok(Self {
            path: path.to_owned(),
            publisher: Arc::new(publisher::Publisher::new(orders.clone(), link.clone())),
            observed: Observed {
                consuming: link.clone(),
                publishing: link,
                queues: watch::channel(QueueReport::default()).1,
            },
            orders,
            consuming: CancellationToken::new(),
            consumer: None,
            tasks,
        })
    }

    /// Opens the file and closes it again; makes it, when it is not there and `create` says so.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn look(path: &Path, create: bool) -> Result<(), OpenError> {
        Store::open(path, create).map(drop)
    }

    /// What waits in the file, and how many processes consume; changes nothing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn inspect(path: &Path) -> Result<QueueReport, OpenError> {
        let store = Store::open(path, false)?;
        let fault = |error| OpenError::of(path, &error);
        let counts = store.counts().map_err(fault)?;
        let folder = lease::folder(path);
        let alive = store
            .holders()
            .map_err(fault)?
            .iter()
            .filter(|holder| matches!(lease::Estate::of(&folder, &holder.lock, holder.pid), Ok(None)))
            .count();
        let mut report = report(Some(counts));
        report.messages.push(("in hand", Some(counts.held)));
        report.other_consumers = u32::try_from(alive).unwrap_or(u32::MAX);
        Ok(report)
    }

    /// Reads without taking.
    pub fn browser(path: PathBuf) -> Arc<dyn Browse> {
        Arc::new(browse::Browser { path })
    }

    /// The publishing port.
    pub fn publisher(&self) -> Arc<dyn Publish> {
        self.publisher.clone()
    }

    /// Follows the control stream until it stops.
    pub fn follow(&self) -> mpsc::UnboundedReceiver<Followed> {
        let (out, followed) = mpsc::unbounded_channel();
        let (path, until) = (self.path.clone(), self.consuming.clone());
        self.tasks
            .spawn(async move { until.run_until_cancelled(follow::follow(path, out)).await });
        followed
    }

    /// What is seen of the broker.
    pub fn observed(&self) -> Observed {
        self.observed.clone()
    }

    /// Writes every settlement that was handed over before this call; what is still in hand goes back to its queue.
    pub async fn stop(self) {
        self.consuming.cancel();
        let ended = async {
            // The consumer gives back what is in hand before it ends.
            if let Some(consumer) = self.consumer {
                let _ = consumer.await;
            }
            let (reply, ended) = oneshot::channel();
            if self.orders.send(Order::End { reply }).is_ok() {
                let _ = ended.await;
            }
            self.tasks.close();
            self.tasks.wait().await;
        };
        // A file that cannot be written must not keep the process; the next one finds our lock free.
        if timeout(CLOSE_LIMIT, ended).await.is_err() {
            tracing::warn!("the queue could not be written any more: what was just done may be done again");
        }
    }
}

/// Counts what waits, for the metrics, with a connection of its own: a long count holds up nobody.
async fn count(store: Store, report: watch::Sender<QueueReport>) {
    let mut every = interval(COUNT_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut store = Some(store);
    loop {
        every.tick().await;
        let Some(counting) = store.take() else { return };
        let counted = tokio::task::spawn_blocking(move || {
            let counts = counting.counts();
            (counting, counts)
        });
        let Ok((back, counts)) = counted.await else { return };
        store = Some(back);
        let counts = counts
            .inspect_err(|error| tracing::warn!(%error, "the queues cannot be counted"))
            .ok();
        let QueueReport {
            messages,
            other_consumers,
            ..
        } = self::report(counts);
        report.send_modify(|report| {
            report.messages = messages;
            report.other_consumers = other_consumers.saturating_sub(1);
        });
    }
}

fn report(counts: Option<Counts>) -> QueueReport {
    let of = |count: fn(&Counts) -> u32| counts.as_ref().map(count);
    QueueReport {
        messages: vec![
            ("normal", of(|c| c.lanes[0])),
            ("bulk", of(|c| c.lanes[1])),
            ("track", of(|c| c.track)),
            ("dead", of(|c| c.dead)),
            ("delayed", of(|c| c.delayed)),
        ],
        other_consumers: of(|c| c.consumers).unwrap_or(0),
        ..QueueReport::default()
    }
}
