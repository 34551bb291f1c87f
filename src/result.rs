//! What became of a job, as others read it: one document for each job that is done.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::outcome::Reason;

/// Whether results are published, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// Publish a result for each finished job.
    pub enabled: bool,
    /// How long the results log keeps them.
    #[serde(with = "crate::units::duration")]
    pub keep: Duration,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultOutcome {
    /// The API started an execution.
    Launched,
    /// It is a dead letter.
    Dead,
    /// Its campaign was cancelled before it was launched.
    Cancelled,
    /// A tracked execution ran to its end.
    Completed,
    /// A tracked execution ended otherwise.
    Failed,
}

impl ResultOutcome {
    /// The word for it, in the document and in its routing key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launched => "launched",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// The last error of a job that did not come to a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultError {
    /// The HTTP status, when there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The API's own error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A sentence for a person.
    pub message: String,
    /// The API's correlation id; support asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// What became of a job. Results can repeat: `jobId` with `outcome` tells one from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultRecord {
    /// The job's id.
    pub job_id: String,
    /// How it ended.
    pub outcome: ResultOutcome,
    /// Why it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "reason")]
    pub reason: Option<Reason>,
    /// The flow; absent when the job could not be read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<String>,
    /// The job's campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// The execution that the API started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The execution's state, in the API's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Attempts spent.
    pub attempts: u32,
    /// When a worker first held the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When it was done.
    pub finished_at: Timestamp,
    /// The lane it came through.
    pub lane: String,
    /// The last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ResultError>,
}

impl ResultRecord {
    /// Where consumers bind: `<outcome>.<campaign>`, or `<outcome>.-` without one.
    pub fn routing_key(&self) -> String {
        format!("{}.{}", self.outcome.as_str(), self.campaign.as_deref().unwrap_or("-"))
    }

    /// The document.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, self).expect("strings and numbers can be written to memory");
        json
    }
}

/// A reason as its word.
mod reason {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::outcome::Reason;

    pub(super) fn serialize<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
        reason.map(Reason::as_str).serialize(serializer)
    }

    /// A word that only a newer worker knows reads as none: the outcome still says that the job is dead.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
        let word = Option::<String>::deserialize(deserializer)?;
        Ok(word.and_then(|word| Reason::ALL.into_iter().find(|reason| reason.as_str() == word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ResultRecord {
        ResultRecord {
            job_id: "order-1".into(),
            outcome: ResultOutcome::Dead,
            reason: Some(Reason::Refused),
            flow_id: Some("3f1c2b7a-90ab-4cde-8f01-23456789abcd".into()),
            campaign: Some("spring".into()),
            execution_id: None,
            state: None,
            attempts: 1,
            first_seen: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            finished_at: "2030-01-01T00:00:01.5Z".parse().unwrap(),
            lane: "normal".into(),
            error: Some(ResultError {
                status: Some(400),
                code: Some("bad.request".into()),
                message: "no such flow".into(),
                correlation_id: Some("c-1".into()),
            }),
        }
    }

    #[test]
    fn the_document_is_the_published_one() {
        let expected = r#"{"jobId":"order-1","outcome":"dead","reason":"refused","flowId":"3f1c2b7a-90ab-4cde-8f01-23456789abcd","campaign":"spring","attempts":1,"firstSeen":"2030-01-01T00:00:00Z","finishedAt":"2030-01-01T00:00:01.5Z","lane":"normal","error":{"status":400,"code":"bad.request","message":"no such flow","correlationId":"c-1"}}"#;
        assert_eq!(String::from_utf8(record().to_json()).unwrap(), expected);
    }

    #[test]
    fn it_reads_back() {
        let record = record();
        assert_eq!(
            serde_json::from_slice::<ResultRecord>(&record.to_json()).unwrap(),
            record
        );
        let launched = ResultRecord {
            outcome: ResultOutcome::Launched,
            reason: None,
            error: None,
            ..record
        };
        assert_eq!(
            serde_json::from_slice::<ResultRecord>(&launched.to_json()).unwrap(),
            launched
        );
    }

    #[test]
    fn the_routing_key_names_outcome_and_campaign() {
        assert_eq!(record().routing_key(), "dead.spring");
        let loose = ResultRecord {
            campaign: None,
            outcome: ResultOutcome::Launched,
            ..record()
        };
        assert_eq!(loose.routing_key(), "launched.-");
    }

    #[test]
    fn the_words_are_those_of_serde() {
        for outcome in [
            ResultOutcome::Launched,
            ResultOutcome::Dead,
            ResultOutcome::Cancelled,
            ResultOutcome::Completed,
            ResultOutcome::Failed,
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
