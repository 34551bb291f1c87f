//! The embedded broker: one file, no server, many processes of one host.
//!
//! Every process has one thread that writes (`keeper`), all that is wanted meanwhile in one durable transaction. A message
//! waits in the file until it is due; who takes it writes its own number on it, and deletes it when it is settled. What a
//! process holds comes back when its lock is free (`lease`), never by a timer.

mod browse;
mod consumer;
mod count;
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
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::keeper::{Keeper, Order};
pub use self::store::OpenError;
use self::store::Store;
use super::{Appetite, Browse, Followed, FollowedResult, Intake, Link, Observed, Publish, QueueReport};

/// How often the queues are counted, by a worker and for one who asks for it.
const COUNT_EVERY: Duration = Duration::from_secs(5);
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How long the last commit may take when asked to stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A running client.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    publisher: Arc<publisher::Publisher>,
    observed: Observed,
    queues: watch::Sender<QueueReport>,
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
        let news = Arc::new(Notify::new());
        let mut sqlite = Self::open(path, create, keep, news.clone(), true)?;
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
        sqlite.count(COUNT_EVERY, 1);
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
        let (queues, queues_rx) = watch::channel(QueueReport::default());
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
                queues: queues_rx,
            },
            queues,
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
        let mut messages = count::messages(Some(counts));
        messages.push(("in hand", Some(counts.held)));
        let alive = count::alive(&store).map_err(fault)?;
        Ok(QueueReport {
            messages,
            consumers: [Some(alive); 2],
            other_consumers: alive,
            ..QueueReport::default()
        })
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
            .spawn(async move { until.run_until_cancelled(follow::control(path, out)).await });
        followed
    }

    /// Follows the results' log.
    pub fn follow_results(&self, after: u64, since: Option<u64>) -> mpsc::Receiver<FollowedResult> {
        let (out, followed) = mpsc::channel(follow::WAITING);
        let (path, until) = (self.path.clone(), self.consuming.clone());
        self.tasks.spawn(async move {
            until
                .run_until_cancelled(follow::results(path, after, since, out))
                .await
        });
        followed
    }

    /// Counts the queues, where the consuming side does not do it.
    pub fn watch_queues(&self) {
        if self.consumer.is_none() {
            self.count(WATCH_EVERY, 0);
        }
    }

    fn count(&self, every: Duration, ours: u32) {
        let (path, report, until) = (self.path.clone(), self.queues.clone(), self.consuming.clone());
        self.tasks
            .spawn(async move { until.run_until_cancelled(count::run(path, report, every, ours)).await });
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
