//! Which rule, if any, a request falls under.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::rules::{Endpoint, Reset, Rule, Since};

/// The rules in force, with what they have counted so far. The first that matches decides.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    rule: Arc<Rule>,
    rng: StdRng,
    set_at: i64,
    seen: u64,
    hits: u64,
}

/// What a rule has done, for the stats.
#[derive(Debug, Serialize)]
pub(crate) struct Tally {
    name: Option<String>,
    seen: u64,
    hits: u64,
}

impl Faults {
    /// New rules, their counts and random choices from the beginning.
    pub(crate) fn set(&mut self, rules: Vec<Rule>, seed: u64, now: i64) {
        let armed = |(index, rule)| Armed {
            rule: Arc::new(rule),
            // One generator a rule, so that adding a rule at the end changes none of the others' choices.
            rng: StdRng::seed_from_u64(seed.wrapping_add(index as u64)),
            set_at: now,
            seen: 0,
            hits: 0,
        };
        self.armed = rules.into_iter().enumerate().map(armed).collect();
    }

    pub(crate) fn rules(&self) -> Vec<Arc<Rule>> {
        self.armed.iter().map(|armed| armed.rule.clone()).collect()
    }

    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let tally = |armed: &Armed| Tally {
            name: armed.rule.name.clone(),
            seen: armed.seen,
            hits: armed.hits,
        };
        self.armed.iter().map(tally).collect()
    }

    /// Is the request to be reset before its body is read?
    pub(crate) fn resets_on_arrival(&mut self, endpoint: Endpoint, now: i64) -> bool {
        let on_arrival = |rule: &Rule| rule.reset == Some(Reset::OnArrival);
        self.first_hit(endpoint, None, now, on_arrival).is_some()
    }

    /// The rule that a request, read whole, falls under.
    pub(crate) fn pick(&mut self, endpoint: Endpoint, flow: Option<&str>, now: i64) -> Option<Arc<Rule>> {
        self.first_hit(endpoint, flow, now, |rule| rule.reset != Some(Reset::OnArrival))
    }

    fn first_hit(
        &mut self,
        endpoint: Endpoint,
        flow: Option<&str>,
        now: i64,
        wanted: impl Fn(&Rule) -> bool,
    ) -> Option<Arc<Rule>> {
        self.armed.iter_mut().find_map(|armed| {
            (wanted(&armed.rule) && armed.covers(endpoint, flow, now) && armed.strikes()).then(|| armed.rule.clone())
        })
    }
}

impl Armed {
    fn covers(&self, endpoint: Endpoint, flow: Option<&str>, now: i64) -> bool {
        let rule = &self.rule;
        // Microseconds since the simulator started; `now` counts from there.
        let since = if rule.since == Since::Start { 0 } else { self.set_at };
        let age = (now - since) as f64 / 1e6;
        (rule.endpoint == Endpoint::All || rule.endpoint == endpoint)
            && rule
                .flow_id
                .as_ref()
                .is_none_or(|ids| flow.is_some_and(|flow| ids.has(flow)))
            && rule.from_seconds.is_none_or(|from| age >= from)
            && rule.until_seconds.is_none_or(|until| age < until)
    }

    fn strikes(&mut self) -> bool {
        self.seen += 1;
        let rule = &self.rule;
        let struck = rule.every.is_none_or(|every| self.seen.is_multiple_of(every))
            && rule.share.is_none_or(|share| self.rng.random_bool(share))
            && rule.first.is_none_or(|first| self.hits < first);
        self.hits += u64::from(struck);
        struck
    }
}
