//! The control stream, for commands: writes an entry, or reads what is in force.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::time::timeout;

use crate::broker::client::Client;
use crate::broker::{Destination, Followed, Link, Message};
use crate::config::Config;
use crate::control::{Control, Entry, Reader, Rules};

/// A confirm, or the stream's end, is waited for so long.
const LIMIT: Duration = Duration::from_secs(30);

/// Writes an entry; when this returns, whoever follows reads it. `waiting` is told why it takes long.
pub async fn command(config: &Config, entry: &Entry, waiting: impl Fn(&str)) -> anyhow::Result<()> {
    let broker = super::publisher(config).await?;
    // The clock of a publish stands still while the broker takes none; somebody who stops launches must not wait for ever.
    let written = timeout(LIMIT, write(&broker, entry, waiting))
        .await
        .unwrap_or_else(|_| {
            Err(anyhow!(
                "the control stream was not written within {} s: what is in force is as it was",
                LIMIT.as_secs()
            ))
        });
    broker.stop().await;
    written
}

/// Reads the stream to its end.
pub async fn in_force(config: &Config) -> anyhow::Result<Arc<Rules>> {
    let broker = super::publisher(config).await?;
    let read = timeout(LIMIT, read(&broker)).await;
    broker.stop().await;
    read.unwrap_or_else(|_| Err(anyhow!("the control stream was not read within {} s", LIMIT.as_secs())))
}

async fn read(broker: &Client) -> anyhow::Result<Arc<Rules>> {
    let control = Control::default();
    let mut reader = Reader::new(control.clone());
    let mut followed = broker.follow();
    while let Some(next) = followed.recv().await {
        match next {
            Followed::Began => write(broker, &reader.began(), |_| ()).await?,
            Followed::Entry(entry) => {
                // An entry of a newer program is passed over.
                let _ = reader.read(&entry);
            }
            Followed::Lost(why) => bail!("the control stream cannot be read: {why}"),
        }
        if let Ok(rules) = control.known() {
            return Ok(rules);
        }
    }
    bail!("the broker was stopped")
}

async fn write(broker: &Client, entry: &Entry, waiting: impl Fn(&str)) -> anyhow::Result<()> {
    let message = Message::json(entry.encode());
    let (publisher, mut link) = (broker.publisher(), broker.observed().publishing);
    let mut writing = publisher.publish(Destination::Control, message, LIMIT);
    loop {
        tokio::select! {
            written = &mut writing => {
                return written.context("the control stream cannot be written; when no confirm came, the word may be there all the same");
            }
            Ok(()) = link.changed() => {
                if let Link::Blocked(why) = &*link.borrow_and_update() {
                    waiting(why);
                }
            }
        }
    }
}
