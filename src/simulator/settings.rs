//! How the stand-in behaves. All of it can be changed while it runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{FieldError, overlay};
use super::rate::{Limit, Rate, Window};

/// Which of the two descriptions of the API to play: they differ in keys, answers and words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The user's documents: body key `inputs`, answer 201 with id "exec-…", flowId, state, startTime
    #[default]
    User,
    /// The vendor's SDKs: body key `inputData`, answer 200 with id, name, flowVersion, selfUri
    Vendor,
}

/// How a 429 says when to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RetryAfter {
    /// `Retry-After: 17`
    #[default]
    Seconds,
    /// `Retry-After: Mon, 23 Nov 2026 21:16:49 GMT`
    Date,
    /// No header; the number stands in the error message
    Message,
    /// Nothing says it
    Absent,
    /// `Retry-After: 7200`, as of a daily limit; the window opens no later for it
    Hours,
}

/// A flow that can be launched, for a server that knows which there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Its UUID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its type, `workflow` unless said otherwise.
    #[serde(rename = "type", default = "workflow")]
    pub kind: String,
    /// The JSON Schema of its inputs, answered as it is; absent: it says nothing of them.
    #[serde(rename = "inputSchema", default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
}

fn workflow() -> String {
    "workflow".to_owned()
}

/// Everything that can be set, by flag at the start and by `PATCH /_sim/settings` later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Which description of the API to play.
    pub dialect: Dialect,
    /// Requests allowed per token.
    pub rate: Rate,
    /// How they are counted.
    pub window: Window,
    /// The length of the window, 60 as documented; shorter for tests.
    pub window_seconds: f64,
    /// How a 429 says when to come back.
    pub retry_after: RetryAfter,
    /// The number it says; absent: what is really left of the window.
    pub retry_after_seconds: Option<u64>,
    /// Send `inin-ratelimit-count`, `-allowed` and `-reset`.
    pub rate_headers: bool,
    /// Added to the clock of a `Retry-After` date and of the `Date` that goes with it: a server whose clock is wrong.
    pub clock_skew_seconds: i64,
    /// The status of a successful launch; absent: 201 for `user`, 200 for `vendor`.
    pub launch_status: Option<u16>,
    /// The client id that the token endpoint knows.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// `expires_in` of new tokens.
    pub token_life_seconds: u64,
    /// A token unused for so long dies; absent: never.
    pub token_idle_seconds: Option<f64>,
    /// Token requests allowed, over all clients, per window.
    pub token_rate: Rate,
    /// What the client may do; one taken out answers 403 `missing.permissions`.
    pub permissions: Vec<String>,
    /// The flows there are, others answer 404; absent: any UUID is a flow.
    pub flows: Option<Vec<Flow>>,
    /// How long an execution runs.
    pub run_seconds: f64,
    /// The share of executions that end as failed.
    pub fail_share: f64,
    /// The seed of every random choice, so that a run repeats.
    pub seed: u64,
    /// Records kept of launches and of requests; the oldest go first, and the stats say how many went.
    pub max_records: usize,
    /// Bytes of inputs kept on record, likewise.
    pub max_record_bytes: u64,
}

/// The permission to launch, in the vendor's words.
pub(crate) const LAUNCH: &str = "architect:flow:launch";
/// The permission to look at executions.
pub(crate) const VIEW_EXECUTION: &str = "architect:flowExecution:view";
/// The permission to list flows.
pub(crate) const VIEW_FLOW: &str = "architect:flow:view";

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialect: Dialect::User,
            rate: Rate::Per {
                count: 300,
                seconds: 60,
            },
            window: Window::Fixed,
            window_seconds: 60.0,
            retry_after: RetryAfter::Seconds,
            retry_after_seconds: None,
            rate_headers: false,
            clock_skew_seconds: 0,
            launch_status: None,
            client_id: "demo".to_owned(),
            client_secret: "demo-secret".to_owned(),
            token_life_seconds: 86_400,
            token_idle_seconds: None,
            token_rate: Rate::Unlimited,
            permissions: [LAUNCH, VIEW_EXECUTION, VIEW_FLOW].map(str::to_owned).to_vec(),
            flows: None,
            run_seconds: 1.0,
            fail_share: 0.0,
            seed: 1,
            max_records: 2_000_000,
            max_record_bytes: 2_000_000_000,
        }
    }
}

impl Settings {
    /// These settings with the fields of a JSON object in place of their own.
    pub fn patched(&self, patch: Value) -> Result<Self, FieldError> {
        let settings: Self = overlay(self, patch)?;
        settings.check()?;
        Ok(settings)
    }

    /// Says which field makes no sense.
    pub fn check(&self) -> Result<(), FieldError> {
        let wrong = |field: &str, problem: &str| Err(FieldError::new(field, problem));
        if !(0.001..=86_400.0).contains(&self.window_seconds) {
            return wrong("windowSeconds", "must be between 0.001 and 86400");
        }
        for (field, rate) in [("rate", self.rate), ("tokenRate", self.token_rate)] {
            if rate.per_window(self.window_seconds) == Some(0) {
                return wrong(field, "allows less than one request in a window of windowSeconds");
            }
        }
        if !(0.0..=1.0).contains(&self.fail_share) {
            return wrong("failShare", "must be between 0 and 1");
        }
        if !(0.0..=1e9).contains(&self.run_seconds) {
            return wrong("runSeconds", "must be between 0 and 1000000000");
        }
        if self.token_idle_seconds.is_some_and(|idle| !(0.0..=1e9).contains(&idle)) {
            return wrong("tokenIdleSeconds", "must be between 0 and 1000000000");
        }
        if self.token_life_seconds > 1_000_000_000 {
            return wrong("tokenLifeSeconds", "must be at most 1000000000");
        }
        if self.launch_status.is_some_and(|status| !(200..300).contains(&status)) {
            return wrong("launchStatus", "must be between 200 and 299");
        }
        if self.clock_skew_seconds.abs() > 315_360_000 {
            return wrong("clockSkewSeconds", "must be within ten years");
        }
        if self.max_records == 0 {
            return wrong("maxRecords", "must be at least 1");
        }
        Ok(())
    }

    pub(crate) fn limit(&self, rate: Rate) -> Option<Limit> {
        let allowed = rate.per_window(self.window_seconds)?;
        Some(Limit {
            allowed,
            length_us: self.window_us(),
            window: self.window,
        })
    }

    pub(crate) fn window_us(&self) -> i64 {
        (self.window_seconds * 1e6) as i64
    }
}
