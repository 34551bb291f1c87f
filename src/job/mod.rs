//! The wire contract of a launch job, version 1: what a producer publishes, and why a message is not one.
//!
//! Decoding is strict where a mistake could call a customer twice or launch a flow with nothing in it (an unknown field,
//! a field given twice, `inputs` that is not an object), and lenient nowhere else than with `null`: serializers of many
//! languages write it for "not set", so for an optional field it means absent. Only `inputs: null` is malformed: whoever
//! writes that had inputs in mind. `inputs` is passed on byte for byte and never parsed further than its outline.

mod decode;
mod malformed;
mod scan;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use malformed::{Malformed, Partial, Position, clip};

/// The longest job, in bytes: the API's own limit on a request body.
pub const MAX_BYTES: usize = 512_000;
/// The longest job id, in bytes: it has to fit an AMQP short string, with room to spare.
pub const MAX_ID_BYTES: usize = 200;
/// The longest campaign label; it is part of a topic key of at most 255 bytes.
pub const MAX_CAMPAIGN_BYTES: usize = 128;
/// The most attempts that a job may ask for.
pub const MAX_ATTEMPTS: u32 = 100;

/// What to do with a job of which nobody can say whether it was launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// Launch it again, a few times: rather twice than never.
    #[default]
    Relaunch,
    /// Dead-letter it for a person to decide: rather never than twice.
    Park,
}

impl OnUnknown {
    /// The word for it on the wire and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relaunch => "relaunch",
            Self::Park => "park",
        }
    }
}

/// A launch job, decoded.
#[derive(Clone)]
pub struct Job {
    /// The job id: the job's own, the message's, or one made here.
    pub id: String,
    /// Whether the producer gave the id; one made here lasts only from the first delay on.
    pub id_given: bool,
    /// The flow to launch: a UUID, as it was written.
    pub flow_id: String,
    /// The flow's inputs, byte for byte.
    pub inputs: Option<Box<RawValue>>,
    /// The flow's version; absent means the latest published one.
    pub flow_version: Option<String>,
    /// A name for the execution.
    pub name: Option<String>,
    /// The campaign that the job belongs to.
    pub campaign: Option<String>,
    /// Not launched before.
    pub not_before: Option<Timestamp>,
    /// Dead-lettered instead of launched after.
    pub expires_at: Option<Timestamp>,
    /// Attempts, instead of the configured number.
    pub max_attempts: Option<u32>,
    /// What to do when the outcome is unknown, instead of what is configured.
    pub on_unknown: Option<OnUnknown>,
    /// Follow the execution to its end and report that too.
    pub track: bool,
}

/// Never shows an input value: those are the customer's.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("id_given", &self.id_given)
            .field("flow_id", &self.flow_id)
            .field("inputs_bytes", &self.inputs.as_ref().map(|inputs| inputs.get().len()))
            .field("flow_version", &self.flow_version)
            .field("name", &self.name)
            .field("campaign", &self.campaign)
            .field("not_before", &self.not_before)
            .field("expires_at", &self.expires_at)
            .field("max_attempts", &self.max_attempts)
            .field("on_unknown", &self.on_unknown)
            .field("track", &self.track)
            .finish()
    }
}

impl Job {
    /// A job for this flow with an id made here, and nothing else set.
    pub fn new(flow_id: impl Into<String>) -> Self {
        Self {
            id: new_id(),
            id_given: false,
            flow_id: flow_id.into(),
            inputs: None,
            flow_version: None,
            name: None,
            campaign: None,
            not_before: None,
            expires_at: None,
            max_attempts: None,
            on_unknown: None,
            track: false,
        }
    }

    /// Reads a job from a message's body and its `message_id`.
    ///
    /// `default_on_unknown` is what holds when the job does not say: with `park` an id is required.
    pub fn decode(body: &[u8], message_id: Option<&str>, default_on_unknown: OnUnknown) -> Result<Self, Malformed> {
        decode::decode(body, message_id, default_on_unknown)
    }

    /// The job as a producer publishes it. An id that nobody gave is left out.
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            flow_id: &self.flow_id,
            id: self.id_given.then_some(self.id.as_str()),
            inputs: self.inputs.as_deref(),
            flow_version: self.flow_version.as_deref(),
            name: self.name.as_deref(),
            campaign: self.campaign.as_deref(),
            not_before: self.not_before,
            expires_at: self.expires_at,
            max_attempts: self.max_attempts,
            on_unknown: self.on_unknown,
            track: self.track,
        };
        serde_json::to_vec(&wire).expect("strings, numbers and checked JSON can be written")
    }
}

/// An id for a job or a result that came without one.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Whether this can be a campaign's label: `[A-Za-z0-9][A-Za-z0-9_-]{0,127}`.
pub fn is_campaign(label: &str) -> bool {
    let bytes = label.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= MAX_CAMPAIGN_BYTES
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Whether this is a UUID in its usual form, 8-4-4-4-12 hexadecimal digits: the only one that the API is known to take.
pub fn is_flow_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    flow_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unknown: Option<OnUnknown>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    track: bool,
}
