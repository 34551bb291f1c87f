//! The publishing port.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::super::patience::within;
use super::super::{BoxFuture, Destination, Link, Message, Publish, PublishError, Source};
use super::keeper::{Mark, Order, Parcel, Place};
use super::store::{Queue, due_ms};

/// Hands messages to the keeper.
#[derive(Debug)]
pub(super) struct Publisher {
    orders: Sender<Order>,
    link: watch::Receiver<Link>,
}

impl Publisher {
    pub(super) fn new(orders: Sender<Order>, link: watch::Receiver<Link>) -> Self {
        Self { orders, link }
    }

    async fn send(&self, place: Place, message: Message, limit: Duration) -> Result<(), PublishError> {
        let is_result = matches!(place, Place::Results(_));
        let mark = Arc::new(Mark::default());
        let (reply, answer) = oneshot::channel();
        let parcel = Parcel {
            place,
            message,
            mark: mark.clone(),
            reply,
        };
        if self.orders.send(Order::Publish(Box::new(parcel))).is_err() {
            return Err(PublishError::Disconnected("shut down".to_owned()));
        }
        let told = async {
            answer.await.unwrap_or_else(|_| {
                Err(PublishError::Unconfirmed(
                    "shut down before it was confirmed".to_owned(),
                ))
            })
        };
        if is_result {
            // A file that cannot take the result now cannot take the job's acknowledgement either: nothing is gained by
            // giving it up.
            return told.await;
        }
        match within(limit, &self.link, told).await {
            Ok(sent) => sent,
            Err(Link::Down(why) | Link::Blocked(why)) if mark.withdraw() => Err(PublishError::Disconnected(why)),
            Err(Link::Up) if mark.withdraw() => Err(PublishError::Disconnected("its turn did not come".to_owned())),
            Err(_) => Err(PublishError::Unconfirmed(format!(
                "not on the disk within {} s",
                limit.as_secs_f32()
            ))),
        }
    }
}

impl Publish for Publisher {
    fn publish(&self, to: Destination, message: Message, limit: Duration) -> BoxFuture<'_, Result<(), PublishError>> {
        let place = match to {
            Destination::Lane(lane) => Place::Queue(Queue::Source(Source::Lane(lane)), due_ms(Duration::ZERO)),
            Destination::Delay(lane, delay) => Place::Queue(Queue::Source(Source::Lane(lane)), due_ms(delay)),
            Destination::Track(delay) => Place::Queue(Queue::Source(Source::Track), due_ms(delay)),
            Destination::Dead => Place::Queue(Queue::Dead, due_ms(Duration::ZERO)),
            Destination::Control => Place::Control,
            Destination::Results(key) => Place::Results(key),
        };
        Box::pin(self.send(place, message, limit))
    }

    fn is_ready(&self) -> bool {
        self.link.borrow().is_up()
    }
}
