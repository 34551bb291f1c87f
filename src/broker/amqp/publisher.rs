//! The publishing connection: every publish is persistent, confirmed and (but for results) mandatory.

use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Event};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::topology::Leg;
use super::super::{BoxFuture, Destination, Link, Message, Publish, PublishError};
use super::supervise::{Ended, Session};
use super::{Site, convert, declare};

/// A publish that waited this long in vain says that the session is no good, not just slow.
const SUSPICIOUS: Duration = Duration::from_secs(10);

/// Publishes of so long a time go out together: alone, each would cost the broker a read, a write and a confirm.
const GATHER: Duration = Duration::from_millis(4);

/// Lets the first through at once and who comes within [`GATHER`] behind it all together, at its end.
#[derive(Debug, Default)]
struct Turnstile(Mutex<Option<Instant>>);

impl Turnstile {
    async fn pass(&self) {
        let opens = {
            let now = Instant::now();
            let mut opens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match *opens {
                Some(opens) if opens > now => opens,
                Some(_) | None => {
                    *opens = Some(now + GATHER);
                    return;
                }
            }
        };
        sleep_until(opens).await;
    }
}

/// What the port and the session share: the session that stands, if one does.
#[derive(Debug)]
struct Shared {
    turnstile: Turnstile,
    open: watch::Sender<Option<Open>>,
}

/// A session that takes publishes.
#[derive(Clone, Debug)]
struct Open {
    channel: Channel,
    /// Rung when a publish met an error that only a new session mends. Each session has its own: what failed in the last
    /// one, and says so late, must not end the next.
    broken: Arc<Notify>,
}

/// The port.
#[derive(Debug)]
pub(super) struct Publisher {
    site: Arc<Site>,
    shared: Arc<Shared>,
    link: watch::Receiver<Link>,
}

/// The session behind it.
pub(super) struct PublishSession {
    site: Arc<Site>,
    shared: Arc<Shared>,
    stop: tokio_util::sync::CancellationToken,
}

pub(super) fn pair(
    site: Arc<Site>,
    link: watch::Receiver<Link>,
    stop: tokio_util::sync::CancellationToken,
) -> (Arc<Publisher>, PublishSession) {
    let shared = Arc::new(Shared {
        turnstile: Turnstile::default(),
        open: watch::channel(None).0,
    });
    let publisher = Arc::new(Publisher {
        site: site.clone(),
        shared: shared.clone(),
        link,
    });
    (publisher, PublishSession { site, shared, stop })
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
        let broken = Arc::new(Notify::new());
        self.shared.open.send_replace(Some(Open {
            channel,
            broken: broken.clone(),
        }));
        link.send_replace(Link::Up);
        let ended = loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(%reason, "the broker blocks publishers: no launch begins until it unblocks them");
                        link.send_replace(Link::Blocked(reason));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!("the broker takes publishes again");
                        link.send_replace(Link::Up);
                    }
                    Some(Event::Error(error)) => break Err(error.into()),
                    None => break Err("the connection is gone".into()),
                    Some(_) => {}
                },
                () = broken.notified() => break Err("a publish failed".into()),
                () = self.stop.cancelled() => break Ok(()),
            }
        };
        self.shared.open.send_replace(None);
        // Closing tells the broker that this is no crash; whatever had no confirm by now is reported as unconfirmed.
        let _ = tokio::time::timeout(Duration::from_secs(2), connection.close(200, "bye".into())).await;
        ended
    }
}

/// Where a message goes on the wire.
struct Route {
    exchange: String,
    key: String,
    mandatory: bool,
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

    /// Publishes with a raw exchange and key: for `publish`, where a lane is whatever the user said.
    async fn send(&self, route: Route, message: Message, limit: Duration) -> Result<(), PublishError> {
        let properties = convert::to_amqp(&message.properties).map_err(PublishError::Invalid)?;
        // AMQP's routing keys have 255 bytes at most; ours are far below, a campaign's name is checked when decoded.
        let key = lapin::types::ShortString::try_new(route.key.as_str())
            .map_err(|error| PublishError::Invalid(error.to_string()))?;
        let options = BasicPublishOptions {
            mandatory: route.mandatory,
            immediate: false,
        };
        let used = OnceLock::new();
        let sending = async {
            self.shared.turnstile.pass().await;
            let mut open = self.shared.open.subscribe();
            let open = match open.wait_for(Option::is_some).await {
                Ok(open) => open.clone(),
                Err(_) => None,
            };
            let Some(open) = open else {
                return Err(PublishError::Disconnected("shut down".to_owned()));
            };
            let exchange = route.exchange.as_str().into();
            let confirm = used
                .get_or_init(|| open)
                .channel
                .basic_publish(exchange, key, options, &message.body, properties)
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
        };
        let sent = self.within(limit, sending).await;
        if let Some(open) = used.get() {
            let mend = match &sent {
                // A missing exchange closes the channel; a missing binding only returns the message. Both are mended by
                // declaring anew, which a new session does.
                Err(PublishError::Unconfirmed(_)) => limit >= SUSPICIOUS || !open.channel.status().connected(),
                Err(PublishError::Unroutable(_)) => true,
                Ok(()) | Err(PublishError::Refused | PublishError::Disconnected(_) | PublishError::Invalid(_)) => false,
            };
            if mend {
                open.broken.notify_one();
            }
        }
        sent
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
