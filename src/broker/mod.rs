//! The ports: what the rest of the program asks of a message broker.
//!
//! A broker moves bytes and headers and never sees a job, so that a message that nobody can read can still be
//! dead-lettered. Every promise is the port's, whatever stands behind it:
//!
//! - [`Intake`] hands out deliveries. Each is unacknowledged until it is settled, and comes back when its session ends.
//! - [`Publish`] returns only when the broker has confirmed that the message is safe at its next place.

pub mod amqp;
pub mod client;
pub mod ladder;
pub mod message;
mod patience;
pub mod settings;
pub mod sqlite;
pub mod topology;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

pub use crate::lane::Lane;
pub use message::{Headers, Message, Properties, Value};

/// A boxed future, for ports that are used behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a broker's implementation keeps of a delivery: the means to settle it.
pub trait Hold: Send + Sync + fmt::Debug {
    /// Whether the session that brought it still stands. When it does not, the broker gives the message to somebody
    /// else, and nothing may be launched for it any more.
    fn is_alive(&self) -> bool;
    /// Called once, with how it ended.
    fn settle(&self, how: Settlement);
}

/// Where deliveries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Jobs.
    Lane(Lane),
    /// Executions that are followed to their end. Apart, so that a look never waits behind a hundred thousand launches.
    Track,
}

impl Source {
    /// All of them: the lanes in the order of [`Lane::ALL`] first.
    pub const ALL: [Self; 3] = [Self::Lane(Lane::Normal), Self::Lane(Lane::Bulk), Self::Track];

    /// Its word in routing keys, and when it is counted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lane(lane) => lane.as_str(),
            Self::Track => "track",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a delivery is handed back to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Its next place is safe (or it is done): forget it.
    Ack,
    /// Put it back where it came from. Counts towards its queue's delivery limit.
    Return,
}

/// A message in our hands, unacknowledged. Where it came from is told by the receiver that it came out of.
#[derive(Debug)]
pub struct Delivery {
    /// What was delivered.
    pub message: Message,
    /// The broker says that it was delivered before.
    pub redelivered: bool,
    /// How often it was given back (`x-delivery-count`), zero at first.
    pub delivery_count: u32,
    since: Instant,
    hold: Option<Arc<dyn Hold>>,
}

impl Delivery {
    /// A delivery whose settlement goes to `hold`.
    pub fn new(message: Message, redelivered: bool, delivery_count: u32, hold: Arc<dyn Hold>) -> Self {
        Self {
            message,
            redelivered,
            delivery_count,
            since: Instant::now(),
            hold: Some(hold),
        }
    }

    /// Whether the session that brought it still stands.
    pub fn is_alive(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_alive())
    }

    /// For how long it has been in our hands: a broker waits for its settlement, and not for ever.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// The means to ask, from elsewhere, whether the session still stands.
    pub fn pulse(&self) -> Option<Arc<dyn Hold>> {
        self.hold.clone()
    }

    /// Ends it. Only `worker::settle` calls this.
    pub fn settle(mut self, how: Settlement) {
        if let Some(hold) = self.hold.take() {
            hold.settle(how);
        }
    }
}

impl Drop for Delivery {
    /// A delivery that is dropped unsettled (a panic, a task cut short) goes back at once, not when the session ends.
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            hold.settle(Settlement::Return);
        }
    }
}

/// Where a message is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into a lane, at once.
    Lane(Lane),
    /// Into a lane, after a while. The broker may bring it early when the delay is long (see
    /// [`ladder::Leg`]); it is the worker that then delays it again.
    Delay(Lane, Duration),
    /// To those who follow executions, after a while; of a long delay the last eighth may be missing.
    Track(Duration),
    /// To the dead letters.
    Dead,
    /// To all who follow the control stream.
    Control,
    /// To whoever listens for results; the routing key is `<outcome>.<campaign or ->`.
    Results(String),
}

/// Why a publish is not known to be safe.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker refused it, or a queue did: it is not there.
    #[error("the broker refused the message (a full queue refuses publishes, or a queue cannot answer)")]
    Refused,
    /// No queue would have taken it: it is not there.
    #[error("no queue takes messages for {0}: is the topology complete? `flowlaunch topology apply` makes it")]
    Unroutable(String),
    /// It may or may not be there.
    #[error("no confirm came: {0}")]
    Unconfirmed(String),
    /// Nothing was sent.
    #[error("not connected to the broker: {0}")]
    Disconnected(String),
    /// It can never be sent.
    #[error("the message cannot be sent: {0}")]
    Invalid(String),
}

/// Publishes with confirms.
pub trait Publish: Send + Sync {
    /// Publishes, and returns when the broker has confirmed it. While the broker blocks publishers the clock of
    /// `limit` stands still.
    fn publish(&self, to: Destination, message: Message, limit: Duration) -> BoxFuture<'_, Result<(), PublishError>>;

    /// Whether a publish could be written now. While it could not, no launch begins: its result would have nowhere to
    /// go.
    fn is_ready(&self) -> bool;
}

/// Why something cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot read from the broker: {0}")]
pub struct BrowseError(pub String);

/// Reads what lies there, and changes nothing.
pub trait Browse: Send + Sync {
    /// Up to `most` dead letters, the oldest first.
    fn dead(&self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, BrowseError>>;

    /// Up to `most` results of the log with their numbers, which grow: those after number `after`, from the first on when
    /// that is 0. When there is none yet, waits for `patience`.
    fn results(
        &self,
        after: u64,
        most: usize,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vec<(u64, Message)>, BrowseError>>;
}

/// What comes to one who follows the control stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// Everything that is kept comes from here on, from the first entry, and then what is written.
    Began,
    /// An entry: its body.
    Entry(Bytes),
    /// It cannot be read, with the reason; the next is [`Self::Began`].
    Lost(String),
}

/// What comes to one who follows the results' log.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is the large one")]
pub enum FollowedResult {
    /// From here on everything comes that is kept after the last one handed on, and then what is told.
    Began,
    /// A result with its number, as [`Browse::results`] has it. Numbers grow; one that does not says that the log was made
    /// anew, and is read from its first.
    Result(u64, Message),
    /// The log cannot be read, with the reason; the next is [`Self::Began`].
    Lost(String),
}

/// Whether, and how much, to consume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// Take nothing; what was taken can still be settled.
    Nothing,
    /// Take up to so many unacknowledged messages of each source, in the order of [`Source::ALL`].
    Prefetch([u16; 3]),
}

impl Appetite {
    /// The same of every source.
    pub const fn all(prefetch: u16) -> Self {
        Self::Prefetch([prefetch; 3])
    }

    /// What it means for a source.
    pub const fn of(self, source: Source) -> u16 {
        match (self, source) {
            (Self::Nothing, _) => 0,
            (Self::Prefetch([normal, _, _]), Source::Lane(Lane::Normal)) => normal,
            (Self::Prefetch([_, bulk, _]), Source::Lane(Lane::Bulk)) => bulk,
            (Self::Prefetch([_, _, track]), Source::Track) => track,
        }
    }
}

/// The stream of deliveries, one and the same across sessions.
#[derive(Debug)]
pub struct Intake {
    /// Deliveries of each lane, in the order of [`Lane::ALL`].
    pub lanes: [mpsc::UnboundedReceiver<Delivery>; 2],
    /// Executions to look at.
    pub track: mpsc::UnboundedReceiver<Delivery>,
    /// What the consumer is asked to take.
    pub appetite: watch::Sender<Appetite>,
    /// What it takes: follows when the broker has heard of it. From `Nothing` on no delivery comes that is not in `lanes`
    /// or `track`.
    pub taking: watch::Receiver<Appetite>,
}

/// How one side of the broker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not there, with the reason in a sentence.
    Down(String),
    /// Works.
    Up,
    /// Connected, and the broker takes no publishes (memory or disk alarm), with the broker's reason.
    Blocked(String),
}

impl Link {
    /// Whether it works.
    pub fn is_up(&self) -> bool {
        *self == Self::Up
    }

    /// Waits until it is another one, for `limit` at most; for all of that when there is nobody left to change it.
    pub async fn change(link: &mut watch::Receiver<Self>, limit: Duration) {
        let changed = async {
            if link.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _ = timeout(limit, changed).await;
    }
}

/// What the broker's side of the program reports, for readiness and metrics.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The side that consumes and acknowledges.
    pub consuming: watch::Receiver<Link>,
    /// The side that publishes.
    pub publishing: watch::Receiver<Link>,
    /// What else was seen; changed every few seconds.
    pub queues: watch::Receiver<QueueReport>,
}

/// Facts about the queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueReport {
    /// Messages ready in each queue; `None` when the queue does not answer.
    pub messages: Vec<(&'static str, Option<u32>)>,
    /// How late the last canary came out of the delay ladder, in seconds; grows while one is overdue.
    pub delay_lag: f64,
    /// Consumers of each lane, in the order of [`Lane::ALL`], ours among them; `None` when they cannot be seen. With
    /// RabbitMQ those who take something just now, with the embedded broker the processes that could.
    pub consumers: [Option<u32>; 2],
    /// Consumers on the lanes that are not ours.
    pub other_consumers: u32,
}
