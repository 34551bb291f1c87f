//! Following the results' log, from a number on. A connection of its own, as for the control stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::super::{FollowedResult, Link};
use super::consumer::{Events, is_unreadable, saw_unreadable};
use super::stream::{From, Stream, numbered};
use super::supervise::{Ended, Session};
use super::{Site, declare};

/// Results that wait for their reader.
pub(super) const WAITING: usize = 1000;
/// Room for what a result of ours has in its headers: up to 32 KiB of others', 2 KiB of ours and the properties.
const FRAME: u32 = 65_536;
/// What was written at once comes at once: so long after the last of it nothing more of it comes.
const QUIET: Duration = Duration::from_secs(2);
/// Closing, when nobody follows any more.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The side that follows, across sessions.
pub(super) struct Follower {
    site: Arc<Site>,
    /// The number of the last result that was handed on.
    after: u64,
    /// Before the first one was: those before this time are of no interest.
    since: Option<u64>,
    out: mpsc::Sender<FollowedResult>,
    stop: CancellationToken,
    /// The last session ended at a result that lapin cannot read: a stranger's, for ours can be read.
    suspicious: bool,
}

impl Follower {
    pub(super) fn new(
        site: Arc<Site>,
        after: u64,
        since: Option<u64>,
        out: mpsc::Sender<FollowedResult>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            site,
            after,
            since,
            out,
            stop,
            suspicious: false,
        }
    }

    async fn follow(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let connection = self
            .site
            .endpoint
            .with_frames(FRAME)
            .connect("following results")
            .await?;
        let mut events: Events<'_> = pin!(connection.events_listener());
        declare::declare(&connection, &self.site.topology, self.site.declare).await?;
        link.send_replace(Link::Up);
        let after = self.after;
        let Err(error) = self.read(&connection, &mut events).await else {
            let _ = timeout(CLOSE_LIMIT, connection.close(200, "bye".into())).await;
            return Ok(());
        };
        if is_unreadable(&error) || saw_unreadable(&mut events).await {
            return Err(self.stumbled(self.after == after));
        }
        Err(error.into())
    }

    /// Hands on what comes, until nobody wants it any more.
    async fn read(&mut self, connection: &Connection, events: &mut Events<'_>) -> Result<(), lapin::Error> {
        let out = self.out.clone();
        let mut going = out.send(FollowedResult::Began).await;
        if self.after > 0 && !self.suspicious && self.is_anew(connection, events).await? {
            warn!(
                after = self.after,
                "the results' log was made anew: it is read from its first"
            );
            self.after = 0;
        }
        let from = match self.since {
            Some(second) if self.after == 0 => From::Since(second),
            Some(_) | None => From::After(self.after),
        };
        let name = self.site.names.results_log();
        let mut log = Stream::open(connection, events, name, from).await?;
        while going.is_ok() {
            let entry = tokio::select! {
                entry = log.next() => entry?,
                () = out.closed() => break,
            };
            let (number, message) = numbered(entry);
            // A stream begins at the chunk that holds the offset, which may be before it.
            if number > self.after {
                going = out.send(FollowedResult::Result(number, message)).await;
                self.after = number;
                self.suspicious = false;
            }
        }
        Ok(())
    }

    /// Whether the log ends before the last result that was handed on. A reader that begins beyond its end is told nothing,
    /// and gets nothing until it has grown so far: so the last that are there are looked at first. An empty one has nothing
    /// to miss yet, and the first that comes to it tells.
    async fn is_anew(&self, connection: &Connection, events: &mut Events<'_>) -> Result<bool, lapin::Error> {
        let mut log = Stream::open(connection, events, self.site.names.results_log(), From::Last).await?;
        let mut ends_before = false;
        let mut patience = Duration::MAX;
        while let Ok(entry) = timeout(patience, log.next()).await {
            let (number, _) = numbered(entry?);
            ends_before = number < self.after;
            if !ends_before {
                break;
            }
            patience = QUIET;
        }
        log.close().await?;
        Ok(ends_before)
    }

    /// A result could not be read off the wire. When a session began with it, it is the next number: it is left out, for
    /// the others must not wait behind it for ever.
    fn stumbled(&mut self, at_once: bool) -> Ended {
        if self.suspicious && at_once {
            self.after += 1;
            warn!(
                number = self.after,
                "a result that cannot be read off the wire was left out: is it of another program?"
            );
        }
        self.suspicious = true;
        Ended {
            why: "a result came that cannot be read off the wire".to_owned(),
            at_once: true,
        }
    }
}

impl Session for Follower {
    async fn run(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let (stop, out) = (self.stop.clone(), self.out.clone());
        if out.is_closed() {
            return Ok(());
        }
        let followed = stop.run_until_cancelled(async {
            let followed = self.follow(link).await;
            if let Err(ended) = &followed {
                let _ = out.send(FollowedResult::Lost(ended.why.clone())).await;
            }
            followed
        });
        followed.await.unwrap_or(Ok(()))
    }
}
