//! The gate: what the outcomes of single calls mean for all of them.
//!
//! - **Throttled**: one 429 closes it until the time that the API named.
//! - **Outage**: one unreachable, or five transient or unknown outcomes in a row, close it; one job at a time tries, with
//!   growing pauses, and the others spend nothing.
//! - **Halted**: a fault of the whole account or set-up. Nothing more is dead-lettered; a probe every 30 s.
//!
//! `State` is the machine, with time as an argument; [`Gate`] shares it and wakes who waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::flows::Flows;
pub use crate::metrics::HaltReason;
use crate::outcome::{Class, Failure};

/// Transient or unknown outcomes in a row that make an outage.
const OUTAGE_AFTER: u32 = 5;
/// While another flow was launched so lately, a flow that is known to fail by itself is no sign of an outage.
const LATELY: Duration = Duration::from_secs(1);
/// Pauses between tries in an outage.
const OUTAGE_FIRST: Duration = Duration::from_secs(1);
const OUTAGE_LONGEST: Duration = Duration::from_secs(15);
/// Refusals in a row, with nothing launched between, that halt.
const HALT_AFTER_FORBIDDEN: u32 = 10;
const HALT_AFTER_REFUSED: u32 = 20;
/// Answers of 2xx in a row that are no JSON object: something else answers in the API's place.
const HALT_AFTER_PAGES: u32 = 5;
/// Between probes when halted.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// A closure longer than this is not waited out with jobs in hand.
pub const LONG: Duration = Duration::from_secs(60);
/// Consumption begins again so long before a long closure ends.
const HEAD_START: Duration = Duration::from_secs(2);
/// A 429 that names no time: the pause doubles from the first to the longest.
const UNNAMED_FIRST: Duration = Duration::from_secs(1);
const UNNAMED_LONGEST: Duration = Duration::from_secs(60);
/// Flows that failed a probe are avoided by the next ones, so many at most.
const AVOIDED: usize = 16;

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

#[derive(Debug)]
struct Outage {
    pause: Duration,
    next_try: Instant,
    avoid: Option<String>,
    cause: String,
}

#[derive(Debug)]
struct Halt {
    reason: HaltReason,
    cause: String,
    next_try: Instant,
    avoid: VecDeque<String>,
}

/// The machine.
#[derive(Debug, Default)]
struct State {
    launched_at: Option<Instant>,
    throttled_until: Option<Instant>,
    unnamed_in_a_row: u32,
    outage: Option<Outage>,
    halt: Option<Halt>,
    probing: bool,
    wobbles_in_a_row: u32,
    forbidden_in_a_row: u32,
    refused_in_a_row: u32,
    /// When the first of them came.
    refused_since: Option<Instant>,
    pages_in_a_row: u32,
    flows: Flows,
}

impl State {
    fn stance(&self, now: Instant) -> Stance {
        if let Some(halt) = &self.halt {
            return match halt.next_try {
                _ if self.probing => Stance::Hold {
                    until: now + PROBE_EVERY,
                },
                next if next > now => Stance::Away { until: next },
                _ if halt.reason == HaltReason::Unauthorized => Stance::Probe(Probe::Credentials),
                _ => Stance::Probe(Probe::Job {
                    avoid: halt.avoid.iter().cloned().collect(),
                    fetch: true,
                }),
            };
        }
        if let Some(until) = self.throttled_until.filter(|until| *until > now) {
            return if until - now > LONG {
                Stance::Away {
                    until: until - HEAD_START,
                }
            } else {
                Stance::Hold { until }
            };
        }
        if let Some(outage) = &self.outage {
            return if self.probing {
                Stance::Hold {
                    until: now + OUTAGE_LONGEST,
                }
            } else if outage.next_try > now {
                Stance::Hold { until: outage.next_try }
            } else {
                Stance::Probe(Probe::Job {
                    avoid: outage.avoid.iter().cloned().collect(),
                    fetch: false,
                })
            };
        }
        Stance::Open
    }

    fn observe(&mut self, what: Observed<'_>, flow: Option<&str>, probe: bool, now: Instant) -> Ruling {
        match what {
            Observed::Passed(sent) => {
                self.passed(flow, probe, sent, now);
                Ruling::Ordinary
            }
            Observed::Failed(failure) => self.failed(failure, flow, probe, now),
        }
    }

    fn passed(&mut self, flow: Option<&str>, probe: bool, sent: Instant, now: Instant) {
        self.unnamed_in_a_row = 0;
        self.wobbles_in_a_row = 0;
        self.pages_in_a_row = 0;
        self.outage = None;
        // A launch that was under way when the first refusal came says nothing about what holds since.
        let news = probe || self.refused_since.is_none_or(|since| sent >= since);
        if news {
            self.forbidden_in_a_row = 0;
            self.refused_in_a_row = 0;
            self.refused_since = None;
        }
        let over = match self.halt.as_ref().map(|halt| halt.reason) {
            Some(HaltReason::Forbidden | HaltReason::Refused) => news,
            Some(HaltReason::Misdirected) => true,
            Some(HaltReason::Unauthorized) => probe,
            None => false,
        };
        if over {
            self.halt = None;
        }
        if let Some(flow) = flow {
            self.flows.launched(flow);
            self.launched_at = Some(now);
        }
    }

    fn failed(&mut self, failure: &Failure, flow: Option<&str>, probe: bool, now: Instant) -> Ruling {
        // The token is everybody's: no flow is to blame for it.
        let flow = flow.filter(|_| !failure.from_login);
        if probe && self.halt.is_some() {
            return self.probe_failed(failure, flow, now);
        }
        match failure.class {
            Class::Throttled => self.throttled(failure, flow, now),
            Class::Unreachable => {
                self.no_success(failure, flow, probe, true, now);
                Ruling::Ordinary
            }
            Class::Transient => {
                self.pages_in_a_row = 0;
                self.no_success(failure, flow, probe, false, now);
                Ruling::Ordinary
            }
            Class::Unknown => {
                self.pages_in_a_row = if is_page(failure) { self.pages_in_a_row + 1 } else { 0 };
                if self.pages_in_a_row >= HALT_AFTER_PAGES {
                    self.halt(HaltReason::Misdirected, failure, flow, now);
                } else {
                    self.no_success(failure, flow, probe, false, now);
                }
                Ruling::Ordinary
            }
            Class::Refused | Class::Forbidden => {
                // The API answered, and decided: this is no outage.
                self.wobbles_in_a_row = 0;
                self.outage = None;
                if self.halt.is_some() {
                    return Ruling::GiveBack;
                }
                self.refused_since.get_or_insert(now);
                self.refused_in_a_row += 1;
                let forbidden = failure.class == Class::Forbidden;
                self.forbidden_in_a_row += u32::from(forbidden);
                if forbidden && self.forbidden_in_a_row >= HALT_AFTER_FORBIDDEN {
                    self.halt(HaltReason::Forbidden, failure, flow, now);
                } else if self.refused_in_a_row >= HALT_AFTER_REFUSED {
                    self.halt(HaltReason::Refused, failure, flow, now);
                }
                Ruling::Ordinary
            }
            Class::Unauthorized => {
                self.halt(HaltReason::Unauthorized, failure, flow, now);
                Ruling::GiveBack
            }
            Class::Misdirected => {
                self.halt(HaltReason::Misdirected, failure, flow, now);
                Ruling::GiveBack
            }
        }
    }

    fn throttled(&mut self, failure: &Failure, flow: Option<&str>, now: Instant) -> Ruling {
        let pause = failure.retry_after.unwrap_or_else(|| {
            let doubled = UNNAMED_FIRST * 2_u32.saturating_pow(self.unnamed_in_a_row);
            doubled.min(UNNAMED_LONGEST)
        });
        let until = now + pause;
        if let Some(flow) = flow
            && self.flows.throttled(flow, until)
        {
            return Ruling::FlowOnly;
        }
        // Calls that were under way with the first 429 are the same event, not a further one.
        if failure.retry_after.is_none() && self.throttled_until.is_none_or(|until| until <= now) {
            self.unnamed_in_a_row = self.unnamed_in_a_row.saturating_add(1);
        }
        // The API answers, so whatever else it is, it is no outage.
        self.outage = None;
        self.throttled_until = self.throttled_until.max(Some(until));
        Ruling::Ordinary
    }

    /// An outcome that may mean an outage; `surely` when one is enough.
    fn no_success(&mut self, failure: &Failure, flow: Option<&str>, probe: bool, surely: bool, now: Instant) {
        if !surely && !probe && self.is_its_own_fault(flow, now) {
            return;
        }
        self.wobbles_in_a_row = self.wobbles_in_a_row.saturating_add(1);
        let avoid = flow.map(str::to_owned);
        match &mut self.outage {
            // Only the one that tries says that it goes on; others were sent before it was known.
            Some(outage) if probe => {
                outage.pause = (outage.pause * 2).min(OUTAGE_LONGEST);
                outage.next_try = now + outage.pause;
                outage.avoid = avoid;
                outage.cause = failure.for_log();
            }
            Some(_) => {}
            None if surely || self.wobbles_in_a_row >= OUTAGE_AFTER => {
                self.outage = Some(Outage {
                    pause: OUTAGE_FIRST,
                    next_try: now + OUTAGE_FIRST,
                    avoid,
                    cause: failure.for_log(),
                });
            }
            None => {}
        }
    }

    /// Whether `flow`, which just failed, is known to fail by itself, and the API is known to work for others.
    fn is_its_own_fault(&mut self, flow: Option<&str>, now: Instant) -> bool {
        let own = flow.is_some_and(|flow| self.flows.failed(flow));
        own && self.launched_at.is_some_and(|at| now - at < LATELY)
    }

    fn halt(&mut self, reason: HaltReason, failure: &Failure, flow: Option<&str>, now: Instant) {
        let cause = failure.for_log();
        match &mut self.halt {
            Some(halt) => {
                halt.reason = reason;
                halt.cause = cause;
            }
            None => {
                self.halt = Some(Halt {
                    reason,
                    cause,
                    next_try: now + PROBE_EVERY,
                    avoid: flow.map(str::to_owned).into_iter().collect(),
                });
            }
        }
    }

    /// The probe of a halted worker failed: whatever it came to, the job is not to blame.
    fn probe_failed(&mut self, failure: &Failure, flow: Option<&str>, now: Instant) -> Ruling {
        match failure.class {
            Class::Unauthorized => self.halt(HaltReason::Unauthorized, failure, flow, now),
            Class::Misdirected => self.halt(HaltReason::Misdirected, failure, flow, now),
            Class::Throttled
            | Class::Unreachable
            | Class::Transient
            | Class::Unknown
            | Class::Refused
            | Class::Forbidden => {}
        }
        if let Some(halt) = &mut self.halt {
            halt.next_try = now + failure.retry_after.unwrap_or_default().max(PROBE_EVERY);
            if let Some(flow) = flow {
                halt.avoid.push_back(flow.to_owned());
                if halt.avoid.len() > AVOIDED {
                    halt.avoid.pop_front();
                }
            }
        }
        match failure.class {
            // Sent, and nobody knows: the job's own count of unknowns must know it.
            Class::Unknown if !is_page(failure) => Ruling::Ordinary,
            Class::Throttled
            | Class::Unreachable
            | Class::Transient
            | Class::Unknown
            | Class::Refused
            | Class::Forbidden
            | Class::Unauthorized
            | Class::Misdirected => Ruling::GiveBack,
        }
    }
}

/// A 2xx that is no JSON object: a proxy's or a login page.
fn is_page(failure: &Failure) -> bool {
    failure.class == Class::Unknown && failure.status.is_some_and(|status| (200..300).contains(&status))
}

/// The gate of one worker.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

/// The right to try while the gate is closed. Dropped without an outcome (the job was expired, say), the next one tries.
#[derive(Debug)]
pub struct ProbeTicket(std::sync::Arc<Gate>);

impl Drop for ProbeTicket {
    fn drop(&mut self) {
        self.0.lock().probing = false;
        self.0.changed.notify_waiters();
    }
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

    /// Waits until something changes, or until `until`.
    pub async fn changed(&self, until: Instant) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Takes the right to try, when the stance says so and nobody else has it.
    pub fn begin_probe(self: &std::sync::Arc<Self>) -> Option<ProbeTicket> {
        let mut state = self.lock();
        let may = matches!(state.stance(Instant::now()), Stance::Probe(_));
        state.probing |= may;
        may.then(|| ProbeTicket(self.clone()))
    }

    /// Whether the job that tries may still be sent: nothing but the closure that it is to probe stands against it.
    pub fn may_probe(&self) -> bool {
        let state = self.lock();
        state.halt.is_some() || state.throttled_until.is_none_or(|until| until <= Instant::now())
    }

    /// Reports an outcome; `flow` is the job's, `ticket` the right by which it was sent, if it was a probe.
    pub fn observe(&self, what: Observed<'_>, flow: Option<&str>, ticket: Option<&ProbeTicket>) -> Ruling {
        let mut state = self.lock();
        let before = (state.halt.as_ref().map(|halt| halt.reason), state.outage.is_some());
        let ruling = state.observe(what, flow, ticket.is_some(), Instant::now());
        let after = (state.halt.as_ref().map(|halt| halt.reason), state.outage.is_some());
        let halted = state.halt.as_ref().map(|halt| halt.cause.clone());
        let outage = state.outage.as_ref().map(|outage| outage.cause.clone());
        drop(state);
        announce(before, after, halted, outage);
        if !matches!(what, Observed::Passed(_)) || before != after {
            self.changed.notify_waiters();
        }
        ruling
    }

    /// Until when a single flow is closed.
    pub fn flow_closed_until(&self, flow: &str) -> Option<Instant> {
        self.lock().flows.closed_until(flow, Instant::now())
    }

    /// What people are told.
    pub fn report(&self) -> Report {
        let state = self.lock();
        let now = Instant::now();
        let throttled = state
            .throttled_until
            .filter(|until| *until > now)
            .map(|until| until - now);
        let closed = match (&throttled, &state.outage) {
            (Some(left), _) => Some(format!("throttled by the API for another {} s", left.as_secs() + 1)),
            (None, Some(outage)) => Some(format!("outage: one job at a time tries ({})", outage.cause)),
            (None, None) => None,
        };
        let opens_in = throttled.or_else(|| state.outage.as_ref().map(|o| o.next_try.saturating_duration_since(now)));
        Report {
            halted: state.halt.as_ref().map(|halt| (halt.reason, halt.cause.clone())),
            closed,
            opens_in,
        }
    }
}

type Marks = (Option<HaltReason>, bool);

fn announce(before: Marks, after: Marks, halted: Option<String>, outage: Option<String>) {
    match (before.0, after.0) {
        (None, Some(reason)) => {
            let cause = halted.unwrap_or_default();
            tracing::error!(reason = reason.as_str(), %cause, "halted: nothing is launched and nothing dead-lettered; a probe every 30 s");
        }
        (Some(reason), None) => tracing::info!(reason = reason.as_str(), "no longer halted: launching again"),
        _ => {}
    }
    match (before.1, after.1) {
        (false, true) => {
            let cause = outage.unwrap_or_default();
            tracing::warn!(%cause, "an outage: one job at a time tries, the others wait and spend nothing");
        }
        (true, false) => tracing::info!("the outage is over"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: Class) -> Failure {
        Failure::new(class, "test")
    }

    fn status(class: Class, status: u16) -> Failure {
        Failure {
            status: Some(status),
            ..failure(class)
        }
    }

    fn retry_after(secs: u64) -> Failure {
        Failure {
            retry_after: Some(Duration::from_secs(secs)),
            ..failure(Class::Throttled)
        }
    }

    struct Rig {
        state: State,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                state: State::default(),
                now: Instant::now(),
            }
        }
        fn fail(&mut self, failure: &Failure, flow: &str) -> Ruling {
            self.state
                .observe(Observed::Failed(failure), Some(flow), false, self.now)
        }
        fn pass(&mut self, flow: &str) {
            self.state
                .observe(Observed::Passed(self.now), Some(flow), false, self.now);
        }
        fn probe(&mut self, what: Observed<'_>, flow: &str) -> Ruling {
            self.state.observe(what, Some(flow), true, self.now)
        }
        fn stance(&self) -> Stance {
            self.state.stance(self.now)
        }
        fn wait(&mut self, secs: u64) {
            self.now += Duration::from_secs(secs);
        }
    }

    #[test]
    fn one_429_closes_until_the_time_named_and_not_a_moment_longer() {
        let mut rig = Rig::new();
        rig.fail(&retry_after(20), "a");
        rig.fail(&retry_after(3), "a");
        assert_eq!(
            rig.stance(),
            Stance::Hold {
                until: rig.now + Duration::from_secs(20)
            }
        );
        rig.wait(20);
        assert_eq!(rig.stance(), Stance::Open);
    }

    #[test]
    fn a_closure_of_hours_sends_everything_back_and_begins_again_shortly_before() {
        let mut rig = Rig::new();
        rig.fail(&retry_after(7200), "a");
        let until = rig.now + Duration::from_secs(7200);
        assert_eq!(
            rig.stance(),
            Stance::Away {
                until: until - HEAD_START
            }
        );
        rig.wait(7198);
        assert_eq!(rig.stance(), Stance::Hold { until });
        rig.wait(2);
        assert_eq!(rig.stance(), Stance::Open);
    }

    #[test]
    fn a_429_that_names_no_time_backs_off() {
        let mut rig = Rig::new();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            rig.fail(&failure(Class::Throttled), "a");
            assert_eq!(
                rig.stance(),
                Stance::Hold {
                    until: rig.now + Duration::from_secs(pause)
                }
            );
            rig.wait(pause);
        }
        rig.pass("a");
        rig.fail(&failure(Class::Throttled), "a");
        assert_eq!(
            rig.stance(),
            Stance::Hold {
                until: rig.now + Duration::from_secs(1)
            }
        );
    }

    #[test]
    fn one_unreachable_or_five_wobbles_are_an_outage() {
        let mut rig = Rig::new();
        rig.fail(&failure(Class::Unreachable), "a");
        assert_ne!(rig.stance(), Stance::Open);
        for class in [Class::Transient, Class::Unknown] {
            let mut rig = Rig::new();
            for _ in 0..4 {
                rig.fail(&failure(class), "a");
            }
            rig.pass("b");
            for _ in 0..4 {
                rig.fail(&failure(class), "a");
                assert_eq!(rig.stance(), Stance::Open);
            }
            rig.fail(&failure(class), "a");
            assert_ne!(rig.stance(), Stance::Open);
        }
    }

    #[test]
    fn in_an_outage_one_tries_with_growing_pauses_and_another_flow_and_one_success_opens() {
        let mut rig = Rig::new();
        rig.fail(&failure(Class::Unreachable), "a");
        for pause in [1, 2, 4, 8, 15, 15] {
            assert_eq!(
                rig.stance(),
                Stance::Hold {
                    until: rig.now + Duration::from_secs(pause)
                }
            );
            rig.wait(pause);
            assert_eq!(
                rig.stance(),
                Stance::Probe(Probe::Job {
                    avoid: vec!["a".into()],
                    fetch: false
                })
            );
            // Stragglers say nothing.
            rig.fail(&failure(Class::Unreachable), "b");
            rig.probe(Observed::Failed(&failure(Class::Unreachable)), "a");
        }
        rig.wait(15);
        rig.probe(Observed::Passed(rig.now), "c");
        assert_eq!(rig.stance(), Stance::Open);
    }

    #[test]
    fn an_answer_that_decides_ends_an_outage() {
        for answer in [
            status(Class::Refused, 404),
            status(Class::Forbidden, 403),
            retry_after(0),
        ] {
            let mut rig = Rig::new();
            rig.fail(&failure(Class::Unreachable), "a");
            rig.wait(1);
            rig.probe(Observed::Failed(&answer), "a");
            assert_eq!(rig.stance(), Stance::Open, "{answer}");
        }
    }

    #[test]
    fn ten_forbidden_or_twenty_refused_in_a_row_halt_and_those_under_way_are_given_back() {
        for (answer, most) in [(status(Class::Forbidden, 403), 10), (status(Class::Refused, 404), 20)] {
            let mut rig = Rig::new();
            rig.fail(&answer, "a");
            rig.pass("b");
            for _ in 0..most {
                assert_eq!(rig.stance(), Stance::Open);
                assert_eq!(rig.fail(&answer, "a"), Ruling::Ordinary);
            }
            assert_eq!(
                rig.stance(),
                Stance::Away {
                    until: rig.now + PROBE_EVERY
                }
            );
            assert_eq!(rig.fail(&answer, "a"), Ruling::GiveBack);
            rig.wait(30);
            assert_eq!(
                rig.stance(),
                Stance::Probe(Probe::Job {
                    avoid: vec!["a".into()],
                    fetch: true
                })
            );
            assert_eq!(rig.probe(Observed::Failed(&answer), "b"), Ruling::GiveBack);
            assert_eq!(
                rig.stance(),
                Stance::Away {
                    until: rig.now + PROBE_EVERY
                }
            );
            rig.wait(30);
            let avoid = vec!["a".into(), "b".into()];
            assert_eq!(rig.stance(), Stance::Probe(Probe::Job { avoid, fetch: true }));
            rig.probe(Observed::Passed(rig.now), "c");
            assert_eq!(rig.stance(), Stance::Open);
        }
    }

    #[test]
    fn a_launch_that_was_under_way_at_the_first_refusal_does_not_begin_the_count_anew() {
        let mut rig = Rig::new();
        let sent = rig.now;
        rig.wait(1);
        for _ in 0..HALT_AFTER_FORBIDDEN {
            assert_eq!(rig.stance(), Stance::Open);
            rig.fail(&status(Class::Forbidden, 403), "a");
            rig.state.observe(Observed::Passed(sent), Some("b"), false, rig.now);
        }
        assert_ne!(rig.stance(), Stance::Open);
        rig.wait(1);
        rig.pass("c");
        assert_eq!(rig.stance(), Stance::Open, "one that was sent since is news");
    }

    #[test]
    fn refused_credentials_halt_at_once_and_only_a_probe_ends_it() {
        let mut rig = Rig::new();
        assert_eq!(rig.fail(&failure(Class::Unauthorized), "a"), Ruling::GiveBack);
        rig.pass("straggler");
        assert_eq!(
            rig.stance(),
            Stance::Away {
                until: rig.now + PROBE_EVERY
            }
        );
        rig.wait(30);
        assert_eq!(rig.stance(), Stance::Probe(Probe::Credentials));
        rig.probe(Observed::Passed(rig.now), "a");
        assert_eq!(rig.stance(), Stance::Open);
    }

    #[test]
    fn redirects_halt_at_once_and_pages_in_place_of_answers_after_five() {
        let mut rig = Rig::new();
        assert_eq!(rig.fail(&status(Class::Misdirected, 302), "a"), Ruling::GiveBack);
        assert_eq!(
            rig.stance(),
            Stance::Away {
                until: rig.now + PROBE_EVERY
            }
        );
        let mut rig = Rig::new();
        for _ in 0..4 {
            rig.fail(&status(Class::Unknown, 200), "a");
        }
        assert_eq!(rig.stance(), Stance::Open);
        rig.fail(&status(Class::Unknown, 200), "a");
        assert_eq!(
            rig.stance(),
            Stance::Away {
                until: rig.now + PROBE_EVERY
            }
        );
        assert_eq!(
            rig.probe(Observed::Failed(&status(Class::Unknown, 200)), "a"),
            Ruling::GiveBack
        );
    }

    #[test]
    fn a_broken_flow_among_good_ones_slows_nobody() {
        let mut rig = Rig::new();
        for _ in 0..100 {
            for _ in 0..4 {
                rig.fail(&status(Class::Unknown, 500), "broken");
            }
            rig.pass("good");
            assert_eq!(rig.stance(), Stance::Open);
        }
    }

    #[test]
    fn a_flow_known_to_be_broken_is_no_outage_while_others_are_launched() {
        let mut rig = Rig::new();
        let broken = status(Class::Unknown, 500);
        for _ in 0..4 {
            rig.pass("good");
            rig.fail(&broken, "broken");
        }
        // A hundred in a row, as when its retries stand at the end of a lane together.
        rig.pass("good");
        for _ in 0..100 {
            rig.fail(&broken, "broken");
        }
        assert_eq!(rig.stance(), Stance::Open);
        // But when nobody has been launched for a second, it may be the API after all.
        rig.wait(1);
        for _ in 0..5 {
            assert_eq!(rig.stance(), Stance::Open);
            rig.fail(&broken, "broken");
        }
        assert_ne!(rig.stance(), Stance::Open);
    }

    #[test]
    fn a_flow_that_was_launched_is_not_known_to_be_broken_any_more() {
        let mut rig = Rig::new();
        for _ in 0..4 {
            rig.pass("good");
            rig.fail(&status(Class::Transient, 503), "mended");
        }
        rig.pass("mended");
        for _ in 0..5 {
            assert_eq!(rig.stance(), Stance::Open);
            rig.fail(&status(Class::Transient, 503), "mended");
        }
        assert_ne!(rig.stance(), Stance::Open);
    }

    #[test]
    fn a_throttled_token_endpoint_is_no_flows_own_fault() {
        let mut rig = Rig::new();
        let login = Failure {
            from_login: true,
            ..retry_after(5)
        };
        for _ in 0..10 {
            rig.pass("b");
            assert_eq!(rig.fail(&login, "a"), Ruling::Ordinary);
            assert_ne!(rig.stance(), Stance::Open);
            rig.wait(5);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_ticket_at_a_time_and_a_dropped_one_lets_the_next_try() {
        let gate = std::sync::Arc::new(Gate::default());
        assert!(gate.begin_probe().is_none(), "an open gate needs no probe");
        gate.observe(Observed::Failed(&failure(Class::Unreachable)), Some("a"), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        let ticket = gate.begin_probe().unwrap();
        assert!(gate.begin_probe().is_none());
        drop(ticket);
        let ticket = gate.begin_probe().unwrap();
        gate.observe(Observed::Passed(Instant::now()), Some("b"), Some(&ticket));
        drop(ticket);
        assert!(gate.is_open());
    }
}
