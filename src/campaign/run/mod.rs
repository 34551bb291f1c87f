//! Runs a campaign: publishes its rows just in time, and hears what becomes of them.
//!
//! ```text
//! journal ─▶ desk: which rows go now? ─▶ noted as being sent ─▶ published ─▶ confirm noted ─▶ … ─▶ results ─▶ journal
//! ```
//!
//! [`Desk`] decides, with time as an argument; this is the loop around it. It may be killed anywhere:
//!
//! - before a row is noted as being sent: it is planned, as it was;
//! - from there until its confirm is noted: nobody knows whether the broker has it. The next one hears the results first,
//!   then publishes it again with the same id (or with `park` leaves it to a person): the one window in which a row can be
//!   launched twice;
//! - after that: its result is in the log, which is read on from where it stopped.

mod ahead;
mod desk;
mod outcome;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::ahead::Ahead;
pub use self::desk::{Desk, Terms};
use self::desk::{Room, Sent};
use super::journal::{Counts, JournalError, RowState, RunState};
use crate::broker::{Destination, FollowedResult, Link, Message, Observed, Publish, PublishError};
use crate::control::{Control, Entry, Known, Scope, Standing, Subject};
use crate::job::Job;
use crate::lane::Lane;

/// Rows that are published at once.
const BATCH: usize = 200;
/// Results that are taken in at once.
const PAGE: usize = 500;
/// How long the broker may take to confirm a publish.
const CONFIRM: Duration = Duration::from_secs(30);
/// Told to stop, confirms that are still to come are waited for so long.
const LAST_CONFIRMS: Duration = Duration::from_secs(2);
/// When no result came for so long, the log has been read to its end.
const CAUGHT_UP: Duration = Duration::from_secs(1);
/// Before something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The clock is looked at so often, whatever is waited for: somebody may set it, or a laptop was asleep.
const LOOK: Duration = Duration::from_secs(1);
/// What keeps it from going on is noted for others when it lasts: a start takes a moment.
const LASTS: Duration = Duration::from_secs(2);
/// A cancelled run is over when its workers have said nothing for so long.
const CANCELLED: Duration = Duration::from_secs(60);

/// What a runner needs of the rest.
#[expect(missing_docs, reason = "the names say it")]
pub struct Ports {
    pub publisher: Arc<dyn Publish>,
    pub observed: Observed,
    pub results: mpsc::Receiver<FollowedResult>,
    pub control: Control,
    /// What keeps the worker in this process from launching, if there is one and something does.
    pub standing: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// Launches a second that the fleet's limit allows.
    pub rate: Option<f64>,
    /// Nothing lies anywhere and nothing was heard for so long: what has no result is unaccounted.
    pub give_up_after: Duration,
    /// What time it is.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// How far it has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The campaign and its run.
    pub campaign: String,
    /// The number of the run.
    pub run: u32,
    /// How the run stands.
    pub state: RunState,
    /// Why it is paused.
    pub reason: Option<String>,
    /// Rows by state.
    pub counts: Counts,
    /// Launched rows whose end is awaited.
    pub followed: u64,
    /// Jobs that wait for another try, whosever they are.
    pub delayed: Option<u32>,
    /// What keeps it from going on.
    pub trouble: Option<String>,
    /// When the next row goes, if that is what it waits for.
    pub next: Option<Timestamp>,
}

/// How a run of the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every row has come to its end.
    Finished,
    /// It was cancelled, and what was on its way is accounted for.
    Cancelled,
    /// The first rows have come to their end; the others wait for a word.
    FirstDone,
    /// It was told to stop, and can go on.
    Stopped,
}

/// Why a runner cannot go on. What it has published is on its way, and the next one goes on from the journal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The same name is run from another journal, or was.
    #[error(
        "the results tell of jobs of campaign {campaign}, run {run}, that were never published from this journal: it is run, \
         or was, from another one, here or on another host, and its rows are not told from these. {said}"
    )]
    Foreign {
        /// The campaign.
        campaign: String,
        /// The run.
        run: u32,
        /// What to do.
        said: &'static str,
    },
    /// The broker was stopped.
    #[error("the broker's side of this process has ended")]
    Ended,
    /// A bug.
    #[error("the runner died: {0}")]
    Died(#[from] JoinError),
}

/// The runner.
pub struct Runner {
    desk: Arc<Mutex<Desk>>,
    ports: Ports,
    ahead: Ahead,
    progress: watch::Sender<Progress>,
    /// Since when the log of results is read; `None` while it is not.
    reading: Option<Instant>,
    caught_up: bool,
    /// When a result of this run came last, or it was cancelled.
    heard: Instant,
    /// When something was last heard, published or seen on its way.
    stir: Instant,
    cancelled: bool,
    /// A pause that is still to be written to the control stream.
    pausing: Option<String>,
    trouble: Option<String>,
    /// What keeps it from going on, with the worker's reasons, and since when.
    seen: (Option<String>, Instant),
    /// No worker takes what is published, as far as can be seen.
    unattended: bool,
    not_before: Instant,
}

impl Runner {
    /// One for this desk.
    pub fn new(desk: Desk, ports: Ports) -> Self {
        let progress = Progress {
            campaign: desk.run().name.clone(),
            run: desk.run().number,
            state: desk.run().state,
            reason: desk.run().reason.clone(),
            counts: desk.counts(),
            followed: desk.followed(),
            delayed: None,
            trouble: None,
            next: None,
        };
        Self {
            desk: Arc::new(Mutex::new(desk)),
            ports,
            ahead: Ahead::default(),
            progress: watch::Sender::new(progress),
            reading: None,
            caught_up: false,
            heard: Instant::now(),
            stir: Instant::now(),
            cancelled: false,
            pausing: None,
            trouble: None,
            seen: (None, Instant::now()),
            unattended: false,
            not_before: Instant::now(),
        }
    }

    /// How far it has come, from now on.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Goes on behind the first rows.
    pub fn all(&mut self) {
        lock(&self.desk).all();
    }

    /// The desk, to look at.
    pub fn look<T>(&self, look: impl FnOnce(&Desk) -> T) -> T {
        look(&lock(&self.desk))
    }

    /// Works until there is nothing left to do, or it is told to stop.
    ///
    /// # Errors
    /// When the journal cannot be used any more.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<Ended, RunError> {
        let mut control = self.ports.control.changes();
        let mut publishing = self.ports.observed.publishing.clone();
        let mut heard = Vec::with_capacity(PAGE);
        loop {
            let known = control.borrow_and_update().clone();
            let may_feed = self.heed(&known).await?;
            let link = publishing.borrow_and_update().clone();
            let wake = if may_feed && self.is_ready(&link) {
                let wake = self.feed(stop).await?;
                self.tell(wake);
                wake
            } else {
                self.tell(None);
                None
            };
            self.note().await?;
            if let Some(ended) = self.over().await? {
                return Ok(ended);
            }
            let pause = self.until(wake);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ended::Stopped),
                count = self.ports.results.recv_many(&mut heard, PAGE) => {
                    if count == 0 {
                        return Err(RunError::Ended);
                    }
                    self.hear(&mut heard).await?;
                }
                Ok(()) = control.changed() => {}
                Ok(()) = self.ports.observed.queues.changed() => self.look_at_queues(),
                Ok(()) = publishing.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// How long to wait for the next row, when nothing else happens.
    fn until(&self, wake: Option<Timestamp>) -> Duration {
        let Some(wake) = wake else { return LOOK };
        let now = (self.ports.now)();
        Duration::try_from(wake.duration_since(now))
            .unwrap_or_default()
            .min(LOOK)
    }

    /// Follows control; whether rows may be published.
    async fn heed(&mut self, known: &Known) -> Result<bool, RunError> {
        if let Some(why) = self.pausing.clone() {
            self.write_pause(why).await;
        }
        let rules = match known {
            Ok(rules) => rules,
            Err(why) => {
                self.trouble = Some(format!("whether it is paused or cancelled is not known: {why}"));
                return Ok(false);
            }
        };
        let standing = rules.about(&self.look(subject));
        let (state, reason) = match &standing {
            Standing::Free => (RunState::Running, None),
            Standing::Held(scope) | Standing::Paused(scope) => {
                let pauses = rules.pauses();
                let why = pauses.iter().find(|(other, _)| other == scope);
                let why = why.and_then(|(_, pause)| pause.reason.clone());
                let said = match (scope, why) {
                    // Its own pause needs no name.
                    (Scope::Campaign { .. }, Some(why)) => why,
                    (Scope::Campaign { .. }, None) => "by a person".to_owned(),
                    (scope, Some(why)) => format!("{scope} is paused: {why}"),
                    (scope, None) => format!("{scope} is paused"),
                };
                (RunState::Paused, Some(said))
            }
            Standing::Cancelled => (RunState::Cancelled, None),
        };
        if standing == Standing::Cancelled && !self.cancelled {
            self.cancelled = true;
            self.heard = Instant::now();
            self.at_desk(Desk::cancel).await?;
        }
        // Asked at every turn of the loop: no thread is needed to find that nothing changed.
        if self.look(|desk| desk.run().state != state || desk.run().reason != reason) {
            self.at_desk(move |desk| desk.stand(state, reason)).await?;
        }
        Ok(standing == Standing::Free && self.pausing.is_none())
    }

    /// Too many failures in a row: written for all, so that what is published already waits too.
    async fn write_pause(&mut self, why: String) {
        let entry = Entry::Pause {
            scope: Scope::Campaign {
                name: self.look(|desk| desk.run().name.clone()),
                run: None,
            },
            at: (self.ports.now)(),
            reason: Some(why),
        };
        let message = Message::json(entry.encode());
        match self
            .ports
            .publisher
            .publish(Destination::Control, message, CONFIRM)
            .await
        {
            Ok(()) => self.pausing = None,
            Err(error) => self.trouble = Some(format!("cannot pause it for all: {error}")),
        }
    }

    /// Whether what is published now would be heard of.
    fn is_ready(&mut self, link: &Link) -> bool {
        match link {
            Link::Up => {}
            Link::Down(why) => {
                self.trouble = Some(format!("no connection to the broker: {why}"));
                return false;
            }
            Link::Blocked(why) => {
                self.trouble = Some(format!("the broker takes nothing now: {why}"));
                return false;
            }
        }
        match self.reading {
            None => {
                self.trouble
                    .get_or_insert_with(|| "the log of results is not read yet".to_owned());
                return false;
            }
            Some(since) if !self.caught_up => {
                if since.elapsed() < CAUGHT_UP {
                    return false;
                }
                self.caught_up = true;
            }
            Some(_) => {}
        }
        Instant::now() >= self.not_before
    }

    /// Publishes what is due; when the next is.
    async fn feed(&mut self, stop: &CancellationToken) -> Result<Option<Timestamp>, RunError> {
        self.trouble = self.unattended.then(|| {
            let lane = self.look(|desk| desk.terms().lane);
            format!("no worker takes jobs from lane {lane}: start one with `flowlaunch worker`")
        });
        let (now, rate) = ((self.ports.now)(), self.ports.rate);
        let ready = self.ahead.ready(self.look(Desk::under_way));
        let room = Room {
            rows: usize::try_from(ahead::most(rate).saturating_sub(ready)).map_or(BATCH, |rows| rows.min(BATCH)),
            ahead: desk::takes(ready, rate),
        };
        let batch = self.at_desk(move |desk| desk.next(now, room)).await?;
        if batch.jobs.is_empty() {
            return Ok(batch.wake);
        }
        // From here until `sent` nobody who comes after us knows whether the broker has these.
        let sent = self.publish(batch.jobs, stop).await;
        self.stir = Instant::now();
        if self.ports.observed.queues.has_changed().unwrap_or(false) {
            // Counted while these were published: they come on top of it, or as many again would follow them.
            self.look_at_queues();
        }
        self.ahead.published(sent.confirmed.len());
        if !sent.doubtful.is_empty() {
            // What the results say of them comes first.
            (self.caught_up, self.reading) = (false, self.reading.map(|_| Instant::now()));
        }
        self.at_desk(move |desk| desk.sent(&sent)).await?;
        Ok(batch.wake)
    }

    async fn publish(&mut self, jobs: Vec<(u64, Job)>, stop: &CancellationToken) -> Sent {
        let lane = self.look(|desk| desk.terms().lane);
        let now = (self.ports.now)();
        let lines: Vec<u64> = jobs.iter().map(|(line, _)| *line).collect();
        let publishing = jobs.into_iter().map(|(_, job)| {
            let message = message(&job, now);
            self.ports.publisher.publish(Destination::Lane(lane), message, CONFIRM)
        });
        let too_long = async {
            stop.cancelled().await;
            sleep(LAST_CONFIRMS).await;
        };
        let published = tokio::select! {
            published = join_all(publishing) => published,
            () = too_long => {
                // They stay as they are noted: being sent.
                return Sent { doubtful: lines, ..Sent::default() };
            }
        };
        let mut sent = Sent::default();
        for (line, published) in lines.into_iter().zip(published) {
            let Err(error) = published else {
                sent.confirmed.push(line);
                continue;
            };
            self.trouble = Some(error.to_string());
            self.not_before = Instant::now() + AGAIN;
            match error {
                PublishError::Unconfirmed(_) => sent.doubtful.push(line),
                PublishError::Refused
                | PublishError::Unroutable(_)
                | PublishError::Disconnected(_)
                | PublishError::Invalid(_) => sent.withdrawn.push(line),
            }
        }
        sent
    }

    /// Takes results in.
    async fn hear(&mut self, heard: &mut Vec<FollowedResult>) -> Result<(), RunError> {
        let (name, run) = self.look(|desk| (desk.run().name.clone(), desk.run().number));
        let (mut told, mut last, mut any) = (Vec::new(), 0, 0);
        let lately = (self.ports.now)() - CAUGHT_UP;
        for one in heard.drain(..) {
            match one {
                FollowedResult::Began => (self.reading, self.caught_up) = (Some(Instant::now()), false),
                FollowedResult::Lost(why) => {
                    (self.reading, self.caught_up) = (None, false);
                    self.trouble = Some(format!("the log of results cannot be read: {why}"));
                }
                FollowedResult::Result(number, message) => {
                    last = number;
                    any += 1;
                    let Some(result) = outcome::read(&message.body) else {
                        continue;
                    };
                    if !self.caught_up && result.finished_at < lately {
                        // There is more where that came from.
                        self.reading = self.reading.map(|_| Instant::now());
                    }
                    told.extend(outcome::told(&name, run, result));
                }
            }
        }
        if any == 0 {
            return Ok(());
        }
        self.ahead.ended(any);
        let heard = self.at_desk(move |desk| desk.take_in(&told, last)).await?;
        if heard.foreign > 0 {
            return Err(self.foreign().await?);
        }
        if heard.rows > 0 {
            self.heard = Instant::now();
            self.stir = self.heard;
        }
        if let Some(why) = heard.tripped {
            self.pausing.get_or_insert(why);
        }
        Ok(())
    }

    /// Results could not be told from another run's: better none of it than rows taken for launched that never were.
    async fn foreign(&self) -> Result<RunError, RunError> {
        let (campaign, run, untouched) = self.look(|desk| {
            let run = desk.run();
            (run.name.clone(), run.number, desk.is_untouched())
        });
        let said = if untouched {
            self.at_desk(Desk::forget).await?;
            "Nothing was published. Go on with the journal that it was begun with (campaign.journal), or take another --name"
        } else {
            "Nothing more is published from here: let one of the two go on, and give the other another --name"
        };
        Ok(RunError::Foreign { campaign, run, said })
    }

    fn look_at_queues(&mut self) {
        let lane = self.look(|desk| desk.terms().lane);
        let report = self.ports.observed.queues.borrow_and_update().clone();
        let of = |label: &str| {
            let found = report.messages.iter().find(|(name, _)| *name == label);
            found.and_then(|(_, count)| *count)
        };
        let consumers = Lane::ALL
            .iter()
            .zip(report.consumers)
            .find(|(other, _)| **other == lane);
        self.unattended = consumers.and_then(|(_, consumers)| consumers) == Some(0);
        let (ready, delayed) = (of(lane.as_str()), of("delayed"));
        self.ahead.saw(ready);
        if ready != Some(0) || delayed != Some(0) {
            self.stir = Instant::now();
        }
        self.progress.send_modify(|progress| progress.delayed = delayed);
    }

    /// Whether that was all.
    async fn over(&mut self) -> Result<Option<Ended>, RunError> {
        let quiet = self.stir.elapsed();
        let (over, first, under_way) = self.look(|desk| (desk.is_over(), desk.first_are_done(), desk.under_way()));
        if self.cancelled {
            // A worker that is halted, or none, says nothing of it, and launches nothing of it either.
            if under_way == 0 || self.heard.elapsed() >= CANCELLED {
                let why = "cancelled; no worker has said so yet, and none will launch it";
                self.at_desk(move |desk| desk.move_all(RowState::Published, RowState::Cancelled, Some(why)))
                    .await?;
                return Ok(Some(Ended::Cancelled));
            }
            return Ok(None);
        }
        if over {
            self.at_desk(|desk| desk.stand(RunState::Finished, None)).await?;
            return Ok(Some(Ended::Finished));
        }
        if first {
            return Ok(Some(Ended::FirstDone));
        }
        if under_way > 0 && quiet >= self.ports.give_up_after {
            let silence = self.ports.give_up_after;
            self.at_desk(move |desk| desk.unaccounted(silence)).await?;
            self.stir = Instant::now();
        }
        Ok(None)
    }

    /// For those who look into the journal: what they cannot see from there.
    async fn note(&self) -> Result<(), RunError> {
        let (trouble, since) = &self.seen;
        if since.elapsed() < LASTS || self.look(|desk| desk.run().trouble == *trouble) {
            return Ok(());
        }
        let trouble = trouble.clone();
        self.at_desk(move |desk| desk.set_trouble(trouble)).await
    }

    fn tell(&mut self, next: Option<Timestamp>) {
        let trouble = self.trouble.clone().or_else(|| (self.ports.standing)());
        if self.seen.0 != trouble {
            self.seen = (trouble.clone(), Instant::now());
        }
        let (run, counts, followed) = self.look(|desk| (desk.run().clone(), desk.counts(), desk.followed()));
        self.progress.send_modify(|progress| {
            progress.state = run.state;
            progress.reason = run.reason;
            progress.counts = counts;
            progress.followed = followed;
            progress.trouble = trouble;
            progress.next = next;
        });
    }

    /// On a thread that may wait for a disk. Cut off here, it is done all the same.
    async fn at_desk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Desk) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, RunError> {
        let desk = self.desk.clone();
        Ok(spawn_blocking(move || work(&mut lock(&desk))).await??)
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The run, as far as control is concerned.
fn subject(desk: &Desk) -> Subject {
    let run = desk.run();
    Subject {
        lane: desk.terms().lane,
        flow: desk.terms().flow.clone().unwrap_or_default(),
        id: format!("{}:{}:", run.name, run.number),
        campaign: Some(run.name.clone()),
    }
}

fn message(job: &Job, now: Timestamp) -> Message {
    let mut message = Message::json(job.encode());
    message.properties.message_id = Some(job.id.clone());
    message.properties.timestamp = u64::try_from(now.as_second()).ok();
    message
}
