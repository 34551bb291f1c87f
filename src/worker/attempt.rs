//! The path of a job, from admission to settlement.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::dispatch::Admission;
use super::ledger::{Claim, Key};
use super::settle::{DelayReason, Verdict, acknowledge, carry_out, conclude};
use super::{Context, Work};
use crate::admit::gate::{Observed, ProbeTicket, Ruling};
use crate::api::{Attempted, LaunchRequest, Reply};
use crate::broker::Link;
use crate::metrics::{GiveBackReason, LaunchOutcome, Window};
use crate::outcome::{Class, Failure, Receipt};
use crate::retry::{Decision, Wishes};

/// What came of trying.
enum Tried {
    Launched(Receipt),
    Failed(Failure),
    /// The fault is not the job's.
    NotToBlame(GiveBackReason),
    /// The last look said no; nothing was written.
    Withdrawn,
    /// Another delivery of the same message was first.
    Known(Key),
}

/// Launches a job, decides about the outcome, and settles it.
pub(super) async fn attempt(context: Arc<Context>, work: Box<Work>, admission: Admission) {
    // Boxed: what a launch takes is much, and is let go before the result waits for its confirm, a hundred times as long.
    let tried = Box::pin(launch(&context, &work, admission)).await;
    let verdict = match tried {
        Tried::Launched(receipt) => Verdict::Launched(receipt),
        Tried::Failed(failure) => context.decide(&work, failure),
        Tried::NotToBlame(why) => Verdict::GivenBack(why),
        Tried::Withdrawn => return context.withdraw(work),
        Tried::Known(key) => return follow(context, work, key).await,
    };
    conclude(&context, work, verdict).await;
}

/// One launch call; after a plain 401 another one with a newer token, until one was refused that was minted since the
/// first 401.
async fn launch(context: &Arc<Context>, work: &Work, admission: Admission) -> Tried {
    let Ok(job) = &work.job else {
        return Tried::Withdrawn;
    };
    let Admission {
        slot: _slot,
        mut permit,
        ticket,
    } = admission;
    let request = LaunchRequest {
        flow_id: &job.flow_id,
        inputs: job.inputs.as_deref(),
        flow_version: job.flow_version.as_deref(),
        name: job.name.as_deref(),
    };
    let mut token = match context.tokens.get().await {
        Ok(token) => token,
        Err(failure) => return context.failed(work, failure, ticket.as_ref()),
    };
    let mut first_401: Option<Instant> = None;
    loop {
        let look = last_look(context, work, ticket.is_some());
        // A look that fails when the request is about to be written costs the connection; most fail already here.
        if !look() {
            context.bucket.pass_on(permit);
            // Before the first call nothing of it is ours to forget: a redelivery may be under way by now.
            if let (Some(key), true) = (&work.key, first_401.is_some()) {
                context.ledger.forget(key);
            }
            return Tried::Withdrawn;
        }
        // From here on a second delivery of the same message must wait for what comes of this one.
        if let Some(key) = &work.key
            && first_401.is_none()
            && !context.ledger.begin(key, work.may_be_known())
        {
            context.bucket.pass_on(permit);
            return Tried::Known(key.clone());
        }
        let began = Instant::now();
        let flying = context.metrics.flying();
        let reply = context.client.launch(&request, &token, look).await;
        drop(flying);
        context.count_call(work, &reply, began);
        let failure = match reply.outcome {
            Attempted::Launched(receipt) => {
                context.observe(Observed::Passed(began), work.flow(), ticket.as_ref());
                return Tried::Launched(receipt);
            }
            Attempted::Failed(failure) => failure,
            Attempted::Withdrawn => {
                context.bucket.pass_on(permit);
                if let Some(key) = &work.key {
                    context.ledger.forget(key);
                }
                return Tried::Withdrawn;
            }
        };
        let conclusive = first_401.is_some_and(|moment| token.is_minted_since(moment));
        if failure.class != Class::Unauthorized || conclusive {
            return context.failed(work, failure, ticket.as_ref());
        }
        // A token can die long before it expires (15 idle minutes, in some organisations): one caller mints, the others
        // wait, and the call is repeated at once, at no attempt, but not at no quota. The newer token may be one that was
        // minted while this call was on its way, and be dead as well by now.
        first_401.get_or_insert_with(Instant::now);
        token = match context.tokens.renew(&token).await {
            Ok(token) => token,
            Err(failure) => return context.failed(work, failure, ticket.as_ref()),
        };
        permit = context.bucket.take().await;
    }
}

/// Asked right before the request is written: session alive, publisher there, not cancelled or paused, not expired, gate
/// open.
fn last_look(context: &Arc<Context>, work: &Work, probe: bool) -> impl Fn() -> bool + Send + Sync + 'static {
    let pulse = work.delivery.pulse();
    let expires_at = work.job.as_ref().ok().and_then(|job| job.expires_at);
    let subject = work.subject();
    let context = context.clone();
    move || {
        pulse.as_ref().is_some_and(|pulse| pulse.is_alive())
            && context.publisher.is_ready()
            && subject.as_ref().is_some_and(|subject| context.control.allows(subject))
            && expires_at.is_none_or(|at| Timestamp::now() < at)
            && if probe {
                context.gate.may_probe()
            } else {
                context.gate.is_open()
            }
    }
}

/// A redelivery of a job that this process remembers: does what is left to do.
pub(super) async fn follow(context: Arc<Context>, work: Box<Work>, key: Key) {
    let claim = context.ledger.claim(&key).await;
    // The consuming side may be back before the publishing one, without which there is no copy and no result.
    let mut publishing = context.observed.publishing.clone();
    tokio::select! {
        _ = publishing.wait_for(Link::is_up) => {}
        () = context.draining.cancelled() => {}
    }
    match claim {
        Claim::Decided(verdict) => carry_out(&context, work, &key, verdict).await,
        Claim::Done => acknowledge(&context, work),
        Claim::Unknown => context.withdraw(work),
    }
}

impl Context {
    /// Tells the gate about a failure, and asks whether the job is to blame.
    fn failed(&self, work: &Work, failure: Failure, ticket: Option<&ProbeTicket>) -> Tried {
        match self.observe(Observed::Failed(&failure), work.flow(), ticket) {
            Ruling::Ordinary | Ruling::FlowOnly => Tried::Failed(failure),
            Ruling::GiveBack => Tried::NotToBlame(GiveBackReason::Halted),
        }
    }

    /// Counts a call, and the windows of a second launch that it went through.
    fn count_call(&self, work: &Work, reply: &Reply, began: Instant) {
        let metrics = &self.metrics;
        if let Some(status) = reply.status {
            metrics.response(status);
        }
        let outcome = match &reply.outcome {
            Attempted::Withdrawn => return,
            Attempted::Launched(_) => LaunchOutcome::Launched,
            Attempted::Failed(failure) => LaunchOutcome::Failed(failure.class),
        };
        let took = began.elapsed();
        metrics.attempt(outcome, took);
        let sent = Timestamp::now() - jiff::SignedDuration::try_from(took).unwrap_or_default();
        let waited = Duration::try_from(sent.duration_since(work.due())).unwrap_or_default();
        metrics.job_wait_seconds.of(work.lane).record(waited.as_secs_f64());
        if work.delivery.redelivered {
            metrics.possible_duplicate(Window::Redelivered);
        }
        if work.stamp.spent.unknowns > 0 {
            metrics.possible_duplicate(Window::Relaunched);
        }
        if !work.delivery.is_alive() {
            metrics.possible_duplicate(Window::SessionLost);
        }
    }

    /// What the policy makes of a failure.
    pub(super) fn decide(&self, work: &Work, failure: Failure) -> Verdict {
        let decision = self
            .policy
            .decide(&failure, work.stamp.spent, work.wishes(), rand::random());
        match decision {
            Decision::Delay { delay, spent } => {
                tracing::info!(
                    job = work.id(),
                    attempts = spent.attempts,
                    outcome = failure.class.as_str(),
                    error = %failure.for_log(),
                    "not launched: tried again in {:.1} s",
                    delay.as_secs_f64()
                );
                Verdict::Delayed {
                    due: Timestamp::now() + delay,
                    spent,
                    why: DelayReason::from(failure.class),
                }
            }
            Decision::Dead { reason, spent } => Verdict::Dead {
                reason,
                spent,
                error: failure.to_string(),
                failure: Some(failure),
            },
            Decision::GiveBack => Verdict::GivenBack(GiveBackReason::Halted),
        }
    }

    /// Hands work back to the dispatcher, which finds out what stood against it.
    fn withdraw(&self, work: Box<Work>) {
        // An error means that the dispatcher is gone: dropped, the work goes back to the broker.
        let _ = self.again.send(work);
    }
}

impl Work {
    /// When it was due: what we wrote on it, else what the producer did, else when it was first seen.
    fn due(&self) -> Timestamp {
        let not_before = self.job.as_ref().ok().and_then(|job| job.not_before);
        let sent = self.delivery.message.properties.timestamp;
        let sent = sent.and_then(|secs| Timestamp::from_second(i64::try_from(secs).ok()?).ok());
        self.stamp.due.max(not_before).or(sent).unwrap_or(self.stamp.first_seen)
    }

    /// What the job says about retrying.
    pub(super) fn wishes(&self) -> Wishes {
        match &self.job {
            Ok(job) => Wishes {
                max_attempts: job.max_attempts,
                on_unknown: job.on_unknown,
            },
            Err(_) => Wishes::default(),
        }
    }
}
