//! The one who writes: a thread that gathers what everybody wants written into one transaction after the other.
//!
//! A commit costs a write to the disk, whatever is in it; so while one is under way the next one is gathered. Nobody is told
//! that something is done before its commit is on the disk.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tokio::sync::{Notify, oneshot, watch};

use super::super::{Link, Message, PublishError, Settlement, Source};
use super::lease::{self, Estate, Lease};
use super::store::{Batch, Holder, OpenError, Queue, Store, Writing, now_ms};

/// How soon it is seen that another process has written something.
const LOOK: Duration = Duration::from_millis(10);
/// Between looks for processes that are gone.
const SWEEP: Duration = Duration::from_secs(1);
/// Between looks for results that are old enough to be forgotten; some of them each time.
const PRUNE: Duration = Duration::from_secs(1);
/// Before a transaction that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// After each transaction, so that another process gets its turn at the file; what comes meanwhile goes with the next one.
const GAP: Duration = Duration::from_micros(500);
/// One transaction takes this many orders at most, so that others get their turn at the file.
const MOST: usize = 2_000;

/// Where something is to be put.
#[derive(Debug)]
pub(super) enum Place {
    Queue(Queue, i64),
    Results(String),
    Control,
}

/// Whether a publish is certainly not there.
#[derive(Debug, Default)]
pub(super) struct Mark(AtomicU8);

impl Mark {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// The one who asked gives up: true when it has not been, and will not be, written.
    pub(super) fn withdraw(&self) -> bool {
        self.0
            .compare_exchange(Self::WAITING, Self::WITHDRAWN, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// It is about to be written: false when it was withdrawn.
    fn take(&self) -> bool {
        self.0
            .compare_exchange(Self::WAITING, Self::TAKEN, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|was| was == Self::TAKEN, |_| true)
    }

    /// It was certainly not written after all.
    fn put_back(&self) {
        let _ = self
            .0
            .compare_exchange(Self::TAKEN, Self::WAITING, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// A publish.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) place: Place,
    pub(super) message: Message,
    pub(super) mark: Arc<Mark>,
    pub(super) reply: oneshot::Sender<Result<(), PublishError>>,
}

/// What somebody wants written.
#[derive(Debug)]
pub(super) enum Order {
    Publish(Box<Parcel>),
    Claim {
        source: Source,
        room: usize,
        reply: oneshot::Sender<Batch>,
    },
    Settle {
        id: i64,
        how: Settlement,
    },
    /// Give back all that is held, and hold nothing any more.
    Leave {
        reply: oneshot::Sender<()>,
    },
    /// Write what was asked for before, then end.
    End {
        reply: oneshot::Sender<()>,
    },
}

impl Order {
    fn is_withdrawn(&self) -> bool {
        match self {
            Self::Publish(parcel) => !parcel.mark.take(),
            Self::Claim { reply, .. } => reply.is_closed(),
            Self::Settle { .. } | Self::Leave { .. } | Self::End { .. } => false,
        }
    }
}

/// What came of an order, to be told once it is on the disk.
enum Done {
    Nothing,
    Claimed(Batch),
}

/// The thread's state.
pub(super) struct Keeper {
    store: Store,
    orders: Receiver<Order>,
    folder: PathBuf,
    /// Our number and our lock, while we consume.
    holder: Option<(i64, Lease)>,
    link: watch::Sender<Link>,
    /// Told when there may be something new to claim.
    news: Arc<Notify>,
    keep: Duration,
    ended: bool,
    /// Which file it is, whatever it is called by now.
    file: Option<(u64, u64)>,
    /// Holders that cannot be told from living ones, as was said once.
    doubtful: HashSet<i64>,
}

// A panic is a bug of ours; without this the link would stay up, and a worker that gets and settles nothing would pass for
// one that is ready.
impl Drop for Keeper {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.down(Link::Down(
                "the thread that writes the file died, which is a bug: start this process again".to_owned(),
            ));
        }
    }
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        orders: Receiver<Order>,
        link: watch::Sender<Link>,
        news: Arc<Notify>,
        keep: Duration,
    ) -> Self {
        Self {
            folder: lease::folder(store.path()),
            file: identity(store.path()),
            doubtful: HashSet::new(),
            store,
            orders,
            holder: None,
            link,
            news,
            keep,
            ended: false,
        }
    }

    /// Becomes one who can hold messages.
    pub(super) fn join(&mut self) -> anyhow::Result<()> {
        use anyhow::Context as _;

        // Locked first: from its commit on anybody may look whether we live. A crash between leaves a lock file that
        // names nobody.
        let lease =
            Lease::take(&self.folder).with_context(|| format!("cannot keep a lock in {}", self.folder.display()))?;
        let joined = self.store.commit(|writing| writing.join(lease.name(), true));
        match joined {
            Ok(id) => self.holder = Some((id, lease)),
            Err(error) => {
                lease.end();
                return Err(OpenError::of(self.store.path(), &error).into());
            }
        }
        self.sweep()
            .map_err(|error| OpenError::of(self.store.path(), &error).into())
    }

    /// Works until nobody can ask for anything any more.
    pub(super) fn run(mut self) {
        let mut seen = None;
        let mut swept = Instant::now();
        let mut pruned = Instant::now();
        while !self.ended {
            match self.orders.recv_timeout(LOOK) {
                Ok(first) => self.write(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let upkeep = self.upkeep(&mut seen, &mut swept, &mut pruned);
            if let Err(error) = upkeep {
                self.trouble(&error);
                std::thread::sleep(AGAIN);
            }
        }
    }

    fn upkeep(
        &mut self,
        seen: &mut Option<i64>,
        swept: &mut Instant,
        pruned: &mut Instant,
    ) -> Result<(), rusqlite::Error> {
        if self.is_replaced() {
            self.replaced();
            std::thread::sleep(AGAIN);
            return Ok(());
        }
        let version = self.store.data_version()?;
        if seen.replace(version) != Some(version) {
            self.news.notify_one();
        }
        if !self.link.borrow().is_up() {
            // Whoever gave up took his order along: only a write tells that the next one would succeed.
            self.store.commit(|writing| writing.touch())?;
            self.works();
        }
        if self.holder.is_some() && swept.elapsed() >= SWEEP {
            *swept = Instant::now();
            self.sweep()?;
        }
        if pruned.elapsed() >= PRUNE {
            *pruned = Instant::now();
            let keep = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
            let before = now_ms().saturating_sub(keep);
            if self.store.oldest_result()?.is_some_and(|oldest| oldest < before) {
                // What is left goes the next time round, with room for others between.
                if self.store.commit(|writing| writing.prune(before))? {
                    *pruned = pruned.checked_sub(PRUNE).unwrap_or(*pruned);
                }
            }
            self.store.shrink()?;
        }
        Ok(())
    }

    /// Writes what is wanted, all of it in one transaction, and tells those who wait. Tries until it succeeds: whoever
    /// gives up meanwhile is left out.
    fn write(&mut self, first: Order) {
        let mut orders = vec![first];
        while orders.len() < MOST
            && let Ok(order) = self.orders.try_recv()
        {
            orders.push(order);
        }
        loop {
            orders.retain(|order| !order.is_withdrawn());
            if orders.is_empty() {
                return;
            }
            let certain = match self.commit(&orders) {
                Ok(done) => {
                    self.works();
                    self.tell(orders, done);
                    std::thread::sleep(GAP);
                    return;
                }
                Err(Some(error)) => {
                    self.trouble(&error);
                    is_certain(&error)
                }
                Err(None) => {
                    self.replaced();
                    true
                }
            };
            for order in orders.iter().filter(|_| certain) {
                if let Order::Publish(parcel) = order {
                    parcel.mark.put_back();
                }
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// `Err(None)` when the file is not there any more: what is written to one that nobody finds would be confirmed, and
    /// lost.
    fn commit(&mut self, orders: &[Order]) -> Result<Vec<Done>, Option<rusqlite::Error>> {
        if self.is_replaced() {
            return Err(None);
        }
        let holder = self.holder.as_ref().map(|(id, _)| *id);
        let write = |writing: &Writing<'_>| orders.iter().map(|order| carry_out(writing, order, holder)).collect();
        self.store.commit(write).map_err(Some)
    }

    fn is_replaced(&self) -> bool {
        identity(self.store.path()) != self.file
    }

    fn replaced(&self) {
        let path = self.store.path().display();
        self.down(Link::Down(format!(
            "{path} was moved, removed or replaced under this process: put it back, or start again"
        )));
    }

    fn works(&self) {
        self.link
            .send_if_modified(|link| std::mem::replace(link, Link::Up) != Link::Up);
    }

    fn tell(&mut self, orders: Vec<Order>, done: Vec<Done>) {
        let mut news = false;
        for (order, done) in orders.into_iter().zip(done) {
            match (order, done) {
                (Order::Publish(parcel), _) => {
                    news |= matches!(parcel.place, Place::Queue(Queue::Source(_), _));
                    let _ = parcel.reply.send(Ok(()));
                }
                (Order::Claim { reply, .. }, Done::Claimed(batch)) => {
                    // Nobody there any more: that happens only while the process ends, and its end gives them back.
                    let _ = reply.send(batch);
                }
                (Order::Settle { how, .. }, _) => news |= how == Settlement::Return,
                (Order::Leave { reply }, _) => {
                    if let Some((_, lease)) = self.holder.take() {
                        lease.end();
                    }
                    let _ = reply.send(());
                }
                (Order::End { reply }, _) => {
                    self.ended = true;
                    let _ = reply.send(());
                }
                (Order::Claim { .. }, Done::Nothing) => {}
            }
        }
        if news {
            self.news.notify_one();
        }
    }

    /// Gives back what processes held that are gone.
    fn sweep(&mut self) -> Result<(), rusqlite::Error> {
        let own = self.holder.as_ref().map(|(id, _)| *id);
        for holder in self.store.holders()? {
            if Some(holder.id) == own {
                continue;
            }
            match Estate::of(&self.folder, &holder.lock, holder.pid) {
                Ok(None) => self.doubt(&holder),
                Ok(Some(estate)) => {
                    // A crash in between leaves the row, and the next one finds the lock free again.
                    let returned = self.store.commit(|writing| writing.leave(holder.id))?;
                    estate.close();
                    if returned > 0 {
                        tracing::warn!(
                            pid = holder.pid,
                            jobs = returned,
                            "a process is gone: the jobs that it held are back"
                        );
                        self.news.notify_one();
                    }
                }
                Err(error) => {
                    tracing::warn!(lock = holder.lock, %error, "cannot tell whether the process that has this lock is gone");
                }
            }
        }
        Ok(())
    }

    /// Says once of a holder that only its process number speaks for it: the file was moved without its locks, perhaps.
    fn doubt(&mut self, holder: &Holder) {
        if !self.folder.join(&holder.lock).exists() && self.doubtful.insert(holder.id) {
            tracing::warn!(
                pid = holder.pid,
                "what a process held stays with it, for one of that number runs; its lock is gone (was the file moved \
                 without the folder of its locks?), so nothing else tells: end that process if it is another one"
            );
        }
    }

    /// Says once what is wrong with the file; cleared by the next commit.
    fn trouble(&self, error: &rusqlite::Error) {
        let path = self.store.path().display();
        let link = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Link::Blocked(format!("the disk that holds {path} is full: make room")),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Link::Blocked(format!(
                "{path} is locked by another program: end that one, or wait for it"
            )),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Link::Down(format!(
                "{path} is damaged: stop this process, and bring back a copy of the file"
            )),
            _ => Link::Down(format!("cannot write {path}: {error}")),
        };
        self.down(link);
    }

    fn down(&self, link: Link) {
        self.link.send_if_modified(|current| {
            let changed = *current != link;
            if changed {
                if let Link::Blocked(why) | Link::Down(why) = &link {
                    tracing::warn!(%why, "the queue cannot be written: no launch begins until it can");
                }
                *current = link;
            }
            changed
        });
    }
}

/// Which file is found by this name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = path.metadata().ok()?;
    Some((file.dev(), file.ino()))
}

fn carry_out(writing: &Writing<'_>, order: &Order, holder: Option<i64>) -> Result<Done, rusqlite::Error> {
    match (order, holder) {
        (Order::Publish(parcel), _) => match &parcel.place {
            Place::Queue(queue, due_ms) => writing.put(*queue, *due_ms, &parcel.message)?,
            Place::Results(key) => writing.tell(key, &parcel.message)?,
            Place::Control => writing.command(&parcel.message)?,
        },
        (Order::Claim { source, room, .. }, Some(holder)) => {
            return writing.claim(*source, holder, *room).map(Done::Claimed);
        }
        (Order::Settle { id, how }, Some(holder)) => match how {
            Settlement::Ack => writing.forget(*id, holder)?,
            Settlement::Return => writing.give_back(*id, holder)?,
        },
        (Order::Leave { .. }, Some(holder)) => {
            writing.leave(holder)?;
        }
        // Only one who has joined is asked for these.
        (Order::Claim { .. } | Order::Settle { .. } | Order::Leave { .. }, None) | (Order::End { .. }, _) => {}
    }
    Ok(Done::Nothing)
}

/// Whether a transaction that failed so has certainly left nothing behind. Only a commit that was written, and could not be
/// forced to the disk, may be found by a later start.
fn is_certain(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else {
        return true;
    };
    failure.code != ErrorCode::SystemIoFailure || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE
}

#[cfg(test)]
mod tests;
