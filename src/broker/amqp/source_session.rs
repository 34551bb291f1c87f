//! One source in one session: its channel, its consumer, and the way back for settlements.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use lapin::message::Delivery as Delivered;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::super::{Appetite, Delivery, Hold, Settlement, Source};
use super::ack::{self, Order};
use super::{Site, convert};

/// One source in one session.
pub(super) struct SourceSession {
    source: Source,
    queue: String,
    channel: Channel,
    orders: mpsc::UnboundedSender<Order>,
    consumer: Option<lapin::Consumer>,
    prefetch: u16,
}

/// How a delivery is settled over AMQP.
#[derive(Debug)]
struct Tag {
    tag: u64,
    alive: Arc<AtomicBool>,
    orders: mpsc::UnboundedSender<Order>,
    settled: Option<Arc<Notify>>,
}

impl Hold for Tag {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    fn settle(&self, how: Settlement) {
        // An error means that the session is over: the broker has taken the message back already.
        let _ = self.orders.send(Order::Settle(self.tag, how));
        if let Some(settled) = &self.settled {
            settled.notify_one();
        }
    }
}

impl SourceSession {
    pub(super) async fn open(
        connection: &Connection,
        source: Source,
        site: &Site,
        ackers: &TaskTracker,
    ) -> Result<Self, lapin::Error> {
        let channel = connection.create_channel().await?;
        let (orders, settlements) = mpsc::unbounded_channel();
        // An error while writing ends the connection, which the session's own loop sees.
        ackers.spawn({
            let channel = channel.clone();
            async move {
                if let Err(error) = ack::run(channel, settlements).await {
                    tracing::debug!(%source, %error, "settlements can no longer be written: the session is ending");
                }
            }
        });
        Ok(Self {
            source,
            queue: site.names.source(source),
            channel,
            orders,
            consumer: None,
            prefetch: 0,
        })
    }

    /// Starts, stops or re-sizes the consumer.
    pub(super) async fn follow(
        &mut self,
        wanted: Appetite,
        out: &mpsc::UnboundedSender<Delivery>,
        alive: &Arc<AtomicBool>,
    ) -> Result<(), lapin::Error> {
        let wanted = wanted.of(self.source);
        if wanted == self.prefetch {
            return Ok(());
        }
        self.prefetch = wanted;
        if let Some(mut consumer) = self.consumer.take() {
            self.channel
                .basic_cancel(consumer.tag(), BasicCancelOptions::default())
                .await?;
            // What came before the broker heard of it is ours all the same.
            while let Some(delivered) = consumer.next().await {
                self.hand_on(delivered?, out, alive, None);
            }
        }
        // A prefetch of 0 would mean without a limit.
        if wanted > 0 {
            self.channel.basic_qos(wanted, BasicQosOptions::default()).await?;
            let tag = format!("flowlaunch-{}-{}", self.source, uuid::Uuid::new_v4());
            let options = BasicConsumeOptions::default();
            let consumer = self
                .channel
                .basic_consume(
                    self.queue.as_str().into(),
                    tag.as_str().into(),
                    options,
                    FieldTable::default(),
                )
                .await?;
            self.consumer = Some(consumer);
        }
        Ok(())
    }

    /// The consumer's next message; never one while there is no consumer.
    ///
    /// # Errors
    /// The session is over: by an error, or because the consumer was cancelled.
    pub(super) async fn next(&mut self) -> Result<Delivered, lapin::Error> {
        match &mut self.consumer {
            Some(consumer) => consumer.next().await.unwrap_or_else(|| Err(gone(&self.queue))),
            None => std::future::pending().await,
        }
    }

    /// Fetches one message and hands it on; returns when its settlement is written, false when there is none.
    pub(super) async fn fetch_one(
        &self,
        out: &mpsc::UnboundedSender<Delivery>,
        alive: &Arc<AtomicBool>,
    ) -> Result<bool, lapin::Error> {
        let options = BasicGetOptions { no_ack: false };
        let Some(message) = self.channel.basic_get(self.queue.as_str().into(), options).await? else {
            return Ok(false);
        };
        let settled = Arc::new(Notify::new());
        self.hand_on(message.delivery, out, alive, Some(settled.clone()));
        settled.notified().await;
        // Written before the next fetch: that may bring what ends the session, and an acknowledgement that is still
        // gathered would be lost with it, each time, until the broker's limit takes the neighbour.
        self.flush().await;
        Ok(true)
    }

    /// Returns when every settlement so far is written, or cannot be any more.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).is_ok() {
            let _ = flushed.await;
        }
    }

    pub(super) fn hand_on(
        &self,
        delivered: Delivered,
        out: &mpsc::UnboundedSender<Delivery>,
        alive: &Arc<AtomicBool>,
        settled: Option<Arc<Notify>>,
    ) {
        let (message, count) = convert::from_amqp(delivered.data, &delivered.properties);
        // On a first delivery the header is not the broker's: a producer wrote it.
        let count = if delivered.redelivered { count } else { 0 };
        let hold = Tag {
            tag: delivered.delivery_tag,
            alive: alive.clone(),
            orders: self.orders.clone(),
            settled,
        };
        // Nobody listens any more only while the process ends; then the delivery's drop returns it.
        let _ = out.send(Delivery::new(message, delivered.redelivered, count, Arc::new(hold)));
    }
}

/// The broker cancelled the consumer: its queue was deleted. The next session declares it again.
fn gone(queue: &str) -> lapin::Error {
    io::Error::other(format!(
        "the broker cancelled the consumer of {queue}: was the queue deleted?"
    ))
    .into()
}
