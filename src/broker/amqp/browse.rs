//! Reading without taking: dead letters, and the log of results.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions};
use tokio::time::timeout;

use super::super::{BoxFuture, Browse, BrowseError, Message};
use super::{Site, convert, stream};

/// A stream sends this much ahead of our acknowledgements.
const AHEAD: u16 = 200;
/// In the middle of a log that is read the next message is there; at its end nothing says so.
const QUIET: Duration = Duration::from_millis(500);

/// Connects anew for each look.
#[derive(Debug)]
pub(super) struct Browser {
    pub(super) site: Arc<Site>,
}

impl Browser {
    async fn look_at_dead(&self, most: usize) -> Result<Vec<Message>, BrowseError> {
        let connection = self.site.endpoint.connect("browsing").await.map_err(told)?;
        let channel = connection.create_channel().await.map_err(told)?;
        let queue = self.site.names.dead();
        let mut letters = Vec::new();
        while letters.len() < most {
            let options = BasicGetOptions { no_ack: false };
            let got = channel.basic_get(queue.as_str().into(), options).await.map_err(told)?;
            let Some(got) = got else { break };
            letters.push(convert::from_amqp(got.delivery.data, &got.delivery.properties).0);
        }
        // Closing gives them back, in their order; that counts towards a limit of 1,000,000,000.
        let _ = connection.close(200, "bye".into()).await;
        Ok(letters)
    }

    async fn read_results(
        &self,
        after: u64,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<(u64, Message)>, BrowseError> {
        let connection = self.site.endpoint.connect("reading results").await.map_err(told)?;
        let channel = connection.create_channel().await.map_err(told)?;
        channel
            .basic_qos(AHEAD, BasicQosOptions::default())
            .await
            .map_err(told)?;
        let queue = self.site.names.results_log();
        let options = BasicConsumeOptions::default();
        let mut log = channel
            .basic_consume(
                queue.as_str().into(),
                "".into(),
                options,
                stream::From::After(after).arguments(),
            )
            .await
            .map_err(told)?;
        let mut results = Vec::new();
        let mut wait = patience.max(QUIET);
        while results.len() < most
            && let Ok(Some(next)) = timeout(wait, log.next()).await
        {
            wait = QUIET;
            let delivery = next.map_err(told)?;
            let _ = channel
                .basic_ack(delivery.delivery_tag, BasicAckOptions::default())
                .await;
            let (number, message) = stream::numbered(delivery);
            // A stream begins at the chunk that holds the offset, which may be before it.
            if number > after {
                results.push((number, message));
            }
        }
        let _ = connection.close(200, "bye".into()).await;
        Ok(results)
    }
}

impl Browse for Browser {
    fn dead(&self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, BrowseError>> {
        Box::pin(self.look_at_dead(most))
    }

    fn results(
        &self,
        after: u64,
        most: usize,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Vec<(u64, Message)>, BrowseError>> {
        Box::pin(self.read_results(after, most, patience))
    }
}

fn told(error: impl std::fmt::Display) -> BrowseError {
    BrowseError(error.to_string())
}
