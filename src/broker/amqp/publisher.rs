//! The publishing connection: every publish is persistent, confirmed and (but for results) mandatory.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Event;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::super::ladder::Leg;
use super::super::patience::within;
use super::super::{BoxFuture, Destination, Link, Message, Publish, PublishError, Source};
use super::batches::{Batches, Inbox, Request, Route, SUSPICIOUS};
use super::supervise::{Ended, Session};
use super::{Site, convert, declare};

/// What is in flight when a session ends gets this long for its confirms.
const LAST_CONFIRMS: Duration = Duration::from_secs(1);

/// The port.
#[derive(Debug)]
pub(super) struct Publisher {
    site: Arc<Site>,
    outbox: mpsc::UnboundedSender<Box<Request>>,
    link: watch::Receiver<Link>,
}

/// The session behind it.
pub(super) struct PublishSession {
    site: Arc<Site>,
    inbox: Inbox,
    stop: CancellationToken,
}

pub(super) fn pair(
    site: Arc<Site>,
    link: watch::Receiver<Link>,
    stop: CancellationToken,
) -> (Arc<Publisher>, PublishSession) {
    let (outbox, requests) = mpsc::unbounded_channel();
    let inbox = Inbox::new(requests);
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
                        batches.unblocked();
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

impl Publisher {
    fn route(&self, to: &Destination) -> Route {
        let names = &self.site.names;
        match to {
            Destination::Lane(lane) => Route {
                exchange: names.jobs(),
                key: lane.as_str().to_owned(),
                mandatory: true,
            },
            Destination::Delay(lane, delay) => self.ladder(Leg::new(*delay), lane.as_str()),
            Destination::Track(delay) => self.ladder(Leg::new(*delay), Source::Track.as_str()),
            Destination::Dead => Route {
                exchange: names.dead(),
                key: String::new(),
                mandatory: true,
            },
            // Straight into the stream.
            Destination::Control => Route {
                exchange: String::new(),
                key: names.control(),
                mandatory: true,
            },
            Destination::Results(key) => Route {
                exchange: names.results_in(),
                key: key.clone(),
                mandatory: false,
            },
        }
    }

    /// Through the ladder to the queue that is bound for this word.
    fn ladder(&self, leg: Leg, due: &str) -> Route {
        Route {
            exchange: self.site.names.delay(leg.level()),
            key: leg.routing_key(due),
            mandatory: true,
        }
    }

    /// Sends a message through the ladder to the canary's queue.
    pub(super) async fn publish_canary(&self, message: Message, leg: Leg) -> Result<(), PublishError> {
        self.send(self.ladder(leg, "canary"), message, SUSPICIOUS).await
    }

    /// Hands a message to the session, and waits for what comes of it.
    async fn send(&self, route: Route, message: Message, limit: Duration) -> Result<(), PublishError> {
        let properties = convert::to_amqp(&message.properties).map_err(PublishError::Invalid)?;
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Request {
            route,
            body: message.body,
            properties,
            patient: limit >= SUSPICIOUS,
            reply,
        });
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
        match within(limit, &self.link, sent).await {
            Ok(sent) => sent,
            Err(Link::Down(why)) => Err(PublishError::Disconnected(why)),
            Err(Link::Up | Link::Blocked(_)) => Err(PublishError::Unconfirmed(format!(
                "no confirm within {} s",
                limit.as_secs_f32()
            ))),
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
