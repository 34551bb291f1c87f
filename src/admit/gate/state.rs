//! The gate's machine: no clock of its own, no lock, no waiting.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{HaltReason, Observed, Probe, Report, Ruling, Stance};
use crate::admit::flows::Flows;
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
const LONG: Duration = Duration::from_secs(60);
/// Consumption begins again so long before a long closure ends.
const HEAD_START: Duration = Duration::from_secs(2);
/// A 429 that names no time: the pause doubles from the first to the longest.
const UNNAMED_FIRST: Duration = Duration::from_secs(1);
const UNNAMED_LONGEST: Duration = Duration::from_secs(60);
/// Flows that failed a probe are avoided by the next ones, so many at most.
const AVOIDED: usize = 16;

/// What is wrong with more than one job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) halted: Option<(HaltReason, String)>,
    pub(super) outage: Option<String>,
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
pub(super) struct State {
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
    pub(super) fn stance(&self, now: Instant) -> Stance {
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

    pub(super) fn observe(&mut self, what: Observed<'_>, flow: Option<&str>, probe: bool, now: Instant) -> Ruling {
        match what {
            Observed::Passed(sent) => {
                self.passed(flow, probe, sent, now);
                Ruling::Ordinary
            }
            Observed::Failed(failure) => self.failed(failure, flow, probe, now),
        }
    }

    /// Takes the right to try, when it is to be had.
    pub(super) fn begin_probe(&mut self, now: Instant) -> bool {
        let may = matches!(self.stance(now), Stance::Probe(_));
        self.probing |= may;
        may
    }

    pub(super) fn end_probe(&mut self) {
        self.probing = false;
    }

    /// Whether nothing but the closure that is to be probed stands against a probe.
    pub(super) fn may_probe(&self, now: Instant) -> bool {
        self.halt.is_some() || self.throttled_until.is_none_or(|until| until <= now)
    }

    /// Until when a single flow is closed.
    pub(super) fn flow_closed_until(&mut self, flow: &str, now: Instant) -> Option<Instant> {
        self.flows.closed_until(flow, now)
    }

    /// Why it is halted, if it is, and the outage's cause, if there is one.
    pub(super) fn faults(&self) -> Faults {
        Faults {
            halted: self.halt.as_ref().map(|halt| (halt.reason, halt.cause.clone())),
            outage: self.outage.as_ref().map(|outage| outage.cause.clone()),
        }
    }

    pub(super) fn report(&self, now: Instant) -> Report {
        let Faults { halted, outage } = self.faults();
        let throttled = self
            .throttled_until
            .filter(|until| *until > now)
            .map(|until| until - now);
        let closed = match (&throttled, outage) {
            (Some(left), _) => Some(format!("throttled by the API for another {} s", left.as_secs() + 1)),
            (None, Some(cause)) => Some(format!("outage: one job at a time tries ({cause})")),
            (None, None) => None,
        };
        let next_try = self
            .outage
            .as_ref()
            .map(|outage| outage.next_try.saturating_duration_since(now));
        Report {
            halted,
            closed,
            opens_in: throttled.or(next_try),
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

#[cfg(test)]
mod tests;
