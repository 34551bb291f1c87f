//! A look at what stands on the broker, which changes nothing.
//!
//! Over AMQP an object is asked for twice: passively, whether it is there, and then declared with our arguments, which
//! changes nothing where it stands and is refused when its own arguments differ. What AMQP does not show: bindings,
//! policies, and whether a queue is full.

use std::time::Duration;

use lapin::{Channel, Connection};
use tokio::time::timeout;

use super::super::settings::Declare;
use super::Site;
use super::connection::ConnectError;
use super::declare::{self, DeclareError};
use crate::lane::Lane;

/// A queue without a leader (its node was killed just after declaring it) never answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What is not there, as `queue NAME` or `exchange NAME`.
    pub missing: Vec<String>,
    /// What is not as it should be.
    pub faults: Vec<DeclareError>,
    /// How many objects this account may not declare, so that nobody could compare their arguments.
    pub uncompared: usize,
    /// Jobs ready in both lanes, and consumers on them, when they could be seen.
    pub lanes: [Option<(u32, u32)>; 2],
    /// Messages among the dead letters.
    pub dead: Option<u32>,
}

/// Connects, looks, and closes.
pub async fn inspect(site: &Site) -> Result<Inspection, ConnectError> {
    let connection = site.endpoint.connect("check").await?;
    let seen = look(&connection, site, Until::Seen).await;
    let _ = connection.close(200, "bye".into()).await;
    Ok(seen)
}

/// What first is not as it should be.
pub(super) async fn fault(connection: &Connection, site: &Site) -> Option<DeclareError> {
    look(connection, site, Until::Fault).await.faults.pop()
}

/// How far to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until all is seen.
    Seen,
    /// Until something is at fault: many queues that do not answer would take long.
    Fault,
}

async fn look(connection: &Connection, site: &Site, until: Until) -> Inspection {
    let mut eye = Eye {
        connection,
        channel: None,
        until,
        seen: Inspection::default(),
    };
    for exchange in &site.topology.exchanges {
        let name = format!("exchange {}", exchange.name);
        eye.look(name, async |channel, mode| {
            declare::exchange(&channel, exchange, mode).await.map(|()| None)
        })
        .await;
    }
    for queue in &site.topology.queues {
        let name = format!("queue {}", queue.name);
        let counts = eye
            .look(name, async |channel, mode| {
                declare::queue(&channel, queue, mode).await.map(Some)
            })
            .await;
        for (index, lane) in Lane::ALL.into_iter().enumerate() {
            if queue.name == site.names.lane(lane) {
                eye.seen.lanes[index] = counts;
            }
        }
        if queue.name == site.names.dead() {
            eye.seen.dead = counts.map(|(messages, _)| messages);
        }
    }
    if let Some(channel) = eye.channel {
        // A channel that is left open would only cost the broker a process.
        let _ = channel.close(200, "seen".into()).await;
    }
    eye.seen
}

/// Messages ready and consumers, of a queue.
type Counts = Option<(u32, u32)>;

struct Eye<'a> {
    connection: &'a Connection,
    channel: Option<Channel>,
    until: Until,
    seen: Inspection,
}

impl Eye<'_> {
    /// Asks for one object, first whether it is there, then whether it is as it should be.
    async fn look(
        &mut self,
        name: String,
        ask: impl AsyncFn(Channel, Declare) -> Result<Counts, DeclareError>,
    ) -> Counts {
        if self.until == Until::Fault && !self.seen.faults.is_empty() {
            return None;
        }
        let counts = match self.ask(&name, &ask, Declare::Verify).await {
            Ok(counts) => counts,
            Err(DeclareError::Missing { .. }) => {
                self.seen.missing.push(name);
                return None;
            }
            Err(DeclareError::Forbidden { .. }) => {
                self.seen.uncompared += 1;
                return None;
            }
            Err(fault) => {
                self.seen.faults.push(fault);
                return None;
            }
        };
        match self.ask(&name, &ask, Declare::Create).await {
            Ok(_) => {}
            Err(DeclareError::Forbidden { .. }) => self.seen.uncompared += 1,
            Err(fault) => self.seen.faults.push(fault),
        }
        counts
    }

    async fn ask(
        &mut self,
        name: &str,
        ask: impl AsyncFn(Channel, Declare) -> Result<Counts, DeclareError>,
        mode: Declare,
    ) -> Result<Counts, DeclareError> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => declare::channel(self.connection).await?,
        };
        let answer = timeout(ANSWER_LIMIT, ask(channel.clone(), mode)).await;
        match answer {
            Ok(Ok(counts)) => {
                self.channel = Some(channel);
                Ok(counts)
            }
            // The error closed the channel: the next look takes another.
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(DeclareError::Silent {
                name: name.to_owned(),
                seconds: ANSWER_LIMIT.as_secs(),
            }),
        }
    }
}
