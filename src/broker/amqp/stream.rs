//! Reading a stream, in order, from a place on.

use std::io;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Event};

use super::super::Message;
use super::super::message::Value;
use super::consumer::Events;
use super::convert;

/// The stream sends this much ahead of our acknowledgements, which are made for a quarter of it at once.
const AHEAD: u16 = 400;
const OFFSET: &str = "x-stream-offset";

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// At the first entry that is kept.
    First,
    /// Among the last entries: with those that were written at once.
    Last,
    /// After so many entries, kept or not.
    After(u64),
    /// With what was written since then, in seconds, and a little of what was before.
    Since(u64),
}

impl From {
    /// As a consumer's argument.
    pub(super) fn arguments(self) -> FieldTable {
        let offset = match self {
            Self::First => AMQPValue::LongString("first".into()),
            Self::Since(second) => AMQPValue::Timestamp(second),
            Self::Last => AMQPValue::LongString("last".into()),
            // Offsets count from 0: what comes after the first so many entries has that offset.
            Self::After(number) => AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX)),
        };
        let mut arguments = FieldTable::default();
        arguments.insert(OFFSET.into(), offset);
        arguments
    }
}

/// A stream that is read.
pub(super) struct Stream<'a, 'b> {
    name: String,
    channel: Channel,
    entries: lapin::Consumer,
    events: &'a mut Events<'b>,
    /// The last entry that came, and how many are not acknowledged.
    last: u64,
    owed: u16,
}

impl<'a, 'b> Stream<'a, 'b> {
    pub(super) async fn open(
        connection: &Connection,
        events: &'a mut Events<'b>,
        name: String,
        from: From,
    ) -> Result<Self, lapin::Error> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let entries = channel
            .basic_consume(name.as_str().into(), "".into(), options, from.arguments())
            .await?;
        Ok(Self {
            name,
            channel,
            entries,
            events,
            last: 0,
            owed: 0,
        })
    }

    /// The next entry. Everything that was read before the connection failed comes before the error does.
    pub(super) async fn next(&mut self) -> Result<Delivery, lapin::Error> {
        let next = match self.entries.next().now_or_never() {
            Some(next) => next,
            None => {
                self.acknowledge().await?;
                self.wait().await?
            }
        };
        let entry = next.ok_or_else(|| {
            io::Error::other(format!(
                "the broker ended the consumer of {}: was it deleted?",
                self.name
            ))
        })??;
        self.last = entry.delivery_tag;
        self.owed += 1;
        if self.owed >= AHEAD / 4 {
            self.acknowledge().await?;
        }
        Ok(entry)
    }

    async fn wait(&mut self) -> Result<Option<Result<Delivery, lapin::Error>>, lapin::Error> {
        loop {
            tokio::select! {
                biased;
                next = self.entries.next() => return Ok(next),
                event = self.events.next() => match event {
                    Some(Event::Error(error)) => return Err(error),
                    None => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                    Some(_) => {}
                },
            }
        }
    }

    async fn acknowledge(&mut self) -> Result<(), lapin::Error> {
        if self.owed > 0 {
            self.owed = 0;
            let options = BasicAckOptions { multiple: true };
            self.channel.basic_ack(self.last, options).await?;
        }
        Ok(())
    }

    /// Reads no further.
    pub(super) async fn close(self) -> Result<(), lapin::Error> {
        self.channel.close(200, "read".into()).await
    }
}

/// An entry with its number, which is its offset from 1 on.
pub(super) fn numbered(entry: Delivery) -> (u64, Message) {
    let (mut message, _) = convert::from_amqp(entry.data, &entry.properties);
    let headers = &mut message.properties.headers;
    let offset = headers.get(OFFSET).and_then(Value::as_int).unwrap_or(0);
    headers.0.retain(|(name, _)| name != OFFSET);
    (u64::try_from(offset).unwrap_or(0) + 1, message)
}
