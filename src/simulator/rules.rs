//! The rules by which the stand-in misbehaves: what a rule says, and whether it makes sense.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{FieldError, overlay};
use super::settings::RetryAfter;

/// What a request asks for, as rules and counters tell requests apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `POST /api/v2/flows/executions`
    #[default]
    Launch,
    /// `POST /oauth/token`
    Token,
    /// `GET /api/v2/flows` and `GET /api/v2/flows/{id}`
    Flows,
    /// `GET /api/v2/flows/executions/{id}`
    Poll,
    /// In a rule: every endpoint. In the counters: whatever is none of the others.
    All,
}

/// When a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reset {
    /// As soon as the head of the request is there; its body is not read and nothing is counted.
    OnArrival,
    /// Once the request has been read, and recorded if the rule `launches`.
    AfterBody,
}

/// From when `fromSeconds` and `untilSeconds` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Since {
    /// Since the rules were set.
    #[default]
    Set,
    /// Since the simulator started.
    Start,
}

/// One flow or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FlowIds {
    /// `"flowId": "…"`
    One(String),
    /// `"flowId": ["…", "…"]`
    Many(Vec<String>),
}

impl FlowIds {
    pub(crate) fn has(&self, flow: &str) -> bool {
        match self {
            FlowIds::One(one) => one.eq_ignore_ascii_case(flow),
            FlowIds::Many(many) => many.iter().any(|id| id.eq_ignore_ascii_case(flow)),
        }
    }
}

/// A rule: first which requests, then what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rule {
    /// A label for the counters in the stats.
    pub name: Option<String>,
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// Launches of which flow.
    pub flow_id: Option<FlowIds>,
    /// Seconds, counted since `since`: not before.
    pub from_seconds: Option<f64>,
    /// Not at or after.
    pub until_seconds: Option<f64>,
    /// What the seconds count from.
    pub since: Since,
    /// Each Nth of the requests that match so far.
    pub every: Option<u64>,
    /// That share of them, at random, from the seed.
    pub share: Option<f64>,
    /// At most so many, then never again.
    pub first: Option<u64>,

    /// Wait so long before whatever comes; alone: a slow answer.
    pub delay_seconds: Option<f64>,
    /// Answer this status.
    pub status: Option<u16>,
    /// Error code instead of the documented one.
    pub code: Option<String>,
    /// Error message instead of the documented one.
    pub message: Option<String>,
    /// The whole body: a string as it is, anything else as JSON.
    pub body: Option<Value>,
    /// A page of HTML as a proxy would send it, for the body.
    pub html: bool,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Further headers, name to value.
    pub headers: std::collections::BTreeMap<String, String>,
    /// How a 429 or 503 says when to come back; absent: the setting for 429, nothing for others.
    pub retry_after: Option<RetryAfter>,
    /// The number that it says.
    pub retry_after_seconds: Option<u64>,
    /// Reset the TCP connection.
    pub reset: Option<Reset>,
    /// Send the answer's head and half of its body, then close.
    pub cut: bool,
    /// Is the launch carried out all the same? With `cut`: yes unless said otherwise; else no.
    pub launches: Option<bool>,
}

/// Reads a JSON array of rules; an error names the rule and its field.
pub fn read_rules(value: Value) -> Result<Vec<Rule>, FieldError> {
    let Value::Array(items) = value else {
        return Err(FieldError::new("(body)", "must be a JSON array of rules"));
    };
    let one = |(index, item)| {
        let rule: Result<Rule, _> = overlay(&Rule::default(), item);
        rule.and_then(Rule::checked)
            .map_err(|error| error.within(&format!("[{index}]")))
    };
    items.into_iter().enumerate().map(one).collect()
}

impl Rule {
    /// Is the launch carried out although its answer goes wrong?
    pub(crate) fn still_launches(&self) -> bool {
        self.launches.unwrap_or(self.cut || self.is_only_slow())
    }

    pub(crate) fn is_only_slow(&self) -> bool {
        self.status.is_none() && self.reset.is_none() && !self.cut
    }

    pub(crate) fn checked(self) -> Result<Self, FieldError> {
        self.check_match()?;
        self.check_effect()?;
        Ok(self)
    }

    fn check_match(&self) -> Result<(), FieldError> {
        let wrong = |field: &str, problem: &str| Err(FieldError::new(field, problem));
        let seconds = |value: Option<f64>| value.is_none_or(|seconds| (0.0..=1e9).contains(&seconds));
        if self.flow_id.is_some() && self.endpoint != Endpoint::Launch {
            return wrong("flowId", "only a launch has a flow id in it: leave endpoint at launch");
        }
        if !seconds(self.from_seconds) {
            return wrong("fromSeconds", "must be between 0 and 1000000000");
        }
        if !seconds(self.until_seconds) || self.until_seconds <= self.from_seconds && self.until_seconds.is_some() {
            return wrong("untilSeconds", "must be after fromSeconds");
        }
        if self.every == Some(0) {
            return wrong("every", "must be at least 1");
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return wrong("share", "must be between 0 and 1");
        }
        if !seconds(self.delay_seconds) {
            return wrong("delaySeconds", "must be between 0 and 1000000000");
        }
        Ok(())
    }

    fn check_effect(&self) -> Result<(), FieldError> {
        let wrong = |field: &str, problem: &str| Err(FieldError::new(field, problem));
        let effects = usize::from(self.status.is_some()) + usize::from(self.reset.is_some()) + usize::from(self.cut);
        if effects > 1 {
            return wrong("status", "a rule has one of status, reset and cut");
        }
        if effects == 0 && self.delay_seconds.is_none() {
            return wrong(
                "status",
                "the rule does nothing: give it status, reset, cut or delaySeconds",
            );
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return wrong("status", "must be between 200 and 599");
        }
        if self.status.is_none() {
            self.check_no_answer()?;
        }
        if self.body.is_some() && self.html {
            return wrong("html", "give body or html, not both");
        }
        if self.launches == Some(true) && self.reset == Some(Reset::OnArrival) {
            return wrong(
                "launches",
                "a request reset on arrival is never read: use reset afterBody",
            );
        }
        if self.launches == Some(false) && effects == 0 {
            return wrong("launches", "a slow answer is the normal one, launch included");
        }
        if self.flow_id.is_some() && self.reset == Some(Reset::OnArrival) {
            return wrong(
                "flowId",
                "a request reset on arrival is never read: use reset afterBody",
            );
        }
        let location = self.location.iter().map(|to| ("location".to_owned(), to.clone()));
        for (name, value) in self.headers.clone().into_iter().chain(location) {
            let good = http::HeaderName::try_from(&name).is_ok() && http::HeaderValue::try_from(&value).is_ok();
            // A second framing header would make the answer one that no server sends.
            if !good || name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(FieldError::new(format!("headers.{name}"), "cannot be sent as a header"));
            }
        }
        Ok(())
    }

    fn check_no_answer(&self) -> Result<(), FieldError> {
        let given = [
            ("code", self.code.is_some()),
            ("message", self.message.is_some()),
            ("body", self.body.is_some()),
            ("html", self.html),
            ("location", self.location.is_some()),
            ("headers", !self.headers.is_empty()),
            ("retryAfter", self.retry_after.is_some()),
            ("retryAfterSeconds", self.retry_after_seconds.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((field, _)) => Err(FieldError::new(*field, "goes with status only")),
            None => Ok(()),
        }
    }
}
