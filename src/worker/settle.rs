//! The only place that settles: the order of writes, and what a crash between them leaves.
//!
//! Nothing is acknowledged before its next place has confirmed it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::ledger::Key;
use super::letters::{dead_letter, result_error, stray};
use super::stamp::Stamp;
use super::track::{self, Look};
use super::{Context, Work};
use crate::broker::{Delivery, Destination, Headers, Message, Properties, PublishError, Settlement};
use crate::job::OnUnknown;
pub(super) use crate::metrics::DelayReason;
use crate::metrics::{EndState, GiveBackReason, Settled, Window};
use crate::outcome::{Failure, Reason, Receipt};
use crate::result::{ResultOutcome, ResultRecord};
use crate::retry::Spent;

/// Nobody must be called twice because a stranger's queue refuses results.
const RESULT_LIMIT: Duration = Duration::from_secs(1);
/// A copy is tried again until it is confirmed; this long each time.
const COPY_LIMIT: Duration = Duration::from_secs(30);
const COPY_AGAIN: Duration = Duration::from_millis(500);
/// A clean give-back is a nack while the job was given back fewer times than this, then a fresh publish, which starts the
/// broker's count again.
const NACKS: u32 = 3;
/// A look whose result could not be told is made again after this.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// The shortest leg of the ladder.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What is done with a delivery.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// Launched: acknowledged, with a result.
    Launched(Receipt),
    /// Back through the ladder.
    Delayed {
        /// Until then: decided once, so that a copy that must be made again is the same message, and known as such.
        due: Timestamp,
        /// With this written on it.
        spent: Spent,
        /// Why.
        why: DelayReason,
    },
    /// To the dead letters, with a result.
    Dead {
        /// Why, in a word.
        reason: Reason,
        /// With this written on it.
        spent: Spent,
        /// Why, in a sentence.
        error: String,
        /// The attempt's failure, if it died of one.
        failure: Option<Failure>,
    },
    /// Its campaign was cancelled: acknowledged, with a result, never launched.
    Cancelled,
    /// As it came.
    GivenBack(GiveBackReason),
}

impl Verdict {
    /// A dead letter that no attempt caused.
    pub(super) fn dead(reason: Reason, work: &Work, error: String) -> Self {
        Self::Dead {
            reason,
            spent: work.stamp.spent,
            error,
            failure: None,
        }
    }

    /// A delay that spends nothing.
    pub(super) fn delay(delay: Duration, work: &Work, why: DelayReason) -> Self {
        Self::Delayed {
            due: Timestamp::now() + delay,
            spent: work.stamp.spent,
            why,
        }
    }

    fn label(&self) -> Settled {
        match self {
            Self::Launched(_) => Settled::Launched,
            Self::Delayed { why, .. } => Settled::Delayed(*why),
            Self::Dead { reason, .. } => Settled::Dead(*reason),
            Self::Cancelled => Settled::Cancelled,
            Self::GivenBack(why) => Settled::GivenBack(*why),
        }
    }
}

/// Carries out a verdict that came of an attempt: remembered, so that it is carried out even when the session dies first.
pub(super) async fn conclude(context: &Context, work: Box<Work>, verdict: Verdict) {
    let Some(key) = work.key.clone() else {
        settle(context, work, &verdict).await;
        return;
    };
    match verdict {
        // It comes again as the same message, and is to be launched then: forgotten before it can.
        Verdict::GivenBack(_) => {
            context.ledger.forget(&key);
            settle(context, work, &verdict).await;
        }
        Verdict::Launched(_) | Verdict::Delayed { .. } | Verdict::Dead { .. } | Verdict::Cancelled => {
            carry_out(context, work, &key, Arc::new(verdict)).await;
        }
    }
}

/// Carries out a verdict for a message that the ledger holds as under way. A redelivery waits until it is known here
/// whether the copy was made or the result told: done by both, there would be two of them.
pub(super) async fn carry_out(context: &Context, work: Box<Work>, key: &Key, verdict: Arc<Verdict>) {
    let carried_out = settle(context, work, &verdict).await;
    context.ledger.conclude(key, verdict, carried_out);
}

/// Carries out a verdict; false when something of it is left to do and the job may come again.
pub(super) async fn settle(context: &Context, work: Box<Work>, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Launched(receipt) => {
            if receipt.execution_id.is_none() {
                tracing::warn!(job = work.id(), "launched, but the API's answer names no execution id");
            }
            tracing::debug!(
                job = work.id(),
                attempts = work.stamp.spent.attempts + 1,
                execution = receipt.id_for_log(),
                "launched"
            );
            // A crash from here to the acknowledgement is window 1: redelivered, and launched again. What was launched first
            // is followed all the same once its message is safe: two ends for one job then, of two executions.
            let unfollowed = track::begin(context, &work, receipt).await;
            let record = work.record(
                ResultOutcome::Launched,
                None,
                work.stamp.spent.attempts + 1,
                Some(receipt),
                None,
            );
            let mut told = report_job(context, &work, &record).await;
            if let Some(record) = &unfollowed {
                told &= report_job(context, &work, record).await;
            }
            if !work.delivery.is_alive() {
                // It comes again, here or elsewhere: here it is told again, and acknowledged then.
                context.lost(work);
                return false;
            }
            context.metrics.settled(work.lane, verdict.label());
            work.delivery.settle(Settlement::Ack);
            told
        }
        Verdict::Delayed { due, spent, why: _ } => {
            let delay = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
            let stamp = Stamp {
                spent: *spent,
                due: Some(*due),
                ..work.stamp.clone()
            };
            let copy = stamp.copy(&work.delivery.message, work.known_id(), work.campaign());
            // A crash after the confirm and before the acknowledgement is window 3: both are there.
            let to = Destination::Delay(work.lane, delay);
            settle_with_copy(context, work, to, copy, verdict.label(), None).await
        }
        Verdict::Dead {
            reason,
            spent,
            error,
            failure,
        } => {
            // The sentence on the letter may hold words of the API, and with them an input: the log has ours alone.
            let cause = failure.as_ref().map(Failure::for_log);
            tracing::warn!(
                job = work.id(),
                attempts = spent.attempts,
                reason = reason.as_str(),
                error = cause,
                "a dead letter"
            );
            let letter = dead_letter(&work, *reason, *spent, error, failure.as_ref());
            let result = result_error(error, failure.as_ref());
            let record = work.record(ResultOutcome::Dead, Some(*reason), spent.attempts, None, Some(result));
            // A crash after the confirm and before the acknowledgement is window 3: a dead letter, and the job again.
            settle_with_copy(context, work, Destination::Dead, letter, verdict.label(), Some(record)).await
        }
        Verdict::Cancelled => {
            // A crash before the acknowledgement: redelivered, and cancelled again.
            let record = work.record(ResultOutcome::Cancelled, None, work.stamp.spent.attempts, None, None);
            report_job(context, &work, &record).await;
            context.metrics.settled(work.lane, verdict.label());
            work.delivery.settle(Settlement::Ack);
            true
        }
        Verdict::GivenBack(why) => give_back(context, work, *why).await,
    }
}

/// Publishes the copy until it is confirmed, reports, then acknowledges the original.
async fn settle_with_copy(
    context: &Context,
    work: Box<Work>,
    to: Destination,
    copy: Message,
    label: Settled,
    record: Option<ResultRecord>,
) -> bool {
    if !publish(context, &work.delivery, work.id(), to, copy).await {
        context.lost(work);
        return false;
    }
    if let Some(record) = &record {
        report_job(context, &work, record).await;
    }
    context.metrics.settled(work.lane, label);
    work.delivery.settle(Settlement::Ack);
    true
}

/// Acknowledges a redelivery of what was carried out before.
pub(super) fn acknowledge(context: &Context, work: Box<Work>) {
    context
        .metrics
        .settled(work.lane, Settled::GivenBack(GiveBackReason::SessionLost));
    work.delivery.settle(Settlement::Ack);
}

/// Puts a job back where it came from, spending nothing.
async fn give_back(context: &Context, work: Box<Work>, why: GiveBackReason) -> bool {
    let park = match &work.job {
        Ok(job) => job.on_unknown.unwrap_or(context.policy.on_unknown()) == OnUnknown::Park,
        Err(_) => false,
    };
    if work.delivery.delivery_count < NACKS && !park {
        context.metrics.settled(work.lane, Settled::GivenBack(why));
        work.delivery.settle(Settlement::Return);
        return true;
    }
    let lane = work.lane;
    let copy = work
        .stamp
        .copy(&work.delivery.message, work.known_id(), work.campaign());
    settle_with_copy(
        context,
        work,
        Destination::Delay(lane, AT_ONCE),
        copy,
        Settled::GivenBack(why),
        None,
    )
    .await
}

/// What is done with an execution that was to be looked at.
#[derive(Debug)]
pub(super) enum Looked {
    /// Its end is known, or it is given up: a result, then acknowledged.
    Ended(EndState, ResultRecord),
    /// Through the ladder, with this written on it.
    Again(Duration, Message),
    /// It is none: to the dead letters, with a sentence.
    Stray(String),
    /// As it came.
    GivenBack,
}

/// Carries out what was decided about an execution.
pub(super) async fn settle_look(context: &Context, look: Box<Look>, looked: Looked) {
    let (to, copy) = match looked {
        Looked::Ended(state, record) => {
            // A crash from here to the acknowledgement: looked at again, and its end told again.
            match report(context, look.id(), &look.delivery.message, &record).await {
                // A stranger's full queue refuses it each time, and everybody else has it.
                Ok(()) | Err(PublishError::Refused) => {
                    context.metrics.ended(state);
                    return look.delivery.settle(Settlement::Ack);
                }
                // Nobody is called twice for it: so, unlike a job, it waits until it can be told.
                Err(_) => (Destination::Track(TELL_AGAIN), look.copy()),
            }
        }
        Looked::Again(pause, copy) => (Destination::Track(pause), copy),
        Looked::Stray(error) => {
            tracing::warn!(%error, "a message among the executions that are followed is a dead letter");
            (Destination::Dead, stray(&look.delivery.message, &error))
        }
        Looked::GivenBack if look.delivery.delivery_count < NACKS => return look.delivery.settle(Settlement::Return),
        Looked::GivenBack => (Destination::Track(AT_ONCE), look.copy()),
    };
    // A crash after the confirm and before the acknowledgement leaves two of it: both are looked at, and its end is told
    // twice.
    if publish(context, &look.delivery, look.id(), to, copy).await {
        look.delivery.settle(Settlement::Ack);
    }
}

/// Publishes a copy until the broker has it. A lost confirm may leave two copies (window 3, counted); giving up would
/// forget what the copy says of attempts. False when the session is over: then the original is somebody else's.
async fn publish(context: &Context, delivery: &Delivery, id: &str, to: Destination, copy: Message) -> bool {
    let mut warned = false;
    while delivery.is_alive() {
        match context.publisher.publish(to.clone(), copy.clone(), COPY_LIMIT).await {
            Ok(()) => return true,
            Err(error) => {
                let is_job = !matches!(to, Destination::Track(_));
                if is_job && matches!(error, PublishError::Unconfirmed(_)) {
                    context.metrics.possible_duplicate(Window::Copy);
                }
                if !warned {
                    tracing::warn!(job = id, ?to, %error, "a copy is not confirmed yet: trying again");
                    warned = true;
                }
                sleep(COPY_AGAIN).await;
            }
        }
    }
    false
}

/// Publishes a result of a job; whether it is safe.
async fn report_job(context: &Context, work: &Work, record: &ResultRecord) -> bool {
    report(context, work.id(), &work.delivery.message, record).await.is_ok()
}

/// Publishes a result, for a second at most, with what `original` carries.
async fn report(context: &Context, id: &str, original: &Message, record: &ResultRecord) -> Result<(), PublishError> {
    if !context.results {
        return Ok(());
    }
    let properties = &original.properties;
    let message = Message {
        body: record.to_json().into(),
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            correlation_id: properties.correlation_id.clone(),
            headers: Headers(properties.headers.carried().into_owned()),
            ..Properties::default()
        },
    };
    let to = Destination::Results(record.routing_key());
    let published = tokio::select! {
        published = context.publisher.publish(to, message, RESULT_LIMIT) => published,
        // That limit's clock stands still while the broker takes no publishes. A worker that is to end has no time for
        // that: cut short, the job would be launched again for want of an acknowledgement.
        () = out_of_time(context) => Err(PublishError::Unconfirmed("the worker is stopping".to_owned())),
    };
    if let Err(error) = &published {
        context.metrics.results_failed_total.of(()).increment(1);
        tracing::warn!(job = id, outcome = record.outcome.as_str(), %error, "the result is not confirmed; what it tells is done all the same");
    }
    published
}

/// A second after the worker was told to stop.
pub(super) async fn out_of_time(context: &Context) {
    context.draining.cancelled().await;
    sleep(RESULT_LIMIT).await;
}
