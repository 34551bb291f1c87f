//! Calls that a person makes, without a queue: launch one flow, follow it to its end, list flows.
//!
//! The same care as a worker's: every call takes a permit of the bucket, a 429 is waited out, a 401 mints a new token, and
//! a launch whose outcome nobody knows is never sent again. A read carries nothing out, so a hiccup does not end it.

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
/// A call that the API refuses for the moment (503), and a read that it does not answer, is tried so often. A person waits
/// for it.
const TRIES: u32 = 4;
/// An execution that was launched is worth more patience: so long without a single answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest pause that the API did not ask for.
const PAUSE_LONGEST: Duration = Duration::from_secs(10);

/// What a call is for: whether it may be repeated, how often, and what to tell the person meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A launch: sent again only when it is certain that nothing was launched.
    Launch,
    /// A read that somebody waits for.
    List,
    /// A look at an execution that was launched.
    Look,
}

/// How a call ended without what it was made for.
#[derive(Debug)]
pub enum Ended {
    /// It failed, in so many tries.
    Failed {
        /// How the last one did.
        failure: Failure,
        /// How often it was tried.
        tries: u32,
    },
    /// Told to stop, with nothing under way.
    Stopped,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, tries: 1 }
    }
}

/// What a call has been through.
#[derive(Default)]
struct Trouble {
    spent: Spent,
    since: Option<Instant>,
}

/// What calls need.
#[expect(missing_docs, reason = "each is what its type says")]
pub struct Direct {
    pub client: Client,
    pub tokens: Tokens,
    pub bucket: Bucket,
    pub policy: Policy,
    /// Ends everything but a launch that is under way: that one is awaited, so that it is known what became of it.
    pub stop: CancellationToken,
    /// Told for what it waits, why, and for how long.
    pub waiting: fn(Call, &Failure, Duration),
}

impl Direct {
    /// Launches a flow once.
    ///
    /// # Errors
    /// When it was not launched; or, with [`Class::Unknown`], when nobody can tell.
    pub async fn launch(&self, request: &LaunchRequest<'_>) -> Result<Receipt, Ended> {
        self.call(Call::Launch, async |token| {
            let stop = self.stop.clone();
            match self
                .client
                .launch(request, &token, move || !stop.is_cancelled())
                .await
                .outcome
            {
                Attempted::Launched(receipt) => Ok(receipt),
                Attempted::Failed(failure) => Err(failure.into()),
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
                .read(Call::Look, async |token| self.client.execution(id, &token).await)
                .await;
            match looked {
                Ok(execution) if execution.stage() != Stage::Running => return Ok(execution),
                Ok(_) => {}
                Err(Ended::Failed { failure, .. })
                    if failure.status == Some(404) && !failure.from_login && began.elapsed() < APPEARS_WITHIN => {}
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
        let mut last = Vec::new();
        for number in 1.. {
            let page = self
                .read(Call::List, async |token| self.client.flows(query, number, &token).await)
                .await?;
            // The same page once more: this server does not know of page numbers.
            if page.entities == last {
                break;
            }
            flows.extend(page.entities.iter().cloned());
            if !page.has_next(number) {
                break;
            }
            last = page.entities;
        }
        Ok(flows)
    }

    /// One flow.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn flow(&self, id: &str) -> Result<Flow, Ended> {
        self.read(Call::List, async |token| self.client.flow(id, &token).await)
            .await
    }

    /// A call that carries nothing out: it is dropped where it stands when told to stop.
    async fn read<T>(&self, call: Call, make: impl AsyncFn(AccessToken) -> Result<T, Failure>) -> Result<T, Ended> {
        self.call(call, async |token| Ok(self.unless_stopped(make(token)).await??))
            .await
    }

    /// Makes a call until it succeeds, or fails in a way that waiting does not mend. No launch that may have been carried
    /// out is made again.
    async fn call<T>(&self, call: Call, make: impl AsyncFn(AccessToken) -> Result<T, Ended>) -> Result<T, Ended> {
        let mut trouble = Trouble::default();
        let mut refused: Option<(Instant, AccessToken)> = None;
        for tries in 1.. {
            let token = match &refused {
                None => self.unless_stopped(self.tokens.get()).await?,
                Some((_, stale)) => self.unless_stopped(self.tokens.renew(stale)).await?,
            };
            let made = match token {
                Ok(token) => {
                    let _permit = self.unless_stopped(self.bucket.take()).await?;
                    (make(token.clone()).await, Some(token))
                }
                Err(failure) => (Err(failure.into()), None),
            };
            let (failure, token) = match made {
                (Err(Ended::Failed { failure, .. }), token) => (failure, token),
                (done, _) => return done,
            };
            match token {
                // A 401 for a token that was minted since the first one is an answer; before that, a newer token may do.
                Some(token) if failure.class == Class::Unauthorized => {
                    let (first, _) = refused.get_or_insert_with(|| (Instant::now(), token.clone()));
                    if token.is_minted_since(*first) {
                        return Err(Ended::Failed { failure, tries });
                    }
                    refused = Some((*first, token));
                }
                _ => {
                    let Some(pause) = self.again(call, &failure, &mut trouble) else {
                        return Err(Ended::Failed { failure, tries });
                    };
                    (self.waiting)(call, &failure, pause);
                    self.wait(pause).await?;
                }
            }
        }
        Err(Ended::Stopped)
    }

    /// After what pause it is tried again, if it is.
    fn again(&self, call: Call, failure: &Failure, trouble: &mut Trouble) -> Option<Duration> {
        // A page that is no API's will be none in a second either.
        let page = failure.status.is_some_and(|status| status < 300);
        let class = match failure.class {
            Class::Throttled => Class::Throttled,
            Class::Transient => Class::Transient,
            Class::Unreachable if call != Call::Launch && !page => Class::Transient,
            Class::Unreachable
            | Class::Unknown
            | Class::Refused
            | Class::Forbidden
            | Class::Unauthorized
            | Class::Misdirected => return None,
        };
        let since = *trouble.since.get_or_insert_with(Instant::now);
        let (patient, named) = (call == Call::Look, failure.retry_after.unwrap_or_default());
        let wishes = Wishes {
            max_attempts: patient.then_some(u32::MAX),
            ..Wishes::default()
        };
        let failure = Failure {
            class,
            ..failure.clone()
        };
        let Decision::Delay { delay, spent } = self.policy.decide(&failure, trouble.spent, wishes, rand::random())
        else {
            return None;
        };
        trouble.spent = spent;
        let enough = if patient {
            since.elapsed() >= PATIENCE
        } else {
            spent.attempts >= TRIES
        };
        // A quota that is used up is no trouble: it comes back when the API said.
        (class == Class::Throttled || !enough).then(|| delay.min(named + PAUSE_LONGEST))
    }

    async fn wait(&self, pause: Duration) -> Result<(), Ended> {
        self.unless_stopped(sleep(pause)).await
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        self.stop.run_until_cancelled(work).await.ok_or(Ended::Stopped)
    }
}
