//! RabbitMQ, over AMQP 0-9-1 through lapin.
//!
//! Two connections, each supervised by us: one consumes and acknowledges and never publishes, one publishes. While the
//! broker blocks a connection lapin writes nothing on it, acknowledgements and heartbeats included; so what the broker
//! does to publishers must not reach the consumer. Any error ends a session (connection, channels, consumers) and a new
//! one is built from scratch with backoff, for ever. lapin's own recovery is not relied upon.

mod ack;
mod batches;
mod browse;
pub mod connection;
mod consumer;
mod convert;
pub mod declare;
mod follow;
pub mod inspect;
mod monitor;
mod publisher;
mod results;
mod source_session;
mod stream;
mod supervise;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Endpoint;
use super::client::ContactError;
use super::settings::Declare;
use super::topology::{Names, Topology};
use super::{Appetite, Browse, Followed, FollowedResult, Intake, Link, Observed, Publish, QueueReport};

/// The largest frame of a connection on which only small messages go: twice the least that AMQP allows.
const SMALL_FRAME: u32 = 8192;

/// Everything a session needs to build itself.
#[derive(Debug)]
pub struct Site {
    /// Where the broker is and how to log in.
    pub endpoint: Endpoint,
    /// What its objects are called.
    pub names: Names,
    /// What must stand there.
    pub topology: Topology,
    /// Whether we make it or only look.
    pub declare: Declare,
}

impl Site {
    /// From the settings; reads certificate files.
    pub fn new(settings: &super::settings::Settings, keep: Duration) -> Result<Self, connection::EndpointError> {
        let names = Names::new(&settings.prefix);
        let topology = Topology::new(&names, keep);
        Ok(Self {
            endpoint: Endpoint::new(settings)?,
            names,
            topology,
            declare: settings.declare,
        })
    }

    /// Connects once and makes what is missing, or with "verify" says what is. Nothing is made beside an object that
    /// stands with other arguments: so all of them are looked at first, which a session, one of many, does not.
    pub async fn make(&self, role: &str, mode: Declare) -> Result<(), ContactError> {
        let connection = self.endpoint.connect(role).await?;
        let fault = match mode {
            Declare::Create => inspect::fault(&connection, self).await,
            Declare::Verify => None,
        };
        let made = match fault {
            Some(fault) => Err(fault),
            None => declare::declare(&connection, &self.topology, mode).await,
        };
        let _ = connection.close(200, "bye".into()).await;
        Ok(made?)
    }
}

/// A running client: both supervisors, until `stop` is called.
#[derive(Debug)]
pub struct Amqp {
    site: Arc<Site>,
    publisher: Arc<publisher::Publisher>,
    observed: Observed,
    queues: watch::Sender<QueueReport>,
    consuming: Option<CancellationToken>,
    publishing: CancellationToken,
    tasks: TaskTracker,
}

impl Amqp {
    /// Starts both sides; the intake takes nothing until its appetite says so.
    pub fn start(site: Arc<Site>) -> (Self, Intake) {
        let (normal_tx, normal_rx) = mpsc::unbounded_channel();
        let (bulk_tx, bulk_rx) = mpsc::unbounded_channel();
        let (track_tx, track_rx) = mpsc::unbounded_channel();
        let (appetite_tx, appetite_rx) = watch::channel(Appetite::Nothing);
        let (taking_tx, taking_rx) = watch::channel(Appetite::Nothing);
        let (consuming_tx, consuming_rx) = watch::channel(Link::Down("not connected yet".to_owned()));
        let mut amqp = Self::publisher_only(site.clone());
        let consuming = CancellationToken::new();
        let consumer = consumer::Consumer::new(
            site.clone(),
            [normal_tx, bulk_tx, track_tx],
            appetite_rx,
            taking_tx,
            consuming.clone(),
            amqp.queues.clone(),
            amqp.publisher.clone(),
        );
        amqp.tasks.spawn(supervise::forever(
            "consuming",
            consuming.clone(),
            consuming_tx,
            consumer,
        ));
        amqp.consuming = Some(consuming);
        amqp.observed.consuming = consuming_rx;
        (
            amqp,
            Intake {
                lanes: [normal_rx, bulk_rx],
                track: track_rx,
                appetite: appetite_tx,
                taking: taking_rx,
            },
        )
    }

    /// Starts the publishing side alone.
    pub fn publisher_only(site: Arc<Site>) -> Self {
        let (publishing_tx, publishing_rx) = watch::channel(Link::Down("not connected yet".to_owned()));
        let (queues, queues_rx) = watch::channel(QueueReport::default());
        let publishing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (publisher, session) = publisher::pair(site.clone(), publishing_rx.clone(), publishing.clone());
        tasks.spawn(supervise::forever(
            "publishing",
            publishing.clone(),
            publishing_tx,
            session,
        ));
        let observed = Observed {
            consuming: watch::channel(Link::Up).1,
            publishing: publishing_rx,
            queues: queues_rx,
        };
        Self {
            site,
            publisher,
            observed,
            queues,
            consuming: None,
            publishing,
            tasks,
        }
    }

    /// Reads without taking, over a connection of its own for each look.
    pub fn browser(site: Arc<Site>) -> Arc<dyn Browse> {
        Arc::new(browse::Browser { site })
    }

    /// Follows the control stream until it stops.
    pub fn follow(&self) -> mpsc::UnboundedReceiver<Followed> {
        let (out, followed) = mpsc::unbounded_channel();
        let follower = follow::Follower {
            site: self.site.clone(),
            out,
            stop: self.publishing.clone(),
        };
        self.supervise("following", follower);
        followed
    }

    /// Follows the results' log.
    pub fn follow_results(&self, after: u64, since: Option<u64>) -> mpsc::Receiver<FollowedResult> {
        let (out, followed) = mpsc::channel(results::WAITING);
        let follower = results::Follower::new(self.site.clone(), after, since, out, self.publishing.clone());
        self.supervise("following results", follower);
        followed
    }

    /// Counts the queues, where the consuming side does not do it.
    pub fn watch_queues(&self) {
        if self.consuming.is_none() {
            let session = watcher::Watcher {
                site: self.site.clone(),
                report: self.queues.clone(),
                stop: self.publishing.clone(),
            };
            self.supervise("watching", session);
        }
    }

    /// Runs a side of which nobody asks how it is doing, until the client stops.
    fn supervise(&self, side: &'static str, session: impl supervise::Session) {
        let link = watch::channel(Link::Down("not connected yet".to_owned())).0;
        let stop = self.publishing.clone();
        self.tasks.spawn(supervise::forever(side, stop, link, session));
    }

    /// The publishing port.
    pub fn publisher(&self) -> Arc<dyn Publish> {
        self.publisher.clone()
    }

    /// What is seen of the broker.
    pub fn observed(&self) -> Observed {
        self.observed.clone()
    }

    /// Closes the consuming connection (every settlement handed over before this call is written first), then the
    /// publishing one. What is still unacknowledged goes back to its queue.
    pub async fn stop(self) {
        if let Some(consuming) = &self.consuming {
            consuming.cancel();
            let mut link = self.observed.consuming.clone();
            let _ = link.wait_for(|link| matches!(link, Link::Down(_))).await;
        }
        self.publishing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
