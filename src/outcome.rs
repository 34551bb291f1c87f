//! The vocabulary: what an attempt can come to, what is decided about it, and why a job can die.
//!
//! One closed set of words, shared by client, policy, worker, results, metrics and docs.

use std::fmt;
use std::time::Duration;

/// The API started an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The execution's id; absent when the answer was a JSON object without one.
    pub execution_id: Option<String>,
    /// The execution's state, in the API's own words, when the answer gave one.
    pub state: Option<String>,
}

impl Receipt {
    /// The execution's id for a log line: one plain word or nothing, since no log may hold an input's value, and whatever
    /// else the API put there could be one.
    pub fn id_for_log(&self) -> Option<&str> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        self.execution_id.as_deref().filter(|id| id.bytes().all(plain))
    }
}

/// Why an attempt did not come to a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The API (or the token endpoint) said: later.
    Throttled,
    /// Nothing was written: the request cannot have arrived.
    Unreachable,
    /// The API refused for the moment, before anything started.
    Transient,
    /// The request was written and no answer decides it: it may have been launched.
    Unknown,
    /// The API refused this job.
    Refused,
    /// The API says this client may not launch this flow.
    Forbidden,
    /// The credentials are not accepted.
    Unauthorized,
    /// A redirect, or from the login URL anything that no token endpoint answers: this is not the API.
    Misdirected,
}

impl Class {
    /// Every class, for tables and for metrics that start at zero.
    pub const ALL: [Self; 8] = [
        Self::Throttled,
        Self::Unreachable,
        Self::Transient,
        Self::Unknown,
        Self::Refused,
        Self::Forbidden,
        Self::Unauthorized,
        Self::Misdirected,
    ];

    /// The word for it in metrics, results and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unreachable => "unreachable",
            Self::Transient => "transient",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Misdirected => "misdirected",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An attempt that did not come to a launch, with all that a person needs to act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is; decides what happens next.
    pub class: Class,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The API's own error code, such as `bad.request`.
    pub code: Option<String>,
    /// What happened, in a sentence: the API's message, or ours. Never a token or a secret; but the API may have put an
    /// input's value into it, so a log shows [`Self::for_log`] and not this.
    pub message: String,
    /// What to do about it, when that is known.
    pub fix: Option<&'static str>,
    /// The API's correlation id; support asks for it.
    pub correlation_id: Option<String>,
    /// The time that the API named, already read from whichever form it took and capped at 24 h.
    pub retry_after: Option<Duration>,
    /// It came from the token endpoint, not from the launch call.
    pub from_login: bool,
}

impl Failure {
    /// A failure with a class and a sentence, and nothing else known.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            code: None,
            message: message.into(),
            fix: None,
            correlation_id: None,
            retry_after: None,
            from_login: false,
        }
    }

    /// For a log line: all but the API's own words, since no log may hold an input's value. Our own sentences stand, and
    /// so do the token endpoint's, which never saw an input.
    pub fn for_log(&self) -> String {
        let ours = self.status.is_none() || self.from_login;
        let message = if ours {
            self.message.as_str()
        } else {
            self.class.as_str()
        };
        let shown = Self {
            message: message.to_owned(),
            ..self.clone()
        };
        shown.to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "HTTP {status}")?;
            if let Some(code) = &self.code {
                write!(f, " ({code})")?;
            }
            // Or one looks for the mistake in the flow.
            if self.from_login {
                write!(f, " from the token endpoint")?;
            }
            write!(f, ": ")?;
        }
        match self.fix {
            // The API's sentence often ends with a point of its own.
            Some(fix) => write!(f, "{}. {fix}", self.message.trim_end_matches('.'))?,
            None => f.write_str(&self.message)?,
        }
        if let Some(id) = &self.correlation_id {
            write!(f, " [correlation id {id}]")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Why a job is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The API refused it.
    Refused,
    /// The API says this client may not launch it.
    Forbidden,
    /// It may have been launched, and must not be tried again by a machine.
    Unknown,
    /// Its attempts are used up.
    Exhausted,
    /// Its `expiresAt` has passed.
    Expired,
    /// It cannot be read.
    Malformed,
    /// The broker gave up delivering it.
    Poison,
    /// The broker found no queue for it.
    Unroutable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Forbidden,
        Self::Unknown,
        Self::Exhausted,
        Self::Expired,
        Self::Malformed,
        Self::Poison,
        Self::Unroutable,
    ];

    /// The word for it in headers, metrics, results and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::Unknown => "unknown",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Poison => "poison",
            Self::Unroutable => "unroutable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
