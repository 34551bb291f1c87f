//! The consuming connection: deliveries in, settlements out. It never publishes.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::{Connection, ErrorKind, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::super::{Appetite, Delivery, Link, QueueReport, Source};
use super::publisher::Publisher;
use super::source_session::SourceSession;
use super::supervise::{Ended, Session};
use super::{Site, declare, monitor};

/// How long the sources must be empty until a session that goes one by one trusts them again.
const QUIET: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Writing the last settlements and closing, when asked to stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The consuming side, across sessions.
pub(super) struct Consumer {
    site: Arc<Site>,
    sources: [mpsc::UnboundedSender<Delivery>; 3],
    appetite: watch::Receiver<Appetite>,
    taking: watch::Sender<Appetite>,
    stop: CancellationToken,
    queues: watch::Sender<QueueReport>,
    publisher: Arc<Publisher>,
    /// The last session ended at a frame that lapin cannot read (a `message_id` or header key that is not UTF-8, a
    /// header larger than a frame). Whatever was in our hands went back with its delivery count raised, and the message
    /// comes again; so the next sessions take one message at a time, and only the culprit pays until the broker's
    /// delivery limit makes it a dead letter.
    suspicious: bool,
}

/// Marks the session's deliveries as lost when the session ends, however it ends.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What a connection tells of itself.
pub(super) type Events<'a> = Pin<&'a mut (dyn Stream<Item = Event> + Send)>;

impl Consumer {
    pub(super) fn new(
        site: Arc<Site>,
        sources: [mpsc::UnboundedSender<Delivery>; 3],
        appetite: watch::Receiver<Appetite>,
        taking: watch::Sender<Appetite>,
        stop: CancellationToken,
        queues: watch::Sender<QueueReport>,
        publisher: Arc<Publisher>,
    ) -> Self {
        Self {
            site,
            sources,
            appetite,
            taking,
            stop,
            queues,
            publisher,
            suspicious: false,
        }
    }

    async fn session(
        &mut self,
        connection: &Connection,
        events: &mut Events<'_>,
        ackers: &TaskTracker,
        alive: &Arc<AtomicBool>,
    ) -> Result<(), lapin::Error> {
        let open = |source| SourceSession::open(connection, source, &self.site, ackers);
        let [normal, bulk, track] = Source::ALL.map(open);
        let mut sources = [normal.await?, bulk.await?, track.await?];
        let site = self.site.clone();
        let queues = self.queues.clone();
        let publisher = self.publisher.clone();
        let watching = pin!(monitor::run(connection, &site, &queues, &publisher));
        let stop = self.stop.clone();
        let failed = async {
            loop {
                match events.next().await {
                    Some(Event::Error(error)) => break error,
                    None => break lapin::Error::from(io::Error::from(io::ErrorKind::ConnectionAborted)),
                    Some(_) => {}
                }
            }
        };
        let work = async {
            if self.suspicious {
                self.one_by_one(&sources, alive).await?;
                self.suspicious = false;
                info!("nothing unreadable came any more: taking many messages at once again");
            }
            self.stream(&mut sources, alive).await
        };
        let ended = tokio::select! {
            error = failed => Err(error),
            error = watching => Err(error),
            ended = work => ended,
            () = stop.cancelled() => Ok(()),
        };
        if ended.is_ok() {
            // A clean end: what is settled is written, then the channel's closing returns the rest to its queue.
            for source in &sources {
                let _ = timeout(CLOSE_LIMIT, source.flush()).await;
            }
        }
        ended
    }

    /// The ordinary way: a consumer a source.
    async fn stream(&mut self, sources: &mut [SourceSession; 3], alive: &Arc<AtomicBool>) -> Result<(), lapin::Error> {
        let mut appetite = self.appetite.clone();
        appetite.mark_changed();
        loop {
            let [normal, bulk, track] = sources;
            let delivered = tokio::select! {
                biased;
                changed = appetite.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let wanted = *appetite.borrow_and_update();
                    // Nothing is said only when it is true already, anything else as soon as it may be.
                    if wanted != Appetite::Nothing {
                        self.taking.send_replace(wanted);
                    }
                    for (source, out) in sources.iter_mut().zip(&self.sources) {
                        source.follow(wanted, out, alive).await?;
                    }
                    self.taking.send_replace(wanted);
                    continue;
                }
                delivered = normal.next() => (normal, delivered, &self.sources[0]),
                delivered = bulk.next() => (bulk, delivered, &self.sources[1]),
                delivered = track.next() => (track, delivered, &self.sources[2]),
            };
            let (source, delivered, out) = delivered;
            source.hand_on(delivered?, out, alive, None);
        }
    }

    /// The careful way, after a message that lapin could not read: fetch one, wait until it is settled, fetch the next.
    /// What could be read is worked on as ever; the culprit ends the session with nothing else in our hands. Returns
    /// when of each source as many were read as were in danger, or when there were no more for a while.
    async fn one_by_one(&self, sources: &[SourceSession; 3], alive: &Arc<AtomicBool>) -> Result<(), lapin::Error> {
        let mut appetite = self.appetite.clone();
        let mut read = [0_u32; 3];
        let mut quiet = Duration::ZERO;
        loop {
            let wanted = *appetite.borrow_and_update();
            if wanted == Appetite::Nothing {
                self.taking.send_replace(Appetite::Nothing);
                if appetite.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let in_danger = Source::ALL.map(|source| u32::from(wanted.of(source)));
            if (0..read.len()).all(|source| read[source] > in_danger[source]) || quiet >= QUIET {
                return Ok(());
            }
            let mut found = false;
            // In turn, and neither further than it was in danger: the other sources' neighbours, counted once more for each
            // culprit of this one, would pass for what kills workers.
            let mut order = [0, 1, 2];
            order.sort_by_key(|source| read[*source]);
            let dangerous = |source: &usize| in_danger[*source] > 0 && read[*source] <= in_danger[*source];
            for index in order.into_iter().filter(dangerous) {
                let (source, out) = (&sources[index], &self.sources[index]);
                // Told before the fetch: what it brings must not come to somebody who was told that nothing would.
                self.taking.send_replace(Appetite::all(1));
                if source.fetch_one(out, alive).await? {
                    found = true;
                    read[index] += 1;
                    break;
                }
            }
            if found {
                quiet = Duration::ZERO;
            } else {
                sleep(LOOK_AGAIN).await;
                quiet += LOOK_AGAIN;
            }
        }
    }
}

impl Session for Consumer {
    async fn run(&mut self, link: &watch::Sender<Link>) -> Result<(), Ended> {
        let stop = self.stop.clone();
        let connection = tokio::select! {
            connection = self.site.endpoint.connect("consuming") => connection?,
            () = stop.cancelled() => return Ok(()),
        };
        let mut events: Events<'_> = pin!(connection.events_listener());
        if !self.suspicious {
            declare::declare(&connection, &self.site.topology, self.site.declare).await?;
        }
        link.send_replace(Link::Up);
        let alive = Alive(Arc::new(AtomicBool::new(true)));
        let ackers = TaskTracker::new();
        let ended = self.session(&connection, &mut events, &ackers, &alive.0).await;
        drop(alive);
        self.taking.send_replace(Appetite::Nothing);
        let unreadable = ended.as_ref().is_err_and(is_unreadable) || saw_unreadable(&mut events).await;
        let _ = timeout(CLOSE_LIMIT, connection.close(200, "bye".into())).await;
        match ended {
            Ok(()) => Ok(()),
            Err(_) if unreadable => {
                if !self.suspicious {
                    warn!(
                        "a message came that cannot be read off the wire: taking one at a time until it is dead-lettered"
                    );
                }
                self.suspicious = true;
                Err(Ended {
                    why: "a message came that cannot be read off the wire".to_owned(),
                    at_once: true,
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The error that says that bytes came which lapin cannot read, or more of them than a frame may have.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign, non-exhaustive enum")]
pub(super) fn is_unreadable(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ParsingError(_) => true,
        ErrorKind::ProtocolError(error) => {
            matches!(
                error.kind(),
                AMQPErrorKind::Hard(AMQPHardError::FRAMEERROR | AMQPHardError::SYNTAXERROR)
            )
        }
        _ => false,
    }
}

/// Several tasks see a connection's end, not all of them with its cause: ask the events too.
pub(super) async fn saw_unreadable(events: &mut Events<'_>) -> bool {
    while let Ok(Some(event)) = timeout(Duration::from_millis(50), events.next()).await {
        if matches!(event, Event::Error(error) if is_unreadable(&error)) {
            return true;
        }
    }
    false
}
