//! What can be said about a job before anything is sent.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::ledger::Key;
use super::settle::{DelayReason, Verdict};
use super::{Context, Work};
use crate::control::{PAUSED_LEG, Standing};
use crate::job::OnUnknown;
use crate::metrics::GiveBackReason;
use crate::outcome::{Class, Failure, Reason};

/// A job that came back this often was not given back cleanly (that stops at three): something keeps dying on it.
const TOO_OFTEN: u32 = 5;

/// What is to be done with a delivery.
#[derive(Debug)]
pub(super) enum Finding {
    /// It may be launched now.
    Ready,
    /// The session that brought it is over: somebody else has it by now.
    Lost,
    /// It is settled without a launch.
    Settle(Verdict),
    /// This process remembers an earlier delivery of it: what came of that, or comes, is to be done.
    Known(Key),
}

impl Context {
    /// Looks at a job, everything but the gate.
    pub(super) fn examine(&self, work: &Work, now: Timestamp) -> Finding {
        if !work.delivery.is_alive() {
            return Finding::Lost;
        }
        let job = match &work.job {
            Ok(job) => job,
            Err(malformed) => return Finding::Settle(Verdict::dead(Reason::Malformed, work, malformed.to_string())),
        };
        if let Some(key) = self.recollect(work) {
            return Finding::Known(key);
        }
        let standing = self.standing(work);
        if standing == Standing::Cancelled {
            return Finding::Settle(Verdict::Cancelled);
        }
        if let Some(expires_at) = job.expires_at.filter(|at| *at <= now) {
            let error = format!("expiresAt {expires_at} had passed before it could be launched");
            return Finding::Settle(Verdict::dead(Reason::Expired, work, error));
        }
        if let Some(verdict) = self.doubtful(work) {
            return Finding::Settle(verdict);
        }
        if let Some(wait) = wait_until(work.stamp.due.max(job.not_before), now) {
            return Finding::Settle(Verdict::delay(wait, work, DelayReason::NotBefore));
        }
        match standing {
            Standing::Free | Standing::Cancelled => {}
            // Nothing more of it is taken: a clean give-back, once.
            Standing::Held(_) => return Finding::Settle(Verdict::GivenBack(GiveBackReason::Paused)),
            Standing::Paused(_) => return Finding::Settle(Verdict::delay(PAUSED_LEG, work, DelayReason::Paused)),
        }
        if let Some(until) = self.gate.flow_closed_until(&job.flow_id) {
            let wait = until.saturating_duration_since(Instant::now()) + Duration::from_millis(250);
            return Finding::Settle(Verdict::delay(wait, work, DelayReason::Throttled));
        }
        Finding::Ready
    }

    /// How control stands to it. What is not known is found out by the last look.
    fn standing(&self, work: &Work) -> Standing {
        match self.control.known() {
            // Nearly always nothing is in force: then no job is described for it.
            Ok(rules) if !rules.is_empty() => work.subject().map_or(Standing::Free, |job| rules.about(&job)),
            Ok(_) | Err(_) => Standing::Free,
        }
    }

    /// The key of a message that this process remembers.
    fn recollect(&self, work: &Work) -> Option<Key> {
        let key = work.key.clone().filter(|_| work.may_be_known())?;
        self.ledger.knows(&key).then_some(key)
    }

    /// A redelivery that may have been launched already, where that must not be risked.
    fn doubtful(&self, work: &Work) -> Option<Verdict> {
        let job = work.job.as_ref().ok()?;
        let on_unknown = job.on_unknown.unwrap_or(self.policy.on_unknown());
        let too_often = work.delivery.delivery_count > TOO_OFTEN;
        // With `park` a clean give-back is a fresh publish, so any redelivery is one that nobody can vouch for.
        let unvouched = on_unknown == OnUnknown::Park && work.delivery.redelivered;
        if !(too_often || unvouched) {
            return None;
        }
        let message = if too_often {
            format!(
                "delivered {} times without an end: something keeps dying on it",
                work.delivery.delivery_count
            )
        } else {
            "delivered before, and the worker that had it is gone: it may have been launched".to_owned()
        };
        let failure = Failure::new(Class::Unknown, message);
        Some(self.decide(work, failure))
    }
}

impl Work {
    /// Whether the same message may have been here before. The broker says so of a redelivery. Of a delayed copy that was
    /// made twice, or repeats a hop of the ladder, it does not; but no two copies of ours are due in the same instant with
    /// the same counts.
    pub(super) fn may_be_known(&self) -> bool {
        self.delivery.redelivered || self.stamp.due.is_some()
    }
}

fn wait_until(due: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let wait = Duration::try_from(due?.duration_since(now)).ok()?;
    (!wait.is_zero()).then_some(wait)
}
