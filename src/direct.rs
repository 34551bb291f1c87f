//! Calls that a person makes, without a queue: launch one flow, follow it to its end, list flows.
//!
//! The same care as a worker's: every call takes a permit of the bucket, a 429 is waited out, a 401 mints a new token, and
//! a launch whose outcome nobody knows is never sent again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::admit::bucket::Bucket;
use crate::api::{AccessToken, Attempted, Client, Execution, Flow, FlowQuery, LaunchRequest, Stage, Tokens};
use crate::outcome::{Class, Failure, Receipt};
use crate::retry::{Decision, Policy, Spent, Wishes};

/// Between looks at an execution: the first pause, and the longest.
const POLL_FIRST: Duration = Duration::from_secs(1);
const POLL_LONGEST: Duration = Duration::from_secs(10);
/// An execution that was just launched may not be found at once.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);
/// A call that the API refuses for the moment (503) is tried so often. A person waits for it.
const TRIES: u32 = 4;

/// How a call ended without what it was made for.
#[derive(Debug)]
pub enum Ended {
    /// It failed.
    Failed(Failure),
    /// Told to stop, with nothing under way.
    Stopped,
}

/// What calls need.
#[expect(missing_docs, reason = "each is what its type says")]
pub struct Direct {
    pub client: Client,
    pub tokens: Tokens,
    pub bucket: Bucket,
    pub policy: Policy,
    /// Ends waiting. A call that is under way is awaited, so that it is known what became of it.
    pub stop: CancellationToken,
    /// Told why it waits, and for how long.
    pub waiting: fn(&Failure, Duration),
}

impl Direct {
    /// Launches a flow once.
    ///
    /// # Errors
    /// When it was not launched; or, with [`Class::Unknown`], when nobody can tell.
    pub async fn launch(&self, request: &LaunchRequest<'_>) -> Result<Receipt, Ended> {
        self.call(async |token| {
            let stop = self.stop.clone();
            match self
                .client
                .launch(request, &token, move || !stop.is_cancelled())
                .await
                .outcome
            {
                Attempted::Launched(receipt) => Ok(receipt),
                Attempted::Failed(failure) => Err(Ended::Failed(failure)),
                Attempted::Withdrawn => Err(Ended::Stopped),
            }
        })
        .await
    }

    /// Looks at an execution until it has ended.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub async fn follow(&self, id: &str) -> Result<Execution, Ended> {
        let began = Instant::now();
        let mut pause = POLL_FIRST;
        loop {
            self.wait(pause).await?;
            pause = (pause * 3 / 2).min(POLL_LONGEST);
            let looked = self
                .call(async |token| self.client.execution(id, &token).await.map_err(Ended::Failed))
                .await;
            match looked {
                Ok(execution) if execution.stage() != Stage::Running => return Ok(execution),
                Ok(_) => {}
                Err(Ended::Failed(failure)) if failure.status == Some(404) && began.elapsed() < APPEARS_WITHIN => {}
                Err(ended) => return Err(ended),
            }
        }
    }

    /// All flows that match, page by page.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn flows(&self, query: &FlowQuery) -> Result<Vec<Flow>, Ended> {
        let mut flows = Vec::new();
        for number in 1.. {
            let page = self
                .call(async |token| self.client.flows(query, number, &token).await.map_err(Ended::Failed))
                .await?;
            let more = page.has_next(number) && !page.entities.is_empty();
            flows.extend(page.entities);
            if !more {
                break;
            }
        }
        Ok(flows)
    }

    /// Makes a call until it succeeds, or fails in a way that waiting does not mend. Nothing that may have been carried out
    /// is called again.
    async fn call<T>(&self, make: impl AsyncFn(AccessToken) -> Result<T, Ended>) -> Result<T, Ended> {
        let mut spent = Spent::default();
        let mut refused: Option<(Instant, AccessToken)> = None;
        loop {
            let token = match &refused {
                None => self.tokens.get().await,
                Some((_, stale)) => self.tokens.renew(stale).await,
            };
            let made = match token {
                Ok(token) => {
                    let Some(_permit) = self.stop.run_until_cancelled(self.bucket.take()).await else {
                        return Err(Ended::Stopped);
                    };
                    (make(token.clone()).await, Some(token))
                }
                Err(failure) => (Err(Ended::Failed(failure)), None),
            };
            let (failure, token) = match made {
                (Err(Ended::Failed(failure)), token) => (failure, token),
                (done, _) => return done,
            };
            match (failure.class, token) {
                // A 401 for a token that was minted since the first one is an answer; before that, a newer token may do.
                (Class::Unauthorized, Some(token)) => {
                    let (first, _) = refused.get_or_insert_with(|| (Instant::now(), token.clone()));
                    if token.is_minted_since(*first) {
                        return Err(Ended::Failed(failure));
                    }
                    refused = Some((*first, token));
                }
                (Class::Throttled | Class::Transient, _) => {
                    let decided = self.policy.decide(&failure, spent, Wishes::default(), rand::random());
                    let Decision::Delay { delay, spent: now } = decided else {
                        return Err(Ended::Failed(failure));
                    };
                    spent = now;
                    if spent.attempts >= TRIES {
                        return Err(Ended::Failed(failure));
                    }
                    (self.waiting)(&failure, delay);
                    self.wait(delay).await?;
                }
                _ => return Err(Ended::Failed(failure)),
            }
        }
    }

    async fn wait(&self, pause: Duration) -> Result<(), Ended> {
        self.stop.run_until_cancelled(sleep(pause)).await.ok_or(Ended::Stopped)
    }
}
