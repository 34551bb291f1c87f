//! The control stream, for commands: writes an entry, or reads what is in force.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::time::timeout;

use crate::broker::client::Client;
use crate::broker::{Destination, Followed, Message, Properties};
use crate::config::Config;
use crate::control::{Control, Entry, Reader, Rules};

/// A confirm, or the stream's end, is waited for so long.
const LIMIT: Duration = Duration::from_secs(30);

/// Writes an entry; when this returns, whoever follows reads it.
pub async fn command(config: &Config, entry: &Entry) -> anyhow::Result<()> {
    let broker = super::publisher(config).await?;
    let written = write(&broker, entry).await;
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
            Followed::Began => write(broker, &reader.began()).await?,
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

async fn write(broker: &Client, entry: &Entry) -> anyhow::Result<()> {
    let message = Message {
        body: entry.encode().into(),
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            ..Properties::default()
        },
    };
    let publisher = broker.publisher();
    publisher
        .publish(Destination::Control, message, LIMIT)
        .await
        .context("the control stream cannot be written; when no confirm came, the word may be there all the same")
}
