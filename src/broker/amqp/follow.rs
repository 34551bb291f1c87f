//! Following the control stream: all that is kept, then what is written. A connection of its own, so that neither an entry
//! that nobody can read ends the jobs' session, nor a job that nobody can read this one.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use lapin::Event;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::{Followed, Link};
use super::supervise::{Ended, Session};
use super::{Site, declare};

/// The stream sends this much ahead of our acknowledgements.
const AHEAD: u16 = 200;

/// The side that follows, across sessions.
pub(super) struct Follower {
    pub(super) site: Arc<Site>,
    pub(super) out: mpsc::UnboundedSender<Followed>,
    pub(super) stop: CancellationToken,
}

impl Follower {
    async fn follow(&self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let connection = self.site.endpoint.small().connect("following").await?;
        let mut events = pin!(connection.events_listener());
        declare::declare(&connection, &self.site.topology, self.site.declare).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let mut first = FieldTable::default();
        first.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        let options = BasicConsumeOptions::default();
        let stream = self.site.names.control();
        let mut entries = channel
            .basic_consume(stream.as_str().into(), "".into(), options, first)
            .await?;
        link.send_replace(Link::Up);
        let _ = self.out.send(Followed::Began);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Event::Error(error)) => return Err(error.into()),
                    None => return Err("the connection is gone".into()),
                    Some(_) => {}
                },
                entry = entries.next() => {
                    let Some(entry) = entry else {
                        return Err(format!("the broker ended the consumer of {stream}: was it deleted?").into());
                    };
                    let entry = entry?;
                    let tag = entry.delivery_tag;
                    let _ = self.out.send(Followed::Entry(entry.data.into()));
                    channel.basic_ack(tag, BasicAckOptions::default()).await?;
                }
            }
        }
    }
}

impl Session for Follower {
    async fn run(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let stop = self.stop.clone();
        let Some(followed) = stop.run_until_cancelled(self.follow(link)).await else {
            return Ok(());
        };
        if let Err(ended) = &followed {
            let _ = self.out.send(Followed::Lost(ended.why.clone()));
        }
        followed
    }
}
