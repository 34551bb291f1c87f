//! The jobs: what is wrong with each, what the API answers to it, and what is to become of it.

use std::time::Duration;

use serde_json::{Value, json};

pub(crate) const JOBS: usize = 2_000;

/// What is to become of a job, by what was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    Throttled,
    Transient(u16),
    Exhausted,
    UnknownOnce(Answer),
    UnknownTwice,
    Parked,
    Refused(u16),
    Forbidden,
    Expired,
    Malformed,
    Later,
    /// Its token is dead, and the next one is good.
    StaleToken,
    /// On a misspelt lane.
    Unroutable,
    Unreachable,
    Misdirected,
    Unauthorized,
    /// With a `message_id` that cannot be read off the wire.
    Poison,
}

/// An answer, or none, after which nobody knows whether the job was launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    /// A proxy's page with 200.
    Page,
    /// None within `api.timeout`; but it was launched.
    Late,
}

/// The outcome and the reason that the job's result must bear, and the attempts that it may have spent.
pub(crate) type Fate = (&'static str, Option<&'static str>, u64);

impl Kind {
    pub(crate) fn of(n: usize) -> Self {
        let (hundred, early) = (n / 100, n < 500);
        match n % 100 {
            0 => Self::Throttled,
            1 => Self::Transient([503, 425][hundred % 2]),
            // Pages in a row would halt the worker: they are far apart.
            2 => Self::UnknownOnce(match hundred % 4 {
                3 => Answer::Page,
                other => Answer::Status([500, 408, 502][other]),
            }),
            3 if early => Self::Exhausted,
            4 if early => Self::UnknownTwice,
            5 => Self::Parked,
            6 => Self::Refused([400, 404, 405, 409, 410, 413, 415, 422, 418, 451][hundred % 10]),
            7 => Self::Forbidden,
            8 => Self::Expired,
            9 => Self::Malformed,
            10 => Self::Later,
            11 => Self::Unroutable,
            12 if early => Self::UnknownOnce(Answer::Late),
            13 if early => Self::StaleToken,
            14 if early => Self::Unreachable,
            15 if n < 100 => Self::Misdirected,
            16 if n < 100 => Self::Unauthorized,
            17 if n < 100 => Self::Poison,
            _ => Self::Good,
        }
    }

    pub(crate) fn fate(self) -> Fate {
        match self {
            // Neither a 429, nor an API that cannot be reached, nor what halts the worker costs an attempt.
            Self::Good
            | Self::Throttled
            | Self::Later
            | Self::StaleToken
            | Self::Unreachable
            | Self::Misdirected
            | Self::Unauthorized => ("launched", None, 1),
            Self::Transient(_) | Self::UnknownOnce(_) => ("launched", None, 2),
            Self::Exhausted => ("dead", Some("exhausted"), 2),
            Self::UnknownTwice => ("dead", Some("unknown"), 2),
            Self::Parked => ("dead", Some("unknown"), 1),
            Self::Refused(_) => ("dead", Some("refused"), 1),
            Self::Forbidden => ("dead", Some("forbidden"), 1),
            Self::Expired => ("dead", Some("expired"), 0),
            Self::Malformed => ("dead", Some("malformed"), 0),
            Self::Poison => ("dead", Some("poison"), 0),
            Self::Unroutable => ("dead", Some("unroutable"), 0),
        }
    }

    pub(crate) fn is_launched(self) -> bool {
        self.fate().0 == "launched"
    }

    /// The broker makes the dead letter: no worker has seen the job, and there is no result.
    pub(crate) fn dies_in_the_broker(self) -> bool {
        matches!(self, Self::Poison | Self::Unroutable)
    }

    /// Launched again because nobody knew: window 2 of those in which a job can be launched twice.
    pub(crate) fn is_relaunched(self) -> bool {
        matches!(self, Self::UnknownOnce(_) | Self::UnknownTwice)
    }

    /// How often the API has launched it.
    pub(crate) fn launches(self) -> usize {
        match self {
            Self::UnknownOnce(Answer::Late) => 2,
            other => usize::from(other.is_launched()),
        }
    }

    /// It halts the worker or ends its session, which its neighbours would feel: it comes when nobody else is there.
    pub(crate) fn comes_alone(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Misdirected | Self::Unauthorized | Self::Poison
        )
    }

    /// What the API answers to it instead of launching it.
    fn rule(self) -> Option<Value> {
        Some(match self {
            Self::Throttled => json!({ "status": 429, "retryAfterSeconds": 1, "first": 1 }),
            Self::Transient(status) | Self::UnknownOnce(Answer::Status(status)) => {
                json!({ "status": status, "first": 1 })
            }
            Self::UnknownOnce(Answer::Page) => json!({ "status": 200, "html": true, "first": 1 }),
            Self::UnknownOnce(Answer::Late) => json!({ "delaySeconds": 3600, "first": 1 }),
            Self::Exhausted => json!({ "status": 503 }),
            Self::UnknownTwice => json!({ "status": 504 }),
            Self::Parked => json!({ "reset": "afterBody" }),
            Self::Refused(status) => json!({ "status": status }),
            Self::Forbidden => json!({ "status": 403 }),
            Self::StaleToken => json!({ "status": 401, "first": 1 }),
            // The second one meets a token that was minted after the first.
            Self::Unauthorized => json!({ "status": 401, "first": 2 }),
            Self::Misdirected => json!({ "status": 301, "first": 1 }),
            Self::Good
            | Self::Expired
            | Self::Malformed
            | Self::Later
            | Self::Unroutable
            | Self::Unreachable
            | Self::Poison => return None,
        })
    }
}

/// One flow a job, so that rules can tell them apart.
pub(crate) fn flow(n: usize) -> String {
    format!("0f5e4b1c-0000-4000-8000-{n:012x}")
}

pub(crate) fn message(n: usize) -> Value {
    let mut body = json!({ "flowId": flow(n), "id": format!("job-{n}"), "inputs": { "n": n } });
    let mut lane = if n.is_multiple_of(3) { "normal" } else { "bulk" };
    let mut message_id = json!(format!("job-{n}"));
    match Kind::of(n) {
        Kind::Parked => body["onUnknown"] = json!("park"),
        Kind::Exhausted => body["maxAttempts"] = json!(2),
        Kind::Expired => body["expiresAt"] = json!("2020-01-01T00:00:00Z"),
        Kind::Malformed => {
            body.as_object_mut().unwrap().remove("inputs");
            body["inputData"] = json!({ "n": n });
        }
        Kind::Later => {
            body["notBefore"] = json!((jiff::Timestamp::now() + Duration::from_secs(10)).to_string());
        }
        Kind::Unroutable => lane = "norml",
        Kind::Poison => message_id = json!({ "$b64": "//7DKA==" }),
        _ => {}
    }
    json!({ "lane": lane, "body": body, "properties": { "message_id": message_id } })
}

/// A rule counts over all its flows, so what is to happen once a job is one rule each.
pub(crate) fn rules() -> Value {
    (0..JOBS)
        .filter_map(|n| {
            let mut rule = Kind::of(n).rule()?;
            rule["flowId"] = json!(flow(n));
            Some(rule)
        })
        .collect()
}
