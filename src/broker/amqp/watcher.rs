//! Counting for one who only publishes: a connection of its own, for the publishing one says nothing while it is blocked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::{Link, QueueReport};
use super::supervise::{Ended, Session};
use super::{SMALL_FRAME, Site, monitor};

const COUNT_EVERY: Duration = Duration::from_secs(2);

/// The side that counts, across sessions.
pub(super) struct Watcher {
    pub(super) site: Arc<Site>,
    pub(super) report: watch::Sender<QueueReport>,
    pub(super) stop: CancellationToken,
}

impl Watcher {
    async fn watch(&self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let connection = self.site.endpoint.with_frames(SMALL_FRAME).connect("watching").await?;
        link.send_replace(Link::Up);
        Ok(monitor::count(&connection, &self.site.names, &self.report, COUNT_EVERY, 0).await?)
    }
}

impl Session for Watcher {
    async fn run(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let stop = self.stop.clone();
        let watched = stop.run_until_cancelled(self.watch(link)).await;
        // What was seen long ago misleads.
        self.report.send_replace(QueueReport::default());
        watched.unwrap_or(Ok(()))
    }
}
