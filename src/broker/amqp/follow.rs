//! Following the control stream: all that is kept, then what is written. A connection of its own, so that neither an entry
//! that nobody can read ends the jobs' session, nor a job that nobody can read this one.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::super::{Followed, Link};
use super::consumer::Events;
use super::stream::{From, Stream};
use super::supervise::{Ended, Session};
use super::{SMALL_FRAME, Site, declare};

/// The side that follows, across sessions.
pub(super) struct Follower {
    pub(super) site: Arc<Site>,
    pub(super) out: mpsc::UnboundedSender<Followed>,
    pub(super) stop: CancellationToken,
}

impl Follower {
    async fn follow(&self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let connection = self.site.endpoint.with_frames(SMALL_FRAME).connect("following").await?;
        let mut events: Events<'_> = pin!(connection.events_listener());
        declare::declare(&connection, &self.site.topology, self.site.declare).await?;
        let name = self.site.names.control();
        let mut stream = Stream::open(&connection, &mut events, name, From::First).await?;
        link.send_replace(Link::Up);
        let _ = self.out.send(Followed::Began);
        loop {
            let entry = stream.next().await?;
            let _ = self.out.send(Followed::Entry(entry.data.into()));
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
