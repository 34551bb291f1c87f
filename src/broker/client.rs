//! Which broker: the one place that knows that there are two.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::amqp::connection::{ConnectError, EndpointError};
use super::amqp::declare::DeclareError;
use super::amqp::{Amqp, Site};
use super::settings::{Declare, Kind, Settings};
use super::sqlite::{OpenError, Sqlite};
use super::{Browse, Followed, FollowedResult, Intake, Observed, Publish};

/// A broker, and all that it takes to build a client of it.
#[derive(Clone, Debug)]
pub enum Broker {
    /// RabbitMQ.
    RabbitMq(Arc<Site>),
    /// The embedded one.
    Embedded {
        /// Its file.
        path: PathBuf,
        /// Whether to make the file.
        create: bool,
        /// How long results are kept.
        keep: Duration,
    },
}

/// Why a broker cannot be used, as it is found out at the first contact.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is the error of the part that it is called after")]
pub enum ContactError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    File(#[from] OpenError),
}

impl ContactError {
    /// A fault that waiting does not mend.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Login { .. } | ConnectError::Vhost { .. }) => true,
            Self::Connect(ConnectError::Unreachable { .. }) => false,
            Self::Declare(error) => !matches!(error, DeclareError::Silent { .. } | DeclareError::Other { .. }),
            Self::File(_) => true,
        }
    }
}

impl Broker {
    /// The one that the settings mean; reads certificate files, connects to nothing.
    ///
    /// # Errors
    /// When the URL or a certificate is of no use.
    pub fn new(settings: &Settings, keep: Duration) -> Result<Self, EndpointError> {
        if let Ok(Kind::Sqlite(path)) = settings.url.kind() {
            return Ok(Self::Embedded {
                path,
                create: settings.declare == Declare::Create,
                keep,
            });
        }
        Ok(Self::RabbitMq(Arc::new(Site::new(settings, keep)?)))
    }

    /// Connects once, and makes what is to be made: a mistake in the set-up is told at once and not waited for.
    ///
    /// # Errors
    /// When it cannot be reached, or is not as it should be.
    pub async fn first_contact(&self) -> Result<(), ContactError> {
        match self {
            Self::RabbitMq(site) => site.make("first contact", site.declare).await,
            Self::Embedded { path, create, .. } => Ok(Sqlite::look(path, *create)?),
        }
    }

    /// Starts a client that consumes and publishes.
    ///
    /// # Errors
    /// When the file of the embedded one cannot be used. RabbitMQ is waited for.
    pub fn start(&self) -> anyhow::Result<(Client, Intake)> {
        Ok(match self {
            Self::RabbitMq(site) => {
                let (client, intake) = Amqp::start(site.clone());
                (Client::RabbitMq(client), intake)
            }
            Self::Embedded { path, create, keep } => {
                let (client, intake) = Sqlite::start(path, *create, *keep)?;
                (Client::Embedded(client), intake)
            }
        })
    }

    /// Starts a client that only publishes.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn publisher_only(&self) -> anyhow::Result<Client> {
        Ok(match self {
            Self::RabbitMq(site) => Client::RabbitMq(Amqp::publisher_only(site.clone())),
            Self::Embedded { path, create, keep } => Client::Embedded(Sqlite::publisher_only(path, *create, *keep)?),
        })
    }

    /// Reads without taking.
    pub fn browser(&self) -> Arc<dyn Browse> {
        match self {
            Self::RabbitMq(site) => Amqp::browser(site.clone()),
            Self::Embedded { path, .. } => Sqlite::browser(path.clone()),
        }
    }
}

/// A running client.
#[derive(Debug)]
pub enum Client {
    /// Of RabbitMQ.
    RabbitMq(Amqp),
    /// Of the embedded broker.
    Embedded(Sqlite),
}

impl Client {
    /// The publishing port.
    pub fn publisher(&self) -> Arc<dyn Publish> {
        match self {
            Self::RabbitMq(client) => client.publisher(),
            Self::Embedded(client) => client.publisher(),
        }
    }

    /// Follows the control stream: what is kept of it, from the first entry, and what is written.
    pub fn follow(&self) -> mpsc::UnboundedReceiver<Followed> {
        match self {
            Self::RabbitMq(client) => client.follow(),
            Self::Embedded(client) => client.follow(),
        }
    }

    /// Follows the results' log from the one after number `after` on (from the first that is kept, when that one is gone),
    /// or when that is 0 from those that were told `since` then, a time in seconds, and perhaps a few before; across lost sessions, until nobody wants it any more or the client stops. One who reads slowly holds it back.
    ///
    /// When the log ends before `after` it was made anew, and is read from its first. One that was made anew and has grown
    /// beyond `after` cannot be told from the old one.
    pub fn follow_results(&self, after: u64, since: Option<u64>) -> mpsc::Receiver<FollowedResult> {
        match self {
            Self::RabbitMq(client) => client.follow_results(after, since),
            Self::Embedded(client) => client.follow_results(after, since),
        }
    }

    /// Counts the queues every other second from now on, for [`Self::observed`]; a client that consumes does it unasked.
    /// While they cannot be counted there is nothing in the report: what was seen long ago misleads.
    pub fn watch_queues(&self) {
        match self {
            Self::RabbitMq(client) => client.watch_queues(),
            Self::Embedded(client) => client.watch_queues(),
        }
    }

    /// What is seen of the broker.
    pub fn observed(&self) -> Observed {
        match self {
            Self::RabbitMq(client) => client.observed(),
            Self::Embedded(client) => client.observed(),
        }
    }

    /// Writes every settlement that was handed over before this call, and ends. What is still unacknowledged goes back to
    /// its lane.
    pub async fn stop(self) {
        match self {
            Self::RabbitMq(client) => client.stop().await,
            Self::Embedded(client) => client.stop().await,
        }
    }
}
