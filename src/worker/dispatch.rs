//! Takes jobs off the lanes as admission allows, and starts an attempt for each; and between them a look at an execution,
//! which takes its token from the same bucket.
//!
//! The order is: a slot, an open gate, a valid token, a token of the bucket, the head of a lane. At most one token of the
//! bucket is ever unspent: the one with which the next job is waited for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::examine::Finding;
use super::hands::{Hands, Next};
use super::settle::{Looked, Verdict, settle, settle_look};
use super::track::Look;
use super::{Context, Work, attempt, track};
use crate::admit::bucket::Permit;
use crate::admit::gate::{Changes, Observed, Probe, ProbeTicket, Stance};
use crate::broker::{Appetite, Intake, Lane, Link};
use crate::control::{Known, Rules};
use crate::metrics::GiveBackReason;

/// A job that waits in hand for so long (an outage of hours, in which one at a time tries; a broker that blocks publishers)
/// goes back and is taken anew: RabbitMQ takes an acknowledgement that is 30 minutes late for a consumer that hangs, ends
/// the session, and each time counts against the jobs.
const IN_HAND: Duration = Duration::from_secs(5 * 60);
/// Whatever is waited for, the above is looked after so often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A halted worker takes this many jobs a lane to choose its probe from.
const PROBE_PREFETCH: u16 = 10;
/// And waits this long for them to come.
const PROBE_GATHER: Duration = Duration::from_millis(200);

/// All that a call needs besides the job or the execution; dropped with the work.
pub(super) struct Admission {
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) permit: Permit,
    pub(super) ticket: Option<ProbeTicket>,
}

/// How much to have in hand: of each lane, and of executions to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefetch {
    pub(super) jobs: u16,
    pub(super) looks: u16,
}

/// The loop.
pub(super) struct Dispatcher {
    context: Arc<Context>,
    hands: Hands,
    gate_changes: Changes,
    control: watch::Receiver<Known>,
    permit: Option<Permit>,
    prefetch: Prefetch,
    /// When it was last looked for what waits in hand for too long.
    looked: Instant,
}

impl Dispatcher {
    pub(super) fn new(
        context: Arc<Context>,
        intake: Intake,
        returned: mpsc::UnboundedReceiver<Box<Work>>,
        prefetch: Prefetch,
    ) -> Self {
        Self {
            gate_changes: context.gate.changes(),
            control: context.control.changes(),
            hands: Hands::new(context.clone(), intake, returned),
            context,
            permit: None,
            prefetch,
            looked: Instant::now(),
        }
    }

    /// Works until told to drain.
    pub(super) async fn run(&mut self) {
        let draining = self.context.draining.clone();
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => break,
                // Whatever a step holds when it is cut off is dropped, and so goes back.
                () = self.step() => {}
            }
        }
    }

    /// Gives back everything that is in hand, still comes, or is handed back unsent; returns when all of it is settled
    /// and what was in flight is too. The intake outlives that: its end would be the end of the session, and of every
    /// acknowledgement that is still to be written.
    pub(super) async fn drain(&mut self) {
        const WHY: GiveBackReason = GiveBackReason::Shutdown;
        let tasks = self.context.tasks.clone();
        tasks.close();
        self.hands.eat(Appetite::Nothing);
        self.give_back_all(WHY);
        let mut taking = self.hands.taking();
        let mut quiet = false;
        loop {
            tokio::select! {
                biased;
                () = self.hands.fill() => self.give_back_all(WHY),
                _ = taking.wait_for(|taking| *taking == Appetite::Nothing), if !quiet => quiet = true,
                () = tasks.wait(), if quiet => break,
            }
        }
    }

    /// Admits one job or one look, or finds out why not.
    async fn step(&mut self) {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.looked = Instant::now();
            for stale in self.hands.stale(IN_HAND) {
                self.give_back(stale, GiveBackReason::Gate);
            }
        }
        let Ok(slot) = self.context.slots.clone().acquire_owned().await else {
            return;
        };
        let Some((ticket, avoid)) = self.pass_gate().await else {
            return;
        };
        if let Err(failure) = self.context.tokens.get().await {
            self.context.observe(Observed::Failed(&failure), None, ticket.as_ref());
            return;
        }
        let permit = match self.permit.take() {
            Some(permit) => permit,
            None => match timeout(LOOK_AGAIN, self.context.bucket.take()).await {
                Ok(permit) => permit,
                Err(_) => return,
            },
        };
        // Kept here while waiting, so that being cut off or turned away does not waste it.
        self.permit = Some(permit);
        let Some(next) = self.head(ticket.is_some(), &avoid).await else {
            return;
        };
        // The gate may have closed while nothing came.
        let open = ticket.is_some() || self.context.gate.is_open();
        match self.permit.take() {
            Some(permit) if open => {
                self.context.bucket.spend(&permit);
                self.start(next, Admission { slot, permit, ticket });
            }
            permit => {
                self.permit = permit;
                self.hands.put_back(next);
            }
        }
    }

    fn start(&self, next: Next, admission: Admission) {
        let context = self.context.clone();
        match next {
            // Boxed: as it is, its 8 kB would be copied when the task begins and ends.
            Next::Job(work) => self
                .context
                .tasks
                .spawn(Box::pin(attempt::attempt(context, work, admission))),
            Next::Look(look) => {
                let Admission { slot, permit, .. } = admission;
                self.context
                    .tasks
                    .spawn(Box::pin(track::look(context, look, slot, permit)))
            }
        };
    }

    /// Waits until a job may try. Returns the right to probe, if that is what it is, with the flows to avoid; `None`
    /// when something changed that makes the caller begin anew.
    async fn pass_gate(&mut self) -> Option<(Option<ProbeTicket>, Vec<String>)> {
        let mut publishing = self.context.observed.publishing.clone();
        if !publishing.borrow_and_update().is_up() {
            // What is launched now could not be reported, and a copy could not be made.
            Link::change(&mut publishing, LOOK_AGAIN).await;
            return None;
        }
        let known = self.control.borrow_and_update().clone();
        let rules = match known {
            Ok(rules) if rules.all().is_some() => return self.pass_paused(&rules).await,
            Ok(rules) => rules,
            // What is launched now may have been cancelled.
            Err(_) => {
                let _ = timeout(LOOK_AGAIN, self.control.changed()).await;
                return None;
            }
        };
        match self.context.gate.stance() {
            Stance::Open => {
                self.eat(self.prefetch, &rules);
                Some((None, Vec::new()))
            }
            Stance::Hold { until } => {
                // After a long closure consumption stands still: what is launched when it opens is fetched now. (A halted
                // worker has taken the few that its probe needs.)
                if self.context.gate.report().halted.is_none() {
                    self.eat(self.prefetch, &rules);
                }
                self.gate_changes.wait(until).await;
                None
            }
            Stance::Away { until } => {
                let why = if self.context.gate.report().halted.is_some() {
                    GiveBackReason::Halted
                } else {
                    GiveBackReason::Gate
                };
                self.stay_away(until, why).await;
                None
            }
            Stance::Probe(Probe::Credentials) => {
                self.probe_credentials().await;
                None
            }
            Stance::Probe(Probe::Job { avoid, fetch }) => {
                let ticket = self.context.gate.begin_probe()?;
                let few = Prefetch {
                    jobs: self.prefetch.jobs.min(PROBE_PREFETCH),
                    looks: 0,
                };
                self.eat(if fetch { few } else { self.prefetch }, &rules);
                Some((Some(ticket), avoid))
            }
        }
    }

    /// All is paused: no job goes, but looks do while the gate is open, for they call nobody.
    async fn pass_paused(&mut self, rules: &Rules) -> Option<(Option<ProbeTicket>, Vec<String>)> {
        let until = match self.context.gate.stance() {
            Stance::Open => {
                self.eat(self.prefetch, rules);
                self.give_back_jobs(GiveBackReason::Paused);
                return Some((None, Vec::new()));
            }
            Stance::Hold { until } | Stance::Away { until } => until,
            // Nothing probes meanwhile.
            Stance::Probe(_) => Instant::now() + LOOK_AGAIN,
        };
        self.stay_away(until, GiveBackReason::Paused).await;
        None
    }

    /// Gives back everything, takes nothing, until the gate or control changes or the time has come.
    async fn stay_away(&mut self, until: Instant, why: GiveBackReason) {
        self.hands.eat(Appetite::Nothing);
        self.give_back_all(why);
        tokio::select! {
            () = self.gate_changes.wait(until) => {}
            _ = self.control.changed() => {}
            // What was on its way when consumption stopped.
            () = self.hands.fill() => self.give_back_all(why),
        }
    }

    async fn probe_credentials(&mut self) {
        let Some(ticket) = self.context.gate.begin_probe() else {
            return;
        };
        let fresh = self.context.tokens.fresh().await;
        let read = match fresh {
            Ok(token) => {
                let _spent = self.context.bucket.take().await;
                self.context.client.probe(&token).await.map(|_| ())
            }
            Err(failure) => Err(failure),
        };
        match read {
            Ok(()) => self
                .context
                .observe(Observed::Passed(Instant::now()), None, Some(&ticket)),
            // Whoever may not read flows is known all the same.
            Err(failure) if matches!(failure.status, Some(403 | 404)) && !failure.from_login => {
                self.context
                    .observe(Observed::Passed(Instant::now()), None, Some(&ticket))
            }
            Err(failure) => self.context.observe(Observed::Failed(&failure), None, Some(&ticket)),
        };
    }

    /// What may go now; `None` when the gate or control changed while nothing came.
    async fn head(&mut self, probing: bool, avoid: &[String]) -> Option<Next> {
        if probing {
            // A choice of flows, so that one broken flow cannot pass for an outage.
            sleep(PROBE_GATHER).await;
        }
        loop {
            while let Some(next) = self.hands.take(probing, avoid) {
                if let Some(next) = self.ready(next) {
                    self.hands.served(&next);
                    return Some(next);
                }
            }
            tokio::select! {
                () = self.hands.fill() => {}
                () = self.gate_changes.wait(Instant::now() + LOOK_AGAIN), if !probing => return None,
                _ = self.control.changed() => return None,
            }
        }
    }

    /// Settles what need take no token of the bucket; hands back what may go.
    fn ready(&mut self, next: Next) -> Option<Next> {
        let work = match next {
            Next::Job(work) => work,
            Next::Look(look) => return self.ready_to_look(look).map(Next::Look),
        };
        let context = self.context.clone();
        match self.context.examine(&work, Timestamp::now()) {
            Finding::Ready => return Some(Next::Job(work)),
            Finding::Lost => self.context.lost(work),
            Finding::Settle(verdict) => {
                self.context
                    .tasks
                    .spawn(async move { settle(&context, work, &verdict).await });
            }
            Finding::Known(key) => {
                self.context
                    .tasks
                    .spawn(async move { attempt::follow(context, work, key).await });
            }
        }
        None
    }

    fn ready_to_look(&self, look: Box<Look>) -> Option<Box<Look>> {
        if !look.delivery.is_alive() {
            // Somebody else has it by now.
            return None;
        }
        let Some(fault) = look.fault() else {
            return Some(look);
        };
        self.settle_look(Looked::Stray(fault.to_owned()), look);
        None
    }

    fn settle_look(&self, looked: Looked, look: Box<Look>) {
        let context = self.context.clone();
        self.context
            .tasks
            .spawn(async move { settle_look(&context, look, looked).await });
    }

    fn give_back_all(&mut self, why: GiveBackReason) {
        self.give_back_jobs(why);
        for look in self.hands.empty_of_looks() {
            self.give_back(Next::Look(look), why);
        }
    }

    fn give_back_jobs(&mut self, why: GiveBackReason) {
        for work in self.hands.empty_of_jobs() {
            self.give_back(Next::Job(work), why);
        }
    }

    fn give_back(&self, next: Next, why: GiveBackReason) {
        let context = self.context.clone();
        match next {
            Next::Job(work) => {
                self.context
                    .tasks
                    .spawn(async move { settle(&context, work, &Verdict::GivenBack(why)).await });
            }
            Next::Look(look) => self.settle_look(Looked::GivenBack, look),
        }
    }

    /// Takes so much of each lane that is not paused, and of executions.
    fn eat(&self, prefetch: Prefetch, rules: &Rules) {
        let paused = |lane| rules.all().is_some() || rules.lane(lane).is_some();
        let [normal, bulk] = Lane::ALL.map(|lane| if paused(lane) { 0 } else { prefetch.jobs });
        self.hands.eat(match [normal, bulk, prefetch.looks] {
            [0, 0, 0] => Appetite::Nothing,
            all => Appetite::Prefetch(all),
        });
    }
}
