//! Looking at an execution: a launch that succeeded is not a flow that succeeded.

use serde::Deserialize;
use serde_json::Value;

use super::{AccessToken, Client};
use crate::outcome::{Class, Failure};

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

/// Both descriptions of the API: `state` in the user's documents, `status` in the vendor's SDKs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    state: Option<String>,
    status: Option<String>,
    completion_reason: Option<String>,
    flow_error_info: Option<ErrorInfo>,
    output_data: Option<Value>,
}

#[derive(Deserialize)]
struct ErrorInfo {
    message: Option<String>,
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

    fn read(body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        let message = body.flow_error_info.and_then(|info| info.message);
        let reason = match (body.completion_reason, message) {
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (reason, message) => reason.or(message),
        };
        Some(Self {
            state: body.state.or(body.status),
            reason,
            output: body
                .output_data
                .filter(|output| output.as_object().is_none_or(|map| !map.is_empty())),
        })
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
        let answer = self.read(url, token).await?;
        Execution::read(&answer.body).ok_or_else(|| Failure::new(Class::Unreachable, "an execution in an unknown form"))
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
}
