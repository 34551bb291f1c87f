//! The message that stands for an execution until its end is known: all that its result needs, and how far it has come.
//!
//! Its body is a document of its own and no job: should it ever come into a lane (a dead letter of it that somebody replays),
//! it is malformed there, and launches nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pace::Progress;
use crate::broker::{Headers, Message, Properties};
use crate::lane::Lane;
use crate::result::{ResultError, ResultOutcome, ResultRecord};

/// What the message is, in its property `type`.
const KIND: &str = "flowlaunch.execution";
/// The state, in a result, of an execution whose end nobody has seen: no word of the API's.
const UNKNOWN: &str = "unknown";

/// An execution that is followed. Fields of newer programs are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tracked {
    pub(super) execution_id: String,
    pub(super) launched_at: Timestamp,
    pub(super) job_id: String,
    pub(super) flow_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) campaign: Option<String>,
    pub(super) lane: Lane,
    pub(super) attempts: u32,
    pub(super) first_seen: Timestamp,
    #[serde(flatten)]
    pub(super) progress: Progress,
}

impl Tracked {
    /// From a message's body, or why not.
    pub(super) fn read(message: &Message) -> Result<Self, String> {
        serde_json::from_slice(&message.body).map_err(|error| format!("no execution to follow: {error}"))
    }

    /// A message that carries it, and of `original` what a result carries too.
    pub(super) fn message(&self, original: &Message) -> Message {
        let body = serde_json::to_vec(self).expect("strings and numbers can be written to memory");
        let mut message = Message::json(body);
        message.properties = Properties {
            message_id: Some(self.job_id.clone()),
            correlation_id: original.properties.correlation_id.clone(),
            kind: Some(KIND.to_owned()),
            headers: Headers(original.properties.headers.carried().into_owned()),
            ..message.properties
        };
        message
    }

    /// The second result of its job: how the execution ended.
    pub(super) fn ended(
        &self,
        outcome: ResultOutcome,
        state: Option<String>,
        error: Option<ResultError>,
    ) -> ResultRecord {
        ResultRecord {
            job_id: self.job_id.clone(),
            outcome,
            reason: None,
            flow_id: Some(self.flow_id.clone()),
            campaign: self.campaign.clone(),
            execution_id: Some(self.execution_id.clone()).filter(|id| !id.is_empty()),
            state,
            attempts: self.attempts,
            first_seen: Some(self.first_seen),
            finished_at: Timestamp::now(),
            lane: self.lane.as_str().to_owned(),
            error,
        }
    }

    /// The same for one whose end is not known, and never will be here.
    pub(super) fn unknown(&self, error: ResultError) -> ResultRecord {
        self.ended(ResultOutcome::Failed, Some(UNKNOWN.to_owned()), Some(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Value;
    use crate::job::{Job, OnUnknown};

    fn tracked() -> Tracked {
        Tracked {
            execution_id: "exec-1".into(),
            launched_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            job_id: "job-1".into(),
            flow_id: "3f1c2b7a-90ab-4cde-8f01-23456789abcd".into(),
            campaign: Some("spring".into()),
            lane: Lane::Bulk,
            attempts: 2,
            first_seen: Timestamp::from_millisecond(1_700_000_000_001).unwrap(),
            progress: Progress { looks: 3, missing: 1 },
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_strangers_headers_come_along() {
        let mut original = Message::default();
        original.properties.correlation_id = Some("c".into());
        original.properties.headers.0 = vec![
            ("traceparent".into(), "00-1-2-01".into()),
            ("x-flowlaunch-attempts".into(), Value::Int(7)),
        ];
        let message = tracked().message(&original);
        assert_eq!(Tracked::read(&message), Ok(tracked()));
        assert_eq!(message.properties.headers.0.len(), 1);
        assert_eq!(message.properties.message_id.as_deref(), Some("job-1"));
        assert_eq!(message.properties.correlation_id.as_deref(), Some("c"));
        let again = tracked().message(&message);
        assert_eq!(again, message, "and again with each look");
    }

    #[test]
    fn it_is_no_job() {
        let message = tracked().message(&Message::default());
        assert!(Job::decode(&message.body, None, OnUnknown::Relaunch).is_err());
        assert!(Tracked::read(&Message::json(r#"{"flowId":"x"}"#)).is_err());
    }

    #[test]
    fn an_execution_without_an_end_is_a_failed_one_of_which_nothing_is_known() {
        let record = tracked().unknown(ResultError::default());
        assert_eq!(
            (record.outcome, record.state.as_deref()),
            (ResultOutcome::Failed, Some("unknown"))
        );
        assert_eq!(record.execution_id.as_deref(), Some("exec-1"));
        assert_eq!(record.routing_key(), "failed.spring");
    }
}
