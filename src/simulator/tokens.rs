//! The tokens that live: what they may do, and for how long.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::rate::{Count, Counter, Limit};

/// More than this many at once means a client that mints in a loop; the oldest then make room.
const MOST: usize = 10_000;

#[derive(Debug)]
struct Token {
    dies_at: i64,
    last_used: i64,
    tail: Arc<str>,
    counter: Counter,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// No `Authorization: Bearer`.
    Missing,
    /// A token that never was, or was revoked.
    Unknown,
    /// Its life or its idle time is over.
    Expired,
}

/// What a request with a good token is told.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) tail: Arc<str>,
    /// `None` without a limit.
    pub(crate) count: Option<Count>,
}

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    living: HashMap<Arc<str>, Token>,
    by_age: VecDeque<Arc<str>>,
}

impl Tokens {
    /// Mints a token; its text and the tail by which the records name it.
    pub(crate) fn mint(&mut self, life_seconds: u64, now: i64) -> (Arc<str>, Arc<str>) {
        let text: Arc<str> = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()).into();
        let tail: Arc<str> = text[text.len() - 8..].into();
        if self.by_age.len() >= MOST
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.living.remove(&oldest);
        }
        let dies_at = now + life_seconds as i64 * 1_000_000;
        let token = Token {
            dies_at,
            last_used: now,
            tail: tail.clone(),
            counter: Counter::default(),
        };
        self.living.insert(text.clone(), token);
        self.by_age.push_back(text.clone());
        (text, tail)
    }

    /// Lets a request in, or not, and counts it.
    pub(crate) fn admit(
        &mut self,
        authorization: Option<&str>,
        idle_seconds: Option<f64>,
        limit: Option<Limit>,
        now: i64,
    ) -> Result<Admitted, Stranger> {
        let text = authorization
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(Stranger::Missing)?;
        let token = self.living.get_mut(text).ok_or(Stranger::Unknown)?;
        let idle_us = idle_seconds.map(|seconds| (seconds * 1e6) as i64);
        if now >= token.dies_at || idle_us.is_some_and(|idle| now - token.last_used >= idle) {
            return Err(Stranger::Expired);
        }
        token.last_used = now;
        let count = limit.map(|limit| token.counter.count(limit, now));
        Ok(Admitted {
            tail: token.tail.clone(),
            count,
        })
    }

    /// All of them are no longer known; how many that were.
    pub(crate) fn revoke(&mut self) -> usize {
        self.by_age.clear();
        std::mem::take(&mut self.living).len()
    }

    pub(crate) fn living(&self) -> usize {
        self.living.len()
    }
}
