//! Looking at an execution: it runs for a while, then it has completed or failed.

use serde_json::{Value, json};

use super::answer::Answer;
use super::errors::error;
use super::launch::Version;
use super::record::{Execution, rfc3339};
use super::settings::{Dialect, VIEW_EXECUTION};
use super::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Completed,
    Failed,
}

impl Stage {
    fn word(self, dialect: Dialect) -> &'static str {
        match (dialect, self) {
            (Dialect::User, Stage::Running) => "Running",
            (Dialect::User, Stage::Completed) => "Completed",
            (Dialect::User, Stage::Failed) => "Failed",
            (Dialect::Vendor, Stage::Running) => "RUNNING",
            (Dialect::Vendor, Stage::Completed) => "COMPLETED",
            (Dialect::Vendor, Stage::Failed) => "FAILED",
        }
    }
}

impl State {
    /// The state of an execution.
    pub(crate) fn poll(&mut self, id: &str, now: i64) -> Answer {
        let dialect = self.settings.dialect;
        if let Some(refusal) = self.forbids(VIEW_EXECUTION) {
            return refusal;
        }
        let bare = id.strip_prefix(self.id_prefix());
        match bare.and_then(|bare| self.record.execution(bare)) {
            Some(execution) => Answer::json(200, &self.execution_body(id, &execution, now)),
            None => error(dialect, 404),
        }
    }

    fn execution_body(&self, id: &str, execution: &Execution, now: i64) -> Value {
        let ends_at = execution.launched_at + (self.settings.run_seconds * 1e6) as i64;
        let stage = match (now >= ends_at, self.fails(execution.seq)) {
            (false, _) => Stage::Running,
            (true, false) => Stage::Completed,
            (true, true) => Stage::Failed,
        };
        let launched = rfc3339(self.record.time_us(execution.launched_at));
        let ended = (stage != Stage::Running).then(|| rfc3339(self.record.time_us(ends_at)));
        let dialect = self.settings.dialect;
        let word = stage.word(dialect);
        match dialect {
            Dialect::User => json!({
                "id": id, "flowId": execution.flow_id, "state": word, "startTime": launched, "endTime": ended,
            }),
            Dialect::Vendor => json!({
                "id": id,
                "name": execution.name.as_deref().unwrap_or("Flow execution"),
                "flowVersion": Version::of(&execution.flow_id, execution.flow_version.as_deref()),
                "dateLaunched": launched,
                "status": word,
                "dateCompleted": ended,
                "completionReason": (stage == Stage::Failed).then_some("FLOW_ERROR"),
                "flowErrorInfo": (stage == Stage::Failed).then(|| json!({ "message": "the flow failed" })),
                "outputData": {},
                "selfUri": format!("/api/v2/flows/executions/{id}"),
            }),
        }
    }

    /// Which executions fail hangs on the seed and the sequence number alone.
    fn fails(&self, seq: u64) -> bool {
        // The finaliser of SplitMix64: neighbours come out far apart.
        let mut bits = self.settings.seed.wrapping_add(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits as f64) < self.settings.fail_share * u64::MAX as f64
    }
}
