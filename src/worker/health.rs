//! What people are told about a worker: readiness, status, and the numbers that are read when they are asked for.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Context, Work};
use crate::admit::gate::{Observed, ProbeTicket, Ruling};
use crate::broker::Link;
use crate::metrics::{GiveBackReason, Queue, Settled};

/// Utilisation is an average over about this long.
const UTILISATION_OVER: Duration = Duration::from_secs(10);

/// A worker's health.
pub struct WorkerHealth {
    context: Arc<Context>,
    used: Mutex<(Instant, u64)>,
}

/// Whether the worker can work, and why not.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Able to work; a closed gate does not count against it.
    pub ready: bool,
    /// In a sentence.
    pub reason: String,
}

impl WorkerHealth {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let used = Mutex::new((Instant::now(), context.bucket.taken()));
        Self { context, used }
    }

    /// Whether it can work.
    pub fn standing(&self) -> Standing {
        let context = &self.context;
        let no = |reason: String| Standing { ready: false, reason };
        if context.draining.is_cancelled() {
            return no("draining: finishing what is in flight, giving the rest back".to_owned());
        }
        let report = context.gate.report();
        if let Some((reason, cause)) = report.halted {
            return no(format!("halted ({}): {cause}", reason.as_str()));
        }
        for (side, link) in [
            ("consuming", &context.observed.consuming),
            ("publishing", &context.observed.publishing),
        ] {
            match &*link.borrow() {
                Link::Up => {}
                Link::Down(why) => return no(format!("no broker ({side}): {why}")),
                Link::Blocked(why) => return no(format!("the broker blocks publishers ({why}): no launch begins")),
            }
        }
        let rules = match context.control.known() {
            Ok(rules) => rules,
            Err(why) => return no(format!("nothing is launched before what is paused is known: {why}")),
        };
        if let Some((scope, pause)) = rules.pauses().into_iter().next() {
            let reason = pause.reason.map_or_else(String::new, |reason| format!(": {reason}"));
            return Standing {
                ready: true,
                reason: format!("paused: {scope}, since {}{reason}", pause.since),
            };
        }
        match report.closed {
            Some(closed) => Standing {
                ready: true,
                reason: format!("gate closed: {closed}"),
            },
            None => Standing {
                ready: true,
                reason: "working".to_owned(),
            },
        }
    }

    /// When the process last showed that it is not stuck.
    pub fn heartbeat(&self) -> Instant {
        *self
            .context
            .heartbeat
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Shows every second, for ever, that the runtime is not stuck.
    pub async fn beat(&self) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        let mut others = 0;
        loop {
            every.tick().await;
            let now = self.context.observed.queues.borrow().other_consumers;
            if now > others && self.context.bucket.rate().is_some() {
                tracing::warn!(
                    consumers = now,
                    "other workers consume from these lanes: limits.rate holds for one worker, so divide the API's allowance among them"
                );
            }
            others = now;
            *self
                .context
                .heartbeat
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        }
    }

    /// All that there is to say.
    pub fn status(&self) -> Value {
        let context = &self.context;
        let standing = self.standing();
        let report = context.gate.report();
        let link = |link: &Link| match link {
            Link::Up => "up".to_owned(),
            Link::Down(why) => format!("down: {why}"),
            Link::Blocked(why) => format!("blocked: {why}"),
        };
        let queues = context.observed.queues.borrow().clone();
        json!({
            "ready": standing.ready,
            "reason": standing.reason,
            "broker": {
                "consuming": link(&context.observed.consuming.borrow()),
                "publishing": link(&context.observed.publishing.borrow()),
            },
            "gate": {
                "halted": report.halted.as_ref().map(|(reason, _)| reason.as_str()),
                "closed": report.closed,
                "opensInSeconds": report.opens_in.map(|left| left.as_secs_f64()),
            },
            "paused": context.control.known().ok().map(|rules| {
                rules.pauses().into_iter().map(|(scope, pause)| json!({ "scope": scope, "since": pause.since, "reason": pause.reason }))
                    .collect::<Vec<_>>()
            }),
            "underWay": context.tasks.len(),
            "limit": { "launchesPerSecond": context.bucket.rate(), "permitsTaken": context.bucket.taken() },
            "queues": queues.messages.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "delayLagSeconds": queues.delay_lag,
            "otherConsumers": queues.other_consumers,
        })
    }

    /// Brings the gauges up to date; called before they are read.
    pub fn refresh(&self) {
        let context = &self.context;
        let metrics = &context.metrics;
        let report = context.gate.report();
        metrics.halted_for(report.halted.as_ref().map(|(reason, _)| *reason));
        metrics
            .gate_closed
            .of(())
            .set(f64::from(u8::from(report.closed.is_some())));
        let opens = report
            .opens_in
            .and_then(|left| (SystemTime::now() + left).duration_since(UNIX_EPOCH).ok());
        metrics
            .gate_opens_timestamp_seconds
            .of(())
            .set(opens.map_or(0.0, |at| at.as_secs_f64()));
        metrics
            .limiter_rate
            .of(())
            .set(context.bucket.rate().unwrap_or(f64::INFINITY));
        let expires = context.tokens.expires_at().map_or(0.0, |at| at.as_second() as f64);
        metrics.token_expiry_timestamp_seconds.of(()).set(expires);
        let up = context.observed.consuming.borrow().is_up() && context.observed.publishing.borrow().is_up();
        metrics.broker_connected.of(()).set(f64::from(u8::from(up)));
        let queues = context.observed.queues.borrow().clone();
        for queue in Queue::ALL {
            let seen = queues
                .messages
                .iter()
                .find(|(name, _)| *name == queue.as_str())
                .and_then(|(_, count)| *count);
            if let Some(count) = seen {
                metrics.queue_messages.of(queue).set(f64::from(count));
            }
        }
        metrics.delay_lag_seconds.of(()).set(queues.delay_lag);
        self.utilisation();
    }

    fn utilisation(&self) {
        let Some(rate) = self.context.bucket.rate() else {
            return;
        };
        let mut used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (since, before) = *used;
        let (elapsed, taken) = (since.elapsed(), self.context.bucket.taken());
        if elapsed >= UTILISATION_OVER {
            let ratio = taken.saturating_sub(before) as f64 / (rate * elapsed.as_secs_f64());
            self.context
                .metrics
                .limiter_utilization_ratio
                .of(())
                .set(ratio.min(1.0));
            *used = (Instant::now(), taken);
        }
    }
}

impl Context {
    /// Lets go of a job whose session is over: the broker has given it to somebody else.
    pub(super) fn lost(&self, work: Box<Work>) {
        self.metrics
            .settled(work.lane, Settled::GivenBack(GiveBackReason::SessionLost));
        drop(work);
    }

    /// Tells the gate about an outcome.
    pub(super) fn observe(&self, what: Observed<'_>, flow: Option<&str>, ticket: Option<&ProbeTicket>) -> Ruling {
        self.gate.observe(what, flow, ticket)
    }
}
