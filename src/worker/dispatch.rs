//! Takes jobs off the lanes as admission allows, and starts an attempt for each.
//!
//! The order is: a slot, an open gate, a valid token, a token of the bucket, the head of a lane. At most one token of the
//! bucket is ever unspent: the one with which the next job is waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::examine::Finding;
use super::settle::{Verdict, settle};
use super::{Context, Work, attempt};
use crate::admit::bucket::Permit;
use crate::admit::gate::{Changes, Observed, Probe, ProbeTicket, Stance};
use crate::admit::lanes::Turn;
use crate::broker::{Appetite, Delivery, Intake, Lane};
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

/// All that a launch needs besides the job; dropped with the work.
pub(super) struct Admission {
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) permit: Permit,
    pub(super) ticket: Option<ProbeTicket>,
}

/// The loop.
pub(super) struct Dispatcher {
    context: Arc<Context>,
    intake: Intake,
    returned: mpsc::UnboundedReceiver<Work>,
    held: [VecDeque<Work>; 2],
    turn: Turn,
    gate_changes: Changes,
    control: watch::Receiver<Known>,
    permit: Option<Permit>,
    prefetch: u16,
    /// When it was last looked for jobs that wait in hand for too long.
    looked: Instant,
}

impl Dispatcher {
    pub(super) fn new(
        context: Arc<Context>,
        intake: Intake,
        returned: mpsc::UnboundedReceiver<Work>,
        prefetch: u16,
    ) -> Self {
        Self {
            gate_changes: context.gate.changes(),
            control: context.control.changes(),
            context,
            intake,
            returned,
            held: Default::default(),
            turn: Turn::default(),
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
        self.eat(Appetite::Nothing);
        self.give_back_all(WHY);
        let mut taking = self.intake.taking.clone();
        let mut quiet = false;
        loop {
            tokio::select! {
                biased;
                delivery = receive(&mut self.intake.lanes) => {
                    self.hold(delivery);
                    self.give_back_all(WHY);
                }
                Some(work) = self.returned.recv() => self.give_back(work, WHY),
                _ = taking.wait_for(|taking| *taking == Appetite::Nothing), if !quiet => quiet = true,
                () = tasks.wait(), if quiet => break,
            }
        }
    }

    /// Admits one job, or finds out why not.
    async fn step(&mut self) {
        if self.looked.elapsed() >= LOOK_AGAIN {
            self.looked = Instant::now();
            self.give_back_stale();
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
        let Some(work) = self.head(ticket.is_some(), &avoid).await else {
            return;
        };
        // The gate may have closed while the lane was empty.
        let open = ticket.is_some() || self.context.gate.is_open();
        match self.permit.take() {
            Some(permit) if open => {
                self.context.bucket.spend(&permit);
                let admission = Admission { slot, permit, ticket };
                self.context
                    .tasks
                    // Boxed: as it is, its 8 kB would be copied when the task begins and ends.
                    .spawn(Box::pin(attempt::attempt(self.context.clone(), work, admission)));
            }
            permit => {
                self.permit = permit;
                self.held[lane_index(work.delivery.lane)].push_front(work);
            }
        }
    }

    /// Waits until a job may try. Returns the right to probe, if that is what it is, with the flows to avoid; `None`
    /// when something changed that makes the caller begin anew.
    async fn pass_gate(&mut self) -> Option<(Option<ProbeTicket>, Vec<String>)> {
        let mut publishing = self.context.observed.publishing.clone();
        if !publishing.borrow_and_update().is_up() {
            // What is launched now could not be reported, and a copy could not be made.
            let _ = timeout(LOOK_AGAIN, publishing.changed()).await;
            return None;
        }
        let known = self.control.borrow_and_update().clone();
        let rules = match known {
            Ok(rules) if rules.all().is_some() => {
                self.stay_away(Instant::now() + LOOK_AGAIN, GiveBackReason::Paused)
                    .await;
                return None;
            }
            Ok(rules) => rules,
            // What is launched now may have been cancelled.
            Err(_) => {
                let _ = timeout(LOOK_AGAIN, self.control.changed()).await;
                return None;
            }
        };
        match self.context.gate.stance() {
            Stance::Open => {
                self.eat_of(self.prefetch, &rules);
                Some((None, Vec::new()))
            }
            Stance::Hold { until } => {
                // After a long closure consumption stands still: what is launched when it opens is fetched now. (A halted
                // worker has taken the few that its probe needs.)
                if self.context.gate.report().halted.is_none() {
                    self.eat_of(self.prefetch, &rules);
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
                let prefetch = if fetch {
                    self.prefetch.min(PROBE_PREFETCH)
                } else {
                    self.prefetch
                };
                self.eat_of(prefetch, &rules);
                Some((Some(ticket), avoid))
            }
        }
    }

    /// Gives back everything, takes nothing, until the gate or control changes or the time has come.
    async fn stay_away(&mut self, until: Instant, why: GiveBackReason) {
        self.eat(Appetite::Nothing);
        self.give_back_all(why);
        tokio::select! {
            () = self.gate_changes.wait(until) => {}
            _ = self.control.changed() => {}
            // What was on its way when consumption stopped.
            delivery = receive(&mut self.intake.lanes) => {
                let delivery = self.context.count(delivery);
                self.give_back(Work::decode(delivery, &self.context.policy), why);
            }
            Some(work) = self.returned.recv() => self.give_back(work, why),
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

    /// The next job that may be launched now; `None` when the gate changed while the lanes were empty.
    async fn head(&mut self, probing: bool, avoid: &[String]) -> Option<Work> {
        if probing {
            // A choice of flows, so that one broken flow cannot pass for an outage.
            sleep(PROBE_GATHER).await;
        }
        loop {
            while let Some(work) = self.take(avoid) {
                if let Some(work) = self.ready(work) {
                    self.turn.served(work.delivery.lane);
                    return Some(work);
                }
            }
            tokio::select! {
                delivery = receive(&mut self.intake.lanes) => self.hold(delivery),
                Some(work) = self.returned.recv() => self.held[lane_index(work.delivery.lane)].push_front(work),
                () = self.gate_changes.wait(Instant::now() + LOOK_AGAIN), if !probing => return None,
                _ = self.control.changed() => return None,
            }
        }
    }

    /// The job whose turn it is, of what is in hand or has come.
    fn take(&mut self, avoid: &[String]) -> Option<Work> {
        while let Ok(work) = self.returned.try_recv() {
            self.held[lane_index(work.delivery.lane)].push_front(work);
        }
        if !avoid.is_empty() {
            self.hold_all();
            for lane in Lane::ALL {
                let held = &mut self.held[lane_index(lane)];
                let other = held
                    .iter()
                    .position(|work| work.flow().is_none_or(|flow| !avoid.iter().any(|a| a == flow)));
                if let Some(work) = other.and_then(|at| held.remove(at)) {
                    return Some(work);
                }
            }
        }
        for lane in self.turn.order() {
            let index = lane_index(lane);
            if let Some(work) = self.held[index].pop_front() {
                return Some(work);
            }
            if let Ok(delivery) = self.intake.lanes[index].try_recv() {
                return Some(Work::decode(self.context.count(delivery), &self.context.policy));
            }
        }
        None
    }

    /// Settles what need not be launched; hands back what may be.
    fn ready(&mut self, work: Work) -> Option<Work> {
        let context = self.context.clone();
        match self.context.examine(&work, Timestamp::now()) {
            Finding::Ready => return Some(work),
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

    fn hold(&mut self, delivery: Delivery) {
        let delivery = self.context.count(delivery);
        let work = Work::decode(delivery, &self.context.policy);
        self.held[lane_index(work.delivery.lane)].push_back(work);
    }

    fn hold_all(&mut self) {
        for index in 0..self.intake.lanes.len() {
            while let Ok(delivery) = self.intake.lanes[index].try_recv() {
                self.hold(delivery);
            }
        }
    }

    fn give_back_all(&mut self, why: GiveBackReason) {
        self.hold_all();
        while let Ok(work) = self.returned.try_recv() {
            self.give_back(work, why);
        }
        for lane in Lane::ALL {
            while let Some(work) = self.held[lane_index(lane)].pop_front() {
                self.give_back(work, why);
            }
        }
    }

    /// By the age of each: that others go through, those that try in an outage, says nothing about the ones behind them.
    fn give_back_stale(&mut self) {
        self.hold_all();
        for index in 0..self.held.len() {
            let held = std::mem::take(&mut self.held[index]).into_iter();
            let (stale, fresh): (VecDeque<Work>, _) = held.partition(|work| work.delivery.age() > IN_HAND);
            self.held[index] = fresh;
            for work in stale {
                self.give_back(work, GiveBackReason::Gate);
            }
        }
    }

    fn give_back(&self, work: Work, why: GiveBackReason) {
        let context = self.context.clone();
        self.context
            .tasks
            .spawn(async move { settle(&context, work, &Verdict::GivenBack(why)).await });
    }

    /// Takes so much of each lane that is not paused.
    fn eat_of(&self, prefetch: u16, rules: &Rules) {
        let of = |lane| if rules.lane(lane).is_some() { 0 } else { prefetch };
        self.eat(match Lane::ALL.map(of) {
            [0, 0] => Appetite::Nothing,
            lanes => Appetite::Prefetch(lanes),
        });
    }

    fn eat(&self, appetite: Appetite) {
        self.intake
            .appetite
            .send_if_modified(|current| std::mem::replace(current, appetite) != appetite);
    }
}

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Normal => 0,
        Lane::Bulk => 1,
    }
}

/// The next delivery of either lane, the normal one first; never returns once the broker has stopped.
async fn receive(lanes: &mut [mpsc::UnboundedReceiver<Delivery>; 2]) -> Delivery {
    let [normal, bulk] = lanes;
    tokio::select! {
        biased;
        Some(delivery) = normal.recv() => delivery,
        Some(delivery) = bulk.recv() => delivery,
        else => std::future::pending().await,
    }
}
