//! What a test does to a broker by hand: publish, look, drain, read the results.

use std::collections::BTreeMap;
use std::time::Duration;

use flowlaunch::broker::topology::{Names, Topology};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};

use super::rabbit::Node;
use super::wait::{SOON, eventually};

/// A connection of the test's.
pub struct Amqp {
    connection: Connection,
    channel: Channel,
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    Confirmed,
    /// Confirmed, but to no queue: only a mandatory one comes back.
    Returned,
    Nacked,
}

/// A message as it lay in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    pub exchange: String,
    pub routing_key: String,
    pub redelivered: bool,
    pub body: Vec<u8>,
    pub properties: BasicProperties,
}

impl Message {
    fn new(delivery: lapin::message::Delivery) -> Self {
        Self {
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            redelivered: delivery.redelivered,
            body: delivery.data,
            properties: delivery.properties,
        }
    }

    pub fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.properties.headers().as_ref()?.inner().get(name)
    }

    /// A header that is a string.
    pub fn header_str(&self, name: &str) -> Option<String> {
        match self.header(name)? {
            AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            _ => None,
        }
    }

    /// A header that is a whole number of any width.
    pub fn header_int(&self, name: &str) -> Option<i64> {
        match *self.header(name)? {
            AMQPValue::ShortShortInt(n) => Some(n.into()),
            AMQPValue::ShortShortUInt(n) => Some(n.into()),
            AMQPValue::ShortInt(n) => Some(n.into()),
            AMQPValue::ShortUInt(n) => Some(n.into()),
            AMQPValue::LongInt(n) => Some(n.into()),
            AMQPValue::LongUInt(n) => Some(n.into()),
            AMQPValue::LongLongInt(n) => Some(n),
            _ => None,
        }
    }

    pub fn message_id(&self) -> Option<String> {
        self.properties.message_id().as_ref().map(ToString::to_string)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Amqp {
    pub async fn connect(url: &str) -> Self {
        Self::try_connect(url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub async fn try_connect(url: &str) -> lapin::Result<Self> {
        let name = "flowlaunch test".into();
        let connection = Connection::connect(url, ConnectionProperties::default().with_connection_name(name)).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel })
    }

    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A durable queue of that type: `quorum`, `stream` or `classic`.
    pub async fn declare(&self, queue: &str, kind: &str) {
        self.declare_with(queue, kind, FieldTable::default()).await;
    }

    pub async fn declare_with(&self, queue: &str, kind: &str, mut arguments: FieldTable) {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        let declared = self
            .channel
            .queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)
            .await;
        declared.unwrap_or_else(|error| panic!("{queue}: {error}"));
    }

    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        self.channel
            .queue_bind(queue.into(), exchange.into(), key.into(), options, arguments)
            .await
            .unwrap_or_else(|error| panic!("{queue} to {exchange}: {error}"));
    }

    pub async fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        self.channel
            .queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default())
            .await
            .unwrap_or_else(|error| panic!("{queue} from {exchange}: {error}"));
    }

    /// A queue that has room for one message and refuses the next.
    pub async fn declare_full(&self, queue: &str) {
        let mut limits = FieldTable::default();
        limits.insert("x-max-length".into(), AMQPValue::LongInt(1));
        limits.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        self.declare_with(queue, "classic", limits).await;
    }

    /// Publishes one message as mandatory, persistent unless the properties say otherwise, and awaits its confirm.
    pub async fn publish(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) -> Published {
        self.publish_with(exchange, key, body, properties, true).await
    }

    pub async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
        mandatory: bool,
    ) -> Published {
        let properties = if properties.delivery_mode().is_some() {
            properties
        } else {
            properties.with_delivery_mode(2)
        };
        let options = BasicPublishOptions {
            mandatory,
            ..BasicPublishOptions::default()
        };
        let confirm = self
            .channel
            .basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirm = confirm
            .await
            .unwrap_or_else(|error| panic!("publish to {exchange} {key}: {error}"));
        match confirm
            .await
            .unwrap_or_else(|error| panic!("confirm from {exchange} {key}: {error}"))
        {
            Confirmation::Ack(None) => Published::Confirmed,
            Confirmation::Ack(Some(_)) => Published::Returned,
            Confirmation::Nack(_) => Published::Nacked,
            Confirmation::NotRequested => panic!("the channel has no confirms"),
        }
    }

    /// Many at once, each confirmed; for what has to stand in a queue before a test begins.
    pub async fn publish_all(&self, exchange: &str, key: &str, bodies: impl IntoIterator<Item = Vec<u8>>) {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut confirms = Vec::new();
        for body in bodies {
            let properties = BasicProperties::default().with_delivery_mode(2);
            let confirm = self
                .channel
                .basic_publish(exchange.into(), key.into(), options, &body, properties);
            confirms.push(confirm.await.unwrap());
        }
        for confirm in confirms {
            let confirmed = confirm.await.unwrap();
            assert!(
                matches!(confirmed, Confirmation::Ack(None)),
                "{exchange} {key}: {confirmed:?}"
            );
        }
    }

    /// How many messages are ready in it; `None` when there is no such queue.
    pub async fn count(&self, queue: &str) -> Option<u32> {
        self.look(queue).await.map(|(messages, _)| messages)
    }

    /// Messages that are ready, and consumers.
    pub async fn look(&self, queue: &str) -> Option<(u32, u32)> {
        // A refused look ends its channel: each has one of its own.
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions::durable().passive();
        let declared = channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await;
        let _ = channel.close(200, "seen".into()).await;
        match declared {
            Ok(queue) => Some((queue.message_count(), queue.consumer_count())),
            Err(error) if error.to_string().contains("NOT_FOUND") => None,
            Err(error) => panic!("{queue}: {error}"),
        }
    }

    /// Which of the product's exchanges and queues stand under a prefix.
    pub async fn standing(&self, prefix: &str) -> Vec<String> {
        let Topology { exchanges, queues, .. } = topology(prefix);
        let mut standing = Vec::new();
        for exchange in exchanges {
            if self.has_exchange(&exchange.name).await {
                standing.push(format!("exchange {}", exchange.name));
            }
        }
        for queue in queues {
            if self.count(&queue.name).await.is_some() {
                standing.push(format!("queue {}", queue.name));
            }
        }
        standing
    }

    async fn has_exchange(&self, exchange: &str) -> bool {
        let channel = self.connection.create_channel().await.unwrap();
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared = channel
            .exchange_declare(exchange.into(), ExchangeKind::Direct, options, FieldTable::default())
            .await;
        let _ = channel.close(200, "seen".into()).await;
        match declared {
            Ok(()) => true,
            Err(error) if error.to_string().contains("NOT_FOUND") => false,
            Err(error) => panic!("{exchange}: {error}"),
        }
    }

    pub async fn wait_count(&self, queue: &str, wanted: u32) {
        eventually(&format!("{wanted} messages in {queue}"), SOON, async || {
            match self.count(queue).await {
                Some(count) if count == wanted => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
    }

    /// Takes what is in the queue, for good.
    pub async fn drain(&self, queue: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(got) = self
            .channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
        {
            messages.push(Message::new(got.delivery));
        }
        messages
    }

    /// Looks at what is in the queue and gives it back, which counts towards a delivery limit.
    pub async fn browse(&self, queue: &str) -> Vec<Message> {
        let channel = self.connection.create_channel().await.unwrap();
        let mut messages = Vec::new();
        while let Some(got) = channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: false })
            .await
            .unwrap()
        {
            messages.push(Message::new(got.delivery));
        }
        channel.close(200, "seen".into()).await.unwrap();
        messages
    }

    /// The results of a prefix from the first on, as JSON: reads until there are `wanted`, and then on until none has
    /// come for a second, so that one too many shows as well.
    pub async fn results(&self, prefix: &str, wanted: usize, deadline: Duration) -> Vec<serde_json::Value> {
        let queue = format!("{prefix}.results.log");
        let messages = self.read_stream(&queue, wanted, deadline).await;
        messages.iter().map(Message::json).collect()
    }

    /// A stream from its first message on: at least `wanted`, then until it is quiet for a second.
    pub async fn read_stream(&self, queue: &str, wanted: usize, deadline: Duration) -> Vec<Message> {
        let channel = self.connection.create_channel().await.unwrap();
        channel.basic_qos(500, BasicQosOptions::default()).await.unwrap();
        let mut offset = FieldTable::default();
        offset.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        let consumer = channel
            .basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), offset)
            .await;
        let mut consumer = consumer.unwrap_or_else(|error| panic!("{queue}: {error}"));
        let begun = tokio::time::Instant::now();
        let mut messages = Vec::new();
        loop {
            let patience = if messages.len() < wanted {
                deadline.saturating_sub(begun.elapsed())
            } else {
                Duration::from_secs(1)
            };
            let Ok(next) = tokio::time::timeout(patience, consumer.next()).await else {
                break;
            };
            let delivery = next.unwrap_or_else(|| panic!("{queue}: the consumer ended")).unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            messages.push(Message::new(delivery));
        }
        let _ = channel.close(200, "read".into()).await;
        let count = messages.len();
        assert!(
            count >= wanted,
            "{queue} holds {count} messages after {deadline:?}, not {wanted}"
        );
        messages
    }
}

/// What the product has on a broker under a prefix; how long it keeps results does not matter here.
fn topology(prefix: &str) -> Topology {
    Topology::new(&Names::new(prefix), Duration::from_secs(60))
}

/// Every queue whose name begins with `<prefix>.`, with its messages, ready and unacknowledged, as the node counts them
/// (a quorum queue's count follows by up to five seconds: wait for it). On a node that was given by its URL the product's
/// own queues alone, with what is ready.
pub async fn queues(node: &Node, prefix: &str) -> BTreeMap<String, u64> {
    if !node.is_ours() {
        return looked_at(node, prefix).await;
    }
    let listed = node.ctl(&["-q", "--no-table-headers", "list_queues", "name", "messages"]);
    let dotted = format!("{prefix}.");
    listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(name, _)| name.starts_with(&dotted))
        .map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap_or(0)))
        .collect()
}

async fn looked_at(node: &Node, prefix: &str) -> BTreeMap<String, u64> {
    let amqp = Amqp::connect(node.url()).await;
    let mut seen = BTreeMap::new();
    // A message that passes from queue to queue can be missed by one look, and hardly by two.
    for _ in 0..2 {
        for queue in topology(prefix).queues {
            if let Some(count) = amqp.count(&queue.name).await {
                let most: &mut u64 = seen.entry(queue.name).or_default();
                *most = (*most).max(count.into());
            }
        }
    }
    seen
}

/// Deletes every queue and exchange whose name begins with `<prefix>.`; on a node that was given by its URL those of the
/// product, and of the strangers that the tests play.
pub async fn delete_all(node: &Node, prefix: &str) -> lapin::Result<()> {
    let dotted = format!("{prefix}.");
    let names = |what: &str| -> Vec<String> {
        if node.is_ours() {
            let listed = node
                .try_ctl(&["-q", "--no-table-headers", what, "name"])
                .unwrap_or_default();
            let theirs = listed.lines().filter(|name| name.starts_with(&dotted));
            return theirs.map(str::to_owned).collect();
        }
        let Topology { exchanges, queues, .. } = topology(prefix);
        if what == "list_exchanges" {
            exchanges.into_iter().map(|exchange| exchange.name).collect()
        } else {
            let strangers = ["spy", "strangers-queue"].map(|name| dotted.clone() + name);
            queues.into_iter().map(|queue| queue.name).chain(strangers).collect()
        }
    };
    let (queues, exchanges) = (names("list_queues"), names("list_exchanges"));
    let amqp = Amqp::try_connect(node.url()).await?;
    for name in queues {
        amqp.channel
            .queue_delete(name.into(), QueueDeleteOptions::default())
            .await?;
    }
    for name in exchanges {
        amqp.channel
            .exchange_delete(name.into(), ExchangeDeleteOptions::default())
            .await?;
    }
    amqp.connection.close(200, "done".into()).await
}
