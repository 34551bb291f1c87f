//! Looking at an execution: a launch that succeeded is not a flow that succeeded.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::{line, word};
use super::read::{Subject, strange};
use super::{AccessToken, Client};
use crate::outcome::Failure;

/// An execution, as far as the API tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Execution {
    /// Its state in the API's own words; absent when it says nothing.
    pub state: Option<String>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// What the flow gave back.
    pub output: Option<Value>,
}

/// Whether it has ended, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not yet; or in a state that nobody knows here.
    Running,
    /// The flow went to its end.
    Completed,
    /// It ended in another way.
    Failed,
}

impl Execution {
    /// What its state means. A word that is not known is no end.
    pub fn stage(&self) -> Stage {
        match self.state.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("completed") => Stage::Completed,
            Some("failed" | "error" | "terminated" | "cancelled" | "canceled") => Stage::Failed,
            Some(_) | None => Stage::Running,
        }
    }

    /// Both descriptions of the API: `state` in the user's documents, `status` in the vendor's SDKs. As tolerant as the
    /// launch's answer is read: a field of another form than expected is passed over, and takes nothing else along.
    fn read(body: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
        let field = |name: &str| fields.get(name).copied();
        let message = field("flowErrorInfo").and_then(message);
        let reason = match (field("completionReason").and_then(word), message) {
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (reason, message) => reason.or(message),
        };
        let output = field("outputData").and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        Some(Self {
            state: ["state", "status"].iter().find_map(|name| field(name).and_then(word)),
            reason,
            output: output.filter(|output| !output.is_null() && output.as_object().is_none_or(|map| !map.is_empty())),
        })
    }
}

/// What went wrong in the flow: an object with a message, a text, or what else stands there.
fn message(raw: &RawValue) -> Option<String> {
    let info: Value = serde_json::from_str(raw.get()).ok()?;
    match info.as_str().or(info["message"].as_str()) {
        Some(text) => line(text),
        None if info.is_null() => None,
        None => line(&info.to_string()),
    }
}

impl Client {
    /// How the execution of this id stands. Counts against the quota.
    ///
    /// # Errors
    /// When it cannot be read: 404 also for a moment after its launch.
    pub async fn execution(&self, id: &str, token: &AccessToken) -> Result<Execution, Failure> {
        let mut url = self.flows.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("executions").push(id);
        }
        let answer = self.read(url, Subject::Execution, token).await?;
        Execution::read(&answer.body).ok_or_else(|| strange(&answer, "an execution in an unknown form"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_descriptions_are_read_and_an_unknown_state_is_no_end() {
        for (body, state, stage) in [
            (r#"{"id":"e","state":"Running"}"#, Some("Running"), Stage::Running),
            (r#"{"id":"e","state":"Completed"}"#, Some("Completed"), Stage::Completed),
            (r#"{"id":"e","state":"Cancelled"}"#, Some("Cancelled"), Stage::Failed),
            (
                r#"{"status":"COMPLETED","outputData":{}}"#,
                Some("COMPLETED"),
                Stage::Completed,
            ),
            (r#"{"status":"TERMINATED"}"#, Some("TERMINATED"), Stage::Failed),
            (r#"{"status":"PONDERING"}"#, Some("PONDERING"), Stage::Running),
            ("{}", None, Stage::Running),
        ] {
            let execution = Execution::read(body.as_bytes()).unwrap();
            assert_eq!(
                (execution.state.as_deref(), execution.stage()),
                (state, stage),
                "{body}"
            );
            assert_eq!(execution.output, None, "{body}");
        }
        assert_eq!(Execution::read(b"<html>"), None);
    }

    #[test]
    fn why_it_failed_and_what_it_gave_back_are_told() {
        let body = r#"{"status":"FAILED","completionReason":"FLOW_ERROR","flowErrorInfo":{"message":"no such queue"},
                       "outputData":{"Flow.result":"x"}}"#;
        let execution = Execution::read(body.as_bytes()).unwrap();
        assert_eq!(execution.reason.as_deref(), Some("FLOW_ERROR: no such queue"));
        assert_eq!(execution.output, Some(serde_json::json!({ "Flow.result": "x" })));
    }

    #[test]
    fn a_field_of_another_form_takes_nothing_else_along() {
        for (body, state, reason) in [
            (
                r#"{"status":"FAILED","flowErrorInfo":"no such queue"}"#,
                Some("FAILED"),
                Some("no such queue"),
            ),
            (
                r#"{"state":{"x":1},"status":"ERROR","flowErrorInfo":{"code":7}}"#,
                Some("ERROR"),
                Some(r#"{"code":7}"#),
            ),
            (
                r#"{"state":7,"completionReason":["x"],"flowErrorInfo":null}"#,
                Some("7"),
                None,
            ),
            (
                r#"{"status":"FAILED","flowVersion":1e999,"outputData":{"x":1e999}}"#,
                Some("FAILED"),
                None,
            ),
            ("\u{feff}{\"status\":\"FAILED\"}", Some("FAILED"), None),
        ] {
            let execution = Execution::read(body.as_bytes()).unwrap();
            assert_eq!(
                (
                    execution.state.as_deref(),
                    execution.reason.as_deref(),
                    &execution.output
                ),
                (state, reason, &None),
                "{body}"
            );
        }
        assert!(Execution::read(b"{\"name\":\"\xff\",\"state\":\"Completed\"}").is_some());
        assert_eq!(Execution::read(b"[]"), None);
    }
}
