//! The gate: what the outcomes of single calls mean for all of them.
//!
//! - **Throttled**: one 429 closes it until the time that the API named.
//! - **Outage**: one unreachable, or five transient or unknown outcomes in a row, close it; one job at a time tries, with
//!   growing pauses, and the others spend nothing.
//! - **Halted**: a fault of the whole account or set-up. Nothing more is dead-lettered; a probe every 30 s.
//!
//! `state` is the machine, with time as an argument; [`Gate`] shares it and wakes who waits.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::state::{Faults, State};
pub use crate::metrics::HaltReason;
use crate::outcome::Failure;

/// What may be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Stance {
    /// Launch.
    Open,
    /// Wait with what is in hand.
    Hold {
        /// Until then, or until the gate changes.
        until: Instant,
    },
    /// Give back what is in hand and take nothing.
    Away {
        /// Until then, or until the gate changes.
        until: Instant,
    },
    /// One may try: [`Gate::begin_probe`].
    Probe(Probe),
}

/// How to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A fresh token and a cheap read.
    Credentials,
    /// One real job, if possible of a flow that is not among these.
    Job {
        /// Flows that failed before.
        avoid: Vec<String>,
        /// Nothing was in hand (halted): take a few for the choice.
        fetch: bool,
    },
}

/// What came of a call, as far as the gate is concerned.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// A launch, or for a credentials probe a read; sent at this time.
    Passed(Instant),
    /// A failure.
    Failed(&'a Failure),
}

/// What the worker must know about the outcome that it reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Treat the job by its outcome.
    Ordinary,
    /// The fault is not the job's: give it back and spend nothing.
    GiveBack,
    /// The 429 was the flow's own: nobody else waits.
    FlowOnly,
}

/// What people are told about the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Halted, with the reason and a sentence.
    pub halted: Option<(HaltReason, String)>,
    /// Closed for now, with a sentence.
    pub closed: Option<String>,
    /// When it opens, as far as that is known.
    pub opens_in: Option<Duration>,
}

/// The gate of one worker.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// The right to try while the gate is closed. Dropped without an outcome (the job was expired, say), the next one tries.
#[derive(Debug)]
pub struct ProbeTicket(Arc<Gate>);

impl Drop for ProbeTicket {
    fn drop(&mut self) {
        self.0.lock().end_probe();
        self.0.changed.send_replace(());
    }
}

/// What changes of a gate, from when it was asked for: what changes between a look at the gate and the wait is not missed.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits until something has changed since the last wait ended, or until `until`.
    pub async fn wait(&mut self, until: Instant) {
        // An error means that the gate is gone, and with it who would change it.
        let _ = tokio::time::timeout_at(until, self.0.changed()).await;
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be done now.
    pub fn stance(&self) -> Stance {
        self.lock().stance(Instant::now())
    }

    /// Whether a job without a ticket may be sent now: the last look.
    pub fn is_open(&self) -> bool {
        self.stance() == Stance::Open
    }

    /// Its changes from here on.
    pub fn changes(&self) -> Changes {
        Changes(self.changed.subscribe())
    }

    /// Takes the right to try, when the stance says so and nobody else has it.
    pub fn begin_probe(self: &Arc<Self>) -> Option<ProbeTicket> {
        let may = self.lock().begin_probe(Instant::now());
        may.then(|| ProbeTicket(self.clone()))
    }

    /// Whether the job that tries may still be sent: nothing but the closure that it is to probe stands against it.
    pub fn may_probe(&self) -> bool {
        self.lock().may_probe(Instant::now())
    }

    /// Reports an outcome; `flow` is the job's, `ticket` the right by which it was sent, if it was a probe.
    pub fn observe(&self, what: Observed<'_>, flow: Option<&str>, ticket: Option<&ProbeTicket>) -> Ruling {
        let mut state = self.lock();
        let before = state.faults();
        let ruling = state.observe(what, flow, ticket.is_some(), Instant::now());
        let after = state.faults();
        drop(state);
        if !matches!(what, Observed::Passed(_)) || before != after {
            self.changed.send_replace(());
        }
        announce(before, after);
        ruling
    }

    /// Until when a single flow is closed.
    pub fn flow_closed_until(&self, flow: &str) -> Option<Instant> {
        self.lock().flow_closed_until(flow, Instant::now())
    }

    /// What people are told.
    pub fn report(&self) -> Report {
        self.lock().report(Instant::now())
    }
}

fn announce(before: Faults, after: Faults) {
    match (before.halted, after.halted) {
        (None, Some((reason, cause))) => {
            tracing::error!(reason = reason.as_str(), %cause, "halted: nothing is launched and nothing dead-lettered; a probe every 30 s");
        }
        (Some((before, _)), Some((reason, cause))) if before != reason => {
            tracing::error!(reason = reason.as_str(), %cause, "halted still, for another reason");
        }
        (Some((reason, _)), None) => tracing::info!(reason = reason.as_str(), "no longer halted: launching again"),
        _ => {}
    }
    match (before.outage, after.outage) {
        (None, Some(cause)) => {
            tracing::warn!(%cause, "an outage: one job at a time tries, the others wait and spend nothing");
        }
        (Some(_), None) => tracing::info!("the outage is over"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Class;

    fn unreachable() -> Failure {
        Failure::new(Class::Unreachable, "test")
    }

    #[tokio::test(start_paused = true)]
    async fn one_ticket_at_a_time_and_a_dropped_one_lets_the_next_try() {
        let gate = Arc::new(Gate::default());
        assert!(gate.begin_probe().is_none(), "an open gate needs no probe");
        gate.observe(Observed::Failed(&unreachable()), Some("a"), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let ticket = gate.begin_probe().unwrap();
        assert!(gate.begin_probe().is_none());
        drop(ticket);
        let ticket = gate.begin_probe().unwrap();
        gate.observe(Observed::Passed(Instant::now()), Some("b"), Some(&ticket));
        drop(ticket);
        assert!(gate.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_between_the_look_and_the_wait_ends_the_wait() {
        let gate = Arc::new(Gate::default());
        let mut changes = gate.changes();
        gate.observe(Observed::Failed(&unreachable()), Some("a"), None);
        assert_ne!(gate.stance(), Stance::Open);
        gate.observe(Observed::Passed(Instant::now()), Some("b"), None);
        let (began, hour) = (Instant::now(), Duration::from_secs(3600));
        changes.wait(began + hour).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        // Nothing has changed since.
        changes.wait(began + hour).await;
        assert_eq!(began.elapsed(), hour);
    }
}
