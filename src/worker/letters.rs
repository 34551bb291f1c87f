//! What is written of a job when it is done: its dead letter and its result.

use jiff::Timestamp;

use super::Work;
use super::stamp::Stamp;
use crate::broker::{Headers, Message, Properties};
use crate::outcome::{Failure, Reason, Receipt};
use crate::result::{ResultError, ResultOutcome, ResultRecord};
use crate::retry::Spent;

/// A dead letter's sentence has this many bytes at most.
const ERROR_LIMIT: usize = 2048;

/// The job once more, with what it died of.
pub(super) fn dead_letter(
    work: &Work,
    reason: Reason,
    spent: Spent,
    error: &str,
    failure: Option<&Failure>,
) -> Message {
    let stamp = Stamp {
        spent,
        due: None,
        ..work.stamp.clone()
    };
    let mut letter = stamp.copy(&work.delivery.message, work.known_id(), work.campaign());
    let headers = &mut letter.properties.headers;
    headers.push_ours("reason", reason.as_str());
    headers.push_ours("error", cut(error, ERROR_LIMIT));
    headers.push_ours("lane", work.lane.as_str());
    if let Some(status) = failure.and_then(|failure| failure.status) {
        headers.push_ours("status", u32::from(status));
    }
    headers.push_ours("died-at", Timestamp::now().to_string());
    letter
}

/// A message that came where executions are followed, and stands for none.
pub(super) fn stray(original: &Message, error: &str) -> Message {
    let mut headers = Headers(original.properties.headers.carried().into_owned());
    headers.push_ours("reason", Reason::Malformed.as_str());
    headers.push_ours("error", cut(error, ERROR_LIMIT));
    headers.push_ours("died-at", Timestamp::now().to_string());
    Message {
        body: original.body.clone(),
        properties: Properties {
            headers,
            ..original.properties.clone()
        },
    }
}

pub(super) fn result_error(error: &str, failure: Option<&Failure>) -> ResultError {
    ResultError {
        status: failure.and_then(|failure| failure.status),
        code: failure.and_then(|failure| failure.code.clone()),
        message: error.to_owned(),
        correlation_id: failure.and_then(|failure| failure.correlation_id.clone()),
    }
}

/// The longest prefix of at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

impl Work {
    /// The job's id, or what stands for it when the job cannot be read.
    pub(super) fn id(&self) -> &str {
        self.known_id().unwrap_or("-")
    }

    pub(super) fn known_id(&self) -> Option<&str> {
        match &self.job {
            Ok(job) => Some(&job.id),
            Err(malformed) => malformed.partial.id.as_deref(),
        }
    }

    pub(super) fn campaign(&self) -> Option<&str> {
        match &self.job {
            Ok(job) => job.campaign.as_deref(),
            Err(malformed) => malformed.partial.campaign.as_deref(),
        }
    }

    pub(super) fn record(
        &self,
        outcome: ResultOutcome,
        reason: Option<Reason>,
        attempts: u32,
        receipt: Option<&Receipt>,
        error: Option<ResultError>,
    ) -> ResultRecord {
        let flow_id = match &self.job {
            Ok(job) => Some(job.flow_id.clone()),
            Err(malformed) => malformed.partial.flow_id.clone(),
        };
        ResultRecord {
            job_id: self.id().to_owned(),
            outcome,
            reason,
            flow_id,
            campaign: self.campaign().map(str::to_owned),
            execution_id: receipt.and_then(|receipt| receipt.execution_id.clone()),
            state: receipt.and_then(|receipt| receipt.state.clone()),
            attempts,
            first_seen: Some(self.stamp.first_seen),
            finished_at: Timestamp::now(),
            lane: self.lane.as_str().to_owned(),
            error,
        }
    }
}
