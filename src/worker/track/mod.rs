//! Follows an execution to its end, one look at a time.
//!
//! Between looks nobody holds it: a message of its own waits in the delay ladder, and comes to whichever worker is there.
//! So what is followed survives workers and brokers as jobs do. A look reads, and calls nobody: cancelled and paused
//! campaigns are followed all the same.

mod message;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use self::message::Tracked;
use self::pace::{Next, Progress, Seen};
use super::letters::result_error;
use super::settle::{Looked, out_of_time, settle_look};
use super::{Context, Work};
use crate::admit::bucket::Permit;
use crate::admit::gate::Observed;
use crate::api::{Execution, Stage};
use crate::broker::{Delivery, Destination, Message};
use crate::metrics::{EndState, PollOutcome};
use crate::outcome::{Class, Failure, Receipt};
use crate::result::{ResultError, ResultOutcome, ResultRecord};

/// The first message of an execution is tried so often, so long each time. For ever would be wrong: its job is launched
/// and unacknowledged, and must not be launched again for that.
const TRIES: u32 = 3;
const TRY_LIMIT: Duration = Duration::from_secs(10);

/// An execution that may be looked at.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) delivery: Delivery,
    tracked: Result<Tracked, String>,
}

impl Look {
    pub(super) fn decode(delivery: Delivery) -> Self {
        let tracked = Tracked::read(&delivery.message);
        Self { delivery, tracked }
    }

    /// Why there is nothing to look at: the message is not of ours.
    pub(super) fn fault(&self) -> Option<&str> {
        self.tracked.as_ref().err().map(String::as_str)
    }

    /// The message once more, as fresh as the first.
    pub(super) fn copy(&self) -> Message {
        let original = &self.delivery.message;
        match &self.tracked {
            Ok(tracked) => tracked.message(original),
            Err(_) => original.clone(),
        }
    }

    /// The job's id.
    pub(super) fn id(&self) -> &str {
        self.tracked.as_ref().map_or("-", |tracked| &tracked.job_id)
    }
}

/// Begins to follow what was launched for `work`, if its job asks for it. `None` when there is nothing to follow, or its
/// message is safe; else what is to be told instead of the end that nobody will see.
pub(super) async fn begin(context: &Context, work: &Work, receipt: &Receipt) -> Option<ResultRecord> {
    let job = work.job.as_ref().ok().filter(|job| job.track && context.results)?;
    let tracked = Tracked {
        execution_id: receipt.execution_id.clone().unwrap_or_default(),
        launched_at: Timestamp::now(),
        job_id: job.id.clone(),
        flow_id: job.flow_id.clone(),
        campaign: job.campaign.clone(),
        lane: work.lane,
        attempts: work.stamp.spent.attempts + 1,
        first_seen: work.stamp.first_seen,
        progress: Progress::default(),
    };
    let why = if receipt.execution_id.is_none() {
        "the API's answer to the launch names no execution".to_owned()
    } else {
        match publish_first(context, work, &tracked).await {
            Ok(()) => {
                context.metrics.executions_tracked_total.of(()).increment(1);
                return None;
            }
            // It comes again, here or elsewhere, and is settled again: this first.
            Err(_) if !work.delivery.is_alive() => return None,
            Err(why) => format!("the broker does not take it: {why}"),
        }
    };
    tracing::warn!(job = work.id(), %why, "its execution cannot be followed");
    context.metrics.executions_tracked_total.of(()).increment(1);
    context.metrics.ended(EndState::Unknown);
    let message = format!("launched, and cannot be followed to its end: {why}");
    Some(tracked.unknown(ResultError {
        message,
        ..ResultError::default()
    }))
}

/// A confirm that is lost leaves two messages, and so two looks at a time and two ends: results can repeat.
async fn publish_first(context: &Context, work: &Work, tracked: &Tracked) -> Result<(), String> {
    let message = tracked.message(&work.delivery.message);
    let mut why = "not tried".to_owned();
    for _ in 0..TRIES {
        let to = Destination::Track(pace::pause(0, rand::random()));
        let published = tokio::select! {
            published = context.publisher.publish(to, message.clone(), TRY_LIMIT) => published,
            () = out_of_time(context) => return Err("the worker is stopping".to_owned()),
        };
        match published {
            Ok(()) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
        if !work.delivery.is_alive() {
            break;
        }
    }
    Err(why)
}

/// Looks at an execution, decides about what was seen, and settles.
pub(super) async fn look(context: Arc<Context>, look: Box<Look>, slot: OwnedSemaphorePermit, permit: Permit) {
    let Ok(tracked) = &look.tracked else { return };
    let seen = see(&context, &tracked.execution_id, permit).await;
    drop(slot);
    let looked = context.judge(tracked, &look, seen);
    settle_look(&context, look, looked).await;
}

/// One read; after a plain 401 another one with a newer token, until one was refused that was minted since the first 401.
async fn see(context: &Context, id: &str, permit: Permit) -> Result<Execution, Failure> {
    let mut token = match context.tokens.get().await {
        Ok(token) => token,
        Err(failure) => {
            context.bucket.pass_on(permit);
            return Err(failure);
        }
    };
    let mut first_401: Option<Instant> = None;
    loop {
        let read = context.client.execution(id, &token).await;
        match &read {
            Err(failure) if failure.class == Class::Unauthorized && !failure.from_login => {}
            Ok(_) | Err(_) => return read,
        }
        if first_401.is_some_and(|moment| token.is_minted_since(moment)) {
            return read;
        }
        first_401.get_or_insert_with(Instant::now);
        token = context.tokens.renew(&token).await?;
        let _spent = context.bucket.take().await;
    }
}

impl Context {
    /// What is to be done about what a look has seen.
    fn judge(&self, tracked: &Tracked, look: &Look, seen: Result<Execution, Failure>) -> Looked {
        let saw = |outcome| self.metrics.track_polls_total.of(outcome).increment(1);
        let (seen, failure) = match seen {
            Ok(execution) => match execution.stage() {
                Stage::Completed => {
                    saw(PollOutcome::Completed);
                    let record = tracked.ended(ResultOutcome::Completed, execution.state, None);
                    return Looked::Ended(EndState::Completed, record);
                }
                Stage::Failed => {
                    saw(PollOutcome::Failed);
                    let error = execution.reason.map(|message| ResultError {
                        message,
                        ..ResultError::default()
                    });
                    let record = tracked.ended(ResultOutcome::Failed, execution.state, error);
                    return Looked::Ended(EndState::Failed, record);
                }
                Stage::Running => {
                    saw(PollOutcome::Running);
                    (Seen::Running, None)
                }
            },
            Err(failure) => {
                let seen = self.trouble(&failure);
                saw(match seen {
                    Seen::Missing => PollOutcome::Missing,
                    Seen::Throttled(_) => PollOutcome::Throttled,
                    Seen::Running | Seen::Trouble => PollOutcome::Error,
                });
                (seen, Some(failure))
            }
        };
        let age = Duration::try_from(Timestamp::now().duration_since(tracked.launched_at)).unwrap_or_default();
        let why = match pace::decide(tracked.progress, seen, age, rand::random()) {
            Next::Again { pause, progress } => {
                if let Some(failure) = &failure {
                    tracing::info!(
                        job = tracked.job_id,
                        looks = progress.looks,
                        error = %failure.for_log(),
                        "its execution could not be looked at: again in {:.1} s",
                        pause.as_secs_f64()
                    );
                }
                let tracked = Tracked {
                    progress,
                    ..tracked.clone()
                };
                return Looked::Again(pause, tracked.message(&look.delivery.message));
            }
            Next::Lost => "the API knows of no such execution",
            Next::TooLong => "no end was seen within 24 h of its launch",
        };
        tracing::warn!(job = tracked.job_id, why, "its execution is followed no longer");
        let last = failure
            .as_ref()
            .map_or_else(String::new, |failure| format!(" ({failure})"));
        let error = result_error(&format!("{why}{last}"), failure.as_ref());
        Looked::Ended(EndState::Unknown, tracked.unknown(error))
    }

    /// What a look that failed stands for. Of the gate's matters only those are told to it which are everybody's: that
    /// one execution cannot be read says nothing about launches, nor does one that can.
    fn trouble(&self, failure: &Failure) -> Seen {
        let everybodys = match failure.class {
            Class::Throttled | Class::Unauthorized => true,
            Class::Unreachable
            | Class::Transient
            | Class::Unknown
            | Class::Refused
            | Class::Forbidden
            | Class::Misdirected => failure.from_login,
        };
        if everybodys {
            self.observe(Observed::Failed(failure), None, None);
        }
        match (failure.class, failure.status) {
            (Class::Throttled, _) => Seen::Throttled(failure.retry_after.unwrap_or_default()),
            (_, Some(404 | 410)) if !failure.from_login => Seen::Missing,
            _ => Seen::Trouble,
        }
    }
}
