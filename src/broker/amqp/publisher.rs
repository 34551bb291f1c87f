//! The publishing connection: every publish is persistent, confirmed and (but for results) mandatory.
//!
//! Publishes are gathered: while a batch waits for its confirms, those that come meanwhile make the next one. Alone, each
//! would cost the broker a read, a write to disk and a confirm; a batch costs little more than one of them.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::topology::Leg;
use super::super::{BoxFuture, Destination, Link, Message, Publish, PublishError};
use super::supervise::{Ended, Session};
use super::{Site, convert, declare};

/// When publishes that are meant to wait this long see no confirm of anything for as long, the session is no good, not
/// just slow.
const SUSPICIOUS: Duration = Duration::from_secs(10);
/// The longest that a publish waits for the batch before it.
const GATHER: Duration = Duration::from_millis(10);
/// What is in flight when a session ends gets this long for its confirms.
const LAST_CONFIRMS: Duration = Duration::from_secs(1);

/// Where a message goes on the wire.
struct Route {
    exchange: String,
    key: String,
    mandatory: bool,
}

/// A publish on its way to the session.
struct Request {
    route: Route,
    body: bytes::Bytes,
    properties: BasicProperties,
    /// Whoever asked waits for [`SUSPICIOUS`] or longer.
    patient: bool,
    /// Closed when whoever asked has given up: then it is not sent any more.
    reply: oneshot::Sender<Result<(), PublishError>>,
}

/// The port.
#[derive(Debug)]
pub(super) struct Publisher {
    site: Arc<Site>,
    outbox: mpsc::UnboundedSender<Request>,
    link: watch::Receiver<Link>,
}

/// The session behind it.
pub(super) struct PublishSession {
    site: Arc<Site>,
    inbox: Inbox,
    stop: CancellationToken,
}

/// What is not sent yet: it waits here for the next session, if need be.
struct Inbox {
    requests: mpsc::UnboundedReceiver<Request>,
    /// The first of the next batch, and when it goes at the latest.
    first: Option<(Request, Instant)>,
}

pub(super) fn pair(
    site: Arc<Site>,
    link: watch::Receiver<Link>,
    stop: CancellationToken,
) -> (Arc<Publisher>, PublishSession) {
    let (outbox, requests) = mpsc::unbounded_channel();
    let inbox = Inbox { requests, first: None };
    let publisher = Arc::new(Publisher {
        site: site.clone(),
        outbox,
        link,
    });
    (publisher, PublishSession { site, inbox, stop })
}

impl Session for PublishSession {
    async fn run(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let connection = tokio::select! {
            connection = self.site.endpoint.connect("publishing") => connection?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let mut events = pin!(connection.events_listener());
        declare::declare(&connection, &self.site.topology, self.site.declare).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        link.send_replace(Link::Up);
        let mut batches = Batches::new(&channel);
        let mut look = interval(SUSPICIOUS / 10);
        let ended = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(%reason, "the broker blocks publishers: no launch begins until it unblocks them");
                        link.send_replace(Link::Blocked(reason));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!("the broker takes publishes again");
                        batches.progress = Instant::now();
                        link.send_replace(Link::Up);
                    }
                    Some(Event::Error(error)) => break Err(error.into()),
                    None => break Err("the connection is gone".into()),
                    Some(_) => {}
                },
                broken = batches.step(&mut self.inbox) => break Err(broken.into()),
                _ = look.tick() => if batches.is_stuck() && link.borrow().is_up() {
                    break Err(format!("no publish was confirmed for {} s", SUSPICIOUS.as_secs()).into());
                },
                () = self.stop.cancelled() => break Ok(()),
            }
        };
        // Whatever has no confirm after that is reported as unconfirmed.
        if channel.status().connected() {
            let _ = timeout(LAST_CONFIRMS, batches.finish()).await;
        }
        drop(batches);
        // Closing tells the broker that this is no crash.
        let _ = timeout(Duration::from_secs(2), connection.close(200, "bye".into())).await;
        ended
    }
}

/// A publish that was sent: what came of it, and whether its sender is patient.
type Sent<'a> = Pin<Box<dyn Future<Output = (Option<Result<(), PublishError>>, bool)> + Send + 'a>>;

/// What one session has in flight.
struct Batches<'a> {
    channel: &'a Channel,
    in_flight: FuturesUnordered<Sent<'a>>,
    /// How many of them are waited for by patient senders.
    patient: usize,
    /// When a confirm came, or the first patient publish was sent.
    progress: Instant,
}

impl<'a> Batches<'a> {
    fn new(channel: &'a Channel) -> Self {
        Self {
            channel,
            in_flight: FuturesUnordered::new(),
            patient: 0,
            progress: Instant::now(),
        }
    }

    /// Sends and hears confirms until something is found that only a new session mends; says what. May be cut off at any
    /// await.
    async fn step(&mut self, inbox: &mut Inbox) -> String {
        loop {
            if let Some((_, at)) = &inbox.first
                && (self.in_flight.is_empty() || *at <= Instant::now())
            {
                self.send_batch(inbox);
            }
            let goes_at = inbox.first.as_ref().map(|(_, at)| *at);
            let gathered = async {
                match goes_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((done, patient)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    if let Some(broken) = self.heard(done, patient) {
                        return broken;
                    }
                }
                // The others of the batch stay in the inbox until it goes: nobody is woken for each of them.
                Some(request) = inbox.requests.recv(), if inbox.first.is_none() => {
                    inbox.first = Some((request, Instant::now() + GATHER));
                }
                () = gathered => {}
            }
        }
    }

    fn send_batch(&mut self, inbox: &mut Inbox) {
        let mut next = inbox.first.take().map(|(request, _)| request);
        while let Some(request) = next {
            // Whoever gave up has counted it as not sent, or will make it again.
            if !request.reply.is_closed() {
                if request.patient {
                    if self.patient == 0 {
                        self.progress = Instant::now();
                    }
                    self.patient += 1;
                }
                self.in_flight.push(Box::pin(publish(self.channel, request)));
            }
            next = inbox.requests.try_recv().ok();
        }
    }

    /// Notes what came of a publish. An exchange that is missing closes the channel, a binding that is missing only
    /// returns the message: both are mended by declaring anew, which a new session does.
    fn heard(&mut self, done: Option<Result<(), PublishError>>, patient: bool) -> Option<String> {
        self.patient -= usize::from(patient);
        match done {
            Some(Ok(()) | Err(PublishError::Refused)) => {
                self.progress = Instant::now();
                None
            }
            Some(Err(error @ PublishError::Unroutable(_))) => Some(error.to_string()),
            Some(Err(error)) if !self.channel.status().connected() => Some(error.to_string()),
            Some(Err(_)) | None => None,
        }
    }

    fn is_stuck(&self) -> bool {
        self.patient > 0 && self.progress.elapsed() >= SUSPICIOUS
    }

    async fn finish(&mut self) {
        while self.in_flight.next().await.is_some() {}
    }
}

/// Sends one message, waits for its confirm and tells whoever asked; `None` when that one gave up first.
async fn publish(channel: &Channel, request: Request) -> (Option<Result<(), PublishError>>, bool) {
    let Request {
        route,
        body,
        properties,
        patient,
        mut reply,
    } = request;
    let done = tokio::select! {
        biased;
        done = confirmed(channel, &route, &body, properties) => done,
        () = reply.closed() => return (None, patient),
    };
    let _ = reply.send(done.clone());
    (Some(done), patient)
}

async fn confirmed(
    channel: &Channel,
    route: &Route,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), PublishError> {
    let options = BasicPublishOptions {
        mandatory: route.mandatory,
        immediate: false,
    };
    // AMQP's routing keys have 255 bytes at most; ours are far below, a campaign's name is checked when decoded.
    let key = lapin::types::ShortString::try_new(route.key.as_str())
        .map_err(|error| PublishError::Invalid(error.to_string()))?;
    let confirm = channel
        .basic_publish(route.exchange.as_str().into(), key, options, body, properties)
        .await
        .map_err(|error| PublishError::Unconfirmed(error.to_string()))?;
    let confirmation = confirm
        .await
        .map_err(|error| PublishError::Unconfirmed(error.to_string()))?;
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        // Confirmed *and* returned: no queue took it.
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(PublishError::Unroutable(format!(
            "exchange {} with key {}",
            route.exchange, route.key
        ))),
        Confirmation::Nack(None) => Err(PublishError::Refused),
        Confirmation::NotRequested => Err(PublishError::Unconfirmed("confirms are off".to_owned())),
    }
}

impl Publisher {
    fn route(&self, to: &Destination) -> Route {
        let names = &self.site.names;
        match to {
            Destination::Lane(lane) => Route {
                exchange: names.jobs(),
                key: lane.as_str().to_owned(),
                mandatory: true,
            },
            Destination::Delay(lane, delay) => {
                let leg = Leg::new(*delay);
                Route {
                    exchange: names.delay(leg.level()),
                    key: leg.routing_key(lane.as_str()),
                    mandatory: true,
                }
            }
            Destination::Dead => Route {
                exchange: names.dead(),
                key: String::new(),
                mandatory: true,
            },
            Destination::Results(key) => Route {
                exchange: names.results(),
                key: key.clone(),
                mandatory: false,
            },
        }
    }

    /// Sends a message through the ladder to the canary's queue.
    pub(super) async fn publish_canary(&self, message: Message, leg: Leg) -> Result<(), PublishError> {
        let route = Route {
            exchange: self.site.names.delay(leg.level()),
            key: leg.routing_key("canary"),
            mandatory: true,
        };
        self.send(route, message, SUSPICIOUS).await
    }

    /// Hands a message to the session, and waits for what comes of it.
    async fn send(&self, route: Route, message: Message, limit: Duration) -> Result<(), PublishError> {
        let properties = convert::to_amqp(&message.properties).map_err(PublishError::Invalid)?;
        let (reply, answer) = oneshot::channel();
        let request = Request {
            route,
            body: message.body,
            properties,
            patient: limit >= SUSPICIOUS,
            reply,
        };
        if self.outbox.send(request).is_err() {
            return Err(PublishError::Disconnected("shut down".to_owned()));
        }
        let sent = async {
            answer.await.unwrap_or_else(|_| {
                Err(PublishError::Unconfirmed(
                    "the session ended before a confirm came".to_owned(),
                ))
            })
        };
        self.within(limit, sent).await
    }

    /// Runs `sending` with a clock that stands still while the broker blocks publishers.
    async fn within(
        &self,
        limit: Duration,
        sending: impl Future<Output = Result<(), PublishError>>,
    ) -> Result<(), PublishError> {
        let mut sending = pin!(sending);
        let mut link = self.link.clone();
        let mut left = limit;
        loop {
            let now = link.borrow_and_update().clone();
            let blocked = matches!(now, Link::Blocked(_));
            let since = Instant::now();
            tokio::select! {
                biased;
                sent = &mut sending => return sent,
                changed = link.changed() => if changed.is_err() {
                    return Err(PublishError::Disconnected("shut down".to_owned()));
                },
                () = sleep(left), if !blocked => {
                    return Err(match now {
                        Link::Down(why) => PublishError::Disconnected(why),
                        Link::Up | Link::Blocked(_) => {
                            PublishError::Unconfirmed(format!("no confirm within {} s", limit.as_secs_f32()))
                        }
                    });
                }
            }
            if !blocked {
                left = left.saturating_sub(since.elapsed());
            }
        }
    }
}

impl Publish for Publisher {
    fn publish(&self, to: Destination, message: Message, limit: Duration) -> BoxFuture<'_, Result<(), PublishError>> {
        let route = self.route(&to);
        Box::pin(self.send(route, message, limit))
    }

    fn is_ready(&self) -> bool {
        self.link.borrow().is_up()
    }
}
