//! The client: one launch is one request, sent at most once, and every way it can fail is told apart.

use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use jiff::Timestamp;
use url::Url;

use super::connect;
use super::last_look::{self, Progress};
use super::transport::{self, Answer};
use super::wire::Wire;
use super::{AccessToken, BuildError, InputsField, LaunchRequest, Settings, classify};
use crate::outcome::{Class, Failure, Receipt};

const MAY_HAVE_BEEN_LAUNCHED: &str = "It may have been launched: look for it before launching it again";
const REACH_THE_API: &str = "Nothing was sent: check the network, the proxy, api.region or api.base_url";

/// What a launch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// What it means.
    pub outcome: Attempted,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// An execution was started.
    Launched(Receipt),
    /// It was not, or nobody knows.
    Failed(Failure),
    /// The last look said no: not a byte was written.
    Withdrawn,
}

/// A client of the API.
#[derive(Debug)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) flows: Url,
    pub(super) timeout: Duration,
    launches: Url,
    wire: Wire,
    inputs_field: InputsField,
}

impl Client {
    /// A client with these settings; connects to nothing yet.
    ///
    /// # Errors
    /// When the URL or the certificates are of no use.
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        Self::past(connect::proxies(&settings.base_url), settings)
    }

    fn past(proxies: Matcher, settings: &Settings) -> Result<Self, BuildError> {
        let launches = transport::endpoint("base_url", &settings.base_url, "api/v2/flows/executions")?;
        let tls = connect::tls(settings, &launches)?;
        Ok(Self {
            http: transport::pool(settings, &launches, tls.clone())?,
            wire: Wire::new("base_url", &launches, &proxies, tls, settings.connect_timeout)?,
            flows: transport::endpoint("base_url", &settings.base_url, "api/v2/flows")?,
            timeout: settings.timeout,
            launches,
            inputs_field: settings.inputs_field,
        })
    }

    /// Launches a flow, or says why not.
    ///
    /// `last_look` is called once, right before the first byte is written, and must be quick; when it says no, nothing is
    /// written and the attempt is [`Attempted::Withdrawn`] (at the price of that connection).
    ///
    /// Dropping the future before that writes nothing; after it the outcome is unknown to everybody.
    pub async fn launch<L>(&self, request: &LaunchRequest<'_>, token: &AccessToken, last_look: L) -> Reply
    where
        L: Fn() -> bool + Send + Sync + 'static,
    {
        let (body, sent) = last_look::guard(request.encode(self.inputs_field), last_look);
        match self.wire.post(body, token.header(), self.timeout).await {
            Ok(mut answer) => {
                answer.hide(token.secret());
                Reply {
                    status: Some(answer.status.as_u16()),
                    outcome: answered(&answer),
                }
            }
            Err(reason) => Reply {
                status: None,
                outcome: unanswered(sent.progress(), transport::at(&self.launches), &reason),
            },
        }
    }

    /// Closes connections that no launch has used for a while; never returns. Whoever launches for long runs it beside.
    pub async fn close_unused(&self) {
        self.wire.close_unused().await;
    }
}

fn answered(answer: &Answer) -> Attempted {
    match classify(answer.status, &answer.headers, &answer.body, Timestamp::now()) {
        Ok(receipt) => Attempted::Launched(receipt),
        Err(mut failure) => {
            if answer.status.is_success()
                && let Some(reason) = &answer.cut
            {
                failure.message = format!("the answer was cut off: {reason}");
            }
            Attempted::Failed(failure)
        }
    }
}

fn unanswered(progress: Progress, at: &str, reason: &str) -> Attempted {
    let failed = |class, message, fix| {
        let failure = Failure {
            fix: Some(fix),
            ..Failure::new(class, message)
        };
        Attempted::Failed(failure)
    };
    match progress {
        Progress::Withdrawn => Attempted::Withdrawn,
        Progress::Unsent => failed(
            Class::Unreachable,
            format!("the API at {at} cannot be reached: {reason}"),
            REACH_THE_API,
        ),
        Progress::Written => failed(
            Class::Unknown,
            format!("sent, and no answer came: {reason}"),
            MAY_HAVE_BEEN_LAUNCHED,
        ),
    }
}

#[cfg(test)]
mod tests;
