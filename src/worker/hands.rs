//! What is in hand and waits for its turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::track::Look;
use super::{Context, Work};
use crate::admit::lanes::{Call, Turn};
use crate::broker::{Appetite, Delivery, Intake, Lane};

/// Something that may take a token of the bucket.
#[derive(Debug)]
pub(super) enum Next {
    /// A job that may be launched. Boxed: it is handed on a dozen times before it is settled.
    Job(Box<Work>),
    /// An execution that may be looked at.
    Look(Box<Look>),
}

impl Next {
    fn call(&self) -> Call {
        match self {
            Self::Job(work) => Call::Launch(work.lane),
            Self::Look(_) => Call::Look,
        }
    }

    fn age(&self) -> Duration {
        match self {
            Self::Job(work) => work.delivery.age(),
            Self::Look(look) => look.delivery.age(),
        }
    }
}

/// What has come, and what comes.
pub(super) struct Hands {
    context: Arc<Context>,
    intake: Intake,
    returned: mpsc::UnboundedReceiver<Box<Work>>,
    jobs: [VecDeque<Box<Work>>; 2],
    looks: VecDeque<Box<Look>>,
    turn: Turn,
}

impl Hands {
    pub(super) fn new(context: Arc<Context>, intake: Intake, returned: mpsc::UnboundedReceiver<Box<Work>>) -> Self {
        Self {
            context,
            intake,
            returned,
            jobs: Default::default(),
            looks: VecDeque::new(),
            turn: Turn::default(),
        }
    }

    /// Waits until something comes, and holds it; never returns once the broker has stopped.
    pub(super) async fn fill(&mut self) {
        let [normal, bulk] = &mut self.intake.lanes;
        tokio::select! {
            biased;
            Some(work) = self.returned.recv() => self.put_back(Next::Job(work)),
            Some(delivery) = normal.recv() => self.hold(Lane::Normal, delivery),
            Some(delivery) = bulk.recv() => self.hold(Lane::Bulk, delivery),
            Some(delivery) = self.intake.track.recv() => self.looks.push_back(Box::new(Look::decode(delivery))),
        }
    }

    /// What has its turn, of what is in hand or has come. One that probes is a job, and if there is one of a flow that is
    /// not to be avoided.
    pub(super) fn take(&mut self, probing: bool, avoid: &[String]) -> Option<Next> {
        self.take_returned();
        if !avoid.is_empty() {
            self.hold_all();
            for lane in Lane::ALL {
                let jobs = &mut self.jobs[lane_index(lane)];
                let other = jobs
                    .iter()
                    .position(|work| work.flow().is_none_or(|flow| !avoid.iter().any(|a| a == flow)));
                if let Some(work) = other.and_then(|at| jobs.remove(at)) {
                    return Some(Next::Job(work));
                }
            }
        }
        self.turn.order().into_iter().find_map(|call| match call {
            Call::Launch(lane) => self.job(lane).map(Next::Job),
            Call::Look if probing => None,
            Call::Look => self.look().map(Next::Look),
        })
    }

    fn job(&mut self, lane: Lane) -> Option<Box<Work>> {
        let index = lane_index(lane);
        let held = self.jobs[index].pop_front();
        held.or_else(|| {
            self.intake.lanes[index]
                .try_recv()
                .ok()
                .map(|delivery| self.decode(lane, delivery))
        })
    }

    fn look(&mut self) -> Option<Box<Look>> {
        let held = self.looks.pop_front();
        held.or_else(|| self.intake.track.try_recv().ok().map(Look::decode).map(Box::new))
    }

    /// Notes that what was taken goes.
    pub(super) fn served(&mut self, next: &Next) {
        self.turn.served(next.call());
    }

    /// What was taken and does not go after all is the next one.
    pub(super) fn put_back(&mut self, next: Next) {
        match next {
            Next::Job(work) => self.jobs[lane_index(work.lane)].push_front(work),
            Next::Look(look) => self.looks.push_front(look),
        }
    }

    /// All jobs, and what has come of them.
    pub(super) fn empty_of_jobs(&mut self) -> VecDeque<Box<Work>> {
        self.hold_all();
        self.jobs.iter_mut().flat_map(std::mem::take).collect()
    }

    /// All looks, and what has come of them.
    pub(super) fn empty_of_looks(&mut self) -> VecDeque<Box<Look>> {
        self.hold_all();
        std::mem::take(&mut self.looks)
    }

    /// What waits for longer than that. By the age of each: that others go through, those that try in an outage, says
    /// nothing about the ones behind them.
    pub(super) fn stale(&mut self, age: Duration) -> Vec<Next> {
        let jobs = self.empty_of_jobs().into_iter().map(Next::Job);
        let looks = self.empty_of_looks().into_iter().map(Next::Look);
        let (stale, fresh): (Vec<_>, Vec<_>) = jobs.chain(looks).partition(|next| next.age() > age);
        // Each goes to the front of its kind: the last one first keeps their order.
        fresh.into_iter().rev().for_each(|next| self.put_back(next));
        stale
    }

    fn hold_all(&mut self) {
        self.take_returned();
        for lane in Lane::ALL {
            while let Ok(delivery) = self.intake.lanes[lane_index(lane)].try_recv() {
                self.hold(lane, delivery);
            }
        }
        while let Ok(delivery) = self.intake.track.try_recv() {
            self.looks.push_back(Box::new(Look::decode(delivery)));
        }
    }

    fn take_returned(&mut self) {
        while let Ok(work) = self.returned.try_recv() {
            self.put_back(Next::Job(work));
        }
    }

    fn hold(&mut self, lane: Lane, delivery: Delivery) {
        let work = self.decode(lane, delivery);
        self.jobs[lane_index(lane)].push_back(work);
    }

    fn decode(&self, lane: Lane, delivery: Delivery) -> Box<Work> {
        self.context.metrics.received(lane);
        Box::new(Work::decode(delivery, lane, &self.context.policy))
    }

    /// Tells the broker how much is wanted.
    pub(super) fn eat(&self, appetite: Appetite) {
        self.intake
            .appetite
            .send_if_modified(|current| std::mem::replace(current, appetite) != appetite);
    }

    /// What the broker has heard of it.
    pub(super) fn taking(&self) -> watch::Receiver<Appetite> {
        self.intake.taking.clone()
    }
}

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Normal => 0,
        Lane::Bulk => 1,
    }
}
