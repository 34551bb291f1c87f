//! Decisions that outlive their session.
//!
//! When a connection dies, the broker gives our unacknowledged jobs to somebody, most often to us again. A job whose
//! request was written must not be launched a second time for that. So this process remembers, for as many jobs as can
//! be unacknowledged, what it decided about them; when such a job is *re*delivered, the decision is carried out in place
//! of a second launch. (A worker that dies takes its memory along: window 1 of the README.)
//!
//! A message is known by its job id together with what our headers say of it: a retry, a replay or a give-back through
//! the ladder is another message. Jobs without an id of their own are not remembered, since two of them can look alike.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::settle::Verdict;
use super::stamp::Stamp;
use crate::job::Job;

/// What makes a message this one and no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    id: Arc<str>,
    attempts: u32,
    unknowns: u32,
    throttled: u32,
    replays: u32,
    due: Option<i64>,
}

impl Key {
    /// The key of a job that has an id of its own.
    pub(super) fn of(job: &Job, stamp: &Stamp) -> Option<Self> {
        job.id_given.then(|| Self {
            id: Arc::from(job.id.as_str()),
            attempts: stamp.spent.attempts,
            unknowns: stamp.spent.unknowns,
            throttled: stamp.spent.throttled,
            replays: stamp.replays,
            due: stamp.due.map(|due| due.as_millisecond()),
        })
    }
}

/// What is known of a message.
#[derive(Clone, Debug)]
enum Entry {
    /// A request for it may be on its way, or what was decided is being carried out.
    UnderWay,
    /// This is to be carried out when it comes again: its session died first.
    Decided(Arc<Verdict>),
    /// It was carried out: its next place is safe (or it is done), only the acknowledgement may be lost.
    Done,
}

/// What a redelivery is to do.
#[derive(Debug)]
pub(super) enum Claim {
    /// Carry this out; nobody else will until [`Ledger::conclude`].
    Decided(Arc<Verdict>),
    /// Be acknowledged.
    Done,
    /// Whatever any other message does: nothing was written for it after all.
    Unknown,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    order: VecDeque<Key>,
}

impl Inner {
    /// What is still under way is kept at the back of the line. Two steps forward for one in, so that the line gets
    /// shorter again.
    fn make_room(&mut self, capacity: usize) {
        for _ in 0..2 {
            if self.order.len() <= capacity {
                return;
            }
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if matches!(self.entries.get(&oldest), Some(Entry::UnderWay)) {
                self.order.push_back(oldest);
            } else {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// The memory.
#[derive(Debug)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
    capacity: usize,
    changed: Notify,
}

impl Ledger {
    /// Remembers at least `capacity` messages: more than can be unacknowledged at any time.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::new(Inner::default()),
            capacity,
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request for it is about to be written. False when it may not be: it may have been here before (`again`), and is
    /// remembered. Asked here once more, because two copies that arrive together are both unknown when first looked at.
    pub(super) fn begin(&self, key: &Key, again: bool) -> bool {
        let mut inner = self.lock();
        if again && inner.entries.contains_key(key) {
            return false;
        }
        if inner.entries.insert(key.clone(), Entry::UnderWay).is_none() {
            inner.order.push_back(key.clone());
        }
        inner.make_room(self.capacity);
        true
    }

    /// Nothing was launched, and nothing is to be remembered.
    pub(super) fn forget(&self, key: &Key) {
        let mut inner = self.lock();
        inner.entries.remove(key);
        inner.order.retain(|other| other != key);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// What was decided has been carried out, or must be when it comes again.
    pub(super) fn conclude(&self, key: &Key, verdict: Arc<Verdict>, carried_out: bool) {
        if let Some(entry) = self.lock().entries.get_mut(key) {
            *entry = if carried_out {
                Entry::Done
            } else {
                Entry::Decided(verdict)
            };
        }
        self.changed.notify_waiters();
    }

    /// Whether an earlier delivery of it is remembered.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// Waits until nobody works on it any more, then takes over what is left to do.
    pub(super) async fn claim(&self, key: &Key) -> Claim {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            if let Some(claim) = self.try_claim(key) {
                return claim;
            }
            changed.await;
        }
    }

    /// `None` while somebody works on it.
    fn try_claim(&self, key: &Key) -> Option<Claim> {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(key) else {
            return Some(Claim::Unknown);
        };
        match entry {
            Entry::UnderWay => None,
            Entry::Done => Some(Claim::Done),
            Entry::Decided(verdict) => {
                let verdict = verdict.clone();
                // Two redeliveries of one message must not both make a copy.
                *entry = Entry::UnderWay;
                Some(Claim::Decided(verdict))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::metrics::GiveBackReason;

    fn key(n: u32) -> Key {
        Key {
            id: Arc::from("job"),
            attempts: n,
            unknowns: 0,
            throttled: 0,
            replays: 0,
            due: None,
        }
    }

    fn verdict() -> Arc<Verdict> {
        Arc::new(Verdict::GivenBack(GiveBackReason::Halted))
    }

    #[tokio::test]
    async fn a_redelivery_waits_for_the_first_and_takes_over_what_it_left_undone() {
        let (ledger, one) = (Ledger::new(10), key(1));
        assert!(ledger.begin(&one, false));
        assert!(!ledger.begin(&one, true), "a copy of it");
        assert!(ledger.knows(&one) && !ledger.knows(&key(2)));
        let mut second = Box::pin(ledger.claim(&one));
        assert!((&mut second).now_or_never().is_none());
        ledger.conclude(&one, verdict(), false);
        assert!(matches!(second.await, Claim::Decided(_)));
        // A third one waits for the second.
        assert!(ledger.claim(&one).now_or_never().is_none());
        ledger.conclude(&one, verdict(), true);
        assert!(matches!(ledger.claim(&one).await, Claim::Done));
        assert!(matches!(ledger.claim(&one).await, Claim::Done));
    }

    #[tokio::test]
    async fn a_redelivery_of_what_was_not_sent_after_all_is_like_any_other() {
        let (ledger, one) = (Ledger::new(10), key(1));
        assert!(ledger.begin(&one, false));
        let mut second = Box::pin(ledger.claim(&one));
        assert!((&mut second).now_or_never().is_none());
        ledger.forget(&one);
        assert!(matches!(second.await, Claim::Unknown));
    }

    #[test]
    fn what_is_under_way_is_never_forgotten_and_the_memory_does_not_grow() {
        let ledger = Ledger::new(10);
        for slow in 0..8 {
            assert!(ledger.begin(&key(slow), false));
        }
        for n in 100..200 {
            assert!(ledger.begin(&key(n), false));
            ledger.conclude(&key(n), verdict(), n % 2 == 0);
        }
        assert!((0..8).all(|slow| ledger.knows(&key(slow))));
        for slow in 0..8 {
            ledger.conclude(&key(slow), verdict(), true);
        }
        for n in 200..300 {
            assert!(ledger.begin(&key(n), false));
            ledger.conclude(&key(n), verdict(), n % 2 == 0);
        }
        assert!((290..300).all(|n| ledger.knows(&key(n))));
        let inner = ledger.lock();
        assert_eq!((inner.order.len(), inner.entries.len()), (10, 10));
    }
}
